"""`hwbnn compile --stop-after verify` in a process of its own: its report and what it took."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["compile_network"]


def compile_network(checkpoint: Path, arguments: list[str], out: Path, *, cache: Path,
                    wasm: Path) -> tuple[dict, dict]:
    """Compile into the new folder ``out``, which lies in an existing one.

    Parameters
    ----------
    arguments : more options of the command
    cache : folder of hwbnn's build cache; new or what an earlier compile left
    wasm : folder in which YoWASP keeps yosys as machine code, likewise

    Returns
    -------
    (dict, dict)
        ``stages`` with wall-clock seconds and peak memory in MiB of hwbnn's own process, and of
        the whole command ``seconds``, ``cpu_seconds`` with those of all tools that it started,
        ``largest_process_mib``; and report.json.

    Raises
    ------
    RuntimeError
        It failed, as it does where simulated and predicted cycles or any value differ.
    """
    log = out.with_suffix(".log")
    command = [sys.executable, "-m", "hwbnn", "compile", str(checkpoint), *arguments,
               "--stop-after", "verify", "-o", str(out)]
    caches = {"HWBNN_CACHE": str(cache), "YOWASP_CACHE_DIR": str(wasm)}
    start = time.monotonic()
    with log.open("w") as file:
        process = subprocess.Popen(command, env=os.environ | caches, stdout=file, stderr=file)
    _pid, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - start
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{log.read_text()}")
    report = json.loads((out / "report.json").read_text())
    took = {
        "stages": [{"name": s["name"], "seconds": round(s["seconds"], 1),
                    "peak_mib": s["peak_bytes"] >> 20} for s in report["stages"]],
        "seconds": round(seconds, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        # Linux counts in KiB, macOS in bytes
        "largest_process_mib": usage.ru_maxrss >> (20 if sys.platform == "darwin" else 10),
    }
    return took, report
