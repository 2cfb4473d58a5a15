"""Multipliers that live in the device's DSP blocks."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Multiplier18"]


class Multiplier18(wiring.Component):
    """Signed product of two 18-bit factors: ``o`` is ``a * b``.

    A platform with ``get_multiplier`` supplies a DSP block with its own registers; elsewhere the
    registers are written out. They have no reset, as the ones of the block are not reset either.

    Members
    -------
    a, b : In(signed(18))
        Factors.
    o : Out(signed(36))
        Product.

    Latency: 3 cycles. Throughput: one product a cycle.
    """

    LATENCY = 3

    a: In(signed(18))
    b: In(signed(18))
    o: Out(signed(36))

    def elaborate(self, platform):
        if hasattr(platform, "get_multiplier"):
            return platform.get_multiplier(self)
        m = Module()
        in_a = Signal(signed(18), reset_less=True)
        in_b = Signal(signed(18), reset_less=True)
        product = Signal(signed(36), reset_less=True)
        result = Signal(signed(36), reset_less=True)
        m.d.sync += [
            in_a.eq(self.a),
            in_b.eq(self.b),
            product.eq(in_a * in_b),
            result.eq(product),
        ]
        m.d.comb += self.o.eq(result)
        return m
