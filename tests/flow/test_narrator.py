"""What a waiting user sees of nextpnr's log."""

import pytest

from hwbnn.place import _Narrator

LINES = {
    "Info: Packing LUT5-7s...": "packing LUT5-7s...",
    "Info:     at iteration #3, type ALL: wirelen solved = 304974, spread = 519594, "
    "legal = 621860; time = 7.41s": "placing, iteration 3, wire length 621860",
    "Info: Running simulated annealing placer for refinement.": "placing, simulated annealing",
    "Info:   at iteration #5: temp = 0.000000, timing cost = 1433, wirelen = 498084":
        "refining the placement, iteration 5, wire length 498084",
    "Info:      14000 |     1456      12543 |   99   901 |    211659|       1.02      19.08|":
        "routing, 14000 arcs tried, 211659 left",
    "Info:     at initial placer iter 0, wirelen = 279227": None,
}


@pytest.mark.parametrize(("line", "shown"), LINES.items())
def test_lines(line, shown):
    said = []
    _Narrator(said.append)(line)
    assert said == [] if shown is None else said == [shown]
