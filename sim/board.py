"""A whole board in simulation, as its host sees it: serial line, PLL, host link, engine."""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from cocotb_tools.runner import get_results, get_runner

from boards import Board
from hwbnn import tools
from hwbnn.emit import Emitted, verilog_for_sim
from hwbnn.errors import ToolError

from .netlist import CELLS, WARNINGS

__all__ = ["board_sources", "talk"]


def board_sources(emitted: Emitted, out_dir: Path) -> tuple[Path, ...]:
    """Verilog of a ``board_design`` before synthesis, with a model of its PLL."""
    return (*verilog_for_sim(emitted, out_dir), CELLS / "EHXPLLL.v")


def talk(
    sources: Sequence[Path],
    toplevel: str,
    frames: Sequence[bytes],
    *,
    board: Board,
    out_dir: Path,
    baud: int | None = None,
    images: Path | None = None,
) -> list[bytes]:
    """Send ``frames`` one after another through the serial line; return the answer to each.

    ``images`` is the folder of memory contents (``write_images``); a netlist has its own.

    Raises
    ------
    ToolError
        The simulator does not build, or a frame gets no whole answer.
    """
    out_dir = out_dir.resolve()
    out_dir.mkdir(parents=True, exist_ok=True)
    rate = baud or board.baud
    (out_dir / "answers.json").unlink(missing_ok=True)
    request = {
        "frames": [frame.hex() for frame in frames],
        "bit_ps": round(1e12 / rate),
        "clock_ps": round(1e12 / board.clock_hz),
    }
    (out_dir / "requests.json").write_text(json.dumps(request))
    arguments = ["--timing", "-CFLAGS", "-std=gnu++20", "-MAKEFLAGS", "OPT_FAST=-O0 OPT_SLOW=-O0"]
    # The runner makes every signal accessible, which is eight times the code; the ports will do.
    arguments += ["--no-public-flat-rw", "--public-depth", "1"]
    arguments += [f"-Wno-{name}" for name in WARNINGS]
    with _environment(tools.find("verilator")):
        runner = get_runner("verilator")
        try:
            runner.build(
                sources=[file.resolve() for file in sources],
                hdl_toplevel=toplevel,
                build_dir=out_dir / "obj",
                build_args=arguments,
                timescale=("1ps", "1ps"),
                always=True,
                log_file=out_dir / "build.log",
            )
        except (SystemExit, RuntimeError) as error:
            raise ToolError(
                "the board does not build", where="verilator", hint=f"see {out_dir / 'build.log'}"
            ) from error
        results = runner.test(
            test_module="sim.board_bench",
            hdl_toplevel=toplevel,
            build_dir=out_dir / "obj",
            test_dir=out_dir,
            extra_env={"HWBNN_BOARD": str(out_dir)},
            plusargs=[f"+IMAGES={images.resolve()}"] if images else [],
            log_file=out_dir / "simulation.log",
        )
    n_tests, n_failed = get_results(results)
    if (n_tests, n_failed) != (1, 0):
        raise ToolError(
            "the board does not answer", where=toplevel, hint=f"see {out_dir / 'simulation.log'}"
        )
    return [bytes.fromhex(text) for text in json.loads((out_dir / "answers.json").read_text())]


@contextlib.contextmanager
def _environment(tool: tools.Tool) -> Iterator[None]:
    """What ``tool`` needs in the process's environment, for as long as it runs."""
    old = dict(os.environ)
    os.environ.update(tools.environment(tool))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(old)
