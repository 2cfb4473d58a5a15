"""The first layers of an ImageNet network beside the engine: 7x7 convolution and max-pool."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..leaf import leaf
from ..units.packed_mac import PackedMac
from .common import DelayLine, Ram
from .stem_channel import StemChannel
from .stem_config import PIXEL_BITS, TAPS, StemConfig
from .stem_sequencer import StemSequencer
from .stem_weights import PairWeights
from .stem_window import StemWindow

__all__ = ["Stem"]

RAM_LATENCY = 2
PIXEL = 3 * PIXEL_BITS


class Stem(wiring.Component):
    """7x7 stride 2 convolution of 8-bit RGB images, then 3x3 stride 2 max-pool, row by row.

    A result is the exact sum, over the taps inside the image, of weight times
    ``(pixel << image_frac) - offset[colour]``, maximum over the pool's window (taps outside do not
    count). Frames follow each other without a gap. Cycle counts: ``stem_model.StemTimes``; memory
    contents: ``hwbnn.stem_pack``.

    Each map row takes, per group of C channels and kernel row inside the image, one pass over the
    row. ``stem_rows`` is a ring of image rows in words of two pixels, ``stem_weights`` holds what a
    pass loads, ``stem_psum`` the sums of a row, and above them their initial values by border
    class; ``stem_pool`` the maxima of the rows above, ``stem_out`` finished rows.

    Members
    -------
    i_pixel : In(stream.Signature(24))
        Pixels in raster order, red in the low byte.
    o_ready : Out(1)
        A finished pooled row waits.
    i_take : In(1)
        The oldest row was read; only while ``o_ready``.
    i_read, i_addr : In
        Read word g*W/4 + px of the oldest row.
    o_word : Out(C * result_bits), 2 cycles later
        C signed results, channel g*C + c at bit c * result_bits. Held while ``i_read`` is low.
    """

    def __init__(self, config: StemConfig):
        self.config = config
        self._memories = config.memories()
        super().__init__(
            {
                "i_pixel": In(stream.Signature(PIXEL)),
                "o_ready": Out(1),
                "i_take": In(1),
                "i_read": In(1),
                "i_addr": In(range(config.row_words)),
                "o_word": Out(self._memories["stem_out"][0]),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.sequencer = sequencer = StemSequencer(config)
        rows = self._ram(m, "stem_rows")
        self._image(m, rows, sequencer)
        m.d.comb += [rows.r_en.eq(sequencer.o_read), rows.r_addr.eq(sequencer.o_row_addr)]

        wb, logic = config.weight_bits, config.logic_taps
        m.submodules.window = window = StemWindow(weight_bits=wb, logic_taps=logic)
        column = sequencer.o_column
        first = Signal()
        m.d.comb += first.eq(sequencer.o_run & (column == 0))
        pad = DelayLine(m, column == config.conv_width, "pad")
        first = DelayLine(m, first, "begins", reset=True)
        m.d.comb += [
            window.i_word.eq(rows.r_data),
            window.i_first.eq(first[RAM_LATENCY]),
            window.i_pad.eq(pad[RAM_LATENCY]),
        ]
        lanes = [
            PackedMac(taps=TAPS, weight_bits=wb, logic_taps=logic) for _ in range(config.pairs)
        ]
        self._weights(m, platform, sequencer, lanes, first)
        for p, lane in enumerate(lanes):
            m.submodules[f"lane{p}"] = leaf(lane, platform)
            m.d.comb += [lane.i_x.eq(window.o_x), lane.i_fix.eq(window.o_fix)]
        delay = RAM_LATENCY + window.LATENCY + lanes[0].latency
        sums = [value for lane in lanes for value in (lane.o_even, lane.o_odd)]
        self._finish(m, platform, sequencer, sums, delay)
        return m

    def _ram(self, m, name):
        width, depth = self._memories[name]
        m.submodules[name.removeprefix("stem_")] = ram = Ram(
            name=name, width=width, depth=depth, registered=True
        )
        return ram

    def _image(self, m, rows, sequencer):
        """Pixels into the ring; a row counts once it is complete."""
        config = self.config
        depth = self._memories["stem_rows"][1]
        stored = Signal.like(sequencer.i_stored)
        odd = Signal()
        index = Signal(range(config.conv_width))
        address = Signal(range(depth))
        left_pixel = Signal(PIXEL, reset_less=True)
        accept, complete = Signal(), Signal()
        m.d.comb += [
            self.i_pixel.ready.eq(stored != config.ring_rows),
            accept.eq(self.i_pixel.valid & self.i_pixel.ready),
            complete.eq(accept & odd & (index == config.conv_width - 1)),
            rows.w_en.eq(accept & odd),
            rows.w_addr.eq(address),
            rows.w_data.eq(Cat(left_pixel, self.i_pixel.payload)),
            sequencer.i_stored.eq(stored),
        ]
        m.d.sync += stored.eq(stored + complete - sequencer.o_release)
        with m.If(accept):
            m.d.sync += odd.eq(~odd)
            with m.If(odd):
                m.d.sync += [
                    address.eq(Mux(address == depth - 1, 0, address + 1)),
                    index.eq(Mux(complete, 0, index + 1)),
                ]
            with m.Else():
                m.d.sync += left_pixel.eq(self.i_pixel.payload)

    def _weights(self, m, platform, sequencer, lanes, first):
        """Weights move from lane to lane into shadow registers and come into force together."""
        config = self.config
        ram = self._ram(m, "stem_weights")
        m.d.comb += [ram.r_en.eq(sequencer.o_weight_read), ram.r_addr.eq(sequencer.o_weight_addr)]
        # a cycle early: each pair has registers of its own for them
        load = DelayLine(m, sequencer.o_weight_read, "load", reset=True)[RAM_LATENCY - 1]
        swap = first[RAM_LATENCY - 1]
        late_swap = first[RAM_LATENCY - 1 + lanes[0].fix_latency]
        before = ram.r_data
        for p, lane in enumerate(lanes):
            pair = PairWeights(config)
            m.d.comb += [
                pair.i_load.eq(load),
                pair.i_word.eq(before),
                pair.i_swap.eq(swap),
                pair.i_late_swap.eq(late_swap),
                lane.i_u.eq(pair.o_u),
                lane.i_w.eq(pair.o_w),
                lane.i_const.eq(pair.o_constant),
            ]
            m.submodules[f"weights{p}"] = leaf(pair, platform)
            before = pair.o_word

    def _finish(self, m, platform, sequencer, sums, delay):
        """Sums to results: partial sums, pool, result rows. ``delay``: of sums after their word."""
        config = self.config
        x = Signal(range(config.conv_width))
        m.d.comb += x.eq(sequencer.o_column - 1)
        inside = (sequencer.o_column != 0) & (sequencer.o_column <= config.conv_width)
        valid = DelayLine(m, sequencer.o_run & inside, "valid", reset=True)
        place = DelayLine(m, x, "place")
        state = DelayLine(m, sequencer.o_pass, "state")

        psum, pool = self._ram(m, "stem_psum"), self._ram(m, "stem_pool")
        column, now = place[delay - RAM_LATENCY - 1], state[delay - RAM_LATENCY - 1]
        side = Mux(column == config.conv_width - 1, 3, Mux(column > 1, 2, column[:2]))
        border = Cat(Const(0, 2), now.row_class, now.group) | side | config.border_base
        read_addr = Signal.like(psum.r_addr, reset_less=True)
        m.d.sync += read_addr.eq(Mux(now.first, border, column))
        m.d.comb += [psum.r_en.eq(valid[delay - RAM_LATENCY]), psum.r_addr.eq(read_addr)]

        force, emit = Signal(reset_less=True), Signal()
        column, now = place[delay], state[delay]
        m.d.sync += force.eq(column[0] | (column == 0))
        m.d.comb += emit.eq(valid[delay] & now.last & column[0])
        index = Signal(range(config.row_words))
        with m.If(emit):
            m.d.sync += index.eq(Mux(index == config.row_words - 1, 0, index + 1))
        m.d.comb += [pool.r_en.eq(emit), pool.r_addr.eq(index)]

        width = config.result_bits
        pool_state = state[delay + 2]
        results = []
        for c, value in enumerate(sums):
            channel = StemChannel(
                sum_bits=len(value), result_bits=width, frac=config.image_frac
            )
            m.submodules[f"channel{c}"] = leaf(channel, platform)
            bits = slice(c * width, (c + 1) * width)
            m.d.comb += [
                channel.i_sum.eq(value),
                channel.i_psum.eq(psum.r_data[bits].as_signed()),
                channel.i_pool.eq(pool.r_data[bits].as_signed()),
                channel.i_force.eq(force),
                channel.i_fresh.eq(pool_state.odd | (pool_state.row_class == 0)),
                psum.w_data[bits].eq(channel.o_psum),
                pool.w_data[bits].eq(channel.o_pool),
            ]
            results.append(channel.o_out)
        m.d.comb += [
            psum.w_en.eq(valid[delay + 1] & ~state[delay + 1].last),
            psum.w_addr.eq(place[delay + 1]),
        ]
        done = StemChannel.LATENCY
        write = DelayLine(m, emit, "emit", reset=True)[done]
        index = DelayLine(m, index, "index")[done]
        m.d.comb += [pool.w_en.eq(write), pool.w_addr.eq(index)]
        write_out = write & state[delay + done].odd
        self._results(m, sequencer, write_out, index, Cat(results))

    def _results(self, m, sequencer, write, index, word):
        """Result rows: begun, finished and taken in turn."""
        config = self.config
        out = self._ram(m, "stem_out")
        bits = (config.out_slot - 1).bit_length()
        count = range(config.out_rows + 1)
        used, ready = Signal(count), Signal(count)
        w_slot, r_slot = Signal(range(config.out_rows)), Signal(range(config.out_rows))
        finish = Signal()
        m.d.comb += [
            finish.eq(write & (index == config.row_words - 1)),
            out.w_en.eq(write),
            out.w_addr.eq(w_slot << bits | index),
            out.w_data.eq(word),
            out.r_en.eq(self.i_read),
            out.r_addr.eq(r_slot << bits | self.i_addr),
            self.o_word.eq(out.r_data),
            self.o_ready.eq(ready != 0),
            sequencer.i_free.eq(used != config.out_rows),
        ]
        m.d.sync += [
            used.eq(used + sequencer.o_reserve - self.i_take),
            ready.eq(ready + finish - self.i_take),
        ]
        for event, slot in ((finish, w_slot), (self.i_take, r_slot)):
            with m.If(event):
                m.d.sync += slot.eq(Mux(slot == config.out_rows - 1, 0, slot + 1))
