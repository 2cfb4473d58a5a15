"""The end of a frame: logits are copied out of the feature memory and the largest is found."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .common import Ram
from .config import EngineConfig

__all__ = ["ResultScan"]


class ResultScan(wiring.Component):
    """Copies P logits a word into the logit memory and keeps the first largest.

    Members
    -------
    i_start, i_address, i_last : In
        Scan from this feature word on; index of the last class.
    i_next, i_step : In, where the configuration has a batch
        With ``i_start``: the image behind the last one, a feature word on, its logits behind those
        in the logit memory; words from one group of P classes to the next.
    o_busy, o_read, o_addr, i_word : feature memory read port while busy
    o_done : Out(1)
        Pulse: all logits are stored and ``o_class`` is final.
    o_class : Out(16)
    i_logit_addr : In, o_logit : Out(signed(feature_bits))
        Read port of the logit memory for the host, two cycles.

    A word of P logits takes P + 4 cycles, the last one only as many as it has classes, and the
    pulse two more.
    """

    def __init__(self, config: EngineConfig):
        self._config = config
        fa = config.step_layout["f_read"].shape
        super().__init__(
            {
                "i_start": In(1),
                "i_address": In(fa),
                "i_last": In(config.step_layout["n_classes"].shape),
                "o_busy": Out(1),
                "o_read": Out(1),
                "o_addr": Out(fa),
                "i_word": In(config.lanes * config.pixels * config.feature_bits),
                "o_done": Out(1),
                "o_class": Out(16),
                "i_logit_addr": In(range(config.logit_depth)),
                "o_logit": Out(signed(config.feature_bits)),
            }
            | ({"i_next": In(1), "i_step": In(fa)} if config.batch > 1 else {})
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        f, p, t = config.feature_bits, config.lanes, config.pixels
        width, depth = config.memories()["logits"]
        m.submodules.logits = ram = Ram(
            name="logits", width=width, depth=depth, registered=True
        )
        lanes = Signal(p * f)
        index = Signal.like(self.i_last)
        lane = Signal(range(max(2, p)))
        best = Signal(signed(f))
        value = Signal(signed(f))
        scanning = Signal()
        place, first, group = index, self.i_address, 1
        if config.batch > 1:
            place, image, group = Signal.like(ram.w_addr), Signal.like(self.o_addr), self.i_step
            first = Signal.like(image)
            m.d.comb += first.eq(Mux(self.i_next, image + 1, self.i_address))
            with m.If(scanning):
                m.d.sync += place.eq(place + 1)
        m.d.comb += [
            value.eq(lanes[:f]),
            ram.w_en.eq(scanning),
            ram.w_addr.eq(place),
            ram.w_data.eq(value),
            ram.r_en.eq(~self.o_busy),
            ram.r_addr.eq(self.i_logit_addr),
            self.o_logit.eq(ram.r_data),
        ]
        # a value is compared when its turn comes, with the best one and with the one before, which
        # becomes the best in that cycle if it wins: the next cycle only chooses
        late, late_index, turn = Signal.like(value), Signal.like(index), Signal()
        above_best, above_late, took, wins = (
            Signal(name=n) for n in ("above_best", "above_late", "took", "wins"))
        m.d.comb += wins.eq(turn & ((late_index == 0) | Mux(took, above_late, above_best)))
        m.d.sync += [
            turn.eq(scanning), late.eq(value), late_index.eq(index),
            above_best.eq(value > best),
            above_late.eq(value > late),
            took.eq(wins),
        ]  # fmt: skip
        with m.If(wins):
            m.d.sync += [best.eq(late), self.o_class.eq(late_index)]
        with m.If(scanning):
            m.d.sync += [index.eq(index + 1), lane.eq(lane + 1), lanes.eq(lanes >> f)]
        # states that drive much have a register of their own: the feature memory and the logits lie
        # far apart
        arrived = Signal()
        with m.If(arrived):
            m.d.sync += lane.eq(0)
            for i in range(p):
                m.d.sync += lanes[i * f : (i + 1) * f].eq(self.i_word[i * t * f : i * t * f + f])
        with m.If(self.o_read):
            m.d.sync += self.o_addr.eq(self.o_addr + group)
        m.d.sync += [self.o_read.eq(0), arrived.eq(0)]
        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.i_start):
                    m.d.sync += [index.eq(0), self.o_addr.eq(first)]
                    if config.batch > 1:
                        m.d.sync += image.eq(first)
                        with m.If(~self.i_next):
                            m.d.sync += place.eq(0)
                    m.d.sync += [self.o_busy.eq(1), self.o_read.eq(1)]
                    m.next = "READ"
            with m.State("READ"):
                m.next = "PORT"
            with m.State("PORT"):
                m.next = "ARRIVE"
            with m.State("ARRIVE"):
                m.d.sync += arrived.eq(1)
                m.next = "WORD"
            with m.State("WORD"):
                m.d.sync += scanning.eq(1)
                m.next = "SCAN"
            with m.State("SCAN"):
                with m.If(index == self.i_last):
                    m.d.sync += [scanning.eq(0), self.o_busy.eq(0)]
                    m.next = "LAST"
                with m.Elif(lane == p - 1):
                    m.d.sync += [scanning.eq(0), self.o_read.eq(1)]
                    m.next = "READ"
            with m.State("LAST"):
                m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.o_done.eq(1)
                m.next = "IDLE"
        return m
