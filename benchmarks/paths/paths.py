"""Which paths bind the clock, before routing: wires as long as the floorplan says (path: estimate).

    python benchmarks/paths/paths.py BUILD/build [--count N] [--over NS]

reads the `design.json` of a build folder (or any netlist that yosys wrote), places all its cells as
the floorplan does, and adds up what cells and wires take from each register to the next. A router
says only its worst path; here the ends of all slow ones are listed, gathered by their names without
numbers, with the worst path of each gathering. Placement here does not know of time, so long wires
that a placer would mend are among them: look at levels of logic, and at ends that lie apart for a
reason. Delays are fitted to routed designs: 0.6 ns and 0.055 ns a tile for a wire.
"""

import argparse
import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from boards import get_board
from hwbnn.cache import Cache
from hwbnn.floorplan.device import block_sites
from hwbnn.floorplan.floorplan import _bins, _logic
from hwbnn.floorplan.graph import BLOCKS, MUXES, problem
from hwbnn.floorplan.region import choose_region
from hwbnn.floorplan.spread import spread
from hwbnn.yosys_json import top_module

WIRE, TILE = 0.6, 0.055  # ns
# ns through a cell; CCU2C from (input, output)
LUT, MUX, RAM = 0.24, 0.25, 0.3
CARRY = {("in", "COUT"): 0.45, ("in", "S"): 0.89, ("CIN", "COUT"): 0.07, ("CIN", "S"): 0.44}
# ns from the clock to an output, and before it at an input
REGISTER = {"TRELLIS_FF": 0.52, "DP16KD": 0.96, "MULT18X18D": 1.0, "TRELLIS_DPR16X4": 0.6}
UNREGISTERED_EBR = 5.6
CLOCKS = ("CLK", "CLKA", "CLK0", "WCK", "CLKB", "CLK1", "CLK2", "CLK3")
SETUP = {"CE": 0.3, "LSR": 0.42}


def read(file: Path) -> dict:
    """Cells of the largest module."""
    cells = top_module(json.loads(file.read_text())).get("cells", {})
    return {name: cell for name, cell in cells.items() if not cell["type"].startswith("$")}


def positions(cells: dict, device: str) -> tuple[np.ndarray, np.ndarray]:
    """x and y of every cell, in tiles; blocks that have a site are there."""
    board, cache = get_board("ulx3s", device), Cache()
    what = problem(cells)
    sites = block_sites(board, cache)
    region = choose_region(what, sites)
    capacity = [_logic(region, sites)]
    capacity += [_bins(region, xy[region.holds(xy)] + 0.5) for _names, xy in
                 (sites[kind] for kind in BLOCKS)]
    x, y = spread(what, region, capacity, 1, print)
    x, y = x[what.node], y[what.node]
    for i, cell in enumerate(cells.values()):
        if site := cell.get("attributes", {}).get("BEL"):
            x[i], y[i] = (float(v) for v in re.findall(r"[XY](\d+)", site)[:2])
    return x, y


def through(kind: str, port: str, out: str) -> float | None:
    """ns from an input to an output of a cell, None where there is a register between them."""
    if kind == "LUT4":
        return LUT
    if kind in MUXES:
        return MUX
    if kind == "CCU2C":
        return CARRY["CIN" if port == "CIN" else "in", "COUT" if out == "COUT" else "S"]
    if kind == "TRELLIS_DPR16X4" and port == "RAD":
        return RAM
    return None


def clocks(cell: dict) -> int | None:
    """The net of a register's clock."""
    pins = cell["connections"]
    return next((pins[port][0] for port in CLOCKS if port in pins), None)


def leaves(cell: dict) -> float | None:
    """ns from the clock to the outputs of a cell, None where it has no register."""
    kind = cell["type"]
    if kind == "DP16KD" and cell["parameters"].get("REGMODE_A", "NOREG") == "NOREG" \
            and cell["parameters"].get("REGMODE_B", "NOREG") == "NOREG":
        return UNREGISTERED_EBR
    return REGISTER.get(kind)


def arrivals(cells: dict, x, y):
    """(time, cell, port, bit) of every end of a path, and for every bit (time, input bit, cell)."""
    listed = list(cells.items())
    users, found = defaultdict(list), {}
    waiting = [0] * len(listed)
    for i, (_name, cell) in enumerate(listed):
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "input" and port not in CLOCKS:
                for bit in bits:
                    if not isinstance(bit, str):
                        users[bit].append((i, port))
    driven = {bit for _n, c in listed for p, bits in c["connections"].items()
              if c["port_directions"][p] == "output" for bit in bits}
    for bit, readers in users.items():
        if bit in driven:
            for i, port in readers:
                if _passes(listed[i][1], port):
                    waiting[i] += 1
    at = [{} for _ in listed]  # port: (time, bit) of the latest input
    ready = []
    for i, (_name, cell) in enumerate(listed):
        clock = leaves(cell)
        if clock is not None:
            for port, bits in cell["connections"].items():
                if cell["port_directions"][port] == "output":
                    for bit in bits:
                        found[bit] = (clock, None, i)
                        ready.append(bit)
        elif not waiting[i]:
            ready += _out(cell, i, at[i], found)
    ends = []
    while ready:
        bit = ready.pop()
        time, _before, source = found[bit]
        for i, port in users.get(bit, ()):
            cell = listed[i][1]
            kind = cell["type"]
            short = port in MUXES.get(kind, ()) or port == "CIN" or (
                kind == "TRELLIS_FF" and port == "DI" and len(users[bit]) == 1)
            wire = 0.0 if short else WIRE + TILE * (abs(x[i] - x[source]) + abs(y[i] - y[source]))
            arrival = time + wire
            if not _passes(cell, port):
                ends.append((arrival + SETUP.get(port, 0.0), i, port, bit))
                continue
            if arrival >= at[i].get(port, (-1.0, None))[0]:
                at[i][port] = (arrival, bit)
            waiting[i] -= 1
            if not waiting[i]:
                ready += _out(cell, i, at[i], found)
    return ends, found


def _passes(cell, port) -> bool:
    return any(through(cell["type"], port, out) is not None
               for out, way in cell["port_directions"].items() if way == "output")


def _out(cell, i, at, found) -> list[int]:
    made = []
    for out, way in cell["port_directions"].items():
        if way != "output":
            continue
        best = (0.0, None)
        for port, (time, bit) in at.items():
            took = through(cell["type"], port, out)
            if took is not None and time + took > best[0]:
                best = (time + took, bit)
        for bit in cell["connections"][out]:
            if not isinstance(bit, str):
                found[bit] = (*best, i)
                made.append(bit)
    return made


def plain(name: str) -> str:
    """A cell's name up to what yosys and place numbers added."""
    name = re.split(r"_(?:TRELLIS_FF|LUT4|CCU2C|PFUMX|L6MUX21|DP16KD|MULT18X18D)_", name)[0]
    return re.sub(r"\d+", "#", name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("build", type=Path)
    parser.add_argument("--count", type=int, default=25)
    parser.add_argument("--over", type=float, default=8.0, help="ns")
    parser.add_argument("--device", default="85F")
    given = parser.parse_args()
    file = given.build / "design.json" if given.build.is_dir() else given.build
    cells = read(file)
    names = list(cells)
    x, y = positions(cells, given.device)
    ends, found = arrivals(cells, x, y)
    groups = defaultdict(list)
    clock = Counter(clocks(cell) for cell in cells.values()).most_common(2)
    main = next(bit for bit, _count in clock if bit is not None)
    ends = [end for end in ends if clocks(cells[names[end[1]]]) == main]
    for end in ends:
        if end[0] > given.over:
            bit = end[3]
            while found[bit][1] is not None:
                bit = found[bit][1]
            groups[plain(names[found[bit][2]]), plain(names[end[1]])].append(end)
    print(f"{len(ends):,} ends, {sum(map(len, groups.values())):,} over {given.over} ns")
    for (start, stop), slow in sorted(groups.items(), key=lambda g: -max(g[1])[0])[: given.count]:
        worst = max(slow)
        steps, bit = [], worst[3]
        while bit is not None:
            time, before, source = found[bit]
            steps.append(f"{time:.1f} {cells[names[source]]['type']} ({x[source]:.0f},"
                         f"{y[source]:.0f})")
            bit = before
        print(f"{worst[0]:.1f} ns, {len(slow)} ends: {start} -> {stop} ({worst[2]}): "
              + " / ".join(reversed(steps)))


if __name__ == "__main__":
    main()
