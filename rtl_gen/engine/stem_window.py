"""A row of seven pixels a cycle from words of two, and the correction packed products need."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..units.dsp import Multiplier18
from ..units.packed_mac import fix_bits, registered_sum
from .common import DelayLine
from .stem_config import COLOURS, KERNEL, PIXEL_BITS, TAPS

__all__ = ["StemWindow"]

SIDE = 2 * COLOURS  # bytes of a word: even pixel's colours, then odd pixel's


class StemWindow(wiring.Component):
    """Shifts words in; output column x = r - 1 sees pixels 2x-3 .. 2x+3 when word r is the newest.

    Members
    -------
    i_word, i_first, i_pad : In
        Word r of an image row, one a cycle; it is the row's word 0; it lies right of the image.
    o_x : Out(ArrayLayout(8, 21)), tap kx*3 + colour
        The window's pixels, 0 outside the image. Latency: 1 cycle.
    o_fix : Out(signed)
        ``PackedMac.i_fix`` for that window, ``fix_latency`` cycles after it.
    """

    LATENCY = 1

    def __init__(self, *, weight_bits: int, logic_taps: int):
        self._wb, self._logic = weight_bits, logic_taps
        self.fix_latency = Multiplier18.LATENCY + 1 + (KERNEL - 1).bit_length()
        super().__init__(
            {
                "i_word": In(SIDE * PIXEL_BITS),
                "i_first": In(1),
                "i_pad": In(1),
                "o_x": Out(data.ArrayLayout(PIXEL_BITS, TAPS)),
                "o_fix": Out(signed(fix_bits(TAPS, weight_bits))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bytes_ = data.ArrayLayout(PIXEL_BITS, SIDE)
        words = [Signal(bytes_, name=f"word{age}", reset_less=True) for age in range(4)]
        m.d.sync += words[0].eq(Mux(self.i_pad, 0, self.i_word))
        for before, word in zip(words, words[1:], strict=False):
            m.d.sync += word.eq(Mux(self.i_first, 0, before))
        for kx in range(KERNEL):
            age, odd = self._place(kx)
            for c in range(COLOURS):
                m.d.comb += self.o_x[kx * COLOURS + c].eq(words[age][odd * COLOURS + c])
        self._correct(m, words[0])
        return m

    def _place(self, kx):
        """Which word holds the window's column: its age, and whether it is the odd pixel."""
        return (KERNEL - 1 - kx) // 2, (kx + 1) % 2

    def _correct(self, m, word):
        """A column's part once, when its word enters; then a sum over the columns' delays."""
        terms, plain = [], []
        for i in range(SIDE):
            x = word[i]
            m.submodules[f"square{i}"] = mul = Multiplier18()
            scaled = Cat(Const(1, 11 - self._wb), x[:7], ~x[7]).as_signed()
            m.d.comb += [mul.a.eq(x), mul.b.eq(scaled)]
            terms.append(mul.o)
            plain.append(DelayLine(m, x, f"plain{i}")[Multiplier18.LATENCY])
        first = DelayLine(m, self.i_first, "first", reset=True)[1 + Multiplier18.LATENCY]
        columns, width = {}, len(self.o_fix)
        parts = []
        for kx in range(KERNEL):
            age, odd = self._place(kx)
            in_dsp = max(0, min(COLOURS, TAPS - self._logic - kx * COLOURS))
            if (odd, in_dsp) not in columns:
                sides = range(odd * COLOURS, (odd + 1) * COLOURS)
                total = sum(terms[i] if i % COLOURS < in_dsp else plain[i] for i in sides)
                ages = [
                    Signal(signed(width), name=f"column{odd}{in_dsp}_{n}", reset_less=True)
                    for n in range(4)
                ]
                m.d.sync += ages[0].eq(total)
                for before, column in zip(ages, ages[1:], strict=False):
                    m.d.sync += column.eq(Mux(first, 0, before))
                columns[odd, in_dsp] = ages
            parts.append(columns[odd, in_dsp][age])
        total, _ = registered_sum(m, parts, width, "fix")
        m.d.comb += self.o_fix.eq(total)
