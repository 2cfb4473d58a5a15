"""The sigmoid: a table, a value a cycle, and what takes a channel vector through it."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .common import DelayLine, Ram
from .run_time_config import RunTimeConfig

__all__ = ["SigmoidTable", "SigmoidUnit"]


class SigmoidTable(wiring.Component):
    """``ints.sigmoid``, a value a cycle; the table holds the positive half.

    Members
    -------
    i_table : In
        Which of ``fracs`` the result has; static while values are on their way.
    i_valid : In(1), i_x : In(signed(bits))
        A value.
    o_valid : Out(1), o_y : Out(bits)
        Its sigmoid, LATENCY cycles later.
    """

    LATENCY = 3

    def __init__(self, *, bits: int, config: RunTimeConfig):
        self._bits, self._config = bits, config
        super().__init__(
            {
                "i_table": In(range(max(2, len(config.fracs)))),
                "i_valid": In(1),
                "i_x": In(signed(bits)),
                "o_valid": Out(1),
                "o_y": Out(bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits, config = self._bits, self._config
        width, depth = config.memories(1, bits)["sigmoid"]
        m.submodules.table = ram = Ram(name="sigmoid", width=width, depth=depth, registered=True)
        value, index, top = self.i_x, Signal(bits + 1), config.entries - 1
        m.d.comb += index.eq(
            (Mux(value < 0, -value, value) + ((1 << config.shift) >> 1)) >> config.shift
        )
        entry = Signal(range(config.entries), reset_less=True)
        base = Signal(range(depth))
        with m.Switch(self.i_table):
            for i in range(len(config.fracs)):
                with m.Case(i):
                    m.d.comb += base.eq(i * config.entries)
        m.d.sync += entry.eq(Mux(index > top, top, index))
        active = DelayLine(m, self.i_valid, "active", reset=True)
        negative = DelayLine(m, value < 0, "negative")
        m.d.comb += [ram.r_en.eq(active[1]), ram.r_addr.eq(base + entry)]
        one = Signal(bits)
        with m.Switch(self.i_table):
            for i, frac in enumerate(config.fracs):
                with m.Case(i):
                    m.d.comb += one.eq(1 << frac)
        m.d.comb += [
            self.o_y.eq(Mux(negative[3], one - ram.r_data, ram.r_data)),
            self.o_valid.eq(active[3]),
        ]
        return m


class SigmoidUnit(wiring.Component):
    """``ints.sigmoid`` of P values, one after another.

    Members
    -------
    i_table : In
        Which of ``fracs`` the result has; static during a step.
    i_valid : In(1), i_x : In(ArrayLayout(signed(bits), P))
        A vector; the next one P cycles later or more.
    o_valid : Out(1), o_y : Out(ArrayLayout(bits, P))
        Its sigmoids, for one cycle.

    Latency: P + 4 cycles.
    """

    EXTRA_LATENCY = 4  # beside one cycle a lane

    def __init__(self, *, lanes: int, bits: int, config: RunTimeConfig):
        self._lanes, self._bits, self._config = lanes, bits, config
        super().__init__(
            {
                "i_table": In(range(max(2, len(config.fracs)))),
                "i_valid": In(1),
                "i_x": In(data.ArrayLayout(signed(bits), lanes)),
                "o_valid": Out(1),
                "o_y": Out(data.ArrayLayout(bits, lanes)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lanes, bits, config = self._lanes, self._bits, self._config
        m.submodules.table = table = SigmoidTable(bits=bits, config=config)

        waiting = Signal(bits * lanes, reset_less=True)
        left = Signal(range(lanes + 1))
        with m.If(left != 0):
            m.d.sync += [left.eq(left - 1), waiting.eq(waiting >> bits)]
        with m.If(self.i_valid):
            m.d.sync += [left.eq(lanes), waiting.eq(self.i_x)]
        busy, ends = Signal(), Signal()
        m.d.comb += [busy.eq(left != 0), ends.eq(left == 1)]

        m.d.comb += [
            table.i_table.eq(self.i_table),
            table.i_valid.eq(busy),
            table.i_x.eq(waiting[:bits]),
        ]
        last = DelayLine(m, ends, "last", reset=True)
        done = Signal(bits * lanes, reset_less=True)
        with m.If(table.o_valid):
            m.d.sync += done.eq(Cat(done[bits:], table.o_y))
        m.d.comb += [self.o_valid.eq(last[4]), self.o_y.eq(done)]
        return m
