"""The integer arithmetic against exact rational arithmetic."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbnn import ints

WIDE = st.integers(-(1 << 40), 1 << 40)


def half_up(value: Fraction) -> int:
    return floor(value + Fraction(1, 2))


@given(WIDE, st.integers(0, 30))
def test_round_shift_rounds_halves_up(x, shift):
    assert ints.round_shift(x, shift) == half_up(Fraction(x, 1 << shift))


@given(WIDE, st.integers(0, 20), st.integers(2, 24))
def test_prescale_saturates_after_rounding(x, shift, bits):
    lo, hi = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    assert ints.prescale(x, shift, bits) == min(max(half_up(Fraction(x, 1 << shift)), lo), hi)


@given(st.integers(-4608, 4608), st.integers(-(1 << 17), (1 << 17) - 1), WIDE, st.integers(0, 20))
def test_affine_floors(p, gain, bias, shift):
    assert ints.affine(p, gain, bias, shift) == floor(Fraction(gain * p + bias, 1 << shift))


@given(
    st.integers(-(1 << 15), (1 << 15) - 1), st.integers(-(1 << 17), (1 << 17) - 1),
    st.integers(-(1 << 15), (1 << 15) - 1), st.integers(0, 16),
)
def test_rprelu_is_the_rounded_slope_plus_bias(z, slope, bias, shift):
    # C2 = (bias << shift) + half: the bias leaves the shift unchanged
    expected = z + bias if z > 0 else half_up(Fraction(slope * z, 1 << shift)) + bias
    assert ints.rprelu(z, slope, bias, shift) == expected
    array = ints.rprelu(np.array([z]), np.array([slope]), np.array([bias]), shift)
    assert array.tolist() == [expected]


@given(
    st.integers(-(1 << 15), (1 << 15) - 1), st.sampled_from([-1, 1]), st.integers(-19, 7),
    st.integers(-(1 << 15), (1 << 15) - 1),
)
def test_shift_rprelu_rounds_before_the_sign(z, sign, exponent, bias):
    scaled = half_up(z * Fraction(2) ** exponent)
    expected = z + bias if z > 0 else sign * scaled + bias
    assert ints.rprelu_shift(z, sign, exponent, bias) == expected
    array = ints.rprelu_shift(
        np.array([z]), np.array([sign]), np.array([exponent]), np.array([bias])
    )
    assert array.tolist() == [expected]


def test_a_large_right_shift_gives_zero_for_small_negatives():
    assert ints.rprelu_shift(-1, 1, -19, 0) == 0
    assert ints.rprelu_shift(-(1 << 15), 1, -19, 0) == 0


@given(st.integers(-(1 << 60), 1 << 60), st.integers(-(1 << 60), 1 << 60))
def test_signed_width_is_minimal(a, b):
    lo, hi = min(a, b), max(a, b)
    width = ints.signed_width(lo, hi)
    assert -(1 << (width - 1)) <= lo and hi < 1 << (width - 1)
    if width > 1:
        assert lo < -(1 << (width - 2)) or hi >= 1 << (width - 2)


@pytest.mark.parametrize("total, shift, expected", [(7, 2, 2), (-6, 2, -1), (1 << 20, 0, 32767)])
def test_global_sum(total, shift, expected):
    assert ints.global_sum(total, shift) == expected


def test_argmax_takes_the_first_of_equals():
    assert ints.argmax([3, 9, 9]) == 1
