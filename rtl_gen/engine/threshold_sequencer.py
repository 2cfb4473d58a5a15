"""The threshold unit's program: one entry a map, and the loops over what an entry computes."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .common import DelayLine, Ram
from .config import COORDINATE_BITS, EngineConfig
from .lane import LATENCY as LANE_LATENCY
from .run_time_config import ThresholdConfig
from .sequencer import PASS_SWEEP

__all__ = ["WORD_BITS", "ThresholdSequencer", "dense_issue", "entry_layout", "entry_words", "gaps",
           "pass_issue"]

WORD_BITS = 36  # of the unit's program memory


def _bits(depth: int) -> int:
    return max(1, (depth - 1).bit_length())


def _latency(unit: ThresholdConfig) -> int:
    """Cycles from the issue of an output's last products to its value behind the lane."""
    levels = (unit.inputs - 1).bit_length()
    return 4 + 3 + levels + 1 + LANE_LATENCY


def gaps(unit: ThresholdConfig) -> tuple[int, int]:
    """Cycles between a dense layer's last issue and the next one's first, and the pass' first,
    beyond two: until the last value can be read."""
    return _latency(unit) - 1, _latency(unit) + 1


def entry_layout(config: EngineConfig) -> data.StructLayout:
    """What the unit does for one map: two dense layers, and a pass over the map."""
    unit, step = config.run_time.unit, config.step_layout
    ba, fa = config.bit_addr_bits, config.feature_addr_bits
    dense = {}
    for n in (1, 2):
        dense |= {
            f"prescale{n}": step["prescale"].shape,
            f"shift{n}": step["shift"].shape,
            f"clamp{n}": step["clamp"].shape if config.clamps else 1,
        }
    return data.StructLayout(
        {
            "last": 1,  # the program's last entry
            "sums": _bits(unit.sum_depth),  # where the channel sums lie
            "n_in": 10,  # M-tuples of channels, less one
            "n_hidden": 10,  # hidden values, less one
            "n_words": 10,  # M-tuples of hidden values, less one
            "n_out": 10,  # channels, less one
            "weights": _bits(unit.weight_depth),
            "constants": _bits(unit.const_depth),
            "sigmoid": _bits(len(config.run_time.fracs)),
            "bank": 1,  # feature memory with the map
            "f_read": fa,  # in words, or pairs of them
            "f_step": fa,
            "n_og": 10,  # planes, less one
            "pass_lanes": _bits(config.lanes),  # channels of the last one, less one
            "n_y": COORDINATE_BITS,  # rows, less one
            "n_x": COORDINATE_BITS,  # groups a row, or pairs of them, less one
            "n_inside": COORDINATE_BITS,  # those with a pixel, less one
            "bits_buffer": 1,
            "bits_addr": ba,
            "bits_row_step": ba,
            "bits_cg_step": ba,
            "sample": 1,  # every second row and column is stored, too
            "s_write": fa,
            "s_step": fa,
        }
        | dense
    )


def entry_words(config: EngineConfig) -> int:
    """Words of the program memory an entry takes."""
    return -(-entry_layout(config).size // WORD_BITS)


def dense_issue(config: EngineConfig) -> data.StructLayout:
    """M products of the dense layers."""
    unit = config.run_time.unit
    return data.StructLayout(
        {
            "valid": 1,
            "second": 1,  # of the second layer
            "first": 1,  # first products of an output
            "last": 1,
            "ends": 1,  # with ``last``: the layer's last output
            "addr": max(_bits(unit.sum_depth), _bits(unit.hidden_depth)),
            "slice": range(max(2, config.lanes // unit.inputs)),
        }
    )


def pass_issue() -> data.StructLayout:
    """One word of the map."""
    return data.StructLayout(
        {"valid": 1, "inside": 1, "first": 1, "row_last": 1, "odd": 1, "row_odd": 1, "start": 1}
    )


class ThresholdSequencer(wiring.Component):
    """Runs the unit's program: an entry whenever a map is due.

    An entry takes ``n_in * n_hidden`` cycles, a gap, ``n_out * n_words``, a gap, the pass (its
    planes start PASS_SWEEP cycles apart at least), and the drain.

    Members
    -------
    i_due : In(1)
        Pulse: one more map is complete. When reset ends one is due: the one that the first turn
        of the engine's program would have from the turn before.
    o_entry : Out(entry_layout), o_take : Out(1)
        The entry in progress; a pulse in the cycle before it is.
    o_dense, o_pass : Out
        Registered issues.
    o_done : Out(1)
        Pulse: all that the entry makes is stored.
    """

    def __init__(self, config: EngineConfig, *, drain: int):
        self._config, self._drain = config, drain
        super().__init__(
            {
                "i_due": In(1),
                "o_entry": Out(entry_layout(config)),
                "o_take": Out(1),
                "o_dense": Out(dense_issue(config)),
                "o_pass": Out(pass_issue()),
                "o_done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, entry = self._config, self.o_entry
        unit = config.run_time.unit
        following, ready = self._prefetch(m)
        due = Signal(2, init=1)
        m.d.sync += due.eq(due + self.i_due - self.o_take)

        second, dense, passing = Signal(), Signal(), Signal()
        i, o = Signal(10), Signal(10)
        i_last, o_last = Signal(), Signal()
        m.d.comb += [
            i_last.eq(i == Mux(second, entry.n_words, entry.n_in)),
            o_last.eq(o == Mux(second, entry.n_out, entry.n_hidden)),
        ]
        slices = config.lanes // unit.inputs
        slice_, offset = Signal.like(self.o_dense.slice), Signal.like(self.o_dense.addr)
        with m.If(dense):
            m.d.sync += i.eq(i + 1)
            wraps = Const(1) if slices == 1 else slice_ == slices - 1
            with m.If(second | wraps):
                m.d.sync += [slice_.eq(0), offset.eq(offset + 1)]
            with m.Else():
                m.d.sync += slice_.eq(slice_ + 1)
            with m.If(i_last):
                m.d.sync += [i.eq(0), slice_.eq(0), offset.eq(0), o.eq(o + 1)]
                with m.If(o_last):
                    m.d.sync += o.eq(0)
        m.d.sync += [
            self.o_dense.valid.eq(dense),
            self.o_dense.second.eq(second),
            self.o_dense.first.eq(i == 0),
            self.o_dense.last.eq(i_last),
            self.o_dense.ends.eq(o_last),
            self.o_dense.addr.eq(offset + Mux(second, 0, entry.sums)),
            self.o_dense.slice.eq(slice_),
        ]
        pass_ends = self._pass(m, passing)

        count = Signal(range(max(*gaps(unit), self._drain) + 1))
        with m.FSM():
            with m.State("WAIT"):
                with m.If((due != 0) & ready):
                    m.d.comb += self.o_take.eq(1)
                    m.d.sync += entry.eq(following)
                    m.next = "HIDDEN"
            with m.State("HIDDEN"):
                m.d.comb += dense.eq(1)
                m.d.sync += count.eq(gaps(unit)[0])
                with m.If(i_last & o_last):
                    m.next = "HIDDEN GAP"
            with m.State("HIDDEN GAP"):
                m.d.sync += count.eq(count - 1)
                with m.If(count == 0):
                    m.d.sync += second.eq(1)
                    m.next = "OUT"
            with m.State("OUT"):
                m.d.comb += dense.eq(1)
                m.d.sync += count.eq(gaps(unit)[1])
                with m.If(i_last & o_last):
                    m.next = "OUT GAP"
            with m.State("OUT GAP"):
                m.d.sync += count.eq(count - 1)
                with m.If(count == 0):
                    m.d.sync += second.eq(0)
                    m.next = "PASS"
            with m.State("PASS"):
                m.d.comb += passing.eq(1)
                m.d.sync += count.eq(self._drain)
                with m.If(pass_ends):
                    m.next = "DRAIN"
            with m.State("DRAIN"):
                m.d.sync += count.eq(count - 1)
                with m.If(count == 0):
                    m.d.comb += self.o_done.eq(1)
                    m.next = "WAIT"
        return m

    def _pass(self, m, passing):
        """The map's words, plane by plane; returns whether this is the last one."""
        entry = self.o_entry
        j, y, og = Signal(COORDINATE_BITS), Signal(COORDINATE_BITS), Signal(10)
        j_last, y_last, og_last = (Signal(name=n) for n in ("j_last", "y_last", "og_last"))
        first, go = Signal(init=1), Signal()
        gap = Signal(range(PASS_SWEEP))
        m.d.comb += [
            j_last.eq(j == entry.n_x),
            y_last.eq(y == entry.n_y),
            og_last.eq(og == entry.n_og),
            go.eq(passing & (~first | (gap == 0))),
        ]
        with m.If(gap != 0):
            m.d.sync += gap.eq(gap - 1)
        with m.If(go):
            m.d.sync += [first.eq(0), j.eq(j + 1)]
            with m.If(first):
                m.d.sync += gap.eq(PASS_SWEEP - 1)
            with m.If(j_last):
                m.d.sync += [j.eq(0), y.eq(y + 1)]
                with m.If(y_last):
                    m.d.sync += [y.eq(0), first.eq(1), og.eq(og + 1)]
                    with m.If(og_last):
                        m.d.sync += og.eq(0)
        m.d.sync += [
            self.o_pass.valid.eq(go),
            self.o_pass.inside.eq(j <= entry.n_inside),
            self.o_pass.first.eq(first),
            self.o_pass.row_last.eq(j_last),
            self.o_pass.odd.eq(j[0]),
            self.o_pass.row_odd.eq(y[0]),
            self.o_pass.start.eq((y == 0) & (j == (1 if self._config.pass_words == 1 else 0))),
        ]
        ends = Signal()
        m.d.comb += ends.eq(go & j_last & y_last & og_last)
        return ends

    def _prefetch(self, m):
        """Read the next entry while the one before it runs; (entry, whether it is there)."""
        config = self._config
        words, depth = entry_words(config), config.run_time.unit.step_depth
        m.submodules.entries = ram = Ram(
            name="unit_steps", width=WORD_BITS, depth=depth, registered=True
        )
        bits, following = Signal(WORD_BITS * words), Signal(entry_layout(config))
        address, count = Signal(range(depth)), Signal(range(words + 1))
        m.d.comb += [
            following.eq(bits[: entry_layout(config).size]),
            ram.r_addr.eq(address),
            ram.r_en.eq(count != words),
        ]
        arriving = DelayLine(m, ram.r_en, "arriving", reset=True)
        ready = Signal()
        m.d.comb += ready.eq((count == words) & ~arriving[1] & ~arriving[2])
        with m.If(ram.r_en):
            m.d.sync += [count.eq(count + 1), address.eq(address + 1)]
        with m.If(arriving[2]):
            m.d.sync += bits.eq(Cat(bits[WORD_BITS:], ram.r_data))
        with m.If(self.o_take):
            m.d.sync += count.eq(0)
            with m.If(following.last):
                m.d.sync += address.eq(0)
        return following, ready
