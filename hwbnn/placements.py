"""Placements of one netlist from several seeds: the one that promises the fastest clock is routed.

Placement is a matter of luck, and its luck shows: nextpnr's estimate behind it tells how the routed
designs will rank (docs/design-notes.md, "Several placements").
"""

import os
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from .errors import ToolError
from .tools import Usage

__all__ = ["at_once", "fastest"]

MOST_AT_ONCE = 2  # each takes 1.6 GB for a full LFE5U-85F

_CLOCK = re.compile(r"Max frequency for clock.*: ([\d.]+) MHz \(\w+ at ([\d.]+) MHz\)")
_BEHIND = "Slack histogram"  # what nextpnr prints after its estimates

Run = Callable[[int, Callable[[str], None]], Usage]


def at_once() -> int:
    """How many placements run beside each other here."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(MOST_AT_ONCE, cores or 1))


def fastest(
    run: Run,
    seeds: Sequence[int],
    *,
    beside: int = 1,
    progress: Callable[[str], None] = lambda line: None,
) -> tuple[int, Usage, dict[int, float]]:
    """Place with each seed, route the best; (its seed, what its run took, MHz expected by seed).

    Parameters
    ----------
    run : callable
        ``run(seed, on_line)`` runs nextpnr to the end, gives each line of its output to
        ``on_line``, and stops where that raises. It is called in threads.
    beside : int
        Runs at a time. The best one goes on routing while others are placed. What is returned
        does not depend on it: the highest estimate, of equal ones that of the earliest seed.

    Raises
    ------
    ToolError
        The run that was chosen failed, or all did before they had an estimate.
    """
    race = _Race(seeds, beside)
    pool = ThreadPoolExecutor(beside)
    futures = {seed: pool.submit(run, seed, race.watch(seed, progress)) for seed in seeds}
    failed: dict[int, ToolError] = {}
    usages: dict[int, Usage] = {}
    try:
        for seed, future in futures.items():
            try:
                usages[seed] = future.result()
            except _Stopped:
                pass
            except ToolError as error:
                failed[seed] = error
                race.gave_up(seed)
    finally:
        race.stopped = True
        pool.shutdown(cancel_futures=True)
    best = race.best()
    if best in usages:
        return best, usages[best], race.expected
    if best is None or best in failed:
        raise failed[seeds[0] if best is None else best]
    # with one run at a time the best one was stopped, too, to let the others try
    progress(f"seed {best} again, to be routed")
    return best, run(best, lambda line: None), race.expected


class _Stopped(Exception):
    """This run is not needed any more."""


class _Race:
    """Estimates of the runs, and which of them may go on. Shared by their threads."""

    def __init__(self, seeds: Sequence[int], beside: int):
        self.seeds, self.beside = list(seeds), beside
        self.expected: dict[int, float] = {}
        self.share: dict[int, float] = {}  # of the clock asked for
        self.out: set[int] = set()
        self.stopped = False
        self._lock = threading.Lock()

    def best(self) -> int | None:
        """The seed with the best estimate so far."""
        return max(self.share, key=lambda seed: (self.share[seed], -self.seeds.index(seed)),
                   default=None)

    def gave_up(self, seed: int) -> None:
        """``seed`` has failed; without an estimate it never will have one."""
        with self._lock:
            if seed not in self.share:
                self.out.add(seed)

    def watch(self, seed: int, progress: Callable[[str], None]) -> Callable[[str], None]:
        """What reads the run's lines; it raises _Stopped where the run may end."""
        clocks: list[tuple[float, float]] = []

        def line(text: str) -> None:
            with self._lock:
                if self.stopped:
                    raise _Stopped
                if seed in self.share:
                    self._goes_on(seed)
                elif match := _CLOCK.search(text):
                    achieved, constraint = float(match[1]), float(match[2])
                    clocks.append((achieved / constraint, achieved))
                elif clocks and _BEHIND in text:
                    self.share[seed], self.expected[seed] = min(clocks)
                    if len(self.seeds) > 1:
                        progress(f"seed {seed}: {self.expected[seed]:.4g} MHz expected before "
                                 "routing")
                    self._goes_on(seed)

        return line

    def _goes_on(self, seed: int) -> None:
        untried = len(self.seeds) - len(self.share) - len(self.out)
        if self.best() != seed or (untried and self.beside == 1):
            raise _Stopped
