"""Exact cycles of the stem: when each pooled row is ready, given when rows arrive and are taken."""

from collections.abc import Callable, Sequence

from .stem_config import StemConfig

__all__ = ["READY_LATENCY", "StemTimes"]

# from the cycle that reads a pass's last word to the one that first shows o_ready
READY_LATENCY = 17
# from a pixel's or a take's cycle to the first cycle of a pass that waited for it
START_LATENCY = 3
# from a row's first cycle to the one in which the image rows that it releases are free
RELEASE_LATENCY = 1


class StemTimes:
    """Cycles of one run of a stem, pooled row after pooled row, over any number of frames.

    Cycle 0 is the first one out of reset. A row's index counts on over frames: frame*H/4 + py.

    Parameters
    ----------
    config : StemConfig
    arrival : (row, earliest) -> cycle, optional
        Cycle in which the last pixel of image row ``row`` (frame*H + y) is accepted, when its first
        can be accepted in cycle ``earliest`` or later. Asked once per row, in order. Default: a
        source that always has a pixel, ``earliest + W - 1``.
    """

    def __init__(self, config: StemConfig, arrival: Callable[[int, int], int] | None = None):
        self._config = config
        self._arrival = arrival or (lambda row, earliest: earliest + config.width - 1)
        self._arrived: list[int] = []  # by image row
        self._released: list[tuple[int, int]] = []  # image rows released, cycle they are free in
        self._next_map_row = 0
        self._pooled = 0
        self._free = config.pass_words + 2  # the first pass's weights are loaded after reset

    @property
    def frame_cycles(self) -> int:
        """Cycles of a frame that never waits."""
        config = self._config
        return sum(self._row_cycles(y) for y in range(config.conv_rows))

    @property
    def patience(self) -> int:
        """Cycles after which a finished row that nobody takes stops the stem, about."""
        return self.frame_cycles * (2 * self._config.out_rows - 1) // self._config.conv_rows

    def next_ready(self, taken: Sequence[int]) -> int:
        """First cycle in which ``o_ready`` can show the next pooled row (earlier ones taken).

        ``taken[k]`` is the cycle in which ``i_take`` took row k; to ask for row r, takes up to row
        r - out_rows must be known (later ones are not looked at).

        Raises
        ------
        ValueError
            ``taken`` is too short.
        """
        config = self._config
        row = self._pooled
        old = row - config.out_rows
        if len(taken) <= old:
            raise ValueError(f"row {row} of the stem waits for the take of row {old}")
        self._start_map_row(0)
        start = self._start_map_row(taken[old] + START_LATENCY if old >= 0 else 0)
        self._pooled += 1
        passes = self._row_cycles((self._next_map_row - 1) % config.conv_rows)
        return start + passes - config.pass_cycles + config.conv_width + READY_LATENCY

    def _row_cycles(self, y):
        config = self._config
        return config.groups * len(config.kernel_rows(y)) * config.pass_cycles

    def _start_map_row(self, not_before):
        """Cycle in which the next map row's first pass begins."""
        config = self._config
        frame, y = divmod(self._next_map_row, config.conv_rows)
        arrived = self._arrive(frame * config.height + config.last_row(y))
        start = max(self._free, not_before, arrived + START_LATENCY)
        released = start + RELEASE_LATENCY
        self._released.append((frame * config.height + config.first_row(y), released))
        self._free = start + self._row_cycles(y)
        self._next_map_row += 1
        return start

    def _arrive(self, row):
        while len(self._arrived) <= row:
            new = len(self._arrived)
            earliest = self._arrived[-1] + 1 if new else 0
            if new >= self._config.ring_rows:
                gone = new - self._config.ring_rows + 1  # rows that must be released
                while self._released[0][0] < gone:
                    self._released.pop(0)
                earliest = max(earliest, self._released[0][1])
            self._arrived.append(self._arrival(new, earliest))
        return self._arrived[row]
