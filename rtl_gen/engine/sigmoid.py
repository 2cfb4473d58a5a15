"""The sigmoid: a table, a value a cycle, and what takes a channel vector through it."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..units.dsp import Multiplier18
from .common import DelayLine, Ram
from .gain_config import GAIN_BITS
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
    o_valid : Out(1), o_y : Out(bits, or those of ``fracs``)
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
                "o_y": Out(max(bits, *config.fracs)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits, config = self._bits, self._config
        width, depth = config.memories(1, 1, bits)["sigmoid"]
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
        # a sigmoid is below 1, so that 1 itself may lack its bit
        one = Signal(max(bits, *config.fracs))
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
    """``ints.sigmoid`` of P values, one after another; the table holds the positive half.

    Where the configuration has gains, each is multiplied by a constant and shifted, rounded to
    nearest: ``ints.product``.

    Members
    -------
    i_table : In
        Which of ``fracs`` the result has; static during a step.
    i_valid : In(1), i_x : In(ArrayLayout(signed(bits), P))
        A vector; the next one P cycles later or more (with gains P + 4).
    i_gains : In(ArrayLayout(signed(18), P)), with gains
        The constants of its lanes, with ``i_valid``.
    o_valid : Out(1), o_y : Out(ArrayLayout(bits, P))
        Its sigmoids, for one cycle; signed(18) with gains.

    Latency: P + 4 cycles, with gains P + 8.
    """

    EXTRA_LATENCY = 4  # beside one cycle a lane
    GAIN_LATENCY = 4  # more, where a gain is made of it

    def __init__(self, *, lanes: int, bits: int, config: RunTimeConfig):
        self._lanes, self._bits, self._config = lanes, bits, config
        gains = data.ArrayLayout(signed(GAIN_BITS), lanes)
        result = data.ArrayLayout(bits, lanes) if config.gains is None else gains
        super().__init__(
            {
                "i_table": In(range(max(2, len(config.fracs)))),
                "i_valid": In(1),
                "i_x": In(data.ArrayLayout(signed(bits), lanes)),
                "o_valid": Out(1),
                "o_y": Out(result),
            }
            | ({} if config.gains is None else {"i_gains": In(gains)})
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
        active = DelayLine(m, busy, "active", reset=True)
        last = DelayLine(m, ends, "last", reset=True)
        found = table.o_y
        width, late, found_now = bits, 3, found[:bits]
        if config.gains is not None:
            width, late = GAIN_BITS, 3 + self.GAIN_LATENCY
            found_now = self._scaled(m, active, found)
        done = Signal(width * lanes, reset_less=True)
        with m.If(active[late]):
            m.d.sync += done.eq(Cat(done[width:], found_now))
        m.d.comb += [self.o_valid.eq(last[late + 1]), self.o_y.eq(done)]
        return m

    def _scaled(self, m, active, found):
        """The sigmoid found times its lane's constant."""
        shift = self._config.gains.shift
        constants = Signal(GAIN_BITS * self._lanes, reset_less=True)
        with m.If(active[3]):
            m.d.sync += constants.eq(constants >> GAIN_BITS)
        with m.If(self.i_valid):
            m.d.sync += constants.eq(self.i_gains)
        m.submodules.scale = mul = Multiplier18()
        m.d.comb += [mul.a.eq(found), mul.b.eq(constants[:GAIN_BITS].as_signed())]
        result = Signal(signed(GAIN_BITS), reset_less=True)
        m.d.sync += result.eq((mul.o + (1 << (shift - 1))) >> shift)
        return result
