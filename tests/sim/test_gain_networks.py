"""Networks with gains of each image: hardware equals the golden executor, cycles too."""

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

NETWORKS = 6  # a machine
FRAMES = 2
# with and without 1x1 convolutions, lanes that straddle channel words, two pixels a word
MACHINES = {
    "S4-P2-T1-K2-mobile": (Shape(4, 2, 1, 2), "multiplier", True),
}
# those with so few partial sums that maps are made by rows, and channel sums go on
BY_ROWS = {"S4-P2-T1-K2-mobile": 40, "S8-P3-T2-K3": 20}
# those that bring maps and vectors to levels of the image; every second network of theirs has some
LEVELLED = {"S4-P2-T1-K2-mobile", "S8-P3-T2-K3", "S16-P8-T1-K8-mobile", "S4-P2-T2-K2-mobile"}
MORE = {
    "S8-P4-T1-K4-mobile": (Shape(8, 4, 1, 4), "multiplier", True),
    "S8-P3-T2-K3": (Shape(8, 3, 2, 3), "shift", False),
    "S16-P8-T1-K8-mobile": (Shape(16, 8, 1, 8), "multiplier", True),
    "S8-P16-T1-K8": (Shape(8, 16, 1, 8), "multiplier", False),
    "S4-P2-T2-K2-mobile": (Shape(4, 2, 2, 2), "shift", True),
    "S16-P4-T4-K2": (Shape(16, 4, 4, 2), "multiplier", False),
}
EXPECTED = {"sum": 8, "product": 8, "halved sum": 4, "halved product": 4, "real": 4, "two": 6,
            "by rows": 4, "sum of shortcut": 6, "1x1": 6, "3x3": 20, "levels of a map": 2,
            "levels of a mix": 6, "levels of hidden values": 6, "levels of sums": 6, "clipped": 4}


def machine(name):
    shape, rprelu, mobile = (MACHINES | MORE)[name]
    run_time = RunTimeConfig(vector_depth=256, entries=1024, shift=5, fracs=(16,), gains=GainConfig(
        product_shifts=tuple(range(6, 18)), branch_depth=1024,
        levels=(4, 8) if name in LEVELLED else (), sum_depth=32 if name in BY_ROWS else 0))
    config = general_purpose(shape, rprelu=rprelu, run_time=run_time, mobile=mobile)
    return dataclasses.replace(config, psum_depth=BY_ROWS.get(name, config.psum_depth))


def networks(name):
    """(seed, graph, program, images, features) of the machine's networks; the same ones always."""
    config = machine(name)
    base = 1000 * list(MACHINES | MORE).index(name)
    count = 0
    for seed in range(base, base + 1000):
        if count == NETWORKS:
            return
        rng = np.random.default_rng(seed)
        step = config.lanes if rng.random() < 0.6 else 1
        drawn = random_gains(rng, pointwise=config.pointwise, step=step,
                             levels=bool(config.levels) and count % 2 == 1)
        _c, h, w = drawn.graph["image"].op.shape
        images = rng.integers(0, 256, (FRAMES, h, w, 3), dtype=np.uint8)
        _folded, graph = lower_to_integers(drawn.graph, images, Numeric(rprelu=config.rprelu))
        try:
            program = on_machine(graph, config)
        except DoesNotFit:
            continue
        count += 1
        begun = [step for step in program.steps if step.y1 < step.layer.issued[0]]
        features = {"by rows"} if any(step.layer.sums for step in begun) else set()
        yield seed, graph, program, images, drawn.features | features


def check(checked, name):
    simulator = build_simulator(machine(name), quick=True)
    count = 0
    for seed, graph, program, images, _features in networks(name):
        stall = 0.2 if seed % 4 == 0 else 0.0
        checked(program, graph, images, f"machine {name}, network seed {seed}",
                simulator=simulator, stall=stall, seed=seed)
        count += 1
    assert count == NETWORKS


@pytest.mark.parametrize("name", MACHINES)
def test_hardware_equals_golden(checked, name):
    check(checked, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", MORE)
def test_more_machines(checked, name):
    check(checked, name)


def test_coverage():
    seen = Counter()
    for name in MACHINES | MORE:
        for _seed, _graph, _program, _images, features in networks(name):
            seen.update(features)
    assert {k: seen[k] for k, least in EXPECTED.items() if seen[k] < least} == {}


def imagenet(seed, **recipe):
    """A network behind a 7x7 first convolution, by few partial sums; and images."""
    rng = np.random.default_rng(seed)
    drawn = random_gains(rng, imagenet=True, size=8, pointwise=True, step=4, max_channels=16,
                         max_units=3)
    _c, h, w = drawn.graph["image"].op.shape
    images = rng.integers(0, 256, (2, h, w, 3), dtype=np.uint8)
    _folded, graph = lower_to_integers(drawn.graph, images, Numeric(image_weight_bits=8))
    return graph, images, derive(graph, Shape(4, 4, 1, 4), **recipe)


def test_sums_go_on_behind_a_7x7_convolution(checked):
    """Its steps make a row each; of later maps they make some rows, with products and gains."""
    graph, images, program = imagenet(120, psum_depth=24)
    rows = [step.y1 - step.y0 for step in program.steps if step.layer.product]
    assert {2, 3} < set(rows)
    assert all(s.y1 - s.y0 == 1 for s in program.steps if s.layer.stem)
    checked(program, graph, images, "seed 120")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [61, 134, 210, 398])
def test_more_networks_behind_a_7x7_convolution(checked, seed):
    graph, images, program = imagenet(seed, psum_depth=24, stream=seed % 4 == 2)
    checked(program, graph, images, f"seed {seed}")
