"""The frequencies a PLL can make."""

import dataclasses
from fractions import Fraction

import pytest

from rtl_gen.pll import fastest_setting, reachable_settings

MHZ = 1_000_000


def test_every_setting_is_legal_and_the_list_has_no_gap_above_50_mhz():
    settings = reachable_settings(25 * MHZ)
    for s in settings:
        assert s.out_hz == Fraction(s.in_hz, s.clki) * s.clkfb * s.clkop / s.clkos
        assert 400 * MHZ <= s.vco_hz <= 800 * MHZ
        assert 10 * MHZ <= s.vco_hz / s.clkop <= 400 * MHZ
        assert 10 * MHZ <= s.out_hz <= 400 * MHZ
        assert Fraction(s.in_hz, s.clki) >= 10 * MHZ
    steps = [s.out_hz for s in settings]
    assert steps == sorted(set(steps))
    useful = [hz for hz in steps if 50 * MHZ <= hz <= 200 * MHZ]
    assert max(b / a for a, b in zip(useful, useful[1:], strict=False)) < Fraction(103, 100)


@pytest.mark.parametrize("mhz", [25, 50, 100, 125, 130, 140, 145, 150])
def test_round_numbers_are_reached_exactly(mhz):
    assert fastest_setting(25 * MHZ, mhz * MHZ).out_hz == mhz * MHZ


def test_the_fastest_below_a_limit_stays_below_it():
    assert fastest_setting(25 * MHZ, 144.9e6).out_mhz == pytest.approx(143.75)


def test_what_cannot_be_made_is_refused():
    with pytest.raises(ValueError, match="at or below 5 MHz"):
        fastest_setting(25 * MHZ, 5e6)
    with pytest.raises(ValueError, match="PLL input must be in"):
        reachable_settings(1_000_000)


def test_a_second_output_is_later_by_eighths_of_a_vco_period():
    setting = fastest_setting(25 * MHZ, 100 * MHZ)
    assert (setting.clkos, setting.late_steps) == (4, 32)
    late = dataclasses.replace(setting, late=23)
    assert late.late_phase == (3 + 2, 7) and late.late_degrees == 258.75
