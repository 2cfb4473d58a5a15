"""Bits for 1x1 convolutions by rows: kernels that count one tap, words, and bits made in place."""

import numpy as np
import pytest

from hwbnn.errors import DoesNotFit
from hwbnn.geometry import bit_plane, geometry
from hwbnn.machine import make
from hwbnn.pack import border_constants, kernel_ids
from hwbnn.passes import Numeric, lower_to_integers
from hwbnn.shape import Shape, derive, on_machine
from rtl_gen.engine.config import POINT_WORDS, ROW_BANKS
from sim.random_gains import random_gains

SHAPE = Shape(8, 8, 1, 8)


def drawn(seed, size=16):
    rng = np.random.default_rng(seed)
    network = random_gains(rng, size=size, pointwise=True, step=8, max_channels=24)
    _c, h, w = network.graph["image"].op.shape
    images = rng.integers(0, 256, (1, h, w, 3), dtype=np.uint8)
    return lower_to_integers(network.graph, images, Numeric())[1]


def programs(shape=SHAPE, **recipe):
    """Programs of random networks that have 1x1 convolutions."""
    found = []
    for seed in range(24):
        try:
            found.append(derive(drawn(seed), shape, stream=True, row_bits=4, **recipe))
        except DoesNotFit as error:
            assert "no 1x1 binary convolution" in str(error)
    assert len(found) > 8
    return found


@pytest.mark.parametrize("shape", [SHAPE, Shape(16, 8, 1, 8)], ids=str)
def test_one_tap_counts(shape):
    for program in programs(shape):
        config, rng = program.config, np.random.default_rng(0)
        assert config.centred
        for layer in program.layers:
            if not layer.centred:
                continue
            c = layer.in_shape[0]
            ids, codes = kernel_ids(layer, config)
            assert codes == []
            assert ids.shape[1] == geometry(layer, config).n_ig * config.channels_in
            bits, values = np.zeros((ids.shape[1], 9), dtype=np.int64), rng.integers(0, 2, c)
            bits[layer.reads_at : layer.reads_at + c, 4] = values
            kernels = ids[:, :, None] >> np.arange(9) & 1
            count = (kernels == bits[None]).sum(axis=(1, 2))
            expected = layer.conv.op.weight[:, :, 0, 0].astype(int) @ (2 * values - 1)
            constants = border_constants(layer, config)
            assert (2 * count[:, None] + constants == expected[:, None]).all()


def places(program, layer, y, first, end, fresh=False):
    """(bank, word, group of lanes) of channels ``first`` to ``end`` of a row of a layer's bits, the
    words begun there as a whole where ``fresh``."""
    place, config = program.placement, program.config
    row, slots, _planes = bit_plane(layer, place.rows.bits[layer.bits], config)
    s, p, (_buffer, base) = config.channels_in, config.lanes, place.bits[layer.bits]
    for channel in range(first, end, p):
        word, group = divmod(channel, s)
        groups = range(s // p) if fresh and not group else [group // p]
        plane, bank, slot = word, y % ROW_BANKS, y // ROW_BANKS % slots
        if layer.grouped:  # banks and columns are taken together
            plane, bank, slot = word // POINT_WORDS, None, y % slots
            groups = [(word % POINT_WORDS, group) for group in groups]
        for i in range(row):
            for group in groups:
                yield bank, base + (plane * slots + slot) * row + i, group


def overlay(held, there, what):
    """Bits by groups lie in all banks, those by rows in one of them."""
    for bank, word, group in there:
        others = held.setdefault(word, {})
        if bank is None:
            others.pop("rows", None)
        else:
            others.pop("groups", None)
        others.setdefault("groups" if bank is None else "rows", {})[bank, group] = what


def check_bits(program):
    """Every bit that a step reads is the one that was made for it."""
    makers = {layer.bits: layer for layer in program.layers if layer.bits}
    s, held = program.config.channels_in, {}
    for step in program.steps:
        layer = step.layer
        if layer.moves:
            continue
        if layer.binary:
            source = makers[layer.source]
            stride, height = layer.conv.op.stride, source.out_shape[1]
            more = 0 if layer.pointwise else 1
            end = source.joint + layer.reads_at
            if not source.grouped:
                end = -(-end // s) * s
            for y in range(max(0, step.y0 * stride - more),
                           min(height, (step.y1 - 1) * stride + more + 1)):
                for bank, word, group in places(program, source, y, layer.reads_at, end):
                    kind = held[word]["groups" if bank is None else "rows"]
                    assert kind[bank, group] == (layer.source, y)
        if layer.bits:
            first = layer.at + layer.bits_at
            for y in range(step.y0, step.y1):
                overlay(held, places(program, layer, y, first, first + layer.out_shape[0], True),
                        (layer.bits, y))


@pytest.mark.parametrize("again", [[], [16, 8, 4]])
@pytest.mark.parametrize("shape", [SHAPE, Shape(16, 8, 1, 8)], ids=str)
def test_bits_are_there_when_they_are_read(shape, again):
    in_place = in_words = 0
    for program in programs(shape, off_chip=4, off_rows=4, off_again=again):
        check_bits(program)
        bits = program.placement.bits
        in_place += any(x.remakes and x.bits and bits[x.remakes.source] == bits[x.bits]
                        for x in program.layers)
        in_words += any(x.bits_in for x in program.layers)
    assert bool(in_place) == bool(again)
    assert bool(in_words) == (shape.channels_in > shape.lanes)


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
