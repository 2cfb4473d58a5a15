"""Bits for 1x1 convolutions by rows: kernels that count one tap, words, and bits made in place."""

import numpy as np
import pytest

from hwbnn.errors import DoesNotFit
from hwbnn.geometry import bit_plane, geometry
from hwbnn.machine import make
from hwbnn.pack import border_constants, kernel_ids
from hwbnn.passes import Numeric, lower_to_integers
from hwbnn.shape import Shape, derive, on_machine
from rtl_gen.engine.config import ROW_BANKS
from sim.random_gains import random_gains

SHAPE = Shape(8, 8, 1, 8)


def drawn(seed, size=16):
    rng = np.random.default_rng(seed)
    network = random_gains(rng, size=size, pointwise=True, step=8, max_channels=24)
    _c, h, w = network.graph["image"].op.shape
    images = rng.integers(0, 256, (1, h, w, 3), dtype=np.uint8)
    return lower_to_integers(network.graph, images, Numeric())[1]


def programs(**recipe):
    """Programs of random networks that have 1x1 convolutions."""
    found = []
    for seed in range(40):
        try:
            found.append(derive(drawn(seed), SHAPE, stream=True, row_bits=4, **recipe))
        except DoesNotFit as error:
            assert "no 1x1 binary convolution" in str(error)
    assert len(found) > 10
    return found


def test_one_tap_counts():
    for program in programs():
        config, rng = program.config, np.random.default_rng(0)
        assert config.centred
        for layer in program.layers:
            if not layer.centred:
                continue
            c = layer.in_shape[0]
            ids, codes = kernel_ids(layer, config)
            assert codes == [] and ids.shape[1] == geometry(layer, config).n_ig * 8
            bits = np.zeros((ids.shape[1], 9), dtype=np.int64)
            bits[:c, 4] = rng.integers(0, 2, c)
            kernels = ids[:, :, None] >> np.arange(9) & 1
            count = (kernels == bits[None]).sum(axis=(1, 2))
            expected = layer.conv.op.weight[:, :, 0, 0].astype(int) @ (2 * bits[:c, 4] - 1)
            constants = border_constants(layer, config)
            assert (2 * count[:, None] + constants == expected[:, None]).all()


def words(program, layer, y, at=None):
    """(bank, word) of one row of the bits that ``layer`` makes, in some planes or all."""
    place, config = program.placement, program.config
    row, slots, planes = bit_plane(layer, place.rows.bits[layer.bits], config)
    _buffer, base = place.bits[layer.bits]
    for plane in range(planes) if at is None else at:
        for i in range(row):
            if layer.grouped:
                address = base + (plane * slots + y % slots) * row + i
                yield from ((bank, address) for bank in range(ROW_BANKS))
            else:
                yield y % ROW_BANKS, base + (plane * slots + y // ROW_BANKS % slots) * row + i


@pytest.mark.parametrize("again", [[], [16, 8, 4]])
def test_bits_are_there_when_they_are_read(again):
    in_place = 0
    for program in programs(off_chip=4, off_rows=4, off_again=again):
        s, place = program.config.channels_in, program.placement
        makers = {layer.bits: layer for layer in program.layers if layer.bits}
        held = {}
        for step in program.steps:
            layer = step.layer
            if layer.moves:
                continue
            if layer.binary:
                source = makers[layer.source]
                stride, height = layer.conv.op.stride, source.out_shape[1]
                more = 0 if layer.pointwise else 1
                for y in range(max(0, step.y0 * stride - more),
                               min(height, (step.y1 - 1) * stride + more + 1)):
                    for word in words(program, source, y):
                        assert held[word] == (layer.source, y)
            if layer.bits:
                at = None
                if not layer.grouped:  # the other lanes of a word stay what they are
                    at = range(layer.at // s, -(-(layer.at + layer.out_shape[0]) // s))
                for y in range(step.y0, step.y1):
                    held |= dict.fromkeys(words(program, layer, y, at), (layer.bits, y))
            in_place += bool(layer.remakes and layer.bits and place.bits[layer.remakes.source]
                             == place.bits[layer.bits])
    assert bool(in_place) == bool(again)


def test_few_channels_take_fewer_words():
    for seed in range(40):
        graph = drawn(seed)
        try:
            rows = derive(graph, SHAPE, stream=True, row_bits=16)
        except DoesNotFit:
            continue
        groups = derive(graph, SHAPE, stream=True)
        assert rows.needed["bits"] <= groups.needed["bits"]
        assert not groups.config.centred and "centre" not in groups.config.step_layout
        return
    raise AssertionError("no network has a 1x1 convolution of a map of 16 rows")


def test_refused_by_name():
    graph = drawn(0)
    with pytest.raises(DoesNotFit, match="no 1x1 binary convolution reads a map of 99 rows"):
        make(graph, SHAPE, row_bits=99)
    for seed in range(40):
        graph = drawn(seed)
        try:
            derive(graph, SHAPE, row_bits=4)
        except DoesNotFit:
            continue
        with pytest.raises(DoesNotFit, match="by channel groups"):
            on_machine(graph, derive(graph, SHAPE).config, row_bits=4)
        return
