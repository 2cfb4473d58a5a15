"""The two dense layers of run-time thresholds: M products a cycle, one lane, the sigmoid."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..leaf import leaf
from .common import DelayLine, Ram
from .config import EngineConfig
from .dense import DenseLane
from .lane import LATENCY as LANE_LATENCY
from .lane import STAGE, Lane
from .map_pass import clamp_limits
from .sigmoid import SigmoidTable
from .threshold_sequencer import dense_issue, entry_layout

__all__ = ["ThresholdDense"]

NO_EXPONENT = 7  # a slope of 1 in the shift form


class ThresholdDense(wiring.Component):
    """Channel sums to hidden values, those to thresholds.

    Members
    -------
    i_entry : In(entry_layout), i_take : In(1)
        The entry in progress, and the cycle before it.
    i_issue : In(dense_issue)
        M products.
    i_sum_en, i_sum_addr, i_sum : In
        A word of channel sums (P values) is written.
    i_read, i_read_addr : In, o_thresholds : Out(ArrayLayout(signed(feature_bits), P))
        The thresholds of P channels, three cycles later.
    """

    def __init__(self, config: EngineConfig):
        self._config = config
        f, p, unit = config.feature_bits, config.lanes, config.run_time.unit
        super().__init__(
            {
                "i_entry": In(entry_layout(config)),
                "i_take": In(1),
                "i_issue": In(dense_issue(config)),
                "i_sum_en": In(1),
                "i_sum_addr": In(range(max(2, unit.sum_depth))),
                "i_sum": In(p * f),
                "i_read": In(1),
                "i_read_addr": In(range(max(2, unit.planes))),
                "o_thresholds": Out(data.ArrayLayout(signed(f), p)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        unit, lanes = config.run_time.unit, config.lanes
        issue = DelayLine(m, self.i_issue, "issue", reset=True)
        sums, hidden, thresholds, weights = (
            self._ram(m, name) for name in ("sums", "hidden", "thresholds", "weights"))
        weight_addr = Signal.like(weights.r_addr)
        with m.If(self.i_issue.valid):
            m.d.sync += weight_addr.eq(weight_addr + 1)
        # the entry is there a cycle after it is taken, its first issue two
        taken = DelayLine(m, self.i_take, "taken", reset=True)
        with m.If(taken[1]):
            m.d.sync += weight_addr.eq(self.i_entry.weights)
        here = self.i_issue
        m.d.comb += [
            sums.w_en.eq(self.i_sum_en),
            sums.w_addr.eq(self.i_sum_addr),
            sums.w_data.eq(self.i_sum),
            sums.r_en.eq(here.valid & ~here.second),
            sums.r_addr.eq(here.addr),
            hidden.r_en.eq(here.valid & here.second),
            hidden.r_addr.eq(here.addr),
            weights.r_en.eq(here.valid),
            weights.r_addr.eq(weight_addr),
        ]
        x = self._inputs(m, sums.r_data, hidden.r_data, issue[2])
        product = DenseLane(inputs=unit.inputs, pixels=1, weight_bits=config.weight_bits)
        w = Signal(config.weight_bits * unit.inputs, reset_less=True)
        m.d.sync += w.eq(weights.r_data)
        m.d.comb += [product.i_x.eq(x), product.i_w.eq(w)]
        m.submodules.products = leaf(product, platform)

        at_sum = 3 + product.latency
        acc = Signal(signed(config.acc_bits), reset_less=True)
        m.d.sync += acc.eq(product.o_sum[0] + Mux(issue[at_sum].first, 0, acc))
        value, at_value = self._lane(m, platform, acc, issue, at_sum + 1)
        m.submodules.sigmoid = table = SigmoidTable(bits=config.feature_bits,
                                                    config=config.run_time)
        done = issue[at_value]
        made = issue[at_value + SigmoidTable.LATENCY]
        m.d.comb += [
            table.i_table.eq(self.i_entry.sigmoid),
            table.i_valid.eq(done.valid & done.last & done.second),
            table.i_x.eq(value),
        ]
        self._collect(m, hidden, done.valid & done.last & ~done.second, done.ends, value,
                      unit.inputs, "hidden")
        self._collect(m, thresholds, made.valid & made.last & made.second, made.ends, table.o_y,
                      lanes, "threshold")
        read, read_addr = Signal(), Signal.like(self.i_read_addr, reset_less=True)
        m.d.sync += [read.eq(self.i_read), read_addr.eq(self.i_read_addr)]
        m.d.comb += [
            thresholds.r_en.eq(read),
            thresholds.r_addr.eq(read_addr),
            self.o_thresholds.eq(thresholds.r_data),
        ]
        return m

    def _ram(self, m, name):
        width, depth = self._config.memories()[f"unit_{name}"]
        m.submodules[name] = ram = Ram(name=f"unit_{name}", width=width, depth=depth,
                                       registered=True)
        return ram

    def _inputs(self, m, sums, hidden, issue):
        """M factors out of what was read, registered."""
        config = self._config
        f, k = config.feature_bits, config.run_time.unit.inputs
        x = Signal(data.ArrayLayout(signed(18), k), reset_less=True)
        words = data.ArrayLayout(signed(f), config.lanes)(sums)
        with m.If(issue.second):
            for i, value in enumerate(data.ArrayLayout(signed(f), k)(hidden)):
                m.d.sync += x[i].eq(value)
        with m.Else():
            with m.Switch(issue.slice):
                for s in range(config.lanes // k):
                    with m.Case(s):
                        for i in range(k):
                            m.d.sync += x[i].eq(words[s * k + i])
        return x

    def _lane(self, m, platform, acc, issue, at):
        """A lane behind the sums of ``issue[at]``; its result, and the issue beside that."""
        config, entry = self._config, self.i_entry
        constants = self._ram(m, "constants")
        unit = Lane(config)
        # the gain is used at stage 3, its memory takes two cycles and is asked from a register
        ask = issue[at + STAGE["gain"] - 2]
        address = Signal.like(constants.r_addr)
        with m.If(ask.valid & ask.last):
            m.d.sync += address.eq(address + 1)
        taken = DelayLine(m, self.i_take, "constants_taken", reset=True)
        with m.If(taken[1]):
            m.d.sync += address.eq(entry.constants)
        m.d.comb += [
            constants.r_en.eq(ask.valid & ask.last),
            constants.r_addr.eq(address),
        ]
        bias = DelayLine(m, constants.r_data[18:], "bias")
        second = issue[at].second
        m.d.comb += [
            unit.i_acc.eq(acc),
            unit.i_dense.eq(1),
            unit.i_prescale.eq(Mux(second, entry.prescale2, entry.prescale1)),
            unit.i_shift.eq(Mux(second, entry.shift2, entry.shift1)),
            unit.i_constants.gain.eq(constants.r_data[:18]),
            unit.i_constants.bias.eq(bias[STAGE["bias"] - STAGE["gain"]]),
        ]
        if config.rprelu == "shift":
            m.d.comb += unit.i_constants.slope.eq(NO_EXPONENT << 1)
        elif config.rprelu == "multiplier":
            m.d.comb += unit.i_constants.slope.eq(1 << config.slope_shift)
        if config.clamps:
            lo, hi = clamp_limits(m, config, Mux(second, entry.clamp2, entry.clamp1))
            m.d.comb += [unit.i_lo.eq(lo), unit.i_hi.eq(hi)]
        m.submodules.lane = leaf(unit, platform)
        return unit.o_x, at + LANE_LATENCY

    def _collect(self, m, ram, valid, ends, value, count, name):
        """Words of ``count`` values, written when full or at the end; unused values are 0."""
        f = self._config.feature_bits
        word, write = Signal(f * count, reset_less=True), Signal(name=f"{name}_write")
        at, address = Signal(range(max(2, count))), Signal.like(ram.w_addr)
        m.d.sync += write.eq(valid & (ends | (at == count - 1)))
        with m.If(valid):
            with m.Switch(at):
                for i in range(count):
                    with m.Case(i):
                        m.d.sync += word[f * i : f * (i + 1)].eq(value)
                        if i == 0:
                            m.d.sync += word[f:].eq(0)
            m.d.sync += at.eq(at + 1)
            with m.If(ends | (at == count - 1)):
                m.d.sync += at.eq(0)
        with m.If(write):
            m.d.sync += address.eq(address + 1)
        with m.If(self.i_take):
            m.d.sync += address.eq(0)
        m.d.comb += [ram.w_en.eq(write), ram.w_addr.eq(address), ram.w_data.eq(word)]
