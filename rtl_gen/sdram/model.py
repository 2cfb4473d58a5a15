"""The exact cycle in which each word of an SDRAM read stream is taken, in integers."""

from collections import deque

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
    """

    def __init__(self, schedule: Schedule, *, words: int, base: int = 0, fifo_depth: int = 1024):
        if words < 1:
            raise ValueError(f"A stream has at least one word, not {words}")
        self._rp, self._reopen = schedule.cycles.rp, schedule.reopen
        self._period = schedule.refresh_period
        # from the cycle that decides on a READ until the burst's first word is valid
        self._to_valid = schedule.data_delay + FIFO_LATENCY
        self._depth, self._offset, self._words = fifo_depth, base % BURST, words

        self._boundary = schedule.first_boundary - schedule.reopen
        self._refreshed = 0  # set by the first refresh, which starts the stream
        self._left = 0  # words of this pass after the current burst
        self._requested = 0  # words of all bursts so far
        self._burst_left = 0
        self._valid = 0  # when the next word of the burst is, had all before it been taken
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
            if not self._burst_left:
                self._issue()
            n = min(count, self._burst_left)
            cycle = max(cycle, self._valid)
            runs = self._runs
            if runs and runs[-1][1] + runs[-1][2] == cycle:
                runs[-1][2] += n
            else:
                runs.append([self._taken, cycle, n])
            self._taken += n
            self._burst_left -= n
            self._valid += n
            count -= n
            cycle += n
        self._next = cycle
        return cycle - 1

    def _issue(self):
        """Find the cycle of the next READ; everything before its words has been taken."""
        offset = 0
        boundary = self._boundary
        if not self._left:  # the range begins (again): the row is opened after a refresh
            offset, self._left = self._offset, self._words
            self._refreshed = boundary + self._rp
            boundary += self._reopen
        cycle = max(boundary, self._room(self._requested + BURST - self._depth))
        while self._refreshed + self._period <= cycle:
            due = max(boundary, self._refreshed + self._period)
            self._refreshed = due + self._rp
            boundary = due + self._reopen
            cycle = max(boundary, cycle)
        n = min(BURST - offset, self._left)
        self._left -= n
        self._requested += n
        self._burst_left = n
        self._valid = cycle + self._to_valid + offset
        self._boundary = cycle + BURST

    def _room(self, n: int) -> int:
        """The first cycle that sees the room left by the first ``n`` words; ``n`` never falls."""
        if n <= 0:
            return 0
        runs = self._runs
        while runs[0][0] + runs[0][2] < n:
            runs.popleft()
        first, cycle, _count = runs[0]
        return cycle + (n - 1 - first) + CREDIT_LATENCY
