"""The first convolution beside the engine: two channels of a pixel a cycle, an image ahead."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..leaf import leaf
from .common import DelayLine, Ram
from .dense import DenseLane
from .first_config import COLOURS, IDLE, PAIR, TAPS, FirstConfig

__all__ = ["FirstConv", "first_latency"]

RAM_LATENCY = 2
SHIFT_AT = RAM_LATENCY  # cycle of a step in which the window moves on
PIXEL = 8 * COLOURS


def _products(config: FirstConfig) -> DenseLane:
    return DenseLane(inputs=TAPS, pixels=1, weight_bits=config.weight_bits)


def first_latency(config: FirstConfig) -> int:
    """Cycles from a window and its weights to their sums."""
    unit = _products(config)
    unit._MustUse__used = True
    return unit.latency


class FirstConv(wiring.Component):
    """3x3 convolution of an 8-bit RGB image, padding 1, image after image.

    Results are exact sums, over the taps inside the image, of weight times ``(pixel <<
    image_frac) - offset[colour]``. Steps go over rows and columns, one more than the image has
    each: a step takes a pixel and computes the window above and left of it, all channels, PAIR a
    cycle, or takes IDLE cycles where there is no such window. Two rows of pixels are kept, one
    image of results.

    Members
    -------
    i_pixel : In(stream of 24 bits)
        Pixels in raster order, red in the low byte.
    o_ready : Out(1), i_take : In(1)
        An image of results is complete; it was read, the next one may begin.
    i_read, i_addr : In, o_word : Out(P*T * acc_bits)
        Read a word of P channels (of a group) of T pixels; results p*T + t, two cycles later.
        Words of a group one behind the other, row by row.
    """

    def __init__(self, config: FirstConfig):
        self.config = config
        self._memories = config.memories()
        super().__init__(
            {
                "i_pixel": In(stream.Signature(PIXEL)),
                "o_ready": Out(1),
                "i_take": In(1),
                "i_read": In(1),
                "i_addr": In(range(config.groups * config.plane)),
                "o_word": Out(config.lanes * config.pixels * config.acc_bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        # -- steps: (y, x) is the pixel that enters, the window is centred at (y - 1, x - 1) -------
        y, x = Signal(range(config.height + 1)), Signal(range(config.width + 1))
        g = Signal(range(max(config.pairs, IDLE)))
        busy, complete = Signal(init=1), Signal()
        wants, computes, go, ends = Signal(), Signal(), Signal(), Signal()
        bottom, right = y == config.height, x == config.width
        m.d.comb += [
            wants.eq(~bottom & ~right),
            computes.eq((y != 0) & (x != 0)),
            self.i_pixel.ready.eq(busy & (g == 0) & wants),
            go.eq(busy & ((g != 0) | ~wants | self.i_pixel.valid)),
            ends.eq(go & (g == Mux(computes, config.pairs - 1, IDLE - 1))),
        ]
        with m.If(go):
            m.d.sync += g.eq(g + 1)
        with m.If(ends):
            m.d.sync += [g.eq(0), x.eq(x + 1)]
            with m.If(right):
                m.d.sync += [x.eq(0), y.eq(y + 1)]
                with m.If(bottom):
                    m.d.sync += [y.eq(0), busy.eq(0)]
        finished = Signal()
        m.d.comb += finished.eq(ends & right & bottom)

        window = self._window(m, y, x, go & (g == 0))
        # the window has moved when the step is SHIFT_AT + 1 cycles old
        run = DelayLine(m, go & computes, "run", reset=True)
        pair = DelayLine(m, g, "pair")
        weights = self._ram(m, "first_weights")
        at = SHIFT_AT + 1
        m.d.comb += [
            weights.r_en.eq(run[at - RAM_LATENCY]),
            weights.r_addr.eq(pair[at - RAM_LATENCY]),
        ]
        sums = []
        for k in range(PAIR):
            unit = _products(config)
            width = TAPS * config.weight_bits
            m.d.comb += [
                unit.i_x.eq(window),
                unit.i_w.eq(weights.r_data[k * width : (k + 1) * width]),
            ]
            m.submodules[f"products{k}"] = leaf(unit, platform)
            sums.append(unit.o_sum[0])
        self._results(m, run, pair, at + unit.latency, sums)
        m.d.comb += self.o_ready.eq(complete)
        done = DelayLine(m, finished, "finished", reset=True)[at + unit.latency + 2]
        with m.If(done):
            m.d.sync += complete.eq(1)
        with m.If(self.i_take):
            m.d.sync += [complete.eq(0), busy.eq(1)]
        return m

    def _ram(self, m, name):
        width, depth = self._memories[name]
        m.submodules[name] = ram = Ram(name=name, width=width, depth=depth, registered=True)
        return ram

    def _window(self, m, y, x, begins):
        """27 factors; a column moves in SHIFT_AT cycles after its step begins."""
        config = self.config
        rows = self._ram(m, "first_rows")
        start = DelayLine(m, begins, "begins", reset=True)
        pixel, column = Signal(PIXEL, reset_less=True), Signal.like(x, reset_less=True)
        inside, left, above, below = (Signal(name=n) for n in ("inside", "left", "above", "below"))
        with m.If(begins):
            m.d.sync += [
                pixel.eq(self.i_pixel.payload),
                column.eq(x),
                inside.eq(x != config.width),
                left.eq(x == 0),
                above.eq(y > 1),
                below.eq(y != config.height),
            ]
        shift = start[SHIFT_AT]
        m.d.comb += [
            rows.r_en.eq(begins & (x != config.width)),
            rows.r_addr.eq(x),
            rows.w_en.eq(shift & inside),
            rows.w_addr.eq(column),
            rows.w_data.eq(Cat(rows.r_data[PIXEL:], pixel)),
        ]
        columns = [Signal(data.ArrayLayout(signed(18), 3 * COLOURS), name=f"column{kx}",
                          reset_less=True) for kx in range(3)]
        # a row above or below the image, and the column right of it, count nothing
        entering = ((rows.r_data[:PIXEL], above), (rows.r_data[PIXEL:], 1), (pixel, below))
        with m.If(shift):
            for ky, (word, there) in enumerate(entering):
                for c in range(COLOURS):
                    value = Signal(signed(18), name=f"value{ky}{c}")
                    m.d.comb += value.eq(
                        (word[8 * c : 8 * c + 8] << config.image_frac) - config.offset[c])
                    i = ky * COLOURS + c
                    m.d.sync += [
                        columns[2][i].eq(Mux(inside & there, value, 0)),
                        columns[1][i].eq(Mux(left, 0, columns[2][i])),
                        columns[0][i].eq(Mux(left, 0, columns[1][i])),
                    ]
        taps = Signal(data.ArrayLayout(18, TAPS))
        for ky in range(3):
            for kx in range(3):
                for c in range(COLOURS):
                    m.d.comb += taps[(3 * ky + kx) * COLOURS + c].eq(columns[kx][ky * COLOURS + c])
        return taps

    def _results(self, m, run, pair, at, sums):
        """Collect P channels of a pixel, and write them as a word of its memory."""
        config = self.config
        p, t, bits = config.lanes, config.pixels, config.acc_bits
        here, g = run[at], pair[at]
        word = Signal(p * bits, reset_less=True)
        pairs = p // PAIR
        slot, group_ends = Signal(range(max(2, pairs))), Signal()
        m.d.comb += group_ends.eq(here & (slot == pairs - 1))
        with m.If(here):
            m.d.sync += slot.eq(Mux(slot == pairs - 1, 0, slot + 1))
            with m.Switch(slot):
                for i in range(pairs):
                    with m.Case(i):
                        for k, value in enumerate(sums):
                            low = (PAIR * i + k) * bits
                            m.d.sync += word[low : low + bits].eq(value)
        # where the word of the group goes: columns of T pixels of a row, rows of an image
        column, pixel = Signal(range(config.width)), Signal(range(max(2, t)))
        place, base = Signal(range(config.plane)), Signal(range(config.groups * config.plane))
        pixel_ends = Signal()
        m.d.comb += pixel_ends.eq(group_ends & (g == config.pairs - 1))
        write = Signal()
        address, to = Signal.like(base), Signal.like(pixel)
        m.d.sync += [write.eq(group_ends), address.eq(base + place), to.eq(pixel)]
        with m.If(group_ends):
            m.d.sync += base.eq(Mux(pixel_ends, 0, base + config.plane))
        with m.If(pixel_ends):
            row_ends = column == config.width - 1
            word_ends = row_ends | (pixel == t - 1)
            m.d.sync += [
                column.eq(Mux(row_ends, 0, column + 1)),
                pixel.eq(Mux(word_ends, 0, pixel + 1)),
            ]
            with m.If(word_ends):
                m.d.sync += place.eq(Mux(place == config.plane - 1, 0, place + 1))
        outs = []
        for i in range(t):
            ram = self._ram(m, f"first_out{i}")
            m.d.comb += [
                ram.w_en.eq(write & (to == i)),
                ram.w_addr.eq(address),
                ram.w_data.eq(word),
                ram.r_en.eq(self.i_read),
                ram.r_addr.eq(self.i_addr),
            ]
            outs.append(ram.r_data)
        m.d.comb += self.o_word.eq(
            Cat(out[lane * bits : (lane + 1) * bits] for lane in range(p) for out in outs))
