"""SDR SDRAM controller: one range read again and again at a word a cycle, and a slow write port."""

from fractions import Fraction

from amaranth.hdl import *
from amaranth.lib import enum, stream, wiring
from amaranth.lib.wiring import In, Out

from .fifo import CreditFifo, check_depth
from .schedule import Schedule
from .timing import BURST, MOVE_BITS, SdramPart

__all__ = ["Command", "SdramController"]

ALL_BANKS = 1 << 10  # A10 of PRECHARGE; of READ it closes the row after the burst


class Command(enum.Enum, shape=3):
    """Levels of (RAS#, CAS#, WE#), the first in the top bit."""

    NOP = 0b111
    ACTIVATE = 0b011
    READ = 0b101
    WRITE = 0b100
    PRECHARGE = 0b010
    REFRESH = 0b001
    MODE = 0b000


class SdramController(wiring.Component):
    """Initialises and refreshes an SDRAM, streams one range of it for ever, or writes it.

    Parameters
    ----------
    part : SdramPart
        Geometry and timings.
    clk_hz : int or Fraction
        Clock of ``sync``, which is the SDRAM's too.
    fifo_depth : int
        Words between the SDRAM and the consumer, a power of two, at least 16.
    read_delay : int
        See ``Schedule``.
    schedule : Schedule, optional
        In place of the one that follows from the parameters above.
    moves : bool
        Bursts are also moved between the memory and somebody else (``i_move``).

    Members
    -------
    i_start : In(1);  i_base, i_words : In
        Read words ``i_base`` to ``i_base + i_words - 1`` in order, then from the base again, until
        the next start of either kind. Words that were not taken are dropped. At least one word; the
        range ends inside the memory. The first READ may follow ``schedule.first_boundary`` cycles
        after a start, whatever went on before it. A start during power-up waits for its end.
        Starts must be ``schedule.first_boundary`` cycles apart, or refreshes come too late.
    o : Out(stream.Signature(16))
        The words. A start makes ``valid`` low in the next cycle.
    i_write_start : In(1);  i_write_base : In
        Stop reading; the next word of ``i_write`` goes to ``i_write_base``.
    i_write : In(stream.Signature(16))
        Words for consecutive addresses, ``schedule.write_slot`` cycles each. Not ready unless
        ``i_write_start`` came last. A word that was accepted is written even if a start follows.
    i_move, i_move_write : In(1);  i_move_base, i_move_bursts : In, with ``moves``
        Move so many bursts of 8 words, at least one, from burst ``i_move_base`` on; to the memory
        or from it. All stand until ``o_moved``. Words of the stream come first: a move waits until
        the FIFO has no room for another burst of it, and the stream for the end of the move.
    o_move_next : Out(1);  i_move_data : In(16)
        The word to write was taken; the next one belongs there a cycle later.
    o_move_valid : Out(1);  o_move_data : Out(16)
        A word that was read; the last one at most ``schedule.data_delay`` cycles behind
        ``o_moved``.
    o_moved : Out(1)
        Pulse: all commands of the move were given. Where ``i_move`` falls before that it ends
        early, without this.
    o_ready : Out(1)
        Power-up is over.
    o_cke, o_cs_n, o_ras_n, o_cas_n, o_we_n, o_ba, o_a, o_dqm, o_dq, o_dq_en : Out
        To the pins, all from registers. ``o_dq_en`` makes the data pins outputs.
    i_dq : In(16)
        From the pins; the first thing it meets is a register.

    Every burst of 8 words follows the one before it without a gap, across rows too. A refresh or
    the end of the range costs ``schedule.reopen`` cycles; ``ReadStream`` has the exact cycles, of
    moves too: they are written or read a word a cycle, and close their row for a refresh or the
    next one.
    """

    def __init__(
        self,
        part: SdramPart,
        clk_hz: int | Fraction,
        *,
        fifo_depth: int = 1024,
        read_delay: int = 0,
        schedule: Schedule | None = None,
        moves: bool = False,
    ):
        self._part, self._depth = part, check_depth(fifo_depth)
        self._schedule = schedule or Schedule(part.cycles(clk_hz), read_delay)
        self._address_pins = max(part.row_bits, 11)
        bits = part.address_bits
        self._moves = {}
        if moves:
            self._moves = {
                "i_move": In(1), "i_move_write": In(1), "i_move_base": In(bits - 3),
                "i_move_bursts": In(MOVE_BITS), "o_move_next": Out(1), "i_move_data": In(16),
                "o_move_valid": Out(1), "o_move_data": Out(16), "o_moved": Out(1),
            }
        super().__init__(
            self._moves
            | {
                "i_start": In(1),
                "i_base": In(bits),
                "i_words": In(bits + 1),
                "o": Out(stream.Signature(16)),
                "i_write_start": In(1),
                "i_write_base": In(bits),
                "i_write": In(stream.Signature(16)),
                "o_ready": Out(1),
                "o_cke": Out(1),
                "o_cs_n": Out(1),
                "o_ras_n": Out(1, init=1),
                "o_cas_n": Out(1, init=1),
                "o_we_n": Out(1, init=1),
                "o_ba": Out(part.bank_bits),
                "o_a": Out(self._address_pins),
                "o_dqm": Out(2, init=3),
                "o_dq": Out(16),
                "o_dq_en": Out(1),
                "i_dq": In(16),
            }
        )

    @property
    def part(self) -> SdramPart:
        return self._part

    @property
    def schedule(self) -> Schedule:
        return self._schedule

    @property
    def moves(self) -> bool:
        return bool(self._moves)

    @property
    def fifo_depth(self) -> int:
        return self._depth

    def power_up_steps(self) -> list[tuple[Command, int, int]]:
        """(command, A, cycles until the next one) after the power-up wait."""
        c = self._schedule.cycles
        # burst of 8, sequential; A9: single writes
        mode = 0b011 | c.cas_latency << 4 | 1 << 9
        refresh = (Command.REFRESH, 0, c.rfc)
        return [
            (Command.PRECHARGE, ALL_BANKS, c.rp),
            (Command.MODE, mode, c.mrd),
            *[refresh] * c.init_refreshes,
        ]

    def elaborate(self, platform):
        m = Module()
        s, c, part = self._schedule, self._schedule.cycles, self._part

        # pins
        command = Signal(Command, init=Command.NOP)
        bank = Signal(part.bank_bits)
        a = Signal(self._address_pins)
        m.d.sync += [
            self.o_cke.eq(1),
            self.o_cs_n.eq(0),
            Cat(self.o_we_n, self.o_cas_n, self.o_ras_n).eq(command),
            self.o_ba.eq(bank),
            self.o_a.eq(a),
            self.o_dqm.eq(Mux(self.o_ready, 0, 3)),
            self.o_dq.eq(self.i_write.payload),
            self.o_dq_en.eq(command == Command.WRITE),
        ]

        # addresses of bursts and of the word to write, split for the pins
        burst_bits = part.address_bits - 3
        burst, written = Signal(burst_bits), Signal(part.address_bits)
        row, column_bits = {}, part.column_bits
        for name, value in (("read", burst << 3), ("write", written)):
            field = Signal(part.address_bits, name=f"{name}_address")
            m.d.comb += field.eq(value)
            row[name] = (
                field[column_bits + part.bank_bits :],
                field[column_bits : column_bits + part.bank_bits],
                _column(field[:column_bits]),
            )

        # a start: nothing new begins until everything under way has ended
        draining, drain = Signal(), Signal(range(s.drain))
        reading, writing, reopen = Signal(), Signal(), Signal()
        base, words = Signal(part.address_bits), Signal(part.address_bits + 1)
        to_write = Signal()
        start = Signal()
        m.d.comb += start.eq(self.i_start | self.i_write_start)
        with m.If(draining & self.o_ready & (drain != 0)):
            m.d.sync += drain.eq(drain - 1)
        with m.If(start):
            m.d.sync += [
                draining.eq(1),
                drain.eq(s.drain - 1),
                to_write.eq(~self.i_start),
                base.eq(Mux(self.i_start, self.i_base, self.i_write_base)),
                words.eq(self.i_words),
            ]
        end, words_less = Signal.like(base), Signal.like(words)
        m.d.sync += [words_less.eq(words - 1), end.eq(base + words_less)]

        # what the next burst is: settled long before it is issued
        first, is_last, row_ends = Signal(), Signal(), Signal()
        low, high, need = Signal(3), Signal(3), Signal(range(BURST + 1))
        m.d.sync += [
            is_last.eq(burst == end[3:]),
            row_ends.eq(burst[: column_bits - 3] == (1 << (column_bits - 3)) - 1),
            low.eq(Mux(first, base[:3], 0)),
            high.eq(Mux(is_last, end[:3], BURST - 1)),
            need.eq(high - low + 1),
        ]

        # refresh is due a fixed time after the last one
        refreshed, due = Signal(), Signal()
        age = Signal(range(s.refresh_period))
        with m.If(refreshed):
            m.d.sync += [age.eq(s.refresh_period - 2), due.eq(0)]
        with m.Elif(age == 0):
            m.d.sync += due.eq(1)
        with m.Else():
            m.d.sync += age.eq(age - 1)

        if self._moves:
            m.d.sync += self.o_dq.eq(
                Mux(self.o_move_next, self.i_move_data, self.i_write.payload))

        m.submodules.fifo = fifo = CreditFifo(depth=self._depth)
        wiring.connect(m, fifo.o, wiring.flipped(self.o))
        room = Signal(range(self._depth + 1), init=self._depth)
        has_room, issue, issued = Signal(), Signal(), Signal()
        m.d.comb += [has_room.eq(room[3:] != 0), fifo.i_clear.eq(start | draining)]
        # counted a cycle late, which the next slot does not notice, but the adder does
        m.d.sync += [issued.eq(issue), room.eq(room + fifo.o_popped - Mux(issued, need, 0))]
        with m.If(draining):
            m.d.sync += room.eq(self._depth)
        arrived = self._collect(m, issue, low, high, fifo, draining)
        move = self._move_address(m, due, arrived) if self._moves else None

        # One state acts in one cycle; then ``timer`` counts down to the next one's.
        act, timer = Signal(init=1), Signal(range(s.longest_wait))
        with m.If(~act):
            m.d.sync += [timer.eq(timer - 1), act.eq(timer == 0)]

        def go(state, cycles):
            if cycles > 1:
                m.d.sync += [act.eq(0), timer.eq(cycles - 2)]
            m.next = state

        steps = self.power_up_steps()
        wait, step = Signal(range(c.power_up + 1)), Signal(range(len(steps) + 1))
        row_ended = Signal()
        with m.FSM():
            with m.State("POWER-UP"):
                m.d.sync += wait.eq(wait + 1)
                with m.If(wait == c.power_up):
                    m.next = "INITIALISE"
            with m.State("INITIALISE"), m.If(act):
                m.d.sync += step.eq(step + 1)
                with m.Switch(step):
                    for k, (what, value, cycles) in enumerate(steps):
                        with m.Case(k):
                            m.d.comb += [
                                command.eq(what),
                                a.eq(value),
                                refreshed.eq(what == Command.REFRESH),
                            ]
                            go("INITIALISE", cycles)
                    with m.Default():
                        m.d.sync += self.o_ready.eq(1)
                        m.next = "BOUNDARY"

            with m.State("BOUNDARY"), m.If(act):
                with m.If(draining):
                    with m.If((drain == 0) & ~start):
                        m.d.sync += [
                            draining.eq(0),
                            reading.eq(~to_write),
                            writing.eq(to_write),
                            burst.eq(base[3:]),
                            first.eq(1),
                            reopen.eq(1),
                        ]
                        with m.If(to_write):
                            m.d.sync += written.eq(base)
                with m.Elif(reopen | due):
                    m.d.comb += [command.eq(Command.PRECHARGE), a.eq(ALL_BANKS)]
                    m.d.sync += reopen.eq(0)
                    go("REFRESH", c.rp)
                with m.Elif(reading & has_room):
                    m.d.comb += [
                        command.eq(Command.READ),
                        bank.eq(row["read"][1]),
                        a.eq(row["read"][2] | row_ends << 10),
                        issue.eq(1),
                    ]
                    m.d.sync += [
                        burst.eq(Mux(is_last, base[3:], burst + 1)),
                        first.eq(is_last),
                        reopen.eq(is_last),
                        row_ended.eq(row_ends & ~is_last),
                    ]
                    go("SLOT", 1)
                if self._moves:
                    with m.Elif(reading & self.i_move):
                        go("MOVE", c.ras)
                with m.Elif(writing & self.i_write.valid):
                    m.d.comb += [
                        command.eq(Command.ACTIVATE),
                        bank.eq(row["write"][1]),
                        a.eq(row["write"][0]),
                    ]
                    go("WRITE", c.rcd)
            with m.State("SLOT"), m.If(act):
                with m.If(row_ended):
                    m.d.comb += self._activate(command, bank, a, row["read"])
                go("BOUNDARY", BURST - 1)

            with m.State("REFRESH"), m.If(act):
                m.d.comb += [command.eq(Command.REFRESH), refreshed.eq(1)]
                with m.If(reading):
                    go("REOPEN", c.rfc)
                with m.Else():
                    go("BOUNDARY", c.rfc)
            with m.State("REOPEN"), m.If(act):
                m.d.comb += self._activate(command, bank, a, row["read"])
                go("BOUNDARY", c.rcd)

            with m.State("WRITE"), m.If(act):
                m.d.comb += [
                    command.eq(Command.WRITE),
                    bank.eq(row["write"][1]),
                    a.eq(row["write"][2]),
                    self.i_write.ready.eq(1),
                ]
                go("CLOSE", s.write_wait)
            with m.State("CLOSE"), m.If(act):
                m.d.comb += [command.eq(Command.PRECHARGE), a.eq(ALL_BANKS)]
                m.d.sync += written.eq(written + 1)
                go("BOUNDARY", s.write_recovery)
            if self._moves:
                self._move_states(m, act, go, (command, bank, a), (due, refreshed, reopen), move)
        return m

    def _move_address(self, m, due, arrived):
        """Where a move is, and the words that it reads: (registers, (row, bank, column), whether
        its row is closed behind this burst, pulse with each READ)."""
        column_bits, bank_bits = self._part.column_bits, self._part.bank_bits
        burst, left = Signal.like(self.i_move_base), Signal.like(self.i_move_bursts)
        beat, ends, stops, issue = Signal(3), Signal(), Signal(), Signal()
        address = Signal(self._part.address_bits)
        row_ends = burst[: column_bits - 3] == (1 << (column_bits - 3)) - 1
        m.d.comb += [address.eq(Cat(beat, burst)), stops.eq(ends | due | ~self.i_move)]
        m.d.sync += ends.eq((left == 1) | row_ends)
        # a burst's words come one after another, ``data_delay`` cycles behind its READ
        words, late = Signal(range(BURST + 1)), Signal(self._schedule.data_delay - 1)
        with m.If(issue):
            m.d.sync += words.eq(BURST)
        with m.Elif(words != 0):
            m.d.sync += words.eq(words - 1)
        m.d.sync += late.eq(Cat(words != 0, late))
        m.d.comb += [self.o_move_valid.eq(late[-1]), self.o_move_data.eq(arrived)]
        fields = (address[column_bits + bank_bits :],
                  address[column_bits : column_bits + bank_bits], _column(address[:column_bits]))
        return (burst, left, beat), fields, stops, issue

    def _move_states(self, m, act, go, pins, refresh, move):
        """All rows are closed, then opened one after another; a refresh may come at any burst's
        end. The last state leaves the stream's row to be opened again."""
        s, c = self._schedule, self._schedule.cycles
        command, bank, a = pins
        due, refreshed, reopen = refresh
        (burst, left, beat), fields, stops, issue = move

        with m.State("MOVE"), m.If(act):
            m.d.comb += [command.eq(Command.PRECHARGE), a.eq(ALL_BANKS)]
            m.d.sync += [burst.eq(self.i_move_base), left.eq(self.i_move_bursts), beat.eq(0)]
            go("MOVE CLOSED", c.rp)
        with m.State("MOVE CLOSED"), m.If(act):
            with m.If(due):
                m.d.comb += [command.eq(Command.REFRESH), refreshed.eq(1)]
                go("MOVE CLOSED", c.rfc)
            with m.Elif((left == 0) | ~self.i_move):
                m.d.comb += self.o_moved.eq(self.i_move)
                m.d.sync += reopen.eq(1)
                go("BOUNDARY", 1)
            with m.Else():
                m.d.comb += self._activate(command, bank, a, fields)
                go("MOVE BURST", c.rcd)
        with m.State("MOVE BURST"), m.If(act):
            m.d.comb += [bank.eq(fields[1]), a.eq(fields[2])]
            with m.If(self.i_move_write):
                m.d.comb += [command.eq(Command.WRITE), self.o_move_next.eq(1)]
                m.d.sync += beat.eq(beat + 1)
                with m.If(beat == BURST - 1):
                    m.d.sync += [burst.eq(burst + 1), left.eq(left - 1)]
                    with m.If(stops):
                        go("MOVE CLOSE", s.write_wait)
            with m.Else():
                m.d.comb += [command.eq(Command.READ), issue.eq(1)]
                m.d.sync += [burst.eq(burst + 1), left.eq(left - 1)]
                go("MOVE BURST", BURST)
                with m.If(stops):
                    m.next = "MOVE CLOSE"
        with m.State("MOVE CLOSE"), m.If(act):
            m.d.comb += [command.eq(Command.PRECHARGE), a.eq(ALL_BANKS)]
            go("MOVE CLOSED", c.rp)

    @staticmethod
    def _activate(command, bank, a, fields):
        return [command.eq(Command.ACTIVATE), bank.eq(fields[1]), a.eq(fields[0])]

    def _collect(self, m, issue, low, high, fifo, draining):
        """Push the words of a burst that belong to the range when they are in the register."""
        arrived = Signal(16, reset_less=True)
        lane, lanes_left = Signal(range(BURST)), Signal()
        burst_low, burst_high = Signal(3), Signal(3)
        wanted = Signal()
        m.d.sync += arrived.eq(self.i_dq)
        with m.If(issue):
            m.d.sync += [lane.eq(0), lanes_left.eq(1), burst_low.eq(low), burst_high.eq(high)]
        with m.Else():
            m.d.sync += lane.eq(lane + 1)
            with m.If(lane == BURST - 1):
                m.d.sync += lanes_left.eq(0)
        m.d.comb += wanted.eq(lanes_left & (lane >= burst_low) & (lane <= burst_high))
        delay = self._schedule.data_delay - 1  # the lane counter is a cycle behind the READ
        late = Signal(delay)
        m.d.sync += late.eq(Cat(wanted, late))
        m.d.comb += [fifo.i_push.eq(late[-1] & ~draining), fifo.i_data.eq(arrived)]
        return arrived


def _column(bits):
    """Column address on the pins: A10 is left out."""
    return bits if len(bits) <= 10 else Cat(bits[:10], Const(0, 1), bits[10:])
