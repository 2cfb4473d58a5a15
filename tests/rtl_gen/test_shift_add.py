# amaranth: UnusedElaboratable=no
"""A scale by shifts and adders: the digits of every gain, and the unit on nasty ones."""

import random

import pytest
from amaranth.sim import Simulator

from hwbnn import ints
from rtl_gen.units.shift_add import NO_TERM, ShiftAddScale


def test_digits_of_every_gain_of_a_multiplier():
    """As many digits as the canonical form, and what the first ones leave is a third at most."""
    for value in [*range(-3000, 3000), *range(-(1 << 17), 1 << 17, 97), (1 << 17) - 1]:
        digits = ints.signed_digits(value, 9)
        assert sum(sign << exponent for sign, exponent in digits) == value
        # 3v and v differ where v's canonical form has a digit
        assert len(digits) == (abs(value) ^ 3 * abs(value)).bit_count()
        left = abs(value)
        for n, (sign, exponent) in enumerate(digits, 1):
            kept = sum(s << e for s, e in digits[:n])
            assert 3 * abs(value - kept) <= left, (value, n, sign, exponent)
            left = abs(value - kept)
        assert ints.signed_digits(value, 2) == digits[:2]
    assert ints.signed_digits(0, 3) == [] and ints.signed_digits(96, 1) == [(1, 7)]


@pytest.mark.parametrize("terms", [1, 2, 3])
def test_products(terms):
    rng = random.Random(terms)
    ends = [-(1 << 17), 1 - (1 << 17), -1, 0, 1, (1 << 17) - 1]
    dut = ShiftAddScale(terms=terms)
    cases, seen = [], []
    for _ in range(300):
        x = rng.choice([*ends, rng.randint(-(1 << 17), (1 << 17) - 1)])
        gain = rng.choice([0, 1, -1, 3, -(1 << 16), rng.randint(-98303, 98303)])
        cases.append((x, ints.signed_digits(gain, terms)))

    async def bench(ctx):
        for n in range(len(cases) + dut.LATENCY):
            if n < len(cases):
                x, digits = cases[n]
                ctx.set(dut.i_x, x)
                for i in range(terms):
                    sign, exponent = digits[i] if i < len(digits) else (1, NO_TERM)
                    ctx.set(dut.i_terms[i], {"negative": sign < 0, "exponent": exponent})
            if n >= dut.LATENCY:
                seen.append(ctx.get(dut.o_v))
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    expected = [sum(s * x << e for s, e in digits) - sum(s < 0 for s, _e in digits)
                for x, digits in cases]
    assert seen == expected, f"seed {terms}"


def test_other_numbers_of_terms_are_refused():
    with pytest.raises(ValueError, match="1 to 3 terms"):
        ShiftAddScale(terms=4)
