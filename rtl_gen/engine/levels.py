"""A stored map or vector brought to levels between its least and largest value, of this image.

A range is known when all of its values are there, and they are read again by the array only after
that. So the unit goes over a plane of the map twice: words for the range, values for their levels.
"""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .common import DelayLine
from .config import COORDINATE_BITS, EngineConfig
from .gain_config import SPAN_BITS
from .level import LevelFactors, LevelValue, factors_layout

__all__ = ["LevelsUnit", "join_levels", "levels_cycles", "levels_word"]

READ_LATENCY = 3  # of either memory
ARRIVES = READ_LATENCY + 1  # until a word is in the unit's own register
SETTLE = ARRIVES + 1  # from the last read until the range is known
FINISH = ARRIVES + 1 + LevelValue.LATENCY + 3  # from the last value's turn until it is stored


def levels_cycles(*, lanes: int, pixels: int, planes: int, words: int, vector: bool) -> int:
    """Cycles from ``i_start`` to ``o_done``: ``planes`` of ``words`` words, one after another."""
    ranges, values = (1, lanes * pixels) if vector else (lanes, pixels)
    factors = ranges * (values + 1 + LevelFactors.LATENCY)
    return planes * (words + SETTLE + factors + words * lanes * pixels + FINISH) + 1


class LevelsUnit(wiring.Component):
    """Reads words, finds ranges, and writes each value's level: `hwbnn.ops.int_levels.MinMax`.

    Parameters
    ----------
    lanes, pixels, bits : int
        P channels of T values of ``bits`` bits a word.
    levels : tuple of int
        Numbers of bits of a level that ``i_levels`` selects from.
    address_bits, side_bits, plane_bits : int
        Widths of addresses, of coordinates and of the number of planes.

    Members
    -------
    i_start : In(1)
        Begin; the others stand still from here to ``o_done``.
    i_vector : In(1)
        One range for all values, which are the first pixels of the words of one plane; else one a
        channel.
    i_levels : In, i_limit : In(bits - 1)
        Which of ``levels``; what values are cut to first, ±.
    i_planes, i_rows, i_words : In
        Planes of P channels, rows of a plane, words of a row, each less one.
    i_width : In(side_bits)
        Pixels of a row: those of its last word beyond it are in no range.
    i_lanes : In
        Lanes of a vector's last word that are values, less one.
    i_from, i_to : In(address_bits)
        First word read, first word written; the same word may be both.
    o_read : Out(1), o_addr : Out(address_bits), i_word : In(P*T*bits)
        Read port; the word comes READ_LATENCY cycles later.
    o_write : Out(1), o_w_addr : Out(address_bits), o_w_word : Out(P*T*bits)
        Write port; stored 2 cycles later.
    o_busy, o_done : Out(1)
        At work; pulse: everything is stored.

    A plane takes a cycle a word, one a lane and pixel for their levels, and about 25 a range; see
    `levels_cycles`.
    """

    def __init__(self, *, lanes: int, pixels: int, bits: int, levels: tuple[int, ...],
                 address_bits: int, side_bits: int, plane_bits: int):
        if bits > SPAN_BITS:
            raise ValueError(f"levels of values of {bits} bits; {SPAN_BITS} are the most")
        self._lanes, self._pixels, self._bits, self._levels = lanes, pixels, bits, levels
        word = lanes * pixels * bits
        super().__init__(
            {
                "i_start": In(1),
                "i_vector": In(1),
                "i_levels": In(range(max(2, len(levels)))),
                "i_limit": In(bits - 1),
                "i_planes": In(plane_bits),
                "i_rows": In(side_bits),
                "i_words": In(side_bits),
                "i_width": In(side_bits),
                "i_lanes": In(range(max(2, lanes))),
                "i_from": In(address_bits),
                "i_to": In(address_bits),
                "o_read": Out(1),
                "o_addr": Out(address_bits),
                "i_word": In(word),
                "o_write": Out(1),
                "o_w_addr": Out(address_bits),
                "o_w_word": Out(word),
                "o_busy": Out(1),
                "o_done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        p, t = self._lanes, self._pixels
        word = data.ArrayLayout(signed(self._bits), p * t)
        arrived = Signal(word, reset_less=True)
        m.d.sync += arrived.eq(self.i_word)

        # where the unit is: pixel and lane of a word (of values alone), word, row, plane
        scans, turns, left = Signal(), Signal(), Signal(range(FINISH + 1))
        pixel, lane = Signal(range(max(2, t))), Signal(range(max(2, p)))
        column, at, row = (Signal.like(s, name=n) for s, n in
                           ((self.i_width, "column"), (self.i_words, "at"), (self.i_rows, "row")))
        planes = Signal.like(self.i_planes)
        pixel_last, lane_last, word_ends, ends = (
            Signal(name=n) for n in ("pixel_last", "lane_last", "word_ends", "ends"))
        m.d.comb += [
            pixel_last.eq(pixel == t - 1),
            lane_last.eq(lane == p - 1),
            word_ends.eq(scans | (turns & pixel_last & lane_last)),
            ends.eq(word_ends & (at == self.i_words) & (row == self.i_rows)),
            self.o_read.eq(scans | (turns & (pixel == 0) & (lane == 0))),
        ]
        reads, writes = Signal.like(self.i_from), Signal.like(self.i_to)
        plane_from = Signal.like(self.i_from)
        m.d.comb += self.o_addr.eq(reads)
        with m.If(turns):
            m.d.sync += pixel.eq(pixel + 1)
            with m.If(pixel_last):
                m.d.sync += [pixel.eq(0), lane.eq(Mux(lane_last, 0, lane + 1))]
        with m.If(word_ends):
            m.d.sync += [reads.eq(reads + 1), at.eq(at + 1), column.eq(column + t)]
            with m.If(at == self.i_words):
                m.d.sync += [at.eq(0), column.eq(0), row.eq(Mux(row == self.i_rows, 0, row + 1))]

        clear, next_value, first_value, divide, store = (
            Signal(name=n) for n in ("clear", "next_value", "first_value", "divide", "store"))
        least, most = self._range(m, word(arrived), scans, ends, column,
                                  (clear, next_value, first_value))
        active = DelayLine(m, turns, "active", reset=True)
        rotate = DelayLine(m, turns & pixel_last & ~self.i_vector, "rotate")
        factors = self._factors(m, (least, most), divide, store, rotate[ARRIVES + 1])
        self._values(m, arrived, factors, active, turns & self.o_read, turns & word_ends)
        with m.If(self.o_write):
            m.d.sync += writes.eq(writes + 1)
        m.d.comb += self.o_w_addr.eq(writes)

        count = Signal(range(max(p * t, LevelFactors.LATENCY) + 1))
        range_last = Signal()
        m.d.comb += range_last.eq(self.i_vector | lane_last)
        with m.FSM() as states:
            with m.State("IDLE"):
                m.d.comb += clear.eq(1)
                m.d.sync += [
                    planes.eq(self.i_planes), plane_from.eq(self.i_from), reads.eq(self.i_from),
                    writes.eq(self.i_to), at.eq(0), row.eq(0), column.eq(0),
                ]
                with m.If(self.i_start):
                    m.next = "SCAN"
            with m.State("SCAN"):
                m.d.comb += scans.eq(1)
                with m.If(ends):
                    m.d.sync += left.eq(SETTLE - 1)
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                m.d.sync += [left.eq(left - 1), count.eq(0), lane.eq(0), reads.eq(plane_from)]
                with m.If(left == 0):
                    m.next = "RANGE"
            with m.State("RANGE"):  # over the values of a word that share one
                m.d.comb += [next_value.eq(1), first_value.eq(count == 0)]
                m.d.sync += count.eq(count + 1)
                with m.If(count == Mux(self.i_vector, p * t - 1, t - 1)):
                    m.d.sync += count.eq(0)
                    m.next = "DIVIDE"
            with m.State("DIVIDE"):
                m.d.comb += divide.eq(count == 0)
                m.d.sync += count.eq(count + 1)
                with m.If(count == LevelFactors.LATENCY):
                    m.d.comb += store.eq(1)
                    m.d.sync += [count.eq(0), lane.eq(Mux(range_last, 0, lane + 1))]
                    m.next = "RANGE"
                    with m.If(range_last):
                        m.next = "LEVELS"
            with m.State("LEVELS"):
                m.d.comb += turns.eq(1)
                with m.If(ends):
                    m.d.sync += left.eq(FINISH - 1)
                    m.next = "FINISH"
            with m.State("FINISH"):
                m.d.comb += clear.eq(1)
                m.d.sync += [left.eq(left - 1), plane_from.eq(reads)]
                with m.If(left == 0):
                    m.d.sync += planes.eq(planes - 1)
                    m.next = "SCAN"
                    with m.If(planes == 0):
                        m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.o_done.eq(1)
                m.next = "IDLE"
        m.d.comb += self.o_busy.eq(~states.ongoing("IDLE"))
        return m

    def _range(self, m, arrived, scans, ends, column, controls):
        """Least and largest value of the words scanned, an entry a lane and pixel; those that
        share a range are taken together one after another, while the entries move down."""
        p, t = self._lanes, self._pixels
        clear, next_value, first_value = controls
        lo, hi = -(1 << (self._bits - 1)), (1 << (self._bits - 1)) - 1
        seen = DelayLine(m, scans, "seen", reset=True)[ARRIVES]
        short = DelayLine(m, self.i_vector & ends, "short")[ARRIVES]
        inside = Signal(t)
        for i in range(t):
            m.d.comb += inside[i].eq(Mux(self.i_vector, i == 0, column + i < self.i_width))
        inside = DelayLine(m, inside, "inside")[ARRIVES]
        low, high = ([Signal(signed(self._bits), name=f"{n}{i}", reset_less=True)
                      for i in range(p * t)] for n in ("low", "high"))
        for i in range(p * t):
            lane, pixel = divmod(i, t)
            counts = Signal(name=f"counts{i}")
            # lane 0 always has a value
            beyond = short & (lane > self.i_lanes) if lane else Const(0)
            m.d.comb += counts.eq(seen & inside[pixel] & ~beyond)
            for entry, wider, end in ((low, arrived[i] < low[i], hi),
                                      (high, arrived[i] > high[i], lo)):
                with m.If(counts & wider):
                    m.d.sync += entry[i].eq(arrived[i])
                with m.If(next_value):
                    m.d.sync += entry[i].eq(entry[(i + 1) % (p * t)])
                with m.If(clear):
                    m.d.sync += entry[i].eq(end)
        least, most = (Signal(signed(self._bits), name=n, reset_less=True)
                       for n in ("least", "most"))
        with m.If(next_value):
            with m.If(first_value | (low[0] < least)):
                m.d.sync += least.eq(low[0])
            with m.If(first_value | (high[0] > most)):
                m.d.sync += most.eq(high[0])
        return least, most

    def _factors(self, m, found, divide, store, rotate):
        """The factors of the value whose turn it is: of the one range of a vector, or of a lane's,
        which go round."""
        m.submodules.factors = unit = LevelFactors(bits=self._bits, levels=self._levels)
        m.d.comb += [
            unit.i_levels.eq(self.i_levels),
            unit.i_limit.eq(self.i_limit),
            unit.i_start.eq(divide),
            unit.i_low.eq(found[0]),
            unit.i_high.eq(found[1]),
        ]
        layout = factors_layout(self._bits)
        ring = [Signal(layout, name=f"factors{i}", reset_less=True) for i in range(self._lanes)]
        moves = Signal()
        m.d.comb += moves.eq(rotate | (store & ~self.i_vector))
        with m.If(moves):
            for here, above in zip(ring, [*ring[1:], ring[0]], strict=True):
                m.d.sync += here.eq(above)
        with m.If(store):
            m.d.sync += ring[-1].eq(unit.o_factors)
            with m.If(self.i_vector):
                m.d.sync += ring[0].eq(unit.o_factors)
        return ring[0]

    def _values(self, m, arrived, factors, active, loads, word_ends):
        """A word's values to their levels, one a cycle, and back into a word."""
        m.submodules.value = unit = LevelValue(bits=self._bits, levels=self._levels)
        begins = ARRIVES + 1
        made = begins + LevelValue.LATENCY
        waiting = Signal.like(self.i_word, name="waiting", reset_less=True)
        with m.If(active[begins]):
            m.d.sync += waiting.eq(waiting >> self._bits)
        with m.If(DelayLine(m, loads, "loads", reset=True)[ARRIVES]):
            m.d.sync += waiting.eq(arrived)
        m.d.comb += [
            unit.i_levels.eq(self.i_levels),
            unit.i_limit.eq(self.i_limit),
            unit.i_x.eq(waiting[: self._bits].as_signed()),
            unit.i_factors.eq(factors),
        ]
        done = Signal.like(self.i_word, name="done", reset_less=True)
        with m.If(active[made]):
            m.d.sync += done.eq(Cat(done[self._bits :], unit.o_x))
        m.d.comb += [
            self.o_write.eq(DelayLine(m, word_ends, "word_ends", reset=True)[made + 1]),
            self.o_w_word.eq(done),
        ]


def join_levels(m, config: EngineConfig, seq, xmap) -> LevelsUnit:
    """The unit of an engine; its step's fields say where it reads and writes. Words of the feature
    memory are still to be given to it (`levels_word`)."""
    step = seq.o_step
    m.submodules.levels = unit = LevelsUnit(
        lanes=config.lanes, pixels=config.pixels, bits=config.feature_bits, levels=config.levels,
        address_bits=len(step.x_addr), side_bits=COORDINATE_BITS, plane_bits=len(step.n_og))
    fields = {"vector": "x_vector", "levels": "level_bits", "limit": "level_limit",
              "planes": "n_og", "rows": "n_y", "words": "n_x", "width": "w_out",
              "lanes": "level_lanes", "from": "x_addr", "to": "x_write"}
    m.d.comb += [getattr(unit, f"i_{name}").eq(step[field]) for name, field in fields.items()]
    written = data.ArrayLayout(config.feature_bits, config.lanes * config.pixels)(unit.o_w_word)
    m.d.comb += [
        unit.i_start.eq(seq.o_levels),
        seq.i_levels_done.eq(unit.o_done),
        xmap.i_level_en.eq(unit.o_write & step.x_vector),
        xmap.i_level_addr.eq(unit.o_w_addr),
        *(xmap.i_level[lane].eq(written[lane * config.pixels]) for lane in range(config.lanes)),
    ]
    return unit


def levels_word(m, config: EngineConfig, step, unit: LevelsUnit, xmap, word) -> None:
    """Hand the unit what it reads: a ``word`` of the feature memory, or a vector as first
    pixels."""
    f, t = config.feature_bits, config.pixels
    stored = Value.cast(word)
    vector = Cat(Cat(xmap.o_vector[lane][:f], Const(0, f * (t - 1)))
                 for lane in range(config.lanes))
    m.d.comb += unit.i_word.eq(Mux(step.x_vector, vector, stored))
