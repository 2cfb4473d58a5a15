"""Networks with gains whose maps lie in SDRAM: hardware equals the golden executor, cycles too."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from hwbnn.errors import DoesNotFit
from hwbnn.passes import Numeric, lower_to_integers
from hwbnn.shape import Shape, derive, general_purpose, on_machine
from rtl_gen.engine.gain_config import GainConfig
from rtl_gen.engine.run_time_config import RunTimeConfig
from sim.network import build_simulator
from sim.random_gains import random_gains

DEFAULT, MORE = 4, 16
GROUPS, IN_WORDS, FEW, SOME = 5000, 9000, 2, 6
EXPECTED = {"kept": 4, "twice": 4, "product twice": 2, "halved off chip": 2, "parts": 2,
            "by rows": 4, "bits by rows": 4, "bits in place": 3, "smaller map first": 1,
            "by groups": 4, "product by groups": 2, "bits in words": 6}


def machine(streamed=False, channels_in=8):
    """With ``streamed`` steps come in the weight stream, and few of them wait on chip. Machines of
    16 channels have the SDRAM of 64 MB, whose rows are twice as long."""
    gains = GainConfig(product_shifts=tuple(range(6, 18)), branch_depth=256, levels=(4, 8),
                       sum_depth=32)
    run_time = RunTimeConfig(vector_depth=256, entries=1024, shift=5, fracs=(16,), gains=gains)
    config = general_purpose(Shape(channels_in, 8, 1, 8), run_time=run_time, mobile=True)
    moving = dataclasses.replace(run_time, gains=dataclasses.replace(gains, moves=True))
    return dataclasses.replace(config, centred=True, ring_words=(128, 256, 128),
                               step_depth=64 if streamed else 4096, streamed_steps=streamed,
                               load_depth=512, feature_depth=1024, run_time=moving,
                               sdram_mb=64 if channels_in == 16 else 32)


def networks(first, count, streamed=False):
    """(seed, graph, program, images, features): what waits for gains is stored off chip in one,
    computed twice in the next; bits for 1x1 convolutions lie by rows in two of three. From seed
    GROUPS on they are small enough to be made by groups, and are so; from IN_WORDS on bits lie in
    the words of others, of 16 channels."""
    config = machine(streamed, 8 if first < IN_WORDS else 16)
    for seed in range(first, first + 1000):
        if not count:
            return
        rng = np.random.default_rng(seed)
        size = 8 if GROUPS <= seed < IN_WORDS else int(rng.choice([8, 12, 16]))
        drawn = random_gains(rng, size=size, pointwise=True, step=8, max_channels=24,
                             levels=seed % 3 == 0)
        _c, h, w = drawn.graph["image"].op.shape
        images = rng.integers(0, 256, (2, h, w, 3), dtype=np.uint8)
        _folded, graph = lower_to_integers(drawn.graph, images, Numeric())
        off = {"off_chip": int(rng.choice([4, size])), "off_rows": int(rng.choice([2, 4])),
               "off_again": seed % 2 * [size, size // 2, size // 4],
               "row_bits": (0, 4, size)[seed // 2 % 3]}
        if seed % 4 == 3:
            off["off_rows"] = 8
        if seed >= IN_WORDS:
            off["row_bits"] = 4
        elif seed >= GROUPS:
            off |= {"off_chip": 4, "off_rows": 4, "off_again": []}
        try:
            program = on_machine(graph, config, **off)
        except DoesNotFit:
            continue
        if not any(step.layer.moves for step in program.steps):
            continue  # its maps are smaller
        wanted = "bits in words" if seed >= IN_WORDS else "by groups"
        if seed >= GROUPS and wanted not in features(program):
            continue
        count -= 1
        yield seed, graph, program, images, features(program)


def features(program) -> set[str]:
    moves = [step for step in program.steps if step.layer.moves]
    found = {"twice"} if any(layer.remakes for layer in program.layers) else {"kept"}
    if any(layer.remakes and layer.remakes.product for layer in program.layers):
        found.add("product twice")
    if any(s.layer.to and s.layer.serves.halved for s in moves):
        found.add("halved off chip")
    if any(s.layer.part.first for s in moves):
        found.add("parts")
    if any(s.layer.sums and s.y1 < s.layer.issued[0] for s in program.steps):
        found.add("by rows")
    place = program.placement
    groups = [step for step in program.steps if step.by_groups and step.n_og < step.of_og]
    if groups:
        found.add("by groups")
    if any(step.layer.product for step in groups):
        found.add("product by groups")
    if any(layer.bits_in for layer in program.layers):
        found.add("bits in words")
    if any(layer.centred for layer in program.layers):
        found.add("bits by rows")
    if any(x.remakes and x.bits and place.bits[x.remakes.source] == place.bits[x.bits]
           for x in program.layers):
        found.add("bits in place")
    if any(x.halved and x.residual and place.x[x.x] < place.residual(x.residual)
           for x in program.layers):
        found.add("smaller map first")
    assert any(s.layer.to for s in moves) and any(not s.layer.to for s in moves)
    return found


def check(checked, first, count, streamed):
    simulator = build_simulator(machine(streamed, 8 if first < IN_WORDS else 16), quick=True)
    for seed, graph, program, images, _features in networks(first, count, streamed):
        stall = 0.2 if seed % 5 == 0 else 0.0
        checked(program, graph, images, f"network seed {seed}", simulator=simulator, stall=stall,
                seed=seed)


def test_maps_go_to_sdram_and_come_back(checked):
    check(checked, 0, DEFAULT, streamed=True)


def test_maps_are_made_by_groups(checked):
    check(checked, GROUPS, FEW, streamed=False)


def test_bits_lie_in_the_words_of_others(checked):
    check(checked, IN_WORDS, FEW, streamed=True)


@pytest.mark.slow
def test_more_bits_in_the_words_of_others(checked):
    check(checked, IN_WORDS + 1000, SOME, streamed=False)


@pytest.mark.slow
def test_more_maps_made_by_groups(checked):
    check(checked, GROUPS + 1000, SOME, streamed=True)


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [False, True])
def test_more_networks(checked, streamed):
    check(checked, 1000, MORE, streamed)


def test_coverage():
    seen = Counter()
    for first, count in ((0, DEFAULT), (1000, MORE), (GROUPS, FEW), (GROUPS + 1000, SOME),
                         (IN_WORDS, FEW), (IN_WORDS + 1000, SOME)):
        for _seed, _graph, _program, _images, found in networks(first, count):
            seen.update(found)
    assert {k: seen[k] for k, least in EXPECTED.items() if seen[k] < least} == {}


@pytest.mark.slow
def test_behind_a_7x7_convolution(checked):
    rng = np.random.default_rng(5)
    drawn = random_gains(rng, size=8, pointwise=True, step=8, max_channels=16, imagenet=True)
    images = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    _folded, graph = lower_to_integers(drawn.graph, images, Numeric(image_weight_bits=8))
    program = derive(graph, Shape(8, 8, 1, 8), stream=True, off_chip=4, off_rows=4, off_again=[8])
    assert {"twice"} <= features(program)
    checked(program, graph, images, "seed 5")
