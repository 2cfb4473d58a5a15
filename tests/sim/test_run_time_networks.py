"""Networks with thresholds of each image: hardware equals the golden executor, cycles too."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from hwbnn.errors import DoesNotFit
from hwbnn.passes import Numeric, lower_to_integers
from hwbnn.shape import Shape, derive, general_purpose, on_machine
from rtl_gen.engine.run_time_config import RunTimeConfig, ThresholdConfig
from sim.network import build_simulator
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
# with a threshold unit beside the array, two frames at once
BESIDE = {"S8-P4-T1-K2-wide-beside": (Shape(8, 4, 1, 2), "none", 1)}
BESIDE_MORE = {
    "S8-P4-T2-K2-beside": (Shape(8, 4, 2, 2), "multiplier", 1),
    "S16-P16-T1-K4-beside": (Shape(16, 16, 1, 4), "none", 0),
    "S8-P3-T1-K3-beside": (Shape(8, 3, 1, 3), "shift", 1),
}
UNIT_INPUTS = {"S8-P3-T1-K3-beside": 1, "S8-P4-T2-K2-beside": 2}  # others 4
ALL = MACHINES | MORE | BESIDE | BESIDE_MORE
EXPECTED = {"identity": 8, "none": 8, "real": 4, "pooled real": 4, "max-pool": 4, "option A": 4}


def machine(name):
    shape, rprelu, tie = ALL[name]
    unit = None
    if name.endswith("beside"):
        unit = ThresholdConfig(inputs=UNIT_INPUTS.get(name, 4), feature_depth=1024, planes=32,
                               words=1 + ("wide" in name))
    run_time = RunTimeConfig(tie=tie, vector_depth=64, entries=1024, shift=5, fracs=FRACS,
                             unit=unit)
    made = general_purpose(shape, rprelu=rprelu, run_time=run_time)
    # steps follow each other without the whole drain on machines without max-pools alone
    return dataclasses.replace(made, max_pool=made.max_pool and "wide" not in name)


def networks(name):
    """(seed, graph, program, images, features) of the machine's networks; the same ones always."""
    config = machine(name)
    base = 1000 * list(ALL).index(name)
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
        program = program_on(graph, config)
        if program is None:
            continue
        count += 1
        yield seed, graph, program, images, drawn.features


def program_on(graph, config):
    """The network's program, with the first cut that works of two frames at once; or None."""
    for cut in range(2, 9) if config.beside else [None]:
        try:
            return on_machine(graph, config, beside=cut)
        except DoesNotFit:
            continue
    return None


def check(checked, name):
    simulator = build_simulator(machine(name), quick=True)
    count = 0
    for seed, graph, program, images, _features in networks(name):
        stall = 0.2 if seed % 4 == 0 else 0.0
        checked(program, graph, images, f"machine {name}, network seed {seed}",
                simulator=simulator, stall=stall, seed=seed)
        count += 1
    assert count == NETWORKS


@pytest.mark.parametrize("name", MACHINES | BESIDE)
def test_hardware_equals_golden(checked, name):
    check(checked, name)


@pytest.mark.slow
def test_first_convolution_ahead(checked, seed=4):
    """A machine of its own: the first convolution in a unit, a dense array for vectors alone."""
    rng = np.random.default_rng(seed)
    drawn = random_run_time(rng, size=6, max_channels=12)
    assert drawn.features == {"none", "identity", "option A"}
    _c, h, w = drawn.graph["image"].op.shape
    images = rng.integers(0, 256, (FRAMES, h, w, 3), dtype=np.uint8)
    _folded, graph = lower_to_integers(drawn.graph, images, Numeric(tie=1))
    program = derive(graph, Shape(8, 8, 2, 2), const_words=1, beside=3, ahead=True)
    assert (program.config.dense_pixels, len(program.entries)) == (1, 3)
    checked(program, graph, images, f"seed {seed}")


def test_cuts_that_do_not_work_are_refused():
    rng = np.random.default_rng(4)
    drawn = random_run_time(rng, size=6, max_channels=12)
    _c, h, w = drawn.graph["image"].op.shape
    images = rng.integers(0, 256, (1, h, w, 3), dtype=np.uint8)
    _folded, graph = lower_to_integers(drawn.graph, images, Numeric(tie=1))
    for cut, why in ((1, "front of 1 of 5"), (5, "front of 5 of 5"), (4, "not due in the order")):
        with pytest.raises(DoesNotFit, match=why):
            derive(graph, Shape(8, 8, 2, 2), beside=cut)
    with pytest.raises(DoesNotFit, match="two frames at once"):
        derive(graph, Shape(8, 8, 2, 2), ahead=True)
    with pytest.raises(DoesNotFit, match="weights on chip"):
        derive(graph, Shape(8, 8, 2, 2), beside=3, stream=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", MORE | BESIDE_MORE)
def test_more_machines(checked, name):
    check(checked, name)


def test_coverage():
    seen = Counter()
    for name in MACHINES | MORE:
        for _seed, _graph, _program, _images, features in networks(name):
            seen.update(features)
    assert {k: seen[k] for k, least in EXPECTED.items() if seen[k] < least} == {}
    assert seen["flat"] >= 2


def test_coverage_of_two_frames_at_once():
    seen, entries, flows = Counter(), 0, 0
    for name in BESIDE | BESIDE_MORE:
        for _seed, _graph, program, _images, features in networks(name):
            seen.update(features)
            entries += len(program.entries)
            flows += sum(step.fields["flows"] for step in program.steps[:-1])
    assert {k: seen[k] for k in ("identity", "none", "option A") if seen[k] < 4} == {}
    assert seen["max-pool"] and entries >= 4 * 2 * NETWORKS
    assert flows >= 3  # few of these small networks' steps are long enough
