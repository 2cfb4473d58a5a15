"""RPReLU whose slopes are signed powers of two: shifts and adders, no multiplier."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ShiftRPReLU"]


class ShiftRPReLU(wiring.Component):
    """``z > 0 ? z : sign * round(z * 2**exponent)``, halves up before the sign.

    The second bias is not part of the unit: it is common to both branches and added behind.

    Parameters
    ----------
    bits : int
        Width of ``i_z``.

    Members
    -------
    i_z : In(signed(bits))
    i_negative : In(1)
        The slope's sign, with ``i_z``.
    i_shift : In(5)
        7 - exponent, 0..26: exponents 7 down to -19; with ``i_z``.
    o_v : Out(signed(bits + 8))

    Latency: 4 cycles. Throughput: one value a cycle.
    """

    LATENCY = 4

    def __init__(self, *, bits: int):
        self._bits = bits
        super().__init__(
            {
                "i_z": In(signed(bits)),
                "i_negative": In(1),
                "i_shift": In(5),
                "o_v": Out(signed(bits + 8)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits = self._bits
        wide = bits + 8
        # z * 2**(exponent + 1), floored: one fraction bit more than the result, to round with
        coarse = Signal(signed(wide), reset_less=True)
        scaled = Signal(signed(wide), reset_less=True)
        fine = Signal(3, reset_less=True)
        lifted = Signal(signed(wide))
        m.d.comb += lifted.eq(self.i_z << 8)
        m.d.sync += [
            coarse.eq(lifted >> (self.i_shift[3:] << 3)),
            fine.eq(self.i_shift[:3]),
            scaled.eq(coarse >> fine),
        ]
        z, negative = [self.i_z], [self.i_negative]
        for n in range(3):
            tap = Signal(signed(bits), name=f"z{n}", reset_less=True)
            sign = Signal(name=f"negative{n}", reset_less=True)
            m.d.sync += [tap.eq(z[-1]), sign.eq(negative[-1])]
            z.append(tap)
            negative.append(sign)
        rounded = Signal(signed(wide), reset_less=True)
        m.d.sync += rounded.eq((scaled + 1) >> 1)
        signed_ = Signal(signed(wide))
        m.d.comb += signed_.eq(Mux(negative[3], -rounded, rounded))
        v = Signal(signed(wide), reset_less=True)
        m.d.sync += v.eq(Mux(z[3] > 0, z[3], signed_))
        m.d.comb += self.o_v.eq(v)
        return m
