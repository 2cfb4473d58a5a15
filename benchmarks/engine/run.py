"""Array utilisation, cycles and compile times of the bundled example, on several machines."""

import argparse
import datetime
import json
import os
import tempfile
import time
from pathlib import Path

from compiles import compile_network
from search import search
from tables import tables

from hwbnn.report import tables_markdown

HERE = Path(__file__).parent
CHECKPOINT = HERE.parents[1] / "examples" / "snn_cifar10.pth"
BOARD = "ulx3s"
AIM = 60.0  # percent of the binary array, over the whole frame
# of report.json
KEPT = ("machine", "layers", "totals", "performance", "resources", "simulation", "tools")
# (what asks for it, options of hwbnn compile, plan.json)
ASKED = [
    ("the planner's default", [], None),
    ("--max-luts 15000", ["--max-luts", "15000"], None),
    ("--plan, K doubled", [],
     {"shape": {"S": 32, "P": 4, "T": 1, "K": 32}, "psum_depth": 512, "const_words": 2}),
]


def machines(found: dict) -> list[list]:
    """The machines to simulate: those asked for, and what the search found best."""
    asked = [list(entry) for entry in ASKED]
    for name, what in (("fastest_with_aim", f"fewest cycles with {AIM:g} % or more"),
                       ("best_used", "highest utilisation")):
        plan = found[name]["plan"]
        same = [entry for entry in asked if entry[2] and entry[2]["shape"] == plan["shape"]]
        if same:
            same[0][0] += f"; {what}"
        else:
            asked.append([what, [], plan])
    return asked


def check(report: dict) -> None:
    """Raise ValueError unless every predicted number of cycles is the simulated one."""
    pairs = {row["name"]: row["cycles"] for row in report["layers"]}
    pairs |= {name: report["performance"][name] for name in ("latency", "interval")}
    for name, cycles in pairs.items():
        if cycles["estimate"]["value"] != cycles["rtl-sim"]["value"]:
            raise ValueError(f"{name}: {cycles['estimate']['value']} cycles predicted, "
                             f"{cycles['rtl-sim']['value']} simulated")


def measure(asked: list[list], work: Path) -> list[dict]:
    """What each machine's report says, and what compiling it took: with no cache at all (the first
    machine only), with an empty build cache, and with the one that this left."""
    rows = []
    wasm = work / "wasm"
    for number, (what, arguments, plan) in enumerate(asked):
        folder = work / str(number)
        folder.mkdir(parents=True)
        arguments = ["--board", BOARD, *arguments]
        if plan is not None:
            (folder / "given.json").write_text(json.dumps(plan))
            arguments += ["--plan", str(folder / "given.json")]
        runs, reports = {}, []
        for name in (["first"] if number == 0 else []) + ["empty", "warm"]:
            cache = folder / ("first-cache" if name == "first" else "cache")
            runs[name], report = compile_network(CHECKPOINT, arguments, folder / name,
                                                 cache=cache, wasm=wasm)
            reports.append([report[key] for key in KEPT])
        if any(other != reports[0] for other in reports):
            raise ValueError(f"compiles of {report['machine']['shape']} differ")
        check(report)
        row = {"asked": what} | dict(zip(KEPT, reports[0], strict=True)) | {"runs": runs}
        row["machine"] = row["machine"]["shape"]
        print(f"{row['machine']}: {row['performance']['interval']['rtl-sim']['value']:,} cycles; "
              + ", ".join(f"{name} {took['seconds']} s" for name, took in runs.items()),
              flush=True)
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="keep the compiled folders there")
    parser.add_argument("--dry", action="store_true", help="store neither results nor tables")
    parser.add_argument("--tables", action="store_true", help="write results.md again, no more")
    given = parser.parse_args()
    store = HERE / "results.json"
    if given.tables:
        result = json.loads(store.read_text())
    else:
        start = time.monotonic()
        found = search(CHECKPOINT, BOARD, AIM)
        searched = time.monotonic() - start
        with tempfile.TemporaryDirectory() as scratch:
            rows = measure(machines(found), (given.work or Path(scratch)).resolve() / "machines")
        result = {
            "checkpoint": CHECKPOINT.name, "board": BOARD,
            "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
            "cores": os.cpu_count(), "load": round(os.getloadavg()[1], 1),
            "search_seconds": round(searched, 1),
            "seconds": round(time.monotonic() - start), "search": found, "machines": rows,
        }
    text = tables_markdown(f"{result['checkpoint']}: utilisation, cycles and compile times",
                           tables(result))
    if given.dry:
        print(text)
        return
    if not given.tables:
        store.write_text(json.dumps(result, indent=1) + "\n")
    (HERE / "results.md").write_text(text)


if __name__ == "__main__":
    main()
