"""One channel of the stem behind its multipliers: accumulator and the two halves of the pool."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["StemChannel"]


class StemChannel(wiring.Component):
    """Adds a sum to the partial sum, then takes maxima of three columns and three rows.

    Members
    -------
    i_sum, i_psum : In
        A window row's sum; what stands so far, in 2**-frac.
    o_psum : Out, 1 cycle later
        Their sum.
    i_force : In(1), 1 cycle after i_sum
        This column begins a new maximum: the first column of the map and every odd one.
    i_pool, i_fresh : In, 2 cycles after i_sum
        Maximum of the rows above; there are none, or this row also begins the next pooled row.
    o_pool, o_out : Out, 3 cycles after i_sum
        What to keep for the next row, and the finished maximum; valid for odd columns.
    """

    LATENCY = 3

    def __init__(self, *, sum_bits: int, result_bits: int, frac: int):
        self._frac = frac
        self.leaf_name = f"stem_channel_s{sum_bits}_r{result_bits}_f{frac}"
        self.leaf_synth = ""
        wide = signed(result_bits)
        super().__init__(
            {
                "i_sum": In(signed(sum_bits)),
                "i_psum": In(wide),
                "o_psum": Out(wide),
                "i_force": In(1),
                "i_pool": In(wide),
                "i_fresh": In(1),
                "o_pool": Out(wide),
                "o_out": Out(wide),
            }
        )

    def elaborate(self, platform):
        m = Module()
        total = Signal.like(self.i_psum, reset_less=True)
        low = self.i_psum[: self._frac]
        high = self.i_psum[self._frac :].as_signed() + self.i_sum
        m.d.sync += total.eq(Cat(low, high))
        m.d.comb += self.o_psum.eq(total)
        held = Signal.like(total, reset_less=True)
        across = Signal.like(total, reset_less=True)
        beats = Signal()
        m.d.comb += beats.eq(held > total)
        m.d.sync += [
            held.eq(Mux(beats & ~self.i_force, held, total)),
            across.eq(Mux(beats, held, total)),
        ]
        above = Signal()
        m.d.comb += above.eq(self.i_pool > across)
        m.d.sync += [
            self.o_out.eq(Mux(above, self.i_pool, across)),
            self.o_pool.eq(Mux(above & ~self.i_fresh, self.i_pool, across)),
        ]
        return m
