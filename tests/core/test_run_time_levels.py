"""Quantisers that take their range from the values at hand."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbnn import golden, ints
from hwbnn.errors import UnsupportedError
from hwbnn.ir import Graph, Node
from hwbnn.ops import float_ops as F
from hwbnn.ops.float_levels import FMinMax
from hwbnn.ops.int_dynamic import Clamp
from hwbnn.ops.int_levels import MinMax
from hwbnn.passes import Numeric, lower_to_integers
from hwbnn.passes.calibrate import run_float
from hwbnn.types import IntRange, TensorType
from hwbnn.unbuilt import refuse_unbuilt

SHORT = st.integers(-(1 << 15), (1 << 15) - 1)
BITS = st.sampled_from((1, 2, 4, 8, 12))


@given(st.integers(0, (1 << 16) - 1), BITS)
def test_factors_fit_a_multiplier(span, bits):
    reciprocal, shift, step = ints.level_factors(span, bits)
    assert 0 < reciprocal < 1 << 17 and 0 <= step < 1 << 17
    steps, size = (1 << bits) - 1, max(span, 1)
    assert abs(Fraction(reciprocal, 1 << shift) - Fraction(steps, size)) <= Fraction(1, 2 << shift)
    assert abs(Fraction(step, 1 << bits) - Fraction(size, steps)) <= Fraction(1, 2 << bits)
    arrays = ints.level_factors(np.array([span]), bits)
    assert [int(v[0]) for v in arrays] == [reciprocal, shift, step]
    assert {v.dtype for v in arrays} == {np.dtype(np.int64)}


@given(SHORT, SHORT, SHORT, BITS)
def test_values_come_to_the_nearest_level(a, b, c, bits):
    low, x, high = sorted((a, b, c))
    found = ints.on_level(x, low, high, bits)
    step = Fraction(max(high - low, 1), (1 << bits) - 1)

    def distance(value: int) -> Fraction:
        """From the nearest level, computed exactly."""
        below = floor((value - low) / step) * step
        return min(value - low - below, below + step - (value - low))

    # the level is no farther away than the nearest, but for the reciprocal's last bit
    assert abs(found - x) <= distance(x) + 1 + Fraction(high - low, 1 << 16)
    assert distance(found) <= 1
    assert low <= found <= high
    if x in (low, high):
        assert found == x
    assert ints.on_level(np.array([x]), np.array([low]), np.array([high]), bits)[0] == found


def test_ranges_are_of_the_image_and_of_the_channel_of_a_map():
    rng = np.random.default_rng(0)
    for shape in ((3, 5, 4, 4), (3, 64, 1, 1)):
        x = rng.integers(-(1 << 15), 1 << 15, shape)
        x[0] //= 100
        found = MinMax(4).run(x)
        for n in range(3):
            parts = [(x[n], found[n])] if shape[-1] == 1 else zip(x[n], found[n], strict=True)
            for values, levels in parts:
                assert len(np.unique(levels)) <= 16
                assert (levels.min(), levels.max()) == (values.min(), values.max())
                step = (values.max() - values.min()) / 15
                assert np.abs(levels - values).max() <= step / 2 + 2
        exact = FMinMax(4, 1e9).run(x.astype(float))
        assert np.abs(found - exact).max() <= 1
    same = np.full((2, 3, 4, 4), -7)
    assert np.array_equal(MinMax(8).run(same), same)


def test_types():
    kind = TensorType((3, 4, 4), "int", IntRange(-(1 << 15), (1 << 15) - 1), 11)
    assert MinMax(8).out_type(kind) is kind
    with pytest.raises(ValueError, match="a span of .* exceeds 16 bits"):
        MinMax(8).out_type(TensorType((3, 4, 4), "int", IntRange(-(1 << 15), 1 << 15), 11))
    with pytest.raises(ValueError, match="needs int"):
        MinMax(8).out_type(TensorType((3, 4, 4), "bit", IntRange(0, 1)))
    with pytest.raises(ValueError, match="levels of 16 bits"):
        MinMax(16).out_type(kind)


def levelled(bits=8, clip=25.0, gain=1.0):
    """Image -> conv -> levels of each channel -> conv -> mean -> levels of the image -> dense."""
    rng = np.random.default_rng(1)
    nodes = [
        Node("image", F.FInput((3, 8, 8), np.full(3, 0.45), np.full(3, 0.25))),
        Node("conv0", F.FConv2d(rng.normal(0, 0.3 * gain, (6, 3, 3, 3)), 1, 1), ("image",)),
        Node("map", FMinMax(bits, 1000.0), ("conv0",)),
        Node("conv1", F.FConv2d(rng.normal(0, 0.4, (8, 6, 1, 1))), ("map",)),
        Node("mean", F.FGlobalAvgPool(), ("conv1",)),
        Node("vector", FMinMax(bits, clip), ("mean",)),
        Node("fc", F.FLinear(rng.normal(0, 0.5, (5, 8)), rng.normal(0, 0.1, 5)), ("vector",)),
    ]
    return Graph(nodes, "fc"), rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("clip", [25.0, 0.2])
def test_integers_follow(bits, clip):
    graph, images = levelled(bits, clip)
    folded, integer = lower_to_integers(graph, images)
    values, types = golden.run_batch(integer, images), integer.types()
    exact = run_float(folded, images)
    for name, value in values.items():
        assert types[name].range.lo <= value.min() and value.max() <= types[name].range.hi
    vector = values["vector"] * 2.0 ** -types["vector"].frac / 64
    step = np.ptp(exact["mean"].clip(-clip, clip)) / (2**bits - 1)
    assert np.abs(vector - exact["vector"]).max() < 1.1 * step + 4e-3  # a level of either map
    assert np.abs(vector).max() <= clip * 1.001
    real = values["fc"] * 2.0 ** -types["fc"].frac
    assert np.abs(real - exact["fc"]).mean() < 0.1 * exact["fc"].std()
    with pytest.raises(UnsupportedError, match="map: a quantiser whose .* gains of each image"):
        refuse_unbuilt(integer)


def test_levels_finer_than_the_numbers_are_no_step():
    graph, images = levelled(bits=16)
    _folded, integer = lower_to_integers(graph, images)
    assert not any(isinstance(n.op, MinMax) for n in integer)
    assert isinstance(integer["vector"].op, Clamp)
    assert {d.where for d in integer.decisions if d.chose == "kept as it is"} == {"map", "vector"}


def test_wider_maps_are_refused():
    graph, images = levelled()
    with pytest.raises(UnsupportedError, match=r"map: .* maps of 18 bits .* --feature-bits 16"):
        lower_to_integers(graph, images, Numeric(feature_bits=18))
