"""Passes keep the meaning: folding to rounding error, quantising to a stated error."""

import numpy as np
import pytest

from hwbnn import golden
from hwbnn.errors import UserError
from hwbnn.ir import Graph
from hwbnn.passes import Numeric, fold_norm, lower_to_integers
from hwbnn.passes.calibrate import run_float
from sim.random_network import random_network

SEEDS = range(20)


def drawn(seed):
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    _c, h, w = network.graph["image"].op.shape
    return network.graph, rng.integers(0, 256, (4, h, w, 3), dtype=np.uint8)


@pytest.mark.parametrize("seed", SEEDS)
def test_folding_keeps_the_logits(seed):
    graph, images = drawn(seed)
    before = run_float(graph, images)[graph.output]
    folded = fold_norm(graph)
    after = run_float(folded, images)[folded.output]
    assert np.abs(before - after).max() < 1e-9 * max(1.0, np.abs(before).max())
    assert len(folded) < len(graph)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_integer_value_lies_in_its_range(seed):
    graph, images = drawn(seed)
    _folded, integer = lower_to_integers(graph, images if seed % 2 else None)
    types = integer.types()
    for name, value in golden.run_batch(integer, images).items():
        assert types[name].range.lo <= value.min()
        assert value.max() <= types[name].range.hi
        assert value.shape[1:] == types[name].shape


@pytest.mark.parametrize("seed", SEEDS)
def test_calibrated_networks_agree_with_the_float_graph(seed):
    graph, images = drawn(seed)
    folded, integer = lower_to_integers(graph, images)
    types = integer.types()
    exact = run_float(folded, images)
    values = golden.run_batch(integer, images)
    # up to the first threshold nothing can flip: errors there are those of rounding alone
    first = next(n for n in integer if type(n.op).__name__ == "Saturate").name
    real = values[first] * 2.0 ** -types[first].frac
    assert np.abs(real - exact[first]).max() < 0.02 * max(1.0, np.abs(exact[first]).max())


def test_shift_slopes_are_recorded_with_their_error():
    graph, images = drawn(3)
    _folded, integer = lower_to_integers(graph, images, Numeric(rprelu="shift"))
    assert any("largest slope error" in d.why for d in integer.decisions)


def test_a_saved_graph_computes_the_same(tmp_path):
    graph, images = drawn(5)
    _folded, integer = lower_to_integers(graph, images)
    integer.save(tmp_path)
    loaded = Graph.load(tmp_path)
    assert loaded.digest() == integer.digest()
    assert loaded.dump() == integer.dump()
    before = golden.run(integer, images).logits
    assert np.array_equal(before, golden.run(loaded, images).logits)


def test_a_damaged_graph_is_refused(tmp_path):
    (tmp_path / "graph.json").write_text("{}")
    with pytest.raises(UserError, match="not a readable graph"):
        Graph.load(tmp_path)


def test_tie_rule_moves_only_exact_zeros():
    graph, images = drawn(7)
    _f, up = lower_to_integers(graph, images, Numeric(tie=1))
    _f, down = lower_to_integers(graph, images, Numeric(tie=0))
    for node in up:
        if type(node.op).__name__ == "Threshold":
            # thresholds differ by one exactly where -move * 2**f is an integer
            assert set(np.unique(down[node.name].op.thr - node.op.thr)) <= {0, 1}
