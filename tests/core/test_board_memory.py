"""Weights and maps that exceed a board's SDRAM: what is said, and where they would fit."""

import pytest

import boards
from hwbnn import plan as planner
from hwbnn import planning
from hwbnn.errors import DoesNotFit, SdramTooSmall
from hwbnn.external import too_small

LIMITS = {"target_fps": None, "max_luts": None, "freq_mhz": None, "batch": 1}
MB = 1 << 19  # words


def test_the_size_and_what_holds_it():
    board = boards.get_board("ulx3s")
    error = too_small(40 * MB, board)
    assert error.where == board.name and error.exit_code == DoesNotFit.exit_code
    assert error.what == "weights and maps take 40.0 MB of SDRAM, 32 MB are there"
    assert error.hint == "64 MB hold them"
    assert too_small(65 * MB, board).hint == "no known SDRAM does"


class Machines:
    """A planner for a network that needs ``luts`` and ``megabytes``; ``asked`` names the boards."""

    def __init__(self, luts, megabytes):
        self.luts, self.megabytes, self.asked = luts, megabytes, []

    def __call__(self, graph, board, **limits):
        assert limits == LIMITS
        self.asked.append(board.name)
        if board.budget.comb < self.luts:
            raise DoesNotFit("too few LUTs")
        if board.sdram_bytes < self.megabytes << 20:
            raise too_small(self.megabytes * MB, board)
        return self

    class config:  # noqa: N801
        streams = False


@pytest.mark.parametrize(("board", "luts", "megabytes", "asked", "found"), [
    ("ulx3s-12f", 40_000, 8, ["25f", "45f"], "it fits ulx3s-45f"),
    ("ulx3s-12f", 40_000, 40, ["25f", "45f", "45f-64mb"], "it fits ulx3s-45f-64mb"),
    ("ulx3s-85f", 40_000, 40, ["85f-64mb"], "it fits ulx3s-85f-64mb"),
    ("ulx3s-85f", 90_000, 8, [], ""),
    ("ulx3s-45f", 80_000, 70, ["85f", "85f-64mb"], ""),
    ("ulx3s-45f-64mb", 80_000, 40, ["85f-64mb"], "it fits ulx3s-85f-64mb"),
])
def test_more_memory_is_tried_only_where_it_was_short(board, luts, megabytes, asked, found,
                                                      monkeypatch):
    machines = Machines(luts, megabytes)
    monkeypatch.setattr(planner, "plan", machines)
    with pytest.raises(DoesNotFit) as error:
        machines(None, boards.get_board(board), **LIMITS)
    machines.asked.clear()
    assert planning._elsewhere(None, boards.get_board(board), LIMITS, error.value) == found
    assert machines.asked == [f"ulx3s-{device}" for device in asked]


def test_a_plan_is_held_against_the_memory():
    class Streams(Machines):
        class config:  # noqa: N801
            streams = True

        class program:  # noqa: N801
            off_chip_words = 20 * (1 << 20)

    board = boards.get_board("ulx3s")
    machine = Streams(0, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hwbnn.external.stream_length", lambda program: 5)
        with pytest.raises(SdramTooSmall, match="40.0 MB"):
            planning._held(machine, board)
        assert planning._held(machine, boards.get_board("ulx3s-85f-64mb")) is machine
