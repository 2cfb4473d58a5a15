"""What every simulation of a network is checked for."""

import pytest

from hwbnn.schedule import schedule
from hwbnn.stages import compare_cycles
from sim.network import build_simulator, simulate


@pytest.fixture(scope="session")
def checked():
    """Simulate images: values by `simulate`, cycles by the schedule; errors say ``where``.

    With ``stall`` images arrive with gaps: frames start late, and where two run at once the one's
    end waits for the other's beginning, so that cycles are not predicted; nor where maps move to
    SDRAM and back, since refreshes come at other places then.
    """

    def check(program, graph, images, where, *, simulator=None, stall=0.0, seed=0):
        try:
            simulator = simulator or build_simulator(program.config, quick=True)
            run = simulate(program, graph, images, simulator=simulator, stall=stall, seed=seed)
            predicted = schedule(program, frames=len(images))
            if not stall:
                compare_cycles(predicted, run)
            elif not program.entries and not program.config.moves:
                assert run.cycles == predicted.frames
        except (Exception, SystemExit) as error:
            error.add_note(where)
            raise
        return run

    return check
