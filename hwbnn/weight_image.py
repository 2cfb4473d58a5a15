"""weights.bin: the weight stream of a machine that keeps it off chip, as a file and in parts.

The file, little endian: magic ``hwbnnwts``, format (4 bytes), 16-bit words (4), CRC-32 of the words
(4), digest of network and machine (8), CRC-32 of the header before it (4); then the words.
"""

import dataclasses
import itertools
import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np

from rtl_gen.engine.config import STREAM_BITS, EngineConfig

from .cache import digest as digest_of
from .errors import UserError
from .pack import Segment, in_memory, segment_sizes, segments, stream_words
from .program import Program

__all__ = ["FILE", "Part", "WeightImage", "identity", "image_of", "parts", "read", "split", "write"]

FILE = "weights.bin"
MAGIC = b"hwbnnwts"
FORMAT = 1
HEADER = struct.Struct("<8sIII8s")
CRC = struct.Struct("<I")
HEADER_BYTES = HEADER.size + CRC.size
AGAIN = "make it again with 'hwbnn pack'"


@dataclasses.dataclass(frozen=True, eq=False)
class WeightImage:
    """The words (uint16) in the order in which the engine reads them.

    ``digest`` (8 bytes) is what a device built for them answers IDENTIFY with.
    """

    words: np.ndarray
    digest: bytes

    @property
    def crc32(self) -> int:
        """As the device computes it (``rtl_gen.sdram.checksum.crc32_of_words``)."""
        return zlib.crc32(self.words.astype("<u2").tobytes())


def identity(graph_digest: str, plan: dict) -> bytes:
    """Eight bytes that tell a network on a machine (``Plan.to_json``) from others."""
    return bytes.fromhex(digest_of("weights", graph_digest, json.dumps(plan, sort_keys=True)))[:8]


def image_of(program: Program, digest: bytes) -> WeightImage:
    """The image of a program.

    Raises
    ------
    UserError
        All of its weights are on chip.
    """
    if not program.config.streams:
        raise UserError("has no weight image: all weights are in the bitstream",
                        hint="only machines that stream their weights have one")
    return WeightImage(stream_words(program), digest)


def write(path: Path, image: WeightImage) -> None:
    """Write the file; it appears when it is complete."""
    data = image.words.astype("<u2").tobytes()
    head = HEADER.pack(MAGIC, FORMAT, len(image.words), zlib.crc32(data), image.digest)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(head + CRC.pack(zlib.crc32(head)) + data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read(path: Path) -> WeightImage:
    """Read a file and check all of it.

    Raises
    ------
    UserError
        There is none, or it is something else, cut short, or damaged.
    """
    where = os.fspath(path)
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise UserError("no such file", where=where, hint="'hwbnn pack' makes one") from None
    except IsADirectoryError:
        raise UserError("is a folder", where=where, hint=f"give the {FILE} in it") from None
    if data[: len(MAGIC)] != MAGIC[: len(data)] or not data:
        raise UserError("is no weight image", where=where, hint=f"give a {FILE}")
    if len(data) < HEADER_BYTES:
        raise UserError(f"is cut short: {len(data)} bytes, the header has {HEADER_BYTES}",
                        where=where, hint=AGAIN)
    head, rest = data[: HEADER.size], data[HEADER_BYTES:]
    if CRC.unpack(data[HEADER.size : HEADER_BYTES])[0] != zlib.crc32(head):
        raise UserError("has a damaged header (CRC-32)", where=where, hint=AGAIN)
    _magic, version, n_words, crc, digest = HEADER.unpack(head)
    if version != FORMAT:
        raise UserError(f"is of format {version}, this version reads {FORMAT}", where=where,
                        hint=AGAIN)
    if len(rest) != 2 * n_words:
        kind = "is cut short" if len(rest) < 2 * n_words else "goes on after its end"
        raise UserError(f"{kind}: {len(rest)} bytes of words, its header says {2 * n_words}",
                        where=where, hint=AGAIN)
    if zlib.crc32(rest) != crc:
        raise UserError(f"is damaged: CRC-32 {zlib.crc32(rest):08x}, its header says {crc:08x}",
                        where=where, hint=AGAIN)
    return WeightImage(np.frombuffer(rest, "<u2").astype(np.uint16), digest)


def split(words: np.ndarray, config: EngineConfig) -> list[Segment]:
    """The segments of a weight stream; the inverse of ``stream_words``.

    Raises
    ------
    UserError
        It is no stream for this machine: an unknown kind, too wide a word, or an early end.
    """
    numbers, found, at = words.tolist(), [], 0
    sizes = config.stream_parts
    while at < len(numbers):
        start, header = at, numbers[at]
        if header & 3 >= len(config.stream_kinds):
            raise UserError(f"unknown kind {header & 3}", where=f"word {start}")
        kind, count = config.stream_kinds[header & 3], (header >> 2) + 1
        size, at = sizes[kind], at + 1
        end = at + count * size
        if end > len(numbers):
            raise UserError(f"{count} words of {kind} end beyond the stream",
                            where=f"word {start}", hint="it belongs to another machine")
        chosen = []
        for first in range(at, end, size):
            value = sum(n << STREAM_BITS * i for i, n in enumerate(numbers[first : first + size]))
            if value >> config.stream_widths[kind]:
                raise UserError(f"{value:#x} is too wide for {kind}", where=f"word {first}",
                                hint="it belongs to another machine")
            chosen.append(in_memory(kind, value, config))
        found.append(Segment(kind, chosen))
        at = end
    return found


@dataclasses.dataclass(frozen=True)
class Part:
    """What of a weight image belongs to one step: its first 16-bit word and how many there are.

    ``segments`` of them, with ``memory_words`` words of each memory by kind.
    """

    step: str
    start: int
    words: int
    segments: int
    memory_words: dict[str, int]


def parts(program: Program, image: WeightImage) -> list[Part]:
    """The parts of an image by step, in order, each compared with the program's own weights.

    Raises
    ------
    UserError
        They are other weights, or those of another machine.
    """
    found, expected = split(image.words, program.config), segments(program)
    hint = "give the file that was made from this build"
    if len(found) != len(expected):
        raise UserError(f"has {len(found)} segments, the program reads {len(expected)}", hint=hint)
    owners = [step.name for step, _kind, _count in segment_sizes(program)]
    result, start = [], 0
    sizes = program.config.stream_parts
    rows = zip(owners, found, expected, strict=True)
    for step, group in itertools.groupby(rows, key=lambda row: row[0]):
        n_words, count = 0, 0
        memory_words = dict.fromkeys(program.config.stream_kinds, 0)
        for _step, segment, wanted in group:
            if segment != wanted:
                raise UserError(f"{segment.kind} differ from the network's", hint=hint,
                                where=f"{step}, word {start + n_words}")
            n_words += 1 + len(segment.words) * sizes[segment.kind]
            memory_words[segment.kind] += len(segment.words)
            count += 1
        result.append(Part(step, start, n_words, count, memory_words))
        start += n_words
    return result
