# amaranth: UnusedElaboratable=no
"""``PackedMac``: its arithmetic for every pixel and weight, and the hardware on nasty values."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from rtl_gen.units.packed_mac import LogicMultiplier, PackedMac


def factors(x, even, odd, bits):
    """The two 18-bit factors of a tap, as the unit's bit strings read as signed numbers."""
    return (odd << (18 - bits)) + x, ((x - 128) << 10) + even + (1 << (bits - 1))


@pytest.mark.parametrize("bits", [2, 5, 7, 8])
def test_the_product_of_two_packed_factors(bits):
    """All pixels times all even weights with random odd ones, and the other way round."""
    rng = np.random.default_rng(bits)
    top = 1 << (bits - 1)
    x, w = (a.ravel() for a in np.meshgrid(np.arange(256), np.arange(-top, top)))
    for even, odd in ((w, rng.integers(-top, top, w.size)), (rng.integers(-top, top, w.size), w)):
        a, b = factors(x, even, odd, bits)
        assert a.min() >= -(1 << 17) and a.max() < 1 << 17
        assert b.min() >= -(1 << 17) and b.max() < 1 << 17
        excess = (x * ((x - 128 << (11 - bits)) + 1) << (bits - 1)) + (
            (even + top) * odd << (18 - bits)
        )
        assert np.array_equal(a * b - excess, x * even + ((x - 128) * odd << (28 - bits)))


def cases(rng, taps, bits, n):
    """Rows of (x, even, odd): every extreme against every other, then random ones."""
    top = 1 << (bits - 1)
    ends = [-top, 1 - top, -1, 0, 1, top - 1]
    rows = [
        (np.full(taps, x), np.full(taps, even), np.full(taps, odd))
        for x in (0, 1, 127, 128, 255) for even in ends for odd in ends
    ]
    for _ in range(n):
        x = rng.choice([0, 255, 128, 127, rng.integers(256)], taps)
        rows.append((x, rng.choice(ends, taps), rng.choice(ends, taps)))
        rows.append((rng.integers(0, 256, taps), rng.integers(-top, top, taps),
                     rng.integers(-top, top, taps)))
    return rows


@pytest.mark.parametrize("taps, bits, logic", [(21, 8, 0), (21, 8, 3), (5, 8, 5), (21, 7, 0),
                                               (9, 4, 2), (3, 2, 1)])
def test_sums(taps, bits, logic):
    dut = PackedMac(taps=taps, weight_bits=bits, logic_taps=logic)
    rows = cases(np.random.default_rng(taps * bits + logic), taps, bits, 60)
    top, dsp = 1 << (bits - 1), taps - logic
    fixes, consts, expected, seen = [], [], [], []
    for x, even, odd in rows:
        fixes.append(int((x * ((x - 128 << (11 - bits)) + 1))[:dsp].sum() + x[dsp:].sum()))
        consts.append(int(((even + top) * odd)[:dsp].sum()))
        expected.append((int((x * even).sum()), int(((x - 128) * odd).sum())))

    def packed(values, width):
        return sum((int(v) % (1 << width)) << (width * i) for i, v in enumerate(values))

    async def bench(ctx):
        for n in range(len(rows) + dut.latency):
            if n < len(rows):
                x, even, odd = rows[n]
                ctx.set(dut.i_x.as_value(), packed(x, 8))
                ctx.set(dut.i_u.as_value(), packed(even + top, bits))
                ctx.set(dut.i_w.as_value(), packed(odd, bits))
            if 0 <= n - dut.fix_latency < len(rows):
                ctx.set(dut.i_fix, fixes[n - dut.fix_latency])
                ctx.set(dut.i_const, consts[n - dut.fix_latency])
            if n >= dut.latency:
                seen.append((ctx.get(dut.o_even), ctx.get(dut.o_odd)))
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert seen == expected


@pytest.mark.parametrize("bits, is_signed", [(8, False), (8, True), (7, True), (3, False)])
def test_products_in_logic(products, bits, is_signed):
    dut = LogicMultiplier(bits=bits, is_signed=is_signed)
    low = 1 << 7 if is_signed else 0
    low_b = 1 << (bits - 1) if is_signed else 0
    pairs = [(a - low, b - low_b) for a in range(0, 256, 5) for b in range(1 << bits)][::7]
    pairs += [(a - low, b - low_b) for a in (0, 255) for b in (0, (1 << bits) - 1)]
    assert products(dut, pairs) == [a * b for a, b in pairs]


@pytest.mark.parametrize("arguments", [{"taps": 64}, {"taps": 4, "weight_bits": 9},
                                       {"taps": 4, "logic_taps": 5}])
def test_impossible_units_are_refused(arguments):
    with pytest.raises(ValueError):
        PackedMac(**arguments)
