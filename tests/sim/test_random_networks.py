"""Random networks on several machine shapes: hardware equals the golden executor, cycles too."""

import importlib.util
from collections import Counter
from pathlib import Path

import pytest

from sim.network import build_simulator

_spec = importlib.util.spec_from_file_location("machines", Path(__file__).parent / "machines.py")
machines = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(machines)

# straddling lanes, two pixels a word, both RPReLUs, 1x1 convolutions; the others are slow tests
DEFAULT = ("S16-P4-T2-K8-id6", "S16-P6-T1-K12-id5", "S16-P4-T1-K4-id9-shift", machines.MOBILE)
ENOUGH = 20
FEATURES = (
    "stride 2", "channels not a multiple of S", "odd size", "negative scale", "negative slope",
    "slope above 1", *(f"tau {t}" for t in range(1, 10)), "padding -1", "padding 0", "padding +1",
)
# on one machine
RARE = {"1x1": 12, "1x1 in several sweeps": 5, "pooled residual": 4, "repeated residual": 4,
        "sampled shortcut": 4}


@pytest.mark.parametrize("name", [
    name if name in DEFAULT else pytest.param(name, marks=pytest.mark.slow)
    for name in machines.MACHINES])
def test_hardware_equals_golden(checked, name):
    simulator = build_simulator(machines.machine(name), quick=True)
    count = 0
    for drawn in machines.networks(name):
        stall = 0.2 if drawn.seed % 4 == 0 else 0.0
        run = checked(drawn.program, drawn.graph, drawn.images,
                      f"machine {name}, network seed {drawn.seed}",
                      simulator=simulator, stall=stall, seed=drawn.seed)
        assert run.words_compared > 0
        count += 1
    assert count == machines.NETWORKS


def test_coverage(capsys):
    seen: Counter = Counter()
    total = 0
    for name in machines.MACHINES:
        for drawn in machines.networks(name):
            seen.update(drawn.features)
            total += 1
    with capsys.disabled():
        print(f"\n{total} random networks on {len(machines.MACHINES)} machines:")
        for feature in (*FEATURES, *RARE):
            print(f"  {feature:30s}{seen[feature]:4d}")
    assert total >= 200
    enough = dict.fromkeys(FEATURES, ENOUGH) | RARE
    assert {f: seen[f] for f, least in enough.items() if seen[f] < least} == {}
