"""Quantisers that take their range from the values at hand: from a range to factors, and from a
value and factors to its level (``ints.level_factors``, ``ints.on_level``)."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..units.divider import Divider
from ..units.dsp import Multiplier18
from .common import DelayLine
from .gain_config import SPAN_BITS

__all__ = ["FACTOR_BITS", "LevelFactors", "LevelValue", "factors_layout"]

FACTOR_BITS = 17  # of the reciprocal and of the step
HALVINGS = (8, 4, 2, 1)  # shifts that bring any span's first 1 to the top


def factors_layout(bits: int) -> data.StructLayout:
    """What brings values of ``bits`` bits to their levels: the least one, the reciprocal of the
    span, its length less one (how far a product is shifted), and the distance of two levels."""
    return data.StructLayout({
        "low": signed(bits), "reciprocal": FACTOR_BITS, "length": 4, "step": FACTOR_BITS})


def _cut(value, limit):
    """``value`` cut to ±``limit``."""
    return Mux(value > limit, limit, Mux(value < -limit, -limit, value))


class LevelFactors(wiring.Component):
    """The factors of a range: two divisions side by side.

    Parameters
    ----------
    bits : int
        Bits of the values, at most SPAN_BITS.
    levels : tuple of int
        Numbers of bits of a level that ``i_levels`` selects from.

    Members
    -------
    i_levels : In;  i_limit : In(bits - 1)
        Which of ``levels``; what the range is cut to, ±. Static from ``i_start`` on.
    i_start : In(1);  i_low, i_high : In(signed(bits))
        A range. The next one when this one is done.
    o_factors : Out(factors_layout(bits))
        LATENCY cycles after ``i_start``, until the next one.

    Latency: 24 cycles.
    """

    LATENCY = 2 + len(HALVINGS) + FACTOR_BITS + 1

    def __init__(self, *, bits: int, levels: tuple[int, ...]):
        self._bits, self._levels = bits, levels
        super().__init__(
            {
                "i_levels": In(range(max(2, len(levels)))),
                "i_limit": In(bits - 1),
                "i_start": In(1),
                "i_low": In(signed(bits)),
                "i_high": In(signed(bits)),
                "o_factors": Out(factors_layout(bits)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        low, high = (Signal(signed(self._bits), name=n, reset_less=True) for n in ("low", "high"))
        span = Signal(SPAN_BITS, reset_less=True)
        normal = Signal(SPAN_BITS, reset_less=True)
        shorter = Signal(len(HALVINGS), reset_less=True)
        stage = Signal(range(4 + len(HALVINGS)))
        begins = Signal()
        difference = Signal(SPAN_BITS)
        m.d.comb += [
            difference.eq(high - low),
            begins.eq(stage == 2 + len(HALVINGS)),
        ]
        with m.If(stage != 0):
            m.d.sync += stage.eq(Mux(begins, 0, stage + 1))
        with m.If(self.i_start):
            m.d.sync += [
                low.eq(_cut(self.i_low, self.i_limit)),
                high.eq(_cut(self.i_high, self.i_limit)),
                stage.eq(1),
            ]
        with m.If(stage == 1):
            found = Mux(difference == 0, 1, difference)
            m.d.sync += [span.eq(found), normal.eq(found)]
        for i, shift in enumerate(HALVINGS):
            with m.If(stage == 2 + i):
                free = normal[SPAN_BITS - shift :] == 0
                m.d.sync += shorter.eq(Cat(free, shorter[:-1]))
                with m.If(free):
                    m.d.sync += normal.eq(normal << shift)

        # the reciprocal of the span with its first 1 on top, which has the same digits
        m.submodules.reciprocal = reciprocal = Divider(bits=FACTOR_BITS, divisor_bits=SPAN_BITS)
        m.submodules.step = step = Divider(bits=FACTOR_BITS, divisor_bits=SPAN_BITS)
        m.d.comb += [
            reciprocal.i_start.eq(begins),
            reciprocal.i_divisor.eq(normal),
            reciprocal.i_low.eq(normal >> 1),
            step.i_start.eq(begins),
        ]
        with m.Switch(self.i_levels):
            for i, bits in enumerate(self._levels):
                with m.Case(i):
                    steps = (1 << bits) - 1
                    m.d.comb += [
                        reciprocal.i_rest.eq(steps << (SPAN_BITS - 1 - bits)),
                        step.i_divisor.eq(steps),
                        Cat(step.i_low, step.i_rest).eq(Cat(Const(steps >> 1, bits), span)),
                    ]
        m.d.comb += [
            self.o_factors.low.eq(low),
            self.o_factors.reciprocal.eq(reciprocal.o_quotient),
            self.o_factors.length.eq(~shorter),
            self.o_factors.step.eq(step.o_quotient),
        ]
        return m


class LevelValue(wiring.Component):
    """Values on their nearest levels: ``ints.on_level`` of the value cut to ±``i_limit``.

    Parameters as of `LevelFactors`.

    Members
    -------
    i_levels, i_limit : In
        As of `LevelFactors`, static while values are on their way.
    i_x : In(signed(bits)), i_factors : In(factors_layout(bits))
        A value, and the factors of a range that it lies in.
    o_x : Out(signed(bits))

    Latency: 12 cycles. Throughput: a value a cycle.
    """

    LATENCY = 6 + 2 * Multiplier18.LATENCY

    def __init__(self, *, bits: int, levels: tuple[int, ...]):
        self._bits, self._levels = bits, levels
        super().__init__(
            {
                "i_levels": In(range(max(2, len(levels)))),
                "i_limit": In(bits - 1),
                "i_x": In(signed(bits)),
                "i_factors": In(factors_layout(bits)),
                "o_x": Out(signed(bits)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.to_level, m.submodules.back = first, second = Multiplier18(), Multiplier18()
        low, length = (DelayLine(m, self.i_factors[n], n) for n in ("low", "length"))
        reciprocal, step = (DelayLine(m, self.i_factors[n], n) for n in ("reciprocal", "step"))
        at_level = 3 + Multiplier18.LATENCY  # a cycle after the product
        value = Signal(signed(self._bits), reset_less=True)
        above = Signal(SPAN_BITS, reset_less=True)
        widest = max(self._levels)
        digits = Signal(SPAN_BITS + widest + 1)  # of the product, from a level's on
        twice = Signal(widest + 1, reset_less=True)  # the level with a bit for rounding
        level = Signal(widest, reset_less=True)
        distance = Signal(SPAN_BITS + 1)
        above_low = Signal(SPAN_BITS + 1, reset_less=True)
        result = Signal(signed(self._bits), reset_less=True)
        with m.Switch(self.i_levels):
            for i, bits in enumerate(self._levels):
                with m.Case(i):
                    m.d.comb += [
                        digits.eq(first.o[SPAN_BITS - bits :]),
                        distance.eq((second.o + ((1 << bits) >> 1)) >> bits),
                    ]
        m.d.sync += [
            value.eq(_cut(self.i_x, self.i_limit)),
            above.eq(value - low[1]),
            twice.eq(digits >> length[at_level - 1]),
            level.eq((twice + 1) >> 1),
            above_low.eq(distance),
            # the highest level is the largest value, so that nothing is left to cut
            result.eq(above_low + low[self.LATENCY - 1]),
        ]
        m.d.comb += [
            first.a.eq(above),
            first.b.eq(reciprocal[2]),
            second.a.eq(level),
            second.b.eq(step[at_level + 1]),
            self.o_x.eq(result),
        ]
        return m
