"""The host's end of the serial protocol (docs/host-protocol.md): bytes to values and back."""

import binascii
import dataclasses
import struct
from collections.abc import Iterator

import numpy as np

from rtl_gen.host_link import (
    BATCH_VERSION,
    CHUNK,
    MAGIC,
    REQUEST_MARK,
    RESPONSE_MARK,
    VERSION,
    Command,
    Status,
)
from rtl_gen.weight_link import CHECK_ANSWER_BYTES, WEIGHT_VERSION

from .errors import HwbnnError

HEADER_BYTES = 7  # mark, status or command, length, check
CRC_BYTES = 2
CHUNK_WORDS = 8192  # of the weight image in one request
HINTS = {
    Status.NO_WEIGHTS: "write the weight image and have it checked first",
    Status.BAD_ADDRESS: "the weight image does not fit the memory",
}


@dataclasses.dataclass(frozen=True)
class Identity:
    """What a device says it is: the build's digest (8 bytes) and the network's interface.

    ``weight_words`` are the 16-bit words of the weight image that it wants before the first image;
    0: its weights are in the bitstream. ``batch`` are the images of a request to run.
    """

    digest: bytes
    height: int
    width: int
    channels: int
    n_classes: int
    weight_words: int = 0
    batch: int = 1


@dataclasses.dataclass(frozen=True)
class Result:
    """One image: class, accelerator cycles, logits (signed 32 bit integers)."""

    label: int
    cycles: int
    logits: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Check:
    """CRC-32 of the weight image: what the host expected, and what the device read back.

    The device takes images if and only if they are equal (``ok``).
    """

    ok: bool
    expected: int
    found: int


class LinkError(HwbnnError):
    """The device's answer is damaged, or says that the request failed."""

    exit_code = 6


def checksum(data: bytes) -> int:
    """CRC-16/IBM-3740: polynomial 0x1021, initially 0xFFFF, not reflected."""
    return binascii.crc_hqx(data, 0xFFFF)


def request(command: Command, payload: bytes = b"") -> bytes:
    """The bytes of one request."""
    return _frame(REQUEST_MARK, command.value, payload)


def pieces(frame: bytes, chunk: int = CHUNK) -> list[bytes]:
    """A request to run several images, as it is to be sent: the first piece, and one more for each
    ``NEXT`` that the device sends. Its answer begins with another byte.

    A device consumes images while it works on those before; it buffers two chunks.
    """
    first = HEADER_BYTES + 2 * chunk
    return [frame[:first], *(frame[n : n + chunk] for n in range(first, len(frame), chunk))]


def write_request(address: int, words: np.ndarray) -> bytes:
    """The request that puts uint16 ``words`` into the memory from word ``address`` on."""
    return request(Command.WRITE, struct.pack("<I", address) + words.astype("<u2").tobytes())


def uploads(words: np.ndarray, base: int = 0, chunk_words: int = CHUNK_WORDS) -> Iterator[bytes]:
    """Requests that write a weight image, to be sent one by one, each when the last is answered.

    One that is answered with an error can be sent again.
    """
    for start in range(0, len(words), chunk_words):
        yield write_request(base + start, words[start : start + chunk_words])


def check_request(n_words: int, crc32: int, base: int = 0) -> bytes:
    """The request to read the weight image back; if its CRC-32 is right, images are welcome."""
    return request(Command.CHECK, struct.pack("<III", base, n_words, crc32))


def response(status: Status, payload: bytes = b"") -> bytes:
    """The bytes of one response, as a device sends it."""
    return _frame(RESPONSE_MARK, status.value, payload)


def payload_length(header: bytes) -> int:
    """How many payload bytes follow a response's header of ``HEADER_BYTES``.

    Raises
    ------
    LinkError
        It is no header.
    """
    total = 0xFF
    for byte in header[2:]:
        total ^= byte
    if len(header) != HEADER_BYTES or header[:2] != RESPONSE_MARK or total:
        raise LinkError("not a response header", where=header.hex(" "))
    return int.from_bytes(header[3:6], "little")


def parse_response(frame: bytes) -> bytes:
    """The payload of one whole response.

    Raises
    ------
    LinkError
        The frame is damaged, or its status is not OK.
    """
    length = payload_length(frame[:HEADER_BYTES])
    if len(frame) != HEADER_BYTES + length + CRC_BYTES:
        raise LinkError(f"response of {len(frame)} bytes with a payload of {length}")
    if checksum(frame[2:-CRC_BYTES]) != int.from_bytes(frame[-CRC_BYTES:], "little"):
        raise LinkError("response with a wrong checksum")
    if frame[2] != Status.OK.value:
        status = Status(frame[2])
        hint = HINTS.get(status, "send it again")
        raise LinkError(f"the device answers {status.name}", hint=hint)
    return frame[HEADER_BYTES:-CRC_BYTES]


def parse_identity(payload: bytes) -> Identity:
    """What the payload of an answer to IDENTIFY says."""
    magic, version = struct.unpack_from("<4sB", payload)
    layouts = {VERSION: "<8sHHBH", WEIGHT_VERSION: "<8sHHBHI", BATCH_VERSION: "<8sHHBHIH"}
    if magic != MAGIC or version not in layouts:
        known = " or ".join(map(str, layouts))
        raise LinkError(f"the device speaks {magic!r} version {version}, not {MAGIC!r} {known}")
    return Identity(*struct.unpack(layouts[version], payload[5:]))


def parse_result(payload: bytes) -> Result:
    """What the payload of an answer to RUN says, where a request has one image."""
    label, cycles = struct.unpack_from("<HI", payload)
    return Result(label, cycles, tuple(n for (n,) in struct.iter_unpack("<i", payload[6:])))


def parse_results(payload: bytes, batch: int) -> list[Result]:
    """What the payload of an answer to RUN says of each of ``batch`` images."""
    size, rest = divmod(len(payload), batch)
    if rest:
        raise LinkError(f"{len(payload)} bytes are no results of {batch} images")
    return [parse_result(payload[n * size : (n + 1) * size]) for n in range(batch)]


def parse_check(payload: bytes) -> Check:
    """What the payload of an answer to CHECK says."""
    if len(payload) != CHECK_ANSWER_BYTES:
        raise LinkError(f"{len(payload)} bytes are no answer to CHECK")
    ok, expected, found = struct.unpack("<BII", payload)
    return Check(bool(ok), expected, found)


def _frame(mark: bytes, kind: int, payload: bytes) -> bytes:
    fields = bytes([kind]) + len(payload).to_bytes(3, "little")
    check = 0xFF
    for byte in fields:
        check ^= byte
    body = fields + bytes([check]) + payload
    return mark + body + checksum(body).to_bytes(CRC_BYTES, "little")
