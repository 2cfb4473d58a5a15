"""Division, a bit of the quotient a cycle."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Divider"]


class Divider(wiring.Component):
    """Restoring division of unsigned numbers: ``(i_rest << bits | i_low) // i_divisor``.

    Parameters
    ----------
    bits : int
        Bits of the quotient.
    divisor_bits : int
        Bits of the divisor.

    Members
    -------
    i_start : In(1)
        With the operands; the next one LATENCY cycles later or more.
    i_rest : In(divisor_bits)
        The dividend's top, less than the divisor.
    i_low : In(bits)
        The rest of the dividend.
    i_divisor : In(divisor_bits)
    o_quotient : Out(bits)
        ``latency`` cycles after ``i_start``, until the next one.

    Latency: bits + 1 cycles.
    """

    def __init__(self, *, bits: int, divisor_bits: int):
        self._bits, self._divisor_bits = bits, divisor_bits
        self.latency = bits + 1
        super().__init__(
            {
                "i_start": In(1),
                "i_rest": In(divisor_bits),
                "i_low": In(bits),
                "i_divisor": In(divisor_bits),
                "o_quotient": Out(bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        divisor = Signal(self._divisor_bits, reset_less=True)
        rest = Signal(self._divisor_bits, reset_less=True)
        # the dividend leaves on top, the quotient enters below
        low = Signal(self._bits, reset_less=True)
        left = Signal(range(self._bits + 1))
        longer = Signal(self._divisor_bits + 1)
        less = Signal(signed(self._divisor_bits + 2))
        m.d.comb += [
            longer.eq(Cat(low[-1], rest)),
            less.eq(longer - divisor),
            self.o_quotient.eq(low),
        ]
        with m.If(left != 0):
            m.d.sync += [
                left.eq(left - 1),
                low.eq(Cat(~less[-1], low)),
                rest.eq(Mux(less < 0, longer, less)),
            ]
        with m.If(self.i_start):
            m.d.sync += [
                left.eq(self._bits),
                low.eq(self.i_low),
                rest.eq(self.i_rest),
                divisor.eq(self.i_divisor),
            ]
        return m
