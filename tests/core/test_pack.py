"""Memory images: what is packed can be read back, and border constants are what padding owes."""

import numpy as np
import pytest

from hwbnn.conv import conv2d
from hwbnn.errors import DoesNotFit
from hwbnn.geometry import geometry
from hwbnn.pack import border_constants, kernel_ids, layer_constants, pack
from hwbnn.passes import lower_to_integers
from hwbnn.shape import Shape, derive, general_purpose, on_machine
from sim.random_network import random_network

SHAPES = [Shape(16, 8, 1, 8), Shape(48, 16, 2, 4), Shape(32, 12, 1, 24), Shape(8, 16, 4, 16)]


def program_of(seed, shape):
    network = random_network(np.random.default_rng(seed))
    _folded, graph = lower_to_integers(network.graph)
    return derive(graph, shape)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_popcount_and_border_constant_give_the_dot_product(seed, shape):
    """Padded window bits 0, unused channels 0 with kernel ID 0: 2*count + constant == p."""
    program = program_of(seed, shape)
    config = program.config
    rng = np.random.default_rng(seed)
    for layer in program.layers:
        if not layer.binary:
            continue
        op = layer.conv.op
        geo = geometry(layer, config)
        c, h, w = layer.in_shape
        ids, codes = kernel_ids(layer, config)
        kernels = np.asarray(codes)[ids] if config.has_codebook else ids
        spare = int(codes[0]) if config.has_codebook else 0
        wide = np.full((len(ids), geo.n_ig * config.channels_in), spare)
        wide[:, :c] = kernels
        weight = np.stack([(wide >> t) & 1 for t in range(9)], axis=-1).reshape(*wide.shape, 3, 3)
        bits = np.zeros((1, wide.shape[1], h, w), dtype=np.int64)
        bits[:, :c] = rng.integers(0, 2, (1, c, h, w))
        equal = conv2d(bits, weight, op.stride, 1) + conv2d(1 - bits, 1 - weight, op.stride, 1)
        # taps outside the map have bit 0: they equal the weights that are 0
        outside = conv2d(np.ones_like(bits), 1 - weight, op.stride, 1)
        total = (1 - weight).sum(axis=(1, 2, 3))[None, :, None, None]
        count = equal + total - outside
        constant = border_constants(layer, config)
        expected = op.run(bits[:, :c].astype(np.int8))
        _o, ho, wo = layer.out_shape
        for y in range(ho):
            for x in range(wo):
                row = 1 if y == 0 else 2 if y * op.stride + 1 >= h else 0
                col = 1 if x == 0 else 2 if x * op.stride + 1 >= w else 0
                p = 2 * count[0, :, y, x] + constant[:, 3 * row + col]
                assert np.array_equal(p, expected[0, :, y, x])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_constants_unpack(shape):
    program = program_of(11, shape)
    config = program.config
    words = pack(program)["constants"]
    layout, width = config.const_layout, config.const_width
    position = 0
    for layer in program.layers:
        records = layer_constants(layer, config)
        for start in range(0, len(records), config.lanes):
            for record in reversed(records[start : start + config.lanes]):
                chunk = words[position : position + config.const_words]
                position += config.const_words
                value = sum(w << (width * i) for i, w in enumerate(chunk))
                for name, field in layout:
                    got = (value >> field.offset) % (1 << field.width)
                    assert got == record[name] % (1 << field.width), name
    assert position == len(words)


def test_every_word_fits_its_memory():
    for shape in SHAPES:
        program = program_of(2, shape)
        memories = program.config.memories()
        for name, words in pack(program).items():
            width, depth = memories[name]
            assert len(words) <= depth
            assert max(words) < 1 << width


def test_what_does_not_fit_says_by_how_much():
    network = random_network(np.random.default_rng(0), size=12)
    _folded, graph = lower_to_integers(network.graph)
    config = general_purpose(Shape(16, 8, 1, 8))
    import dataclasses

    small = dataclasses.replace(config, const_depth=16)
    with pytest.raises(DoesNotFit, match=r"constants needs \d+ words, the engine has 16"):
        on_machine(graph, small)
