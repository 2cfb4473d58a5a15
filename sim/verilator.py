"""cocotb's runner of Verilator without what it does again for every design."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from cocotb_tools.runner import Verilator

from hwbnn import tools
from hwbnn.cache import Cache, digest

__all__ = ["Runner", "environment"]

# One translation unit, not optimised: of 25 s for a small engine 3 are left, and 100,000 cycles
# take a second more.
QUICK = ("VM_PARALLEL_BUILDS=0", "OPT_FAST=-O0", "OPT_SLOW=-O0")


class Runner(Verilator):
    """Builds without making every signal visible, and compiles Verilator's runtime once.

    Visible signals are eight times the code; ports and what a pragma or control file names will do.
    The runtime (``verilated*.cpp``) is half of the time that a small design takes. Its objects are
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
        folder, how = Path(self.build_dir), self._runtime_commands(command, cwd)
        key = digest(str(self._tool), *how)
        # objects that are copied are younger than what make says they are made of
        found = self._kept.get(key, folder) if how else {}
        super()._execute_cmds([command], cwd, stdout)
        if found is None:
            self._kept.put(key, folder.glob("verilated*.o"), {})

    def _runtime_commands(self, command, cwd) -> list[str]:
        """How make would compile the runtime, and with which compiler."""
        dry = subprocess.run([*command, "-n"], cwd=cwd, env=self.env, check=False,
                             capture_output=True, text=True)  # fmt: skip
        lines = [line for line in dry.stdout.splitlines() if " -o verilated" in line]
        compilers = {line.split()[0] for line in lines}
        return lines + [
            subprocess.run([name, "--version"], check=False, capture_output=True, text=True).stdout
            for name in sorted(compilers)
        ]


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
