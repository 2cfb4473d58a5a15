"""Which of several placements is routed, whatever finishes first."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwbnn.errors import ToolError
from hwbnn.placements import fastest
from hwbnn.tools import Usage

BLOCK = """Info: Max frequency for clock '$glbnet$clk25': 90.00 MHz (PASS at 25.00 MHz)
Warning: Max frequency for clock '$glbnet$engine.clk': {:.2f} MHz (FAIL at 100.00 MHz)
Info: Clock '$glbnet$chip_clk' has no interior paths
Info: Slack histogram:"""


class Tool:
    """Prints as nextpnr does: an estimate of each seed, then a line for each piece of routing."""

    def __init__(self, estimates, fails=()):
        self.estimates, self.fails = estimates, fails
        self.routed, self.running, self.most = [], 0, 0
        self.lock = threading.Lock()

    def __call__(self, seed, on_line):
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            return self._run(seed, on_line)
        finally:
            with self.lock:
                self.running -= 1

    def _run(self, seed, on_line):
        on_line("Info: Packing LUTs")
        if seed in self.fails:
            raise ToolError(f"seed {seed} failed", where="nextpnr")
        for line in BLOCK.format(self.estimates[seed]).splitlines():
            on_line(line)
        for n in range(3):
            on_line(f"routing {n}")
        for line in BLOCK.format(self.estimates[seed] + 20).splitlines():
            on_line(line)
        self.routed.append(seed)
        return Usage(seed + 0.5, 1)


@given(st.lists(st.integers(200, 900), min_size=1, max_size=9), st.integers(1, 3),
       st.integers(0, 5))
def test_the_best_estimate_is_routed(tenths, beside, first):
    estimates = {first + n: value / 10 for n, value in enumerate(tenths)}
    tool = Tool(estimates)
    seed, usage, expected = fastest(tool, list(estimates), beside=beside)
    assert expected == estimates
    assert seed == min(estimates, key=lambda s: (-estimates[s], s))
    assert usage == Usage(seed + 0.5, 1) and seed in tool.routed
    assert tool.most <= beside
    if beside == 1:
        assert tool.routed == [seed], "one run at a time routes nothing that it throws away"


def test_the_clock_that_misses_most_counts():
    class Other(Tool):
        def _run(self, seed, on_line):
            achieved = {1: (24.0, 150.0), 2: (80.0, 70.0)}[seed]
            for mhz, goal in zip(achieved, (25.0, 100.0), strict=True):
                on_line(f"Max frequency for clock 'c': {mhz} MHz (FAIL at {goal} MHz)")
            on_line("Info: Slack histogram:")
            return Usage(seed, 1)

    seed, _usage, expected = fastest(Other({}), [1, 2])
    assert (seed, expected) == (1, {1: 24.0, 2: 70.0})


@pytest.mark.parametrize("beside", (1, 2))
def test_a_seed_that_fails_leaves_the_others(beside):
    estimates = {1: 50.0, 2: 60.0, 3: 70.0, 4: 40.0}
    for fails, best in (({3}, 2), ({1, 2, 3}, 4), ({4}, 3)):
        seed, _usage, expected = fastest(Tool(estimates, fails), [1, 2, 3, 4], beside=beside)
        assert seed == best and set(expected) == set(estimates) - fails
    with pytest.raises(ToolError, match="seed 1 failed"):
        fastest(Tool(estimates, {1, 2, 3, 4}), [1, 2, 3, 4], beside=beside)


def test_a_leader_stops_once_it_is_beaten():
    """Seed 1 routes until seed 2 has its estimate, and is stopped then."""
    placed, beaten = threading.Event(), threading.Event()

    class Slow(Tool):
        def _run(self, seed, on_line):
            if seed == 1:
                for line in BLOCK.format(50).splitlines():
                    on_line(line)
                placed.set()
                assert beaten.wait(10)
                try:
                    on_line("routing, 1000 arcs")
                except BaseException:
                    self.stopped = True
                    raise
                raise AssertionError("went on")
            assert placed.wait(10)
            for line in BLOCK.format(60).splitlines():
                on_line(line)
            beaten.set()
            return Usage(seed, 1)

    tool = Slow({})
    seed, _usage, expected = fastest(tool, [1, 2], beside=2)
    assert seed == 2 and tool.stopped and expected == {1: 50.0, 2: 60.0}
