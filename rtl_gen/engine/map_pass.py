"""A pass over a stored map: its values against thresholds of this image, one word a cycle."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .common import AddressWalker
from .config import EngineConfig

__all__ = ["MapPass", "clamp_limits", "join_pass"]


class MapPass(wiring.Component):
    """Reads words of P channels of T pixels, and one word of thresholds an output group.

    With a threshold unit that takes two words a cycle, addresses count pairs of words, and T is
    the pixels of a pair.

    Both memories answer LATENCY - 1 cycles after they are asked; the map's word is registered once
    more outside (``i_x``), beside the thresholds in here.

    Members
    -------
    i_setup, i_base, i_step, i_vector : In
        A step begins: first word of the map, words a plane, first word of the thresholds.
    i_planes, i_lanes : In
        Planes less one; lanes of the last one that are channels, less one. Others give 0.
    i_valid, i_first : In(1)
        A group of pixels; it is its plane's first.
    o_addr, o_vector_addr : Out
        With it: where its word lies, and the thresholds of its plane.
    i_load : In(1), i_thresholds : In(ArrayLayout(signed(feature_bits), P))
        The thresholds (beta) that were asked for have come.
    i_x : In(ArrayLayout(signed(feature_bits), P*T)), index p*T + t
        The word, a cycle after the one in which its thresholds come.
    o_bits : Out(P*T)
        Bits of ``x + beta`` (``ints.dynamic_threshold``), a cycle after ``i_x``.
    """

    LATENCY = 4  # from i_valid to i_x

    def __init__(self, config: EngineConfig):
        self._config = config
        f, p, t = config.feature_bits, config.lanes, config.pixels * config.pass_words
        address = config.step_layout["f_read"].shape
        super().__init__(
            {
                "i_setup": In(1),
                "i_base": In(address),
                "i_step": In(address),
                "i_vector": In(config.step_layout["x_addr"].shape),
                "i_planes": In(config.step_layout["n_og"].shape),
                "i_lanes": In(range(max(2, p))),
                "i_valid": In(1),
                "i_first": In(1),
                "o_addr": Out(address),
                "o_vector_addr": Out(config.step_layout["x_addr"].shape),
                "i_load": In(1),
                "i_thresholds": In(data.ArrayLayout(signed(f), p)),
                "i_x": In(data.ArrayLayout(signed(f), p * t)),
                "o_bits": Out(p * t),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        f, p, t = config.feature_bits, config.lanes, config.pixels * config.pass_words
        m.submodules.walker = walker = AddressWalker(len(self.o_addr))
        m.d.comb += [
            walker.load.eq(self.i_setup),
            walker.base.eq(self.i_base),
            walker.step.eq(self.i_step),
            walker.valid.eq(self.i_valid),
            walker.first.eq(self.i_first),
            self.o_addr.eq(walker.addr),
        ]
        vector = Signal.like(self.o_vector_addr)
        m.d.comb += self.o_vector_addr.eq(vector)
        left, last = Signal.like(self.i_planes), Signal()
        with m.If(self.i_valid & self.i_first):
            m.d.sync += [vector.eq(vector + 1), left.eq(left - 1), last.eq(left == 0)]
        with m.If(self.i_setup):
            m.d.sync += [vector.eq(self.i_vector), left.eq(self.i_planes)]

        # x + beta > -tie, that is x > -tie - beta
        limits = [Signal(signed(f + 1), name=f"limit{lane}", reset_less=True) for lane in range(p)]
        bits = Signal(p * t, reset_less=True)
        for lane, limit in enumerate(limits):
            with m.If(self.i_load):
                m.d.sync += limit.eq(-config.run_time.tie - self.i_thresholds[lane])
                if lane:  # lane 0 always has a channel
                    with m.If(last & (lane > self.i_lanes)):  # no channel: its bit is 0
                        m.d.sync += limit.eq((1 << f) - 1)
            for pixel in range(t):
                i = lane * t + pixel
                m.d.sync += bits[i].eq(self.i_x[i] > limit)
        m.d.comb += self.o_bits.eq(bits)
        return m


def clamp_limits(m, config: EngineConfig, choice):
    """(lowest, highest) value of the results by a step's ``clamp``, as registers."""
    f = config.feature_bits
    menu = ((-(1 << (f - 1)), (1 << (f - 1)) - 1), *config.clamps)
    lo, hi = (Signal(signed(f), name=name, reset_less=True) for name in ("clamp_lo", "clamp_hi"))
    with m.Switch(choice):
        for i, limits in enumerate(menu):
            with m.Case(i):
                m.d.sync += [lo.eq(limits[0]), hi.eq(limits[1])]
    return lo, hi


def join_pass(m, config: EngineConfig, seq, issue, xmap, x, of_lanes):
    """Put a MapPass beside the lanes: what they read and hand on, or what it does.

    ``x`` is the registered word of the feature memory. ``of_lanes`` holds the read (enable,
    address), the results (P*T) and the controls with them and a cycle later. Returns the unit, and
    the same four things for both.
    """
    step = seq.o_step
    reads, stored, at_x, at_bit = of_lanes
    m.submodules.map_pass = unit = MapPass(config)
    load = issue[MapPass.LATENCY - 1]
    m.d.comb += [
        unit.i_setup.eq(seq.o_setup),
        unit.i_base.eq(step.f_read),
        unit.i_step.eq(step.f_step),
        unit.i_vector.eq(step.x_addr),
        unit.i_planes.eq(step.n_og),
        unit.i_lanes.eq(step.pass_lanes),
        unit.i_valid.eq(issue[0].passing & issue[0].inside),
        unit.i_first.eq(issue[0].og_first),
        unit.i_load.eq(load.passing & load.og_first),
        unit.i_thresholds.eq(xmap.o_vector),
        unit.i_x.eq(x),
        xmap.i_vector.eq(step.x_vector),
        xmap.i_table.eq(step.sigmoid),
        xmap.i_pass.eq(unit.i_valid & unit.i_first),
        xmap.i_pass_addr.eq(unit.o_vector_addr),
    ]
    read_en = Mux(step.map_pass, unit.i_valid, reads[0])
    read_addr = Mux(step.map_pass, unit.o_addr, reads[1])
    made = stored
    if config.sampled or config.pooled or config.stem is not None:
        made = Signal.like(stored, name="made")
        m.d.comb += made.eq(Mux(step.map_pass, x, stored))
    controls = []
    for name, mine, other in (("x", issue[MapPass.LATENCY], at_x),
                              ("bit", issue[MapPass.LATENCY + 1], at_bit)):
        control = Signal.like(mine, name=f"control_{name}")
        m.d.comb += control.eq(Mux(step.map_pass, mine, other))
        with m.If(step.map_pass):
            m.d.comb += control.valid.eq(mine.passing)
        controls.append(control)
    return unit, (read_en, read_addr), made, *controls
