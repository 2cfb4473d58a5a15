"""What RPReLU costs in a lane: real slopes by a multiplier, power-of-two slopes by shifts, none.

    python benchmarks/rprelu/run.py [--seeds N]

Each lane (affine, residual, saturation, RPReLU, threshold; 16-bit maps) is placed and routed alone,
without pins, for the 85F. Writes results.json and results.md beside this file.
"""

import argparse
import datetime
import json
import tempfile
from pathlib import Path

import boards
from hwbnn.build import build_part
from hwbnn.cache import Cache, default_folder
from hwbnn.emit import emit
from rtl_gen.engine.config import EngineConfig
from rtl_gen.engine.lane import Lane

HERE = Path(__file__).resolve().parent
KINDS = ("none", "multiplier", "shift")
NAMES = {"TRELLIS_COMB": "comb", "TRELLIS_FF": "ff", "MULT18X18D": "dsp"}
FREQ_MHZ = 200.0


def lane(kind: str) -> EngineConfig:
    """A lane of the bundled example's widths."""
    return EngineConfig(channels_in=32, lanes=8, dense_inputs=16, rprelu=kind, acc_bits=36,
                        affine_shifts=(6, 10, 14, 18), prescales=(0, 4, 8))


def measure(kind: str, seed: int) -> dict:
    """Post-route counts and clock of a lane."""
    board = boards.get_board("ulx3s-85f")
    with tempfile.TemporaryDirectory() as work:
        result = build_part(emit(Lane(lane(kind)), "lane"), {}, board=board, out_dir=Path(work),
                            freq_mhz=FREQ_MHZ, seed=seed, cache=Cache(default_folder()))
    used = {name: result.used.get(cell, (0, 0))[0] for cell, name in NAMES.items()}
    return used | {"fmax_mhz": round(result.fmax_mhz, 1)}


def table(found: dict) -> str:
    """Markdown: each lane, and what its RPReLU adds to the one without."""
    none = found["none"]
    lines = ["| lane, post-route | TRELLIS_COMB | TRELLIS_FF | MULT18X18D | Fmax MHz (seeds) |",
             "|---|---:|---:|---:|---|"]
    for kind in KINDS:
        row = found[kind]
        speeds = ", ".join(f"{f:g}" for f in row["fmax_mhz"])
        lines.append(f"| {kind} | {row['comb']} | {row['ff']} | {row['dsp']} | {speeds} |")
    for kind in KINDS[1:]:
        row = found[kind]
        more = " | ".join(f"{row[n] - none[n]:+d}" for n in NAMES.values())
        lines.append(f"| RPReLU by {kind}, difference | {more} | |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    found = {"date": datetime.date.today().isoformat(), "device": "LFE5U-85F-6"}
    for kind in KINDS:
        runs = [measure(kind, seed) for seed in range(1, given.seeds + 1)]
        found[kind] = runs[0] | {"fmax_mhz": [r["fmax_mhz"] for r in runs]}
        print(kind, found[kind], flush=True)
    (HERE / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    (HERE / "results.md").write_text(table(found))


if __name__ == "__main__":
    main()
