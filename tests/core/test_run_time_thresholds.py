"""Run-time thresholds, sigmoid tables, hardtanh, option A, pooled sums, each by its meaning."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbnn import golden, ints
from hwbnn.errors import UnsupportedError
from hwbnn.ir import Graph, Node
from hwbnn.layers import extract_layers
from hwbnn.ops import float_dynamic as D
from hwbnn.ops import float_ops as F
from hwbnn.ops import int_dynamic as J
from hwbnn.ops import int_ops as I
from hwbnn.passes import Numeric, calibrate, lower_to_integers
from hwbnn.passes.calibrate import run_float
from hwbnn.types import IntRange, TensorType

MAP = TensorType((3, 4, 4), "int", IntRange(-(1 << 15), (1 << 15) - 1), 14)
VECTOR = TensorType((3, 1, 1), "int", IntRange(0, 1 << 14), 14)


@given(st.integers(-(1 << 15), (1 << 15) - 1), st.integers(1, (1 << 14) - 1),
       st.sampled_from((0, 1)))
def test_dynamic_threshold_is_the_sign_of_the_sum(x, beta, tie):
    total = Fraction(x, 1 << 14) + Fraction(beta, 1 << 14)
    wanted = tie if total == 0 else int(total > 0)
    assert ints.dynamic_threshold(x, beta, tie) == wanted
    array = ints.dynamic_threshold(np.array([x]), np.array([beta]), tie)
    assert array.dtype == np.int8 and array[0] == wanted


@pytest.mark.parametrize("frac", [1, 4, 9, 14, 15])
@pytest.mark.parametrize(("source", "shift", "entries"), [(12, 5, 1024), (4, 0, 128), (12, 0, 8)])
def test_sigmoid_table(frac, source, shift, entries):
    table = ints.sigmoid_table(entries, 2.0 ** (shift - source), frac)
    op = J.Sigmoid(table, shift, frac)
    every = np.arange(-(1 << 15), 1 << 15)
    found = op.run(every)
    assert found.tolist()[:: 997] == [op.run(int(v)) for v in every[::997]]
    assert found.min() >= 1 and found.max() <= (1 << frac) - 1  # never 0.0, never 1.0
    kind = op.out_type(TensorType((1, 1, 1), "int", IntRange(-(1 << 15), (1 << 15) - 1), source))
    assert kind.frac == frac and (kind.range.lo, kind.range.hi) == (found.min(), found.max())
    assert (np.diff(found) >= 0).all()
    exact = np.array([1 / (1 + math.exp(-max(-700, v * 2.0**-source))) for v in every])
    error = np.abs(found * 2.0**-frac - exact).max()
    assert error <= op.max_error(source) + 1e-12
    if frac == 14 and entries == 1024:
        assert op.max_error(source) < 0.00102  # half a step at slope 1/4, half an LSB
        assert error > 0.0009  # so the bound is no loose one


def test_sigmoid_refuses_tables_that_reach_one():
    kind = TensorType((1, 1, 1), "int", IntRange(-4, 3), 2)
    for table in (np.array([8, 16]), np.array([7, 8]), np.zeros((2, 2), int), np.array([], int)):
        with pytest.raises(ValueError, match="table"):
            J.Sigmoid(table, 0, 4).out_type(kind)


def test_thresholds_must_be_a_vector_at_the_maps_position():
    op = J.DynamicThreshold()
    assert op.out_type(MAP, VECTOR) == TensorType((3, 4, 4), "bit", IntRange(0, 1))
    for wrong, text in ((MAP, "3 channels"),
                        (TensorType((4, 1, 1), "int", IntRange(0, 1), 14), "3 channels"),
                        (TensorType((3, 1, 1), "int", IntRange(0, 1), 13), "14 and 13 differ"),
                        (TensorType((3, 1, 1), "bit", IntRange(0, 1), 0), "needs int")):
        with pytest.raises(ValueError, match=text):
            op.out_type(MAP, wrong)
    with pytest.raises(ValueError, match="for 3 channels"):
        D.FDynamicThreshold().out_type(TensorType((3, 4, 4), "float"),
                                       TensorType((3, 4, 4), "float"))


@pytest.mark.parametrize("size", [(4, 4), (5, 6), (7, 3), (1, 1)])
@pytest.mark.parametrize("pad", [(0, 0), (2, 2), (0, 3), (4, 1)])
def test_option_a(size, pad):
    rng = np.random.default_rng([*size, *pad])
    x = rng.integers(-50, 50, (2, 3, *size))
    kind = TensorType((3, *size), "int", IntRange(-50, -1), 3)
    op = J.SubsamplePad(*pad)
    found = op.run(x)
    wanted = np.zeros((2, pad[0] + 3 + pad[1], -(-size[0] // 2), -(-size[1] // 2)), int)
    for c in range(3):
        for i in range(0, size[0], 2):
            for j in range(0, size[1], 2):
                wanted[:, pad[0] + c, i // 2, j // 2] = x[:, c, i, j]
    assert np.array_equal(found, wanted) and found.dtype == x.dtype
    made = op.out_type(kind)
    assert made.shape == found.shape[1:] and made.frac == 3
    assert (made.range.lo, made.range.hi) == (-50, 0 if sum(pad) else -1)
    assert np.array_equal(D.FSubsamplePad(*pad).run(x.astype(float)), wanted)
    with pytest.raises(ValueError, match="channels of zeros"):
        J.SubsamplePad(-1, 0).out_type(kind)


@given(st.integers(-(1 << 20), 1 << 20))
def test_saturating_before_hardtanh_loses_nothing(x):
    sums = TensorType((1, 1, 1), "int", IntRange(-(1 << 20), 1 << 20), 14)
    clamp, saturate = J.Clamp(-(1 << 14), 1 << 14), J.FlatSaturate(16)
    value = np.full((1, 1, 1, 1), x)
    both = clamp.run(saturate.run(value))
    assert both == clamp.run(value) == max(-(1 << 14), min(1 << 14, x))
    assert saturate.saturated(value) == 0
    kind = clamp.out_type(saturate.out_type(sums))
    assert (kind.range.lo, kind.range.hi, kind.frac) == (-(1 << 14), 1 << 14, 14)


def thresholded(seed=0, gain=1.0, pool=False):
    """Image -> hardtanh map -> thresholds from its means -> binary 3x3 [-> pool] -> BN -> dense."""
    rng = np.random.default_rng(seed)
    c, o = 6, 8
    gamma = rng.normal(0, 1, o)
    gamma[:2] = -1, 1
    nodes = [
        Node("image", F.FInput((3, 8, 8), np.full(3, 0.45), np.full(3, 0.25))),
        Node("conv0", F.FConv2d(rng.normal(0, 0.3, (c, 3, 3, 3)), 1, 1), ("image",)),
        Node("tanh", D.FHardtanh(), ("conv0",)),
        Node("mean", F.FGlobalAvgPool(), ("tanh",)),
        Node("fc0", F.FLinear(rng.normal(0, 2, (3, c)), np.zeros(3)), ("mean",)),
        Node("relu", D.FReLU(), ("fc0",)),
        Node("fc2", F.FLinear(rng.normal(0, 2 * gain, (c, 3)), np.zeros(c)), ("relu",)),
        Node("beta", D.FSigmoid(), ("fc2",)),
        Node("sign", D.FDynamicThreshold(), ("tanh", "beta")),
        Node("conv1", F.FBinaryConv2d(rng.choice([-1, 1], (o, c, 3, 3)).astype(np.int8)),
             ("sign",)),
    ]
    if pool:
        nodes.append(Node("pool", F.FMaxPool2d(2, 2), ("conv1",)))
    nodes += [
        Node("bn", F.FBatchNorm(gamma, rng.normal(0, 0.1, o), rng.normal(0, 3, o),
                                rng.uniform(20, 60, o)), (nodes[-1].name,)),
        Node("tanh1", D.FHardtanh(), ("bn",)),
        Node("fc", F.FLinear(rng.normal(0, 0.3, (5, o * (16 if pool else 64))),
                             rng.normal(0, 0.1, 5)), ("tanh1",)),
    ]
    images = rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    return Graph(nodes, "fc"), images


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_thresholds_follow_the_image(seed, pool):
    graph, images = thresholded(seed, pool=pool)
    for calibration in (images, None):
        folded, integer = lower_to_integers(graph, calibration)
        values, types = golden.run_batch(integer, images), integer.types()
        exact = run_float(folded, images)
        for name, value in values.items():
            assert types[name].shape == value.shape[1:]
            assert types[name].range.lo <= value.min() and value.max() <= types[name].range.hi
        beta = values["beta"] * 2.0 ** -types["beta"].frac
        assert np.abs(beta - exact["beta"]).max() < 0.01
        assert beta.std(axis=0).max() > 0.01
        assert types["beta"].frac == types["tanh"].frac == 14
        assert np.array_equal(values["sign"], (values["tanh"] + values["beta"] >= 0))
        assert (values["sign"] == (exact["sign"] > 0)).mean() > 0.98
        real = values["fc"] * 2.0 ** -types["fc"].frac
        assert np.abs(real - exact["fc"]).mean() < 0.1 * exact["fc"].std()


def test_ties_follow_the_numeric_choice():
    graph, images = thresholded()
    for tie in (0, 1):
        _folded, integer = lower_to_integers(graph, images, Numeric(tie=tie))
        assert integer["sign"].op.tie == tie


def test_a_saturated_minus_one_is_never_a_tie():
    graph, images = thresholded(gain=1e4)  # arguments far beyond 16.7, where float32 has 1.0
    _folded, integer = lower_to_integers(graph, images)
    values = golden.run_batch(integer, images)
    low = values["tanh"] == -(1 << 14)
    assert low.any() and values["beta"].max() > 0.999 * 2**14
    assert not values["sign"][low].any()
    # arguments beyond the table are no loss
    assert golden.run(integer, images).saturated["fc2"] == 0


def test_pooled_sums_are_exact_for_gains_of_either_sign():
    graph, images = thresholded(pool=True)
    folded, integer = lower_to_integers(graph, images)
    assert folded["bn"].inputs == ("pool",) and "conv1.unit" not in folded.nodes
    op = integer["bn.affine"].op
    assert (op.gain < 0).any() and (op.gain > 0).any()
    values = golden.run_batch(integer, images)
    p = values["conv1"]
    top = p.reshape(*p.shape[:2], 4, 2, 4, 2).max(axis=(3, 5))
    assert np.array_equal(values["pool"], top)
    assert np.array_equal(values["bn.affine"], op.run(top))
    # the other order would differ where the gain is negative, and only there
    late = op.run(p).reshape(*p.shape[:2], 4, 2, 4, 2).max(axis=(3, 5))
    differ = (late != values["bn.affine"]).any(axis=(0, 2, 3))
    assert differ[op.gain < 0].any() and not differ[op.gain > 0].any()


def test_narrow_maps_have_thresholds_too():
    graph, images = thresholded()
    folded, integer = lower_to_integers(graph, images, Numeric(feature_bits=8))
    types = integer.types()
    assert types["tanh"].frac == types["beta"].frac == 6 and types["fc2"].frac == 4
    values, exact = golden.run_batch(integer, images), run_float(folded, images)
    assert np.abs(values["beta"] / 64 - exact["beta"]).max() < 0.08


def test_one_sigmoid_for_maps_of_other_positions_is_refused():
    graph, images = thresholded()
    nodes = [n for n in graph if n.name != "fc"]
    nodes += [Node("wide", F.FConv2d(np.eye(6)[:, :, None, None] * 40.0), ("tanh",)),
              Node("sign2", D.FDynamicThreshold(), ("wide", "beta"))]
    with pytest.raises(UnsupportedError, match=r"sign2: .* 9 and thresholds at 14 do not compare"):
        lower_to_integers(Graph(nodes, "sign2"), images)


def test_classifiers_read_maps_as_pytorch_flattens_them():
    rng = np.random.default_rng(3)
    op = F.FLinear(rng.normal(0, 1, (5, 3 * 4 * 4)), rng.normal(0, 1, 5))
    x = rng.normal(0, 1, (2, 3, 4, 4))
    wanted = np.array([[sum(op.weight[o, (c * 4 + i) * 4 + j] * x[n, c, i, j]
                            for c in range(3) for i in range(4) for j in range(4)) + op.bias[o]
                        for o in range(5)] for n in range(2)])
    assert np.allclose(op.run(x)[:, :, 0, 0], wanted)
    graph, images = thresholded()
    _folded, integer = lower_to_integers(graph, images)
    dense = integer["fc.dot"].op
    assert isinstance(dense, I.Conv2d) and dense.weight.shape == (5, 8, 8, 8)
    peak = calibrate(graph, None).peak
    assert peak["tanh1"].max() == 1 and peak["fc"].shape == (5,)


def test_wide_maps_have_no_dense_form():
    rng = np.random.default_rng(3)
    nodes = [Node("image", F.FInput((3, 4, 6), np.full(3, 0.45), np.full(3, 0.25))),
             Node("fc", F.FLinear(rng.normal(0, 1, (5, 72)), np.zeros(5)), ("image",))]
    with pytest.raises(UnsupportedError, match="a classifier on a map of 4x6"):
        lower_to_integers(Graph(nodes, "fc"), np.zeros((1, 4, 6, 3), np.uint8))


def replaced(graph, **ops):
    return Graph([Node(n.name, ops.get(n.name, n.op), n.inputs) for n in graph], graph.output)


@pytest.mark.parametrize(("ops", "text"), [
    ({"pool": F.FMaxPool2d(3, 2, 1)}, "a max-pool of 3x3 .* has no step"),
    ({"tanh1": F.FPReLU(np.full(8, -0.5))}, "pool: a RPReLU with negative slopes"),
])
def test_pools_of_sums_without_a_step_are_refused(ops, text):
    graph, images = thresholded(pool=True)
    assert any(layer.max_pool for layer in extract_layers(lower_to_integers(graph, images)[1]))
    with pytest.raises(UnsupportedError, match=text):
        extract_layers(lower_to_integers(replaced(graph, **ops), images)[1])


def test_a_residual_behind_a_pool_of_sums_is_refused():
    graph, images = thresholded(pool=True)
    nodes = [n for n in graph if n.name not in ("tanh1", "fc")]
    nodes += [
        Node("half", F.FAvgPool2d(2), ("tanh",)),
        Node("real", F.FConv2d(np.ones((8, 6, 1, 1))), ("half",)),
        Node("add", F.FAdd(), ("bn", "real")),
        Node("tanh1", D.FHardtanh(), ("add",)),
        graph["fc"],
    ]
    with pytest.raises(UnsupportedError, match="a residual behind a max-pool of binary sums"):
        extract_layers(lower_to_integers(Graph(nodes, "fc"), images)[1])


def test_constant_thresholds_beside_run_time_ones_are_refused():
    graph, images = thresholded()
    nodes = [n for n in graph if n.name != "fc"]
    weight = np.ones((5, 8, 3, 3), np.int8)
    nodes += [
        Node("sign1", F.FSign(), ("tanh1",)),
        Node("conv2", F.FBinaryConv2d(weight), ("sign1",)),
        Node("mean2", F.FGlobalAvgPool(), ("conv2",)),
        Node("out", F.FLinear(np.ones((5, 5)), np.zeros(5)), ("mean2",)),
    ]
    with pytest.raises(UnsupportedError, match="sign1: constant thresholds beside run-time ones"):
        extract_layers(lower_to_integers(Graph(nodes, "out"), images)[1])
