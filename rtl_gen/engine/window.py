"""From three row banks to windows: one group of T windows of 3x3 pixels a cycle, no bubbles."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .config import POINT_WORDS, ROW_BANKS

__all__ = ["Window"]


class Window(wiring.Component):
    """Assembles windows from words of 2*T columns.

    A word of each row bank arrives when a new one is needed; the previous word is kept, so that a
    window may span two words. At stride 1 a word serves two groups, at stride 2 one. Taps outside
    the image come out as 0.

    Parameters
    ----------
    depth : int
        Bits per pixel.
    pixels : int
        T, windows a cycle.
    pointwise : bool
        Windows of 1x1 convolutions, too: their six right-hand taps are the two words of a pixel in
        each row bank, stored as neighbouring columns; read with stride 2.
    centred : int
        Windows whose middle tap alone counts, too, or of it the last of so many groups of bits
        (0: none).

    Members
    -------
    i_words : In(ArrayLayout(2*T*depth, 3))
        Words by bank, with ``i_new``.
    i_new, i_top, i_phase, i_stride2 : In
        A word arrives; the bank of the top row; the group starts in the middle of a word;
        the convolution has stride 2.
    i_row_class, i_left, i_right : In
        Borders of this group, as in the issue.
    i_point, i_last, i_point_words : In, where ``pointwise``
        A 1x1 convolution; its last input group, of which only these words are taps.
    i_centre, i_from : In, where ``centred``
        The other taps come out as 0, and the groups before this one.
    o_window : Out(ArrayLayout(ArrayLayout(depth, 9), T))
        Windows, tap index 3*ky + kx.
    o_valid : Out(ArrayLayout(9, T))
        Which taps lie inside the image.

    Latency: 2 cycles. Throughput: one group a cycle.
    """

    LATENCY = 2

    def __init__(self, *, depth: int, pixels: int, pointwise: bool = False,
                 centred: int = 0):
        self._depth, self._pixels, self._pointwise = depth, pixels, pointwise
        self._centred = centred
        more = {"i_point": In(1), "i_last": In(1), "i_point_words": In(POINT_WORDS)}
        super().__init__(
            (more if pointwise else {})
            | ({"i_centre": In(1), "i_from": In(range(max(2, centred)))} if centred else {})
            | {
                "i_words": In(data.ArrayLayout(2 * pixels * depth, ROW_BANKS)),
                "i_new": In(1),
                "i_top": In(2),
                "i_phase": In(1),
                "i_stride2": In(1),
                "i_row_class": In(2),
                "i_left": In(1),
                "i_right": In(pixels),
                "o_window": Out(data.ArrayLayout(data.ArrayLayout(depth, 9), pixels)),
                "o_valid": Out(data.ArrayLayout(9, pixels)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        depth, t = self._depth, self._pixels
        word = data.ArrayLayout(depth, 2 * t)
        current = [Signal(word, name=f"current{r}", reset_less=True) for r in range(3)]
        previous = [Signal(word, name=f"previous{r}", reset_less=True) for r in range(3)]
        for r in range(3):
            row = Signal(2 * t * depth, name=f"row{r}")
            with m.Switch(self.i_top):
                for top in range(ROW_BANKS):
                    with m.Case(top):
                        m.d.comb += row.eq(self.i_words[(top + r) % ROW_BANKS])
            with m.If(self.i_new):
                m.d.sync += [current[r].eq(row), previous[r].eq(current[r])]
        phase = Signal(reset_less=True)
        valid = Signal(data.ArrayLayout(9, t), reset_less=True)
        m.d.sync += phase.eq(self.i_phase)
        rows = [self.i_row_class == 1, Const(0), self.i_row_class == 2]
        for p in range(t):
            cols = [self.i_left if p == 0 else Const(0), Const(0), self.i_right[p]]
            for ky in range(3):
                for kx in range(3):
                    inside = ~(rows[ky] | cols[kx])
                    if self._pointwise:
                        word_of = 2 * ky + kx - 1
                        held = ~self.i_last | self.i_point_words[word_of] if kx else Const(0)
                        inside = Mux(self.i_point, held, inside)
                    if self._centred and (ky, kx) != (1, 1):
                        inside &= ~self.i_centre
                    m.d.sync += valid[p][3 * ky + kx].eq(inside)
        count = self._centred
        counts = Signal(max(1, count), reset_less=True, init=1 << max(0, count - 1))
        for group in range(count - 1):  # the last one always does
            m.d.sync += counts[group].eq(~self.i_centre | (group >= self.i_from))
        # stride 2 needs no phase of its own: its groups start at word starts, 2*T columns apart
        stride2 = Signal(reset_less=True)
        m.d.sync += stride2.eq(self.i_stride2)
        window = Signal.like(self.o_window, reset_less=True)
        for p in range(t):
            for ky in range(3):
                for kx in range(3):
                    tap = Signal(depth, name=f"tap{p}_{ky}{kx}")
                    even = self._column(previous[ky], current[ky], p + kx - 1)
                    odd = self._column(previous[ky], current[ky], t + p + kx - 1, back=1)
                    wide = self._column(previous[ky], current[ky], 2 * p + kx - 1)
                    m.d.comb += tap.eq(Mux(stride2, wide, Mux(phase, odd, even)))
                    keep = valid[p][3 * ky + kx]
                    if count > 1 and (ky, kx) == (1, 1):
                        tap &= Cat(counts[group].replicate(depth // count)
                                   for group in range(count))
                    m.d.sync += window[p][3 * ky + kx].eq(Mux(keep, tap, 0))
        m.d.comb += self.o_window.eq(window)
        m.d.sync += self.o_valid.eq(valid)
        return m

    def _column(self, previous, current, offset, back=0):
        """Column ``offset`` counted from the start of the current word, or of the one ``back``."""
        offset -= back * 2 * self._pixels
        return previous[offset + 2 * self._pixels] if offset < 0 else current[offset]
