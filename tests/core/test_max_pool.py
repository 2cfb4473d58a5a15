"""Max-pool of integers: against PyTorch, its place in the stem, and pooling before the affine."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hwbnn import golden, ints
from hwbnn.ir import Graph, Node
from hwbnn.ops import float_ops as F
from hwbnn.ops import int_ops as I
from hwbnn.passes import Numeric, lower_to_integers
from hwbnn.passes.calibrate import run_float
from hwbnn.types import IntRange, TensorType

WINDOWS = [(3, 2, 1), (2, 2, 0), (3, 1, 1), (2, 1, 1), (5, 3, 2), (1, 1, 0)]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("size", [(5, 5), (6, 9), (7, 4), (12, 5)])
def test_equals_torch(window, size):
    rng = np.random.default_rng([*window, *size])
    x = rng.integers(-(1 << 15), 1 << 15, (2, 3, *size))
    x[0, 0] = -(1 << 15)  # a padded tap that counted as 0 would win here
    x[1, 1] = -1
    op = I.MaxPool2d(*window)
    made = op.run(x)
    wanted = torch.nn.functional.max_pool2d(torch.from_numpy(x).double(), *window)
    assert made.dtype == x.dtype and np.array_equal(made, wanted.long().numpy())
    kind = TensorType((3, *size), "int", IntRange(-(1 << 15), (1 << 15) - 1), 9)
    found = op.out_type(kind)
    assert found.shape == made.shape[1:] and found.range == kind.range and found.frac == 9
    assert F.FMaxPool2d(*window).run(x.astype(float)).shape == made.shape


@pytest.mark.parametrize("window", [(3, 2, 2), (0, 1, 0), (3, 0, 1), (2, 2, -1), (7, 2, 0)])
def test_impossible_windows_are_refused(window):
    kind = TensorType((1, 5, 5), "int", IntRange(-4, 3))
    with pytest.raises(ValueError, match="a window of"):
        I.MaxPool2d(*window).out_type(kind)


@given(
    st.lists(st.integers(-(1 << 31), (1 << 31) - 1), min_size=9, max_size=9),
    st.integers(0, (1 << 17) - 1), st.integers(-(1 << 40), 1 << 40), st.integers(0, 30),
    st.integers(0, 16), st.sampled_from((8, 12, 16, 18)),
)
def test_pooling_commutes_where_the_gain_is_not_negative(window, gain, bias, shift, pre, bits):
    def affine(v):  # in Python's own integers
        return ints.clamp(
            ints.affine(ints.prescale(v, pre), gain, bias, shift), *ints.signed_range(bits)
        )

    assert affine(max(window)) == max(affine(v) for v in window)


def test_pooling_does_not_commute_with_a_negative_gain():
    assert ints.affine(max(1, 2), -3, 0, 0) != max(ints.affine(v, -3, 0, 0) for v in (1, 2))


def stem(seed, size=(19, 22), channels=6):
    """Image -> 7x7 stride 2 -> BN of both signs -> max-pool -> classifier; and images for it."""
    rng = np.random.default_rng(seed)
    gamma = rng.normal(0, 1, channels)
    gamma[:3] = -1.5, 1e-9, 0.7
    norm = F.FBatchNorm(gamma, rng.normal(0, 1, channels), rng.normal(0, 1, channels),
                        rng.uniform(5, 20, channels))
    nodes = [
        Node("image", F.FInput((3, *size), np.array([0.485, 0.456, 0.406]),
                               np.array([0.229, 0.224, 0.225]))),
        Node("conv1", F.FConv2d(rng.normal(0, 0.3, (channels, 3, 7, 7)), 2, 3), ("image",)),
        Node("bn1", norm, ("conv1",)),
        Node("maxpool", F.FMaxPool2d(3, 2, 1), ("bn1",)),
        Node("avgpool", F.FGlobalAvgPool(), ("maxpool",)),
        Node("fc", F.FLinear(rng.normal(0, 1, (5, channels)), rng.normal(0, 1, 5)), ("avgpool",)),
    ]
    images = rng.integers(0, 256, (3, *size, 3), dtype=np.uint8)
    images[0] = 0
    images[1, ::2] = 255
    return Graph(nodes, "fc"), images


@pytest.mark.parametrize("seed", range(6))
def test_stem_pools_before_its_affine_alike(seed):
    graph, images = stem(seed)
    for calibration in (images, None):
        _folded, integer = lower_to_integers(graph, calibration)
        names = ["conv1", "bn1.affine", "bn1", "maxpool"]
        assert [integer[n].inputs for n in names[1:]] == [(n,) for n in names[:-1]]
        conv, affine, clamp, pool = (integer[n].op for n in names)
        assert affine.gain.min() >= 0
        values = golden.run_batch(integer, images)
        types = integer.types()
        for name, value in values.items():
            assert types[name].shape == value.shape[1:]
            assert types[name].range.lo <= value.min() and value.max() <= types[name].range.hi
        before = clamp.run(affine.run(pool.run(values["conv1"])))
        assert np.array_equal(before, values["maxpool"])
        assert integer.types()["maxpool"].frac == integer.types()["bn1"].frac
        texts = [str(d) for d in integer.decisions if d.where == "conv1"]
        negated = int((graph["bn1"].op.gamma < 0).sum())
        assert negated and f"weights of {negated} of 6 channels negated" in texts[0]


def test_negated_channels_change_no_value():
    """The same stem without a max-pool keeps its signs; both affines are the same function."""
    graph, images = stem(1)
    plain = Graph([n for n in graph if n.name in ("image", "conv1", "bn1")], "bn1")
    _f, signed = lower_to_integers(plain, images, Numeric(image_weight_bits=12))
    _f, pooled = lower_to_integers(graph, images, Numeric(image_weight_bits=12))
    assert signed["bn1.affine"].op.gain.min() < 0
    flipped = np.where(graph["bn1"].op.gamma < 0, -1, 1)[:, None, None, None]
    assert np.array_equal(pooled["conv1"].op.weight, signed["conv1"].op.weight * flipped)
    # floor and half-up rounding of the prescale are not odd functions: one step at most
    a, b = (golden.run_batch(g, images)["bn1"] for g in (signed, pooled))
    assert np.abs(a - b).max() <= 1


def test_first_weights_are_narrower_before_a_max_pool():
    graph, images = stem(1)
    plain = Graph([n for n in graph if n.name in ("image", "conv1", "bn1")], "bn1")
    cases = [(graph, Numeric(), 8), (plain, Numeric(), 12),
             (graph, Numeric(image_weight_bits=10), 10), (plain, Numeric(image_weight_bits=9), 9)]
    for network, numeric, bits in cases:
        _folded, integer = lower_to_integers(network, images, numeric)
        assert integer["conv1"].op.weight_bits == bits
        assert np.abs(integer["conv1"].op.weight).max() == 2 ** (bits - 1) - 1
        assert integer.meta["numeric"]["image_weight_bits"] == bits


def test_stem_is_close_to_its_float_graph():
    graph, images = stem(3)
    folded, integer = lower_to_integers(graph, images)
    exact = run_float(folded, images)
    kind = integer.types()["maxpool"]
    real = golden.run_batch(integer, images)["maxpool"] * 2.0 ** -kind.frac
    assert np.abs(real - exact["maxpool"]).max() < 0.01 * np.abs(exact["maxpool"]).max()
