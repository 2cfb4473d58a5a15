"""weights.bin: written, read back, taken apart; whatever is wrong with a file is named."""

import dataclasses
import random
import zlib

import numpy as np
import pytest

from hwbnn.errors import UserError
from hwbnn.external import stream_length
from hwbnn.pack import in_memory, in_stream, segments, stream_words
from hwbnn.passes import Numeric, lower_to_integers
from hwbnn.shape import Shape, derive
from hwbnn.weight_image import (
    HEADER_BYTES,
    WeightImage,
    identity,
    image_of,
    parts,
    read,
    split,
    write,
)
from rtl_gen.sdram.checksum import crc32_of_words
from sim.random_network import random_network

DIGEST = b"12345678"
SHAPES = [Shape(8, 4, 1, 4), Shape(48, 16, 2, 4), Shape(16, 6, 1, 12)]


def program_of(seed, shape=SHAPES[0], **options):
    network = random_network(np.random.default_rng(seed), max_channels=24)
    _folded, graph = lower_to_integers(network.graph)
    return derive(graph, shape, **{"stream": True} | options)


@pytest.fixture
def image():
    words = np.array([0, 0xFFFF, 0x0102, 0x8000, 7], np.uint16)
    return WeightImage(words, DIGEST)


@pytest.fixture
def file(tmp_path, image):
    path = tmp_path / "weights.bin"
    write(path, image)
    return path


def test_a_file_comes_back(file, image):
    found = read(file)
    assert found.words.dtype == np.uint16 and found.words.tolist() == image.words.tolist()
    assert found.digest == DIGEST and found.crc32 == image.crc32 == crc32_of_words(image.words)
    assert not list(file.parent.glob(".*")), "nothing is left beside it"


def test_its_layout_is_as_documented(file, image):
    data = file.read_bytes()
    assert data[:8] == b"hwbnnwts" and len(data) == 32 + 10 and HEADER_BYTES == 32
    assert data[8:12] == (1).to_bytes(4, "little") and data[12:16] == (5).to_bytes(4, "little")
    assert data[16:20] == zlib.crc32(data[32:]).to_bytes(4, "little") and data[20:28] == DIGEST
    assert data[28:32] == zlib.crc32(data[:28]).to_bytes(4, "little")
    assert data[32:] == bytes([0, 0, 0xFF, 0xFF, 2, 1, 0, 0x80, 7, 0])


def test_every_flipped_bit_and_every_cut_is_noticed(file):
    good = file.read_bytes()
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        file.write_bytes(bad)
        with pytest.raises(UserError, match=r"weights\.bin: (is|has)"):
            read(file)
    for size in range(len(good)):
        file.write_bytes(good[:size])
        with pytest.raises(UserError, match=r"weights\.bin: (is cut short|is no weight image)"):
            read(file)
    file.write_bytes(good)
    assert read(file).digest == DIGEST


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda b: b"", "is no weight image; give a weights.bin"),
        (lambda b: b"PK\x03\x04" + b, "is no weight image"),
        (lambda b: b[:20], "is cut short: 20 bytes, the header has 32; make it again"),
        (lambda b: b[:-1], "is cut short: 9 bytes of words, its header says 10"),
        (lambda b: b + b"x", "goes on after its end: 11 bytes of words"),
        (lambda b: b[:25] + b"x" + b[26:], r"has a damaged header \(CRC-32\)"),
        (lambda b: b[:-1] + b"x", "is damaged: CRC-32 [0-9a-f]{8}, its header says"),
    ],
)
def test_what_is_wrong_is_named(file, change, text):
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(UserError, match=text) as error:
        read(file)
    assert error.value.where == str(file) and error.value.hint


def test_another_format_is_named(file):
    data = bytearray(file.read_bytes())
    data[8] = 2
    data[28:32] = zlib.crc32(data[:28]).to_bytes(4, "little")
    file.write_bytes(data)
    with pytest.raises(UserError, match="is of format 2, this version reads 1"):
        read(file)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(UserError, match="no such file; 'hwbnn pack' makes one"):
        read(tmp_path / "none.bin")
    with pytest.raises(UserError, match="is a folder"):
        read(tmp_path)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_a_stream_is_taken_apart_as_it_was_made(seed, shape):
    program = program_of(seed, shape)
    words = stream_words(program)
    assert split(words, program.config) == segments(program), f"seed {seed}"
    image = image_of(program, DIGEST)
    found = parts(program, image)
    assert [p.step for p in found] == [s.name for s in program.steps if s.streamed]
    assert sum(p.words for p in found) == len(words) == stream_length(program)
    assert [p.start for p in found] == np.cumsum([0, *(p.words for p in found)])[:-1].tolist()
    for part, step in zip(found, program.steps, strict=True):
        tiles = step.n_og * step.n_ig * program.config.lanes
        kind = "weights" if step.layer.binary else "dense_weights"
        assert part.memory_words[kind] == tiles and part.segments == 2 * step.n_og


def test_weights_are_as_narrow_in_the_stream_as_its_layers_need():
    """The first convolution has 12 bits and stays on chip; the others have 8."""
    rng = np.random.default_rng(2)
    network = random_network(rng, multiple=4, max_channels=8, size=16, classes=5,
                             kinds=("3x3", "half", "3x3"))
    _folded, graph = lower_to_integers(network.graph, rng.integers(0, 256, (1, 16, 16, 3)).astype(
        np.uint8), Numeric())
    program = derive(graph, Shape(16, 4, 1, 4), band=2, stream=True)
    config = program.config
    assert (config.weight_bits, config.stream_weight_bits) == (12, 8)
    assert config.memories()["dense_weights"][0] == 48 and config.stream_parts["dense_weights"] == 2
    words = stream_words(program)
    assert split(words, config) == segments(program)
    assert len(words) == stream_length(program)
    values = [-128, 127, -1, 0]
    word = sum((v & 0xFFF) << 12 * i for i, v in enumerate(values))
    narrow = in_stream("dense_weights", word, config)
    assert narrow == 0x00FF7F80 and in_memory("dense_weights", narrow, config) == word
    for bad in (0x080, 0xF7F):  # 128, -129
        with pytest.raises(ValueError, match="wider than 8 bits"):
            in_stream("dense_weights", bad, config)


def test_other_weights_are_named_by_step():
    program = program_of(5)
    image, last = image_of(program, DIGEST), program.steps[-1].name
    words = image.words.copy()
    words[-1] ^= 1
    with pytest.raises(UserError, match=f"{last}, word .*dense_weights differ from the network's"):
        parts(program, dataclasses.replace(image, words=words))
    with pytest.raises(UserError, match="has 0 segments, the program reads"):
        parts(program, dataclasses.replace(image, words=words[:0]))


def test_streams_of_other_machines_never_pass():
    program = program_of(5)
    words = stream_words(program)
    rng = random.Random(5)
    with pytest.raises(UserError, match="word 0: unknown kind 3"):
        split(np.array([3], np.uint16), program.config)
    with pytest.raises(UserError, match="end beyond the stream"):
        split(words[:-1], program.config)
    for _ in range(50):
        noise = np.array([rng.getrandbits(16) for _ in range(len(words))], np.uint16)
        with pytest.raises(UserError):
            parts(program, WeightImage(noise, DIGEST))


def test_machines_with_all_weights_on_chip_have_no_image():
    with pytest.raises(UserError, match="has no weight image: all weights are in the bitstream"):
        image_of(program_of(5, stream=False), DIGEST)


def test_the_digest_tells_networks_and_machines_apart():
    digests = {identity("a", {"S": 8}), identity("b", {"S": 8}), identity("a", {"S": 16})}
    assert len(digests) == 3 and {len(d) for d in digests} == {8}
    assert identity("a", {"x": 1, "y": 2}) == identity("a", {"y": 2, "x": 1})
