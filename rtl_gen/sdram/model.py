"""The exact cycle in which each word of an SDRAM read stream is taken, in integers."""

from collections import deque
from math import inf

from .schedule import Schedule
from .timing import BURST

__all__ = ["ReadStream"]

FIFO_LATENCY = 3  # pushed to valid (CreditFifo)
CREDIT_LATENCY = 2  # taken to counted as room


class ReadStream:
    """What ``SdramController`` delivers, word by word, to a consumer that takes them in order.

    Cycle 0 is the one in which ``i_start`` is high. The controller is past its power-up.

    Parameters
    ----------
    schedule : Schedule
        The controller's.
    words : int
        ``i_words``, at least 1.
    base : int
        ``i_base``; only its last three bits matter.
    fifo_depth : int
        The controller's.
    column_bits : int
        The part's.
    """

    def __init__(self, schedule: Schedule, *, words: int, base: int = 0, fifo_depth: int = 1024,
                 column_bits: int = 9):
        if words < 1:
            raise ValueError(f"A stream has at least one word, not {words}")
        self._schedule, self._row_bursts = schedule, (1 << column_bits) // BURST
        self._rp, self._reopen = schedule.cycles.rp, schedule.reopen
        self._period = schedule.refresh_period
        # from the cycle that decides on a READ until the burst's first word is valid
        self._to_valid = schedule.data_delay + FIFO_LATENCY
        self._depth, self._offset, self._words = fifo_depth, base % BURST, words

        self._boundary = schedule.first_boundary - schedule.reopen
        self._refreshed = 0  # set by the first refresh, which starts the stream
        self._left = 0  # words of this pass after the current burst
        self._first = 0  # words before the pass in its first burst
        self._requested = 0  # words of all bursts so far
        # [when the next word is valid, had all before it been taken; words] of bursts under way
        self._bursts = deque()
        self._next = 0  # the cycle after the last taken word's
        self._taken = 0
        self._runs = deque()  # [first word, its cycle, count] of words taken in consecutive cycles

    @property
    def taken(self) -> int:
        """Words taken so far."""
        return self._taken

    def pop(self, earliest: int) -> int:
        """The cycle in which the next word is taken, by a consumer ready from ``earliest`` on."""
        return self.take(earliest, 1)

    def take(self, earliest: int, count: int) -> int:
        """The cycle of the last of ``count`` words, by a consumer ready from ``earliest`` on.

        Ready stays high until then: words come one a cycle where the stream allows it.
        """
        if count < 1:
            raise ValueError(f"At least one word is taken, not {count}")
        cycle = max(earliest, self._next)
        while count:
            if not self._bursts:
                self._issue()
            burst = self._bursts[0]
            n = min(count, burst[1])
            cycle = max(cycle, burst[0])
            runs = self._runs
            if runs and runs[-1][1] + runs[-1][2] == cycle:
                runs[-1][2] += n
            else:
                runs.append([self._taken, cycle, n])
            self._taken += n
            burst[0] += n
            burst[1] -= n
            if not burst[1]:
                self._bursts.popleft()
            count -= n
            cycle += n
        self._next = cycle
        return cycle - 1

    def take_before(self, earliest: int, wanted: int) -> int | None:
        """``pop``; None where the word's burst waits for the end of a move that is asked for from
        cycle ``wanted`` on."""
        if not self._bursts and self._issue(wanted) is not None:
            return None
        return self.take(earliest, 1)

    def move(self, wanted: int, first: int, count: int, *, write: bool) -> int:
        """The cycle of ``o_moved`` of a move of ``count`` bursts from burst ``first`` on, to memory
        or from it, asked for from cycle ``wanted`` on.

        The consumer has taken all that it takes before, and will take what is left of the words
        that are there meanwhile.
        """
        cycles, enters = self._schedule.cycles, None
        while enters is None:
            enters = self._issue(wanted)
        cycle = enters + cycles.ras + cycles.rp
        decide = BURST - 1 if write else 0  # from a burst's first cycle on
        closes = self._schedule.write_wait - 1 if write else 0  # from a burst's end on
        while True:
            if self._refreshed + self._period <= cycle:
                self._refreshed = cycle
                cycle += cycles.rfc
                continue
            if not count:
                break
            cycle += cycles.rcd
            ends = False
            while not ends:
                count, first = count - 1, first + 1
                ends = (not count or first % self._row_bursts == 0
                        or self._refreshed + self._period <= cycle + decide)
                cycle += BURST
            cycle += closes + cycles.rp
        self._boundary = cycle + 1
        self._open()
        return cycle

    def _open(self):
        """Close all rows, refresh, and open the stream's row again."""
        self._refreshed = self._boundary + self._rp
        self._boundary += self._reopen

    def _issue(self, wanted: int | None = None) -> int | None:
        """Find the cycle of the next READ; None, or the cycle in which a move that is asked for
        from ``wanted`` on comes before it."""
        if not self._left:  # the range begins (again): the row is opened after a refresh
            self._first, self._left = self._offset, self._words
            self._open()
        room = self._room(self._requested + BURST - self._depth)
        while True:
            cycle = max(self._boundary, room)
            enters = None
            if wanted is not None and room > max(self._boundary, wanted):
                cycle = enters = max(self._boundary, wanted)
            if self._refreshed + self._period > cycle:
                break
            due = max(self._boundary, self._refreshed + self._period)
            self._refreshed = due + self._rp
            self._boundary = due + self._reopen
        if enters is not None:
            return enters
        n = min(BURST - self._first, self._left)
        self._bursts.append([cycle + self._to_valid + self._first, n])
        self._first = 0
        self._left -= n
        self._requested += n
        self._boundary = cycle + BURST
        return None

    def _room(self, n: int) -> int | float:
        """The first cycle that sees the room left by the first ``n`` words; ``n`` never falls."""
        if n <= 0:
            return 0
        if n > self._taken:
            return inf
        runs = self._runs
        while runs[0][0] + runs[0][2] < n:
            runs.popleft()
        first, cycle, _count = runs[0]
        return cycle + (n - 1 - first) + CREDIT_LATENCY
