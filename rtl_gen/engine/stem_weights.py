"""Weights of a pair of stem channels: shifted in behind the pass under way, then into force."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .stem_config import TAPS, StemConfig

__all__ = ["PairWeights"]


class PairWeights(wiring.Component):
    """Shadow and active weights of one pair, with enables of its own.

    A pair has hundreds of weight bits; enables shared by all pairs would drive thousands of pins.

    Members
    -------
    i_load, i_word, o_word : In, In, Out
        Shift a word in, a cycle after i_load; the word that leaves goes to the next pair.
    i_swap, i_late_swap : In(1)
        The shadow comes into force two cycles later; its constant with i_late_swap.
    o_u, o_w, o_constant : Out
        As PackedMac's i_u, i_w, i_const.
    """

    def __init__(self, config: StemConfig):
        self._config = config
        bits = config.weight_bits
        self.leaf_name = f"pair_weights_{bits}_{config.const_bits}_{config.weight_word}"
        self.leaf_synth = ""
        taps = data.ArrayLayout(bits, TAPS)
        self._layout = data.StructLayout(
            {"u": taps, "w": taps, "constant": signed(config.const_bits)}
        )
        super().__init__(
            {
                "i_load": In(1),
                "i_word": In(config.weight_word),
                "o_word": Out(config.weight_word),
                "i_swap": In(1),
                "i_late_swap": In(1),
                "o_u": Out(taps),
                "o_w": Out(taps),
                "o_constant": Out(signed(config.const_bits)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        width = self._config.weight_word
        load, swap, late_swap = (Signal(reset_less=True, name=n) for n in
                                 ("load", "swap", "late_swap"))
        m.d.sync += [
            load.eq(self.i_load), swap.eq(self.i_swap), late_swap.eq(self.i_late_swap)
        ]
        shadow = Signal(2 * width, reset_less=True)
        # the word that came last lies highest in the pair behind, lowest here: words pass through
        with m.If(load):
            m.d.sync += shadow.eq(Cat(self.i_word, shadow[:width]))
        m.d.comb += self.o_word.eq(shadow[width:])
        active = Signal(self._layout, reset_less=True)
        # the sums that a constant is taken from come later than the products
        constant = Signal.like(self.o_constant, reset_less=True)
        with m.If(swap):
            m.d.sync += active.as_value().eq(shadow)
        with m.If(late_swap):
            m.d.sync += constant.eq(active.constant)
        m.d.comb += [
            self.o_u.eq(active.u), self.o_w.eq(active.w), self.o_constant.eq(constant)
        ]
        return m
