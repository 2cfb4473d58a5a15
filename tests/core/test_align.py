"""Channel orders behind option-A shortcuts: the same network, additions lane by lane."""

import numpy as np
import pytest

from hwbnn.ops import float_dynamic as D
from hwbnn.passes import align_channels, fold_norm, lower_to_integers
from hwbnn.passes.calibrate import run_float
from sim.random_run_time import random_run_time


def with_shortcuts(least):
    """(graph, images) of drawn networks with so many option-A shortcuts."""
    for seed in range(400):
        rng = np.random.default_rng(seed)
        graph = random_run_time(rng, size=8, max_blocks=4).graph
        if sum(isinstance(n.op, D.FSubsamplePad) for n in graph) >= least:
            _c, h, w = graph["image"].op.shape
            yield seed, graph, rng.integers(0, 256, (2, h, w, 3), dtype=np.uint8)


@pytest.mark.parametrize("least", [1, 2])
def test_values_are_the_same_in_another_order(least):
    count = 0
    for seed, graph, images in with_shortcuts(least):
        folded = fold_norm(graph)
        aligned = align_channels(folded)
        pads = [n.op for n in aligned if isinstance(n.op, D.FSubsamplePad)]
        assert all(op.before == 0 and op.after > 0 for op in pads), f"seed {seed}"
        before, after = run_float(folded, images), run_float(aligned, images)
        moved = False
        for name, value in before.items():
            ours = after[name]
            same = np.allclose(value, ours, atol=1e-9)
            moved |= not same
            # sums of the same terms in another order: equal but for the last bits
            assert np.allclose(np.sort(value, axis=1), np.sort(ours, axis=1), atol=1e-9), (
                f"seed {seed}, {name}")
        assert moved and np.allclose(before[graph.output], after[graph.output], atol=1e-9)
        _folded, integer = lower_to_integers(graph, images)
        assert any("zero channels last" in d.chose for d in integer.decisions)
        count += 1
        if count == 3:
            return
    raise AssertionError("too few networks with option-A shortcuts")


def test_networks_without_them_stay_as_they_are():
    rng = np.random.default_rng(1)
    graph = next(g for g in (random_run_time(rng).graph for _ in range(50))
                 if not any(isinstance(n.op, D.FSubsamplePad) for n in g))
    assert align_channels(graph) is graph
