"""Whole machines with RPReLU by a multiplier and by shifts: cells, and what rounded slopes cost.

    python benchmarks/rprelu/machines.py TEST.npz [--count N]

Each trained example is lowered twice, with `--rprelu multiplier` and with `--rprelu shift`. Both
get the same machine, the one that the planner chooses for the network as it is, and yosys maps it
to cells of the ECP5, memories filled. Top-1 and classes are those of the labelled images. Writes
machines.json and machines.md beside this file.
"""

import argparse
import dataclasses
import datetime
import json
import tempfile
from pathlib import Path

import numpy as np

import boards
from hwbnn import golden
from hwbnn.cache import Cache, default_folder
from hwbnn.emit import emit
from hwbnn.images import load_images
from hwbnn.machine import make
from hwbnn.pack import pack
from hwbnn.passes import Numeric, calibrate, fold_norm, quantize
from hwbnn.plan import plan
from hwbnn.schedule import schedule
from hwbnn.shape import Shape
from hwbnn.synth import synthesise
from models.api import load_network
from rtl_gen.engine.top import Engine

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parents[1] / "examples"
NETWORKS = ("ab_cifar10.h5", "snn_cifar10.pth")
KINDS = ("multiplier", "shift")
CELLS = ("LUT4", "CCU2C", "TRELLIS_DPR16X4", "TRELLIS_FF", "DP16KD", "MULT18X18D")
# Xilinx synthesis, one unit: the poster's table; a layer is its three units without convolution
PAPER = (("PReLU", 57, 4), ("quantised PReLU", 32, 0))


def cells(program) -> dict[str, int]:
    """Cells of the machine, as yosys counts them (path: post-synthesis)."""
    with tempfile.TemporaryDirectory() as work:
        netlist = synthesise(emit(Engine(program.config), "engine"), pack(program), Path(work),
                             cache=Cache(default_folder()), progress=print)
    return {kind: netlist.cells.get(kind, 0) for kind in CELLS}


def measure(name: str, images, count: int) -> dict:
    """Both machines of one network."""
    network = load_network(EXAMPLES / name)
    folded = fold_norm(network.graph())
    calibration = calibrate(folded, None)
    chosen = plan(quantize(folded, calibration, Numeric()), boards.get_board("ulx3s-85f"))
    c = chosen.config
    shape = Shape(c.channels_in, c.lanes, c.pixels, c.dense_inputs)
    x, y = images.x[:count], images.y[:count]
    wanted = network.logits(x).argmax(1)
    found = {"shape": str(shape), "lanes": c.lanes * c.pixels, "images": len(x),
             "torch_top1": 100 * float((wanted == y).mean()), "kinds": {}}
    logits = {}
    for kind in KINDS:
        graph = quantize(folded, calibration, dataclasses.replace(Numeric(), rprelu=kind))
        program = make(graph, shape, **chosen.recipe).program
        result = golden.run(graph, x)
        logits[kind] = result.logits
        found["kinds"][kind] = {
            "cycles": schedule(program).interval,
            "top1": 100 * float((result.classes == y).mean()),
            "same_class": 100 * float((result.classes == wanted).mean()),
            "cells": cells(program),
        }
        print(name, kind, found["kinds"][kind], flush=True)
    found["same_logits"] = bool(np.array_equal(*logits.values()))
    return found


def luts(count: dict[str, int]) -> int:
    """LUT4 of cells: a carry cell takes two, a distributed memory four and its write port two."""
    return count["LUT4"] + 2 * count["CCU2C"] + 6 * count["TRELLIS_DPR16X4"]


def table(found: dict) -> str:
    """Markdown: machines, then the paper's units."""
    lines = [("| network | RPReLU by | cycles (estimate) | LUT4 and carry (post-synthesis) "
              "| TRELLIS_FF | MULT18X18D | top-1 (int-model) | same class as torch-float |"),
             "|---|---|---:|---:|---:|---:|---:|---:|"]
    for name, net in found["networks"].items():
        for kind in KINDS:
            row = net["kinds"][kind]
            count = row["cells"]
            lines.append(
                f"| {name}, {net['shape']} | {kind} | {row['cycles']:,} | {luts(count):,} "
                f"| {count['TRELLIS_FF']:,} | {count['MULT18X18D']} | {row['top1']:.2f} % "
                f"| {row['same_class']:.2f} % |")
        a, b = (net["kinds"][kind]["cells"] for kind in KINDS)
        lut, ff = luts(b) - luts(a), b["TRELLIS_FF"] - a["TRELLIS_FF"]
        dsp = b["MULT18X18D"] - a["MULT18X18D"]
        same = "the same logits" if net["same_logits"] else "other logits"
        lines.append(
            f"| shifts against multipliers | | | {lut:+,} ({100 * lut / luts(a):+.1f} %) "
            f"| {ff:+,} | {dsp:+} ({100 * dsp / a['MULT18X18D']:+.1f} %) | {same} | |")
        lines.append(f"| the same, a lane of {net['lanes']} | | | {lut / net['lanes']:+.0f} "
                     f"| {ff / net['lanes']:+.0f} | {dsp / net['lanes']:+.0f} | | |")
    for unit, lut, dsp in PAPER:
        lines.append(f"| paper, a unit: {unit} | | | {lut} | | {dsp} | | |")
    lines.append("| paper, the units of a layer without its convolution | | | -57.6 % | | -100 % "
                 "| | |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("images", help="labelled images, an .npz with x and y")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--only", choices=NETWORKS, action="append", help="the others are kept")
    given = parser.parse_args()
    path = HERE / "machines.json"
    found = json.loads(path.read_text()) if path.exists() else {"networks": {}}
    found["date"] = datetime.date.today().isoformat()
    for name in given.only or NETWORKS:
        network = load_network(EXAMPLES / name).graph()
        images = load_images(given.images, network, labelled=True)
        found["networks"][name] = measure(name, images, given.count)
    path.write_text(json.dumps(found, indent=1) + "\n")
    (HERE / "machines.md").write_text(table(found))


if __name__ == "__main__":
    main()
