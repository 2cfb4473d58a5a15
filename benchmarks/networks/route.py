"""Whole builds of published networks: simulated bit-exact, placed, routed, with a bitstream.

    python benchmarks/networks/route.py [--feature-bits N] [--work DIR] [ROW=]SOURCE ...

A SOURCE is a network's name, for ``hwbnn models synth``, or a checkpoint; both are compiled for the
ULX3S 85F. Or it is the folder of a finished build, which is read as it is. ROW is its name in the
table. Writes routed.json and routed.md beside this file. Frames per second are the routed clock
over the simulated cycles between frames.
"""

import argparse
import datetime
import json
from pathlib import Path

from run import hwbnn

HERE = Path(__file__).resolve().parent
COLUMNS = ("network", "machine", "map bits", "TRELLIS_COMB", "FF", "block RAM", "multipliers",
           "Fmax, MHz", "bitstream, MHz", "cycles between frames", "latency, cycles",
           "frames/s at Fmax", "floorplan, s", "place and route, s", "peak, MiB")


def built(name: str, feature_bits: int, work: Path) -> Path:
    """The build folder of a network, a checkpoint, or a build folder."""
    if (Path(name) / "report.json").exists():
        return Path(name)
    checkpoint = Path(name)
    if not checkpoint.exists():
        checkpoint = work / f"{name}.pth"
        hwbnn("models", "synth", name, "-o", str(checkpoint))
    out = work / f"{checkpoint.stem}-routed"
    hwbnn("compile", str(checkpoint), "--board", "ulx3s", "--feature-bits", str(feature_bits),
          "-o", str(out))
    return out


def measured(folder: Path, row: str) -> dict:
    """What a finished build's report says, by column, as ``row`` or the checkpoint's name."""
    report = json.loads((folder / "report.json").read_text())
    stages = {s["name"]: s for s in report["stages"]}
    used = [report["resources"][k]["post-route"]["value"] for k in ("comb", "ff", "ebr", "dsp")]
    perf, clock = report["performance"], report["clock"]
    values = (
        row or Path(report["network"]["file"]).stem, report["machine"]["shape"],
        report["network"]["numeric"]["feature_bits"], *used,
        round(clock["fmax"]["value"], 2), round(clock["clock"]["value"], 2),
        perf["interval"]["rtl-sim"]["value"], perf["latency"]["rtl-sim"]["value"],
        round(perf["fps_at_fmax"]["value"], 2),
        round(stages["build: floorplan"]["seconds"]),
        round(stages["build: place and route"]["seconds"]),
        max(s["peak_bytes"] for s in report["stages"]) >> 20,
    )
    return {
        "date": datetime.date.today().isoformat(),
        "seed": clock["seed"],
        "placed_mhz": {seed: q["value"] for seed, q in clock.get("expected", {}).items()},
        "words_compared": report["simulation"]["words_compared"],
        "frames": report["simulation"]["frames"],
        "weights": report.get("weights"),
    } | dict(zip(COLUMNS, values, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="+")
    parser.add_argument("--feature-bits", type=int, default=10)
    parser.add_argument("--work", type=Path, default=HERE / "work")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    results = HERE / "routed.json"
    found = json.loads(results.read_text()) if results.exists() else {}
    for name in given.names:
        label, _equals, source = name.rpartition("=")
        row = measured(built(source, given.feature_bits, given.work), label)
        found[row["network"]] = row
        results.write_text(json.dumps(found, indent=1) + "\n")
    lines = [f"| {' | '.join(COLUMNS)} |", "|---|---|" + "---:|" * (len(COLUMNS) - 2)]
    for row in found.values():
        cells = [f"{row[c]:,}" if isinstance(row[c], int) else str(row[c]) for c in COLUMNS]
        lines.append(f"| {' | '.join(cells)} |")
    (HERE / "routed.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
