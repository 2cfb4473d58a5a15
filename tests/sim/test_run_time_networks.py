"""Networks with thresholds of each image: hardware equals the golden executor, cycles too."""

from collections import Counter

import numpy as np
import pytest

from hwbnn.errors import DoesNotFit
from hwbnn.passes import Numeric, lower_to_integers
from hwbnn.schedule import schedule
from hwbnn.shape import Shape, general_purpose, on_machine
from hwbnn.stages import compare_cycles
from rtl_gen.engine.run_time_config import RunTimeConfig
from sim.network import build_simulator, simulate
from sim.random_run_time import random_run_time

NETWORKS = 10  # a machine
FRAMES = 2
FRACS = tuple(range(8, 15))
# lanes that straddle channel words, two pixels a word, lanes of two words; with and without a tie
MACHINES = {
    "S8-P4-T1-K4": (Shape(8, 4, 1, 4), "none", 1),
    "S8-P3-T2-K3": (Shape(8, 3, 2, 3), "multiplier", 0),
}
MORE = {
    "S16-P8-T1-K8": (Shape(16, 8, 1, 8), "multiplier", 1),
    "S16-P6-T2-K3": (Shape(16, 6, 2, 3), "none", 0),
    "S8-P16-T1-K8": (Shape(8, 16, 1, 8), "shift", 1),
    "S16-P4-T4-K2": (Shape(16, 4, 4, 2), "none", 1),
}
EXPECTED = {"identity": 8, "none": 8, "real": 4, "pooled real": 4, "max-pool": 4, "option A": 4}


def machine(name):
    shape, rprelu, tie = (MACHINES | MORE)[name]
    run_time = RunTimeConfig(tie=tie, vector_depth=64, entries=1024, shift=5, fracs=FRACS)
    return general_purpose(shape, rprelu=rprelu, run_time=run_time)


def networks(name):
    """(seed, graph, program, images, features) of the machine's networks; the same ones always."""
    config = machine(name)
    base = 1000 * list(MACHINES | MORE).index(name)
    count = 0
    for seed in range(base, base + 1000):
        if count == NETWORKS:
            return
        rng = np.random.default_rng(seed)
        prelu = config.rprelu != "none" and rng.random() < 0.6
        drawn = random_run_time(rng, prelu=prelu, flat=config.pixels == 1 and rng.random() < 0.3)
        _c, h, w = drawn.graph["image"].op.shape
        images = rng.integers(0, 256, (FRAMES, h, w, 3), dtype=np.uint8)
        numeric = Numeric(rprelu="auto" if not prelu else config.rprelu, tie=config.run_time.tie)
        _folded, graph = lower_to_integers(drawn.graph, images, numeric)
        try:
            program = on_machine(graph, config)
        except DoesNotFit:
            continue
        count += 1
        yield seed, graph, program, images, drawn.features


def check(name):
    simulator = build_simulator(machine(name))
    count = 0
    for seed, graph, program, images, _features in networks(name):
        stall = 0.2 if seed % 4 == 0 else 0.0
        try:
            run = simulate(program, graph, images, simulator=simulator, seed=seed, stall=stall)
            predicted = schedule(program, frames=FRAMES)
            if stall:  # frames start late
                assert run.cycles == predicted.frames
            else:
                compare_cycles(predicted, run)
        except (Exception, SystemExit) as error:
            error.add_note(f"machine {name}, network seed {seed}")
            raise
        count += 1
    assert count == NETWORKS


@pytest.mark.parametrize("name", MACHINES)
def test_hardware_equals_golden(name):
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", MORE)
def test_more_machines(name):
    check(name)


def test_coverage():
    seen = Counter()
    for name in MACHINES | MORE:
        for _seed, _graph, _program, _images, features in networks(name):
            seen.update(features)
    assert {k: seen[k] for k, least in EXPECTED.items() if seen[k] < least} == {}
    assert seen["flat"] >= 2
