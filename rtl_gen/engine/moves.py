"""Rows of a map moved between a memory on chip and the off-chip one, by a step of their own.

Off chip a map lies row by row, a row by groups of lanes: any rows of it are one run of bursts,
whatever rows the steps that made them had. A value takes a 16-bit word.
"""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..sdram.timing import BURST_ADDRESS_BITS, MOVE_BITS
from .common import DelayLine
from .config import COORDINATE_BITS, EngineConfig

__all__ = ["ASKS", "SETTLE", "MoveUnit", "join_moves", "move_members", "move_word"]

VALUE_BITS = 16  # of a value in off-chip memory
READ_LATENCY = 3  # of either memory
ARRIVES = READ_LATENCY + 1  # until a word is in the unit's own register
ASKS = 2 * (ARRIVES + 2) + 1  # from ``i_start`` until the memory is asked
SETTLE = 17  # from ``i_moved`` to ``o_done``: the last words read come behind it, and are stored


class MoveUnit(wiring.Component):
    """Reads words of a map and hands them out value by value, or gathers and writes them.

    Parameters
    ----------
    values, bits : int
        P*T values of ``bits`` bits a word.
    address_bits, plane_bits : int
        Widths of addresses and of the number of planes.

    Members
    -------
    i_start : In(1)
        Begin; the others stand still from here to ``o_done``.
    i_write : In(1)
        To the off-chip memory.
    i_planes, i_words : In
        Planes, words of a row, each less one; the memory's bursts say how many rows.
    i_from, i_step : In(address_bits)
        First word; from a plane to the next. Rows lie behind each other.
    o_read, o_store : Out(1);  o_addr : Out(address_bits);  i_word : In, o_word : Out(P*T*bits)
        Port of the memory; a word comes READ_LATENCY cycles after ``o_read``.
    o_move : Out(1);  i_next : In(1);  o_data : Out(16)
    i_valid : In(1);  i_data : In(16);  i_moved : In(1)
        See ``SdramController``.
    o_busy, o_done : Out(1)
        At work; pulse: everything is stored.
    """

    def __init__(self, *, values: int, bits: int, address_bits: int, plane_bits: int):
        if bits > VALUE_BITS:
            raise ValueError(f"values of {bits} bits; {VALUE_BITS} are the most")
        self._values, self._bits = values, bits
        super().__init__(
            {
                "i_start": In(1),
                "i_write": In(1),
                "i_planes": In(plane_bits),
                "i_words": In(COORDINATE_BITS),
                "i_from": In(address_bits),
                "i_step": In(address_bits),
                "o_read": Out(1),
                "o_store": Out(1),
                "o_addr": Out(address_bits),
                "i_word": In(values * bits),
                "o_word": Out(values * bits),
                "o_move": Out(1),
                "i_next": In(1),
                "o_data": Out(VALUE_BITS),
                "i_valid": In(1),
                "i_data": In(VALUE_BITS),
                "i_moved": In(1),
                "o_busy": Out(1),
                "o_done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits = self._bits
        fetch, advance = Signal(), Signal()
        self._walk(m, advance)
        beat = Signal(range(self._values))
        word_ends = Signal()
        m.d.comb += [
            word_ends.eq(beat == self._values - 1),
            self.o_read.eq(fetch),
            advance.eq(fetch | self.o_store),
        ]
        with m.If(self.i_next | self.i_valid):
            m.d.sync += beat.eq(Mux(word_ends, 0, beat + 1))

        # out: the word behind the one that is handed out waits
        waiting, leaving = Signal.like(self.i_word), Signal.like(self.i_word)
        come = DelayLine(m, fetch, "come", reset=True)
        loads = Signal()
        with m.If(come[READ_LATENCY]):
            m.d.sync += waiting.eq(self.i_word)
        with m.If(loads | (self.i_next & word_ends)):
            m.d.sync += leaving.eq(waiting)
        with m.Elif(self.i_next):
            m.d.sync += leaving.eq(leaving >> bits)
        m.d.comb += self.o_data.eq(leaving[:bits].as_signed())

        # in
        gathered = Signal.like(self.o_word)
        with m.If(self.i_valid):
            m.d.sync += gathered.eq(Cat(gathered[bits:], self.i_data[:bits]))
        m.d.sync += self.o_store.eq(self.i_valid & word_ends)
        m.d.comb += self.o_word.eq(gathered)

        count = Signal(range(max(ASKS, SETTLE) + 1))
        with m.FSM() as states:
            with m.State("IDLE"):
                m.d.sync += [count.eq(0), beat.eq(0)]
                with m.If(self.i_start):
                    m.next = "PREPARE"
            with m.State("PREPARE"):
                m.d.sync += count.eq(count + 1)
                m.d.comb += [
                    fetch.eq(self.i_write & ((count == 0) | (count == ARRIVES + 1))),
                    loads.eq(count == ARRIVES),
                ]
                with m.If(count == ASKS - 2):
                    m.d.sync += self.o_move.eq(1)
                    m.next = "MOVE"
            with m.State("MOVE"):
                m.d.sync += count.eq(0)
                m.d.comb += fetch.eq(self.i_next & word_ends)
                with m.If(self.i_moved):
                    m.d.sync += self.o_move.eq(0)
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                m.d.sync += count.eq(count + 1)
                with m.If(count == SETTLE - 2):
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.o_done.eq(1)
                m.next = "IDLE"
        m.d.comb += self.o_busy.eq(~states.ongoing("IDLE"))
        return m

    def _walk(self, m, advance):
        """Addresses in the order of the off-chip memory: row by row, a row plane by plane."""
        column, plane = Signal.like(self.i_words), Signal.like(self.i_planes)
        row, start = Signal.like(self.i_from), Signal.like(self.i_from)
        plane_next, row_next = Signal.like(self.i_from), Signal.like(self.i_from)
        m.d.comb += [
            plane_next.eq(start + self.i_step),
            row_next.eq(row + self.i_words + 1),
        ]
        with m.If(advance):
            m.d.sync += [column.eq(column + 1), self.o_addr.eq(self.o_addr + 1)]
            with m.If(column == self.i_words):
                m.d.sync += [column.eq(0), plane.eq(plane + 1),
                             start.eq(plane_next), self.o_addr.eq(plane_next)]
                with m.If(plane == self.i_planes):
                    m.d.sync += [plane.eq(0), row.eq(row_next), start.eq(row_next),
                                 self.o_addr.eq(row_next)]
        with m.If(self.i_start):
            m.d.sync += [column.eq(0), plane.eq(0), row.eq(self.i_from), start.eq(self.i_from),
                         self.o_addr.eq(self.i_from)]


def move_members(config: EngineConfig) -> dict:
    """The ports of an engine that moves maps; the controller has the same, the other way."""
    if not config.moves:
        return {}
    return {"o_move": Out(1), "o_move_write": Out(1), "o_move_base": Out(BURST_ADDRESS_BITS),
            "o_move_bursts": Out(MOVE_BITS), "i_move_next": In(1), "o_move_data": Out(VALUE_BITS),
            "i_move_valid": In(1), "i_move_data": In(VALUE_BITS), "i_moved": In(1)}


def join_moves(m, config: EngineConfig, engine, seq, branch) -> MoveUnit:
    """The unit of an engine, between its ports, its sequencer and the memory of maps that wait;
    words of the feature memory are still to be given to it (`move_word`)."""
    step = seq.o_step
    m.submodules.moves = unit = MoveUnit(
        values=config.lanes * config.pixels, bits=config.feature_bits,
        address_bits=config.move_addr_bits, plane_bits=len(step.n_og))
    m.d.comb += [
        unit.i_start.eq(seq.o_move),
        seq.i_move_done.eq(unit.o_done),
        unit.i_write.eq(step.move_write),
        unit.i_planes.eq(step.n_og),
        unit.i_words.eq(step.n_x),
        unit.i_from.eq(Mux(step.move_branch, step.b_addr, step.x_addr)),
        unit.i_step.eq(step.f_step),
        engine.o_move.eq(unit.o_move),
        engine.o_move_write.eq(step.move_write),
        engine.o_move_base.eq(step.move_base),
        engine.o_move_bursts.eq(step.move_bursts),
        engine.o_move_data.eq(unit.o_data),
        unit.i_next.eq(engine.i_move_next),
        unit.i_valid.eq(engine.i_move_valid),
        unit.i_data.eq(engine.i_move_data),
        unit.i_moved.eq(engine.i_moved),
        branch.i_moves.eq(unit.o_busy & step.move_branch),
        branch.i_move_read.eq(unit.o_read),
        branch.i_move_write.eq(unit.o_store),
        branch.i_move_addr.eq(unit.o_addr),
        branch.i_move_word.eq(unit.o_word),
    ]
    return unit


def move_word(m, step, unit: MoveUnit, branch, word) -> None:
    """Hand the unit what it reads: a ``word`` of the feature memory, or of a map that waits."""
    m.d.comb += unit.i_word.eq(Mux(step.move_branch, branch.o_word, Value.cast(word)))
