"""2x2 max-pool of a layer's results, before they are stored, summed or handed on."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .common import DelayLine, Ram
from .config import EngineConfig

__all__ = ["MaxPool", "join_pool"]


class MaxPool(wiring.Component):
    """Largest of 2x2 results, or the smallest where a channel's affine falls.

    The integer network pools the sums in front of the affine. A result is a function of its sum
    that never falls where the gain is 0 or more, and never rises elsewhere: the pooled result is
    then the largest or the smallest of four, exactly.

    Pairs of groups give T columns each; those of even rows wait in a memory for the next row's.

    Members
    -------
    i_x : In(ArrayLayout(signed(feature_bits), P*T)), index p*T + t
    i_falls : In(P)
        Channels with a negative gain, with ``i_x``.
    i_valid, i_first, i_last, i_odd, i_row_odd, i_row_last, i_pixel_valid : In
        As in the issue; ``i_first`` and ``i_last`` of the output group's groups of pixels.
    o_valid, o_first, o_last, o_pixel_valid, o_x : Out
        The same of the pooled map.

    Latency: LATENCY cycles from the second group of a pair of an odd row.
    """

    LATENCY = 3

    def __init__(self, config: EngineConfig):
        self._config = config
        p, t = config.lanes, config.pixels
        layout = data.ArrayLayout(signed(config.feature_bits), p * t)
        super().__init__(
            {
                "i_x": In(layout),
                "i_falls": In(p),
                "i_valid": In(1),
                "i_first": In(1),
                "i_last": In(1),
                "i_odd": In(1),
                "i_row_odd": In(1),
                "i_row_last": In(1),
                "i_pixel_valid": In(t),
                "o_valid": Out(1),
                "o_first": Out(1),
                "o_last": Out(1),
                "o_pixel_valid": Out(t),
                "o_x": Out(layout),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        p, t = config.lanes, config.pixels
        width, depth = config.memories()["max_pool"]
        m.submodules.max_pool = ram = Ram(
            name="max_pool", width=width, depth=depth, registered=True
        )
        held = Signal.like(self.i_x, reset_less=True)
        held_valid = Signal(t, reset_less=True)
        index, index_now = Signal(range(depth)), Signal(range(depth))
        emit, start = Signal(), Signal()  # start: no pooled row of this plane yet, nor a word
        m.d.comb += [
            emit.eq(self.i_valid & self.i_odd),
            index_now.eq(Mux(self.i_first, 0, index)),
            ram.r_en.eq(emit & self.i_row_odd),
            ram.r_addr.eq(index_now),
        ]
        with m.If(self.i_valid):
            m.d.sync += [
                held.eq(self.i_x),
                held_valid.eq(self.i_pixel_valid),
                index.eq(Mux(self.i_row_last, 0, index_now + emit)),
            ]
        with m.If(self.i_valid & self.i_first):
            m.d.sync += start.eq(1)
        with m.Elif(emit & self.i_row_odd):
            m.d.sync += start.eq(0)

        across = Signal.like(self.i_x, reset_less=True)
        for lane in range(p):
            both = [held[lane * t + i] for i in range(t)]
            both += [self.i_x[lane * t + i] for i in range(t)]
            for i in range(t):
                m.d.sync += across[lane * t + i].eq(
                    _best(both[2 * i], both[2 * i + 1], self.i_falls[lane])
                )
        valid = Cat(held_valid, self.i_pixel_valid)
        pixels = Signal(t, reset_less=True)
        m.d.sync += pixels.eq(Cat(valid[2 * i + 1] for i in range(t)))
        ends = DelayLine(m, emit & self.i_row_odd, "ends", reset=True)
        keeps = DelayLine(m, emit & ~self.i_row_odd, "keeps", reset=True)
        address = DelayLine(m, index_now, "address")
        falls = DelayLine(m, self.i_falls, "falls")
        first, last = DelayLine(m, start, "first"), DelayLine(m, self.i_last, "last")
        m.d.comb += [
            ram.w_en.eq(keeps[1]),
            ram.w_addr.eq(address[1]),
            ram.w_data.eq(across),
        ]
        above, below = Signal.like(self.i_x), Signal.like(self.i_x, reset_less=True)
        m.d.comb += above.eq(ram.r_data)
        m.d.sync += below.eq(across)
        pooled = Signal.like(self.i_x, reset_less=True)
        for lane in range(p):
            for i in range(lane * t, lane * t + t):
                m.d.sync += pooled[i].eq(_best(above[i], below[i], falls[2][lane]))
        m.d.comb += [
            self.o_x.eq(pooled),
            self.o_valid.eq(ends[3]),
            self.o_first.eq(first[3]),
            self.o_last.eq(last[3]),
            self.o_pixel_valid.eq(DelayLine(m, pixels, "pixels")[2]),
        ]
        return m


def _best(a, b, falls):
    """The larger one, or the smaller one."""
    return Mux((a > b) ^ falls, a, b)


def join_pool(m, config: EngineConfig, step, stored, control, falls):
    """Put a MaxPool behind the lanes; (results, controls) of what is stored, pooled or not."""
    m.submodules.max_pool = unit = MaxPool(config)
    made = Signal.like(stored, name="pooled_or_not")
    late = Signal.like(control, name="control_pooled_or_not")
    m.d.comb += [
        unit.i_x.eq(stored),
        unit.i_falls.eq(falls),
        unit.i_valid.eq(control.valid & control.last & step.max_pool),
        unit.i_first.eq(control.og_first),
        unit.i_last.eq(control.og_last),
        unit.i_odd.eq(control.odd),
        unit.i_row_odd.eq(control.row_odd),
        unit.i_row_last.eq(control.row_last),
        unit.i_pixel_valid.eq(control.pixel_valid),
        made.eq(Mux(step.max_pool, unit.o_x, stored)),
        late.eq(control),
    ]
    with m.If(step.max_pool):
        m.d.comb += [
            late.valid.eq(unit.o_valid),
            late.last.eq(1),
            late.inside.eq(unit.o_pixel_valid[0]),
            late.og_first.eq(unit.o_first),
            late.og_last.eq(unit.o_last),
            late.pixel_valid.eq(unit.o_pixel_valid),
        ]
    return made, late
