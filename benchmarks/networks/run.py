"""Published networks at full size: made, compiled and simulated bit-exact, whole frames.

    python benchmarks/networks/run.py [--work DIR] [--frames N] [--batch B] [--feature-bits N]
        [--plan FILE] [NAME ...]

Each network is made by ``hwbnn models synth``, compiled with ``--stop-after verify`` (which fails
unless every step's memory words, every logit and every cycle are as the integer network and the
schedule say), and its report is kept. Writes results.json and results.md beside this file after
each network.
"""

import argparse
import datetime
import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAMES = (
    "snn-r18-tau5", "snn-r18-tau4", "snn-r18-tau6", "snn-r18-tau9", "reactnet-18", "reactnet-34",
    *(f"ab-{net}-{images}" for images in ("c10", "c100", "in")
      for net in ("reactnet-18", "biresnet-18", "xnornet-18", "reactnet-a")),
    "ab-reactnet-34-in", "reactnet-a",
    "sd-resnet-20", "sd-vgg-small", "sd-resnet-18-c10", "sd-resnet-18-in",
    *(f"bnext-{size}-c10" for size in ("18", "t", "s", "m", "l")),
    "bnext-18-c10-quant", "bnext-t-c10-quant", "bnext-18", "bnext-t", "bnext-t-quant",
)
OPTIONS = ("--board", "ulx3s", "--max-luts", "45000")
DEVICES = {"bnext-l-c10": "85F-64MB"}  # its weights alone are 38.5 MB
FEATURE_BITS = 11  # of maps, if not said
# where narrow maps cost agreement and wide ones fit; those of 224x224 leave place and route blocks
OTHER_BITS = dict.fromkeys((name for name in NAMES if name.startswith("bnext")), 16) | \
    dict.fromkeys((name for name in NAMES if name.endswith("-in")
                   or name.startswith(("snn", "reactnet"))), 10)


def hwbnn(*arguments: str) -> float:
    """Run a command of hwbnn; seconds. Its failure is ours."""
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", "hwbnn", *arguments], check=True)
    return time.monotonic() - start


def entry(name: str, batch: int, bits: int = FEATURE_BITS) -> str:
    """What results are kept under."""
    name = name if bits == FEATURE_BITS else f"{name} {bits} bits"
    return name if batch == 1 else f"{name} batch {batch}"


def measure(name: str, work: Path, frames: int, batch: int, bits: int,
            plan: Path | None) -> dict:
    """Make, compile and simulate one network; what its report says. ``frames`` are batches."""
    checkpoint, out = work / f"{name}.pth", work / entry(name, batch, bits).replace(" ", "-")
    if not checkpoint.exists():
        hwbnn("models", "synth", name, "-o", str(checkpoint))
    machine = ["--plan", str(plan)] if plan else ["--batch", str(batch)]
    device = DEVICES.get(name, "85F")
    seconds = hwbnn("compile", str(checkpoint), *OPTIONS, "--device", device,
                    "--feature-bits", str(bits), *machine,
                    "--frames", str(frames * batch), "--stop-after", "verify", "-o", str(out))
    report = json.loads((out / "report.json").read_text())
    verify = json.loads((out / "sim" / "verify.json").read_text())
    streamed = out / "sim" / "sdram.hex"  # of machines that stream their weights
    words = streamed.read_text().count("\n") if streamed.exists() else 0
    starts = verify["starts"]
    return {
        "date": datetime.date.today().isoformat(),
        "seconds": round(seconds),
        "stages": {s["name"]: [round(s["seconds"], 1), s["peak_bytes"] >> 20]
                   for s in report["stages"]},
        "feature_bits": bits,
        "machine": report["machine"]["shape"],
        "plan": json.loads((out / "plan.json").read_text()),
        "estimate": {k: v["estimate"]["value"] for k, v in report["resources"].items()},
        "frames": frames * batch,
        "batch": batch,
        "interval_rtl_sim": starts[-1] - starts[-2],
        "latency_rtl_sim": verify["cycles"][-1],
        "words_compared": verify["words_compared"],
        "sdram_words": words,
        "logits_sha256": hashlib.sha256(json.dumps(verify["logits"]).encode()).hexdigest(),
        "layers": {row["name"]: {k: row["cycles"][p]["value"] for k, p in
                                 (("predicted", "estimate"), ("simulated", "rtl-sim"))}
                   | {k: row[k]["value"] for k in ("compute", "wait", "overhead")}
                   | {"bound": row["bound"]} for row in report["layers"]},
    }


def tables(found: dict) -> str:
    """Markdown of what results.json holds."""
    heads = ("network", "machine", "images a batch", "cycles an image, rtl-sim",
             "latency of the batch, rtl-sim", "SDRAM words a batch", "words compared", "seconds")
    lines = [f"| {' | '.join(heads)} |", "|---|---|---:|---:|---:|---:|---:|---:|"]
    for name, r in found.items():
        batch = r.get("batch", 1)
        lines.append(f"| {name} | {r['machine']} | {batch} | {r['interval_rtl_sim'] / batch:,.0f} "
                     f"| {r['latency_rtl_sim']:,} | {r['sdram_words']:,} | "
                     f"{r['words_compared']:,} | {r['seconds']} |")
    for name, r in found.items():
        lines += ["", f"### {name}", "",
                  "| layer | cycles, rtl-sim | predicted | compute | wait | drain | bound |",
                  "|---|---:|---:|---:|---:|---:|---|"]
        total = [0] * 5
        for layer, row in r["layers"].items():
            values = [row[k] for k in ("simulated", "predicted", "compute", "wait", "overhead")]
            total = [a + b for a, b in zip(total, values, strict=True)]
            lines.append(f"| {layer} | " + " | ".join(f"{v:,}" for v in values)
                         + f" | {row['bound']} |")
        lines.append("| all | " + " | ".join(f"{v:,}" for v in total) + " | |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--work", type=Path, default=HERE / "work")
    parser.add_argument("--frames", type=int, default=2, help="batches to simulate")
    parser.add_argument("--batch", type=int, default=1, help="images a load of weights may serve")
    parser.add_argument("--feature-bits", type=int, help="width of maps")
    parser.add_argument("--plan", type=Path, help="a machine, as of an earlier compile")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    results = HERE / "results.json"
    found = json.loads(results.read_text()) if results.exists() else {}
    for name in given.names:
        bits = given.feature_bits or OTHER_BITS.get(name, FEATURE_BITS)
        key = entry(name, given.batch, bits)
        found[key] = measure(name, given.work, given.frames, given.batch, bits, given.plan)
        results.write_text(json.dumps(found, indent=1) + "\n")
        (HERE / "results.md").write_text(tables(found))
        print(f"{key}: {found[key]['interval_rtl_sim']} cycles between batches (rtl-sim)")


if __name__ == "__main__":
    main()
