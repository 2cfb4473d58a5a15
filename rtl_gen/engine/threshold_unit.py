"""Bits at thresholds of the image, made beside the array: of one frame while it works on another's.
"""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .bitmap import BitMap
from .common import AddressWalker, DelayLine
from .config import EngineConfig
from .map_pass import MapPass
from .threshold_dense import ThresholdDense
from .threshold_sequencer import ThresholdSequencer, entry_layout

__all__ = ["Sampler", "ThresholdUnit", "unit_drain"]


def unit_drain() -> int:
    """Cycles from a pass' last issue until its bits are stored."""
    return MapPass.LATENCY + 1 + BitMap.WRITE_LATENCY + 2


class Sampler(wiring.Component):
    """Every second row and column of a map, as words of P channels of T pixels.

    Members
    -------
    i_load, i_base, i_step : In
        First word, and words a plane.
    i_valid, i_odd, i_row_odd, i_start : In(1), i_x : In(ArrayLayout(signed(bits), P*T))
        A word of the map; second of a pair; of an odd row; ends the first pair of a plane.
    o_en, o_addr, o_word : Out
        A word to store, a cycle after the pair's second one.

    Where a threshold unit takes two words a cycle, ``i_x`` is a pair, p*2T + t.
    """

    def __init__(self, config: EngineConfig):
        self._config = config
        f, n = config.feature_bits, config.lanes * config.pixels
        super().__init__(
            {
                "i_load": In(1),
                "i_base": In(config.feature_addr_bits),
                "i_step": In(config.feature_addr_bits),
                "i_valid": In(1),
                "i_odd": In(1),
                "i_row_odd": In(1),
                "i_start": In(1),
                "i_x": In(data.ArrayLayout(signed(f), n * config.pass_words)),
                "o_en": Out(1),
                "o_addr": Out(config.feature_addr_bits),
                "o_word": Out(data.ArrayLayout(signed(f), n)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        t = self._config.pixels
        held = Signal.like(self.i_x, reset_less=True)
        with m.If(self.i_valid):
            m.d.sync += held.eq(self.i_x)
        emit = Signal()
        pairs = self._config.pass_words == 2
        m.d.comb += emit.eq(self.i_valid & (self.i_odd | pairs) & ~self.i_row_odd)
        m.submodules.walker = walker = AddressWalker(self._config.feature_addr_bits)
        m.d.comb += [
            walker.load.eq(self.i_load),
            walker.base.eq(self.i_base),
            walker.step.eq(self.i_step),
            walker.valid.eq(emit),
            walker.first.eq(self.i_start),
        ]
        m.d.sync += [self.o_en.eq(emit), self.o_addr.eq(walker.addr)]
        for lane in range(self._config.lanes):
            if pairs:
                both = [self.i_x[2 * t * lane + i] for i in range(2 * t)]
            else:
                both = [word[lane * t + i] for word in (held, self.i_x) for i in range(t)]
            for i in range(t):
                m.d.sync += self.o_word[lane * t + i].eq(both[2 * i])
        return m


class ThresholdUnit(wiring.Component):
    """Channel sums in, bits out; the map is read word by word from the other frame's memory.

    Members
    -------
    i_due : In(1), o_done : Out(1)
        Pulses: a map and its sums are complete; the bits of the next one are stored.
    i_sum_en, i_sum_addr, i_sum : In
        A word of channel sums is written.
    o_entry : Out(entry_layout), o_setup : Out(1)
        What is being done; a pulse a cycle after it changes.
    o_read, o_addr : Out
        Read a word of the map in the memory ``o_entry.bank``, or this pair of words.
    i_x : In(ArrayLayout(signed(feature_bits), P*T)), of a pair P*2T
        That word, MapPass.LATENCY cycles later.
    o_valid, o_first, o_odd, o_row_last, o_bits : Out
        As BitMap takes them.
    o_store, o_store_addr, o_store_word : Out
        A word of the map with every second row and column, for the same memory.
    """

    def __init__(self, config: EngineConfig):
        self._config = config
        n, fa = config.lanes * config.pixels, config.feature_addr_bits
        word = data.ArrayLayout(signed(config.feature_bits), n)
        words = data.ArrayLayout(signed(config.feature_bits), n * config.pass_words)
        dense = ThresholdDense(config)
        dense._MustUse__used = True
        super().__init__(
            {
                "i_due": In(1),
                "o_done": Out(1),
                "i_sum_en": In(1),
                "i_sum_addr": In(dense.i_sum_addr.shape()),
                "i_sum": In(dense.i_sum.shape()),
                "o_entry": Out(entry_layout(config)),
                "o_setup": Out(1),
                "o_read": Out(1),
                "o_addr": Out(fa),
                "i_x": In(words),
                "o_valid": Out(1),
                "o_first": Out(1),
                "o_odd": Out(1),
                "o_row_last": Out(1),
                "o_bits": Out(n * config.pass_words),
                "o_store": Out(1),
                "o_store_addr": Out(fa),
                "o_store_word": Out(word),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.sequencer = seq = ThresholdSequencer(config, drain=unit_drain())
        m.submodules.dense = dense = ThresholdDense(config)
        m.submodules.map_pass = unit = MapPass(config)
        m.submodules.sampler = sampler = Sampler(config)
        entry = self.o_entry
        setup = DelayLine(m, seq.o_take, "setup", reset=True)
        issue = DelayLine(m, seq.o_pass, "issue", reset=True)
        here, load = issue[0], issue[MapPass.LATENCY - 1]
        at_x, at_bit = issue[MapPass.LATENCY], issue[MapPass.LATENCY + 1]
        m.d.comb += [
            entry.eq(seq.o_entry),
            seq.i_due.eq(self.i_due),
            self.o_done.eq(seq.o_done),
            self.o_setup.eq(setup[1]),
            dense.i_entry.eq(entry),
            dense.i_take.eq(seq.o_take),
            dense.i_issue.eq(seq.o_dense),
            dense.i_sum_en.eq(self.i_sum_en),
            dense.i_sum_addr.eq(self.i_sum_addr),
            dense.i_sum.eq(self.i_sum),
            dense.i_read.eq(unit.i_valid & unit.i_first),
            dense.i_read_addr.eq(unit.o_vector_addr),
            unit.i_setup.eq(self.o_setup),
            unit.i_base.eq(entry.f_read),
            unit.i_step.eq(entry.f_step),
            unit.i_vector.eq(0),
            unit.i_planes.eq(entry.n_og),
            unit.i_lanes.eq(entry.pass_lanes),
            unit.i_valid.eq(here.valid & here.inside),
            unit.i_first.eq(here.first),
            unit.i_load.eq(load.valid & load.first),
            unit.i_thresholds.eq(dense.o_thresholds),
            unit.i_x.eq(self.i_x),
            self.o_read.eq(unit.i_valid),
            self.o_addr.eq(unit.o_addr),
            sampler.i_load.eq(self.o_setup),
            sampler.i_base.eq(entry.s_write),
            sampler.i_step.eq(entry.s_step),
            sampler.i_valid.eq(at_x.valid & entry.sample),
            sampler.i_odd.eq(at_x.odd),
            sampler.i_row_odd.eq(at_x.row_odd),
            sampler.i_start.eq(at_x.start),
            sampler.i_x.eq(self.i_x),
            self.o_store.eq(sampler.o_en),
            self.o_store_addr.eq(sampler.o_addr),
            self.o_store_word.eq(sampler.o_word),
            self.o_valid.eq(at_bit.valid),
            self.o_first.eq(at_bit.first),
            self.o_odd.eq(at_bit.odd),
            self.o_row_last.eq(at_bit.row_last),
            self.o_bits.eq(unit.o_bits),
        ]
        return m
