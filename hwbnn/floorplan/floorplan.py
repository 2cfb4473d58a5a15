"""Sites for the blocks of a netlist, and copies of what drives pins everywhere."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from boards import Board

from ..cache import Cache
from ..memory import PeakMemory
from ..tools import Stage
from ..yosys_json import top_module
from .device import block_sites
from .graph import BLOCKS, Problem, problem
from .region import BLOCK_ROW, Region, choose_region
from .replicate import replicate
from .spread import BINS, spread

__all__ = ["floorplan"]

FEWEST = 16  # blocks that are worth it


def floorplan(
    netlist: Path, board: Board, *, cache: Cache, seed: int = 1,
    progress: Callable[[str], None] = lambda line: None,
) -> tuple[dict[str, str], Stage] | None:
    """Give the multipliers and block RAMs of a yosys JSON file their sites, as BEL attributes.

    Registers and LUTs with many ends far apart get copies (``replicate``). Returns the site of
    every block and what it took, or None for a design of few blocks, which stays as it is. The
    result depends on the netlist, the device and ``seed``.

    Raises
    ------
    ToolError
        nextpnr, which is asked for the device's sites, is missing or failed.
    """
    start = time.monotonic()
    with PeakMemory() as memory:
        found = _floorplan(netlist, board, cache, seed, progress)
    if found is None:
        return None
    seconds = time.monotonic() - start
    return found, Stage("floorplan", "hwbnn", seconds, memory.peak_bytes, False)


def _floorplan(netlist, board, cache, seed, progress) -> dict[str, str] | None:
    design = json.loads(netlist.read_text())
    module = top_module(design)
    cells = module.get("cells", {})
    what = problem(cells)
    if len(what.blocks) < FEWEST:
        return None
    sites = block_sites(board, cache)
    region = choose_region(what, sites)
    progress(f"floorplan of {len(what.blocks)} blocks, {region.width}x{region.height} tiles")
    inside = [region.holds(sites[kind][1]) for kind in BLOCKS]
    capacity = [_logic(region, sites)]
    capacity += [_bins(region, sites[kind][1][held] + 0.5)
                 for kind, held in zip(BLOCKS, inside, strict=True)]
    x, y = spread(what, region, capacity, seed, progress)
    found = {}
    for k, kind in enumerate(BLOCKS):
        names, xy = sites[kind]
        mine = [name for name, node in what.blocks.items() if what.kind[node] == 1 + k]
        nodes = np.array([what.blocks[name] for name in mine], int)
        found |= {mine[i]: names[j] for i, j in _assign(x[nodes], y[nodes], xy)}
    for name, site in found.items():
        cells[name].setdefault("attributes", {})["BEL"] = site
    progress(f"floorplan: {replicate(module, _places(cells, what, x, y))} copies of registers and "
             "LUTs whose ends lie far apart")
    netlist.write_text(json.dumps(design))
    return found


def _places(cells, what: Problem, x, y) -> dict[str, tuple[float, float]]:
    """Where global placement has every cell."""
    names = (name for name, cell in cells.items() if not cell["type"].startswith("$"))
    return {name: (float(x[node]), float(y[node]))
            for name, node in zip(names, what.node, strict=True)}


def _bins(region: Region, xy: np.ndarray) -> np.ndarray:
    """How many of the points (n, 2) lie in each bin."""
    grid, _x, _y = np.histogram2d(
        xy[:, 0], xy[:, 1], bins=BINS, range=((region.x0, region.x1), (region.y0, region.y1))
    )
    return grid


def _logic(region: Region, sites) -> np.ndarray:
    """Room for logic: rows of blocks have less."""
    rows = {int(y) for _names, xy in sites.values() for y in xy[:, 1]}
    y = np.arange(region.y0, region.y1)
    share = np.array([BLOCK_ROW if int(row) in rows else 1.0 for row in y])
    bins = ((y - region.y0) * BINS[1] / region.height).astype(int)
    each = np.bincount(bins, weights=share, minlength=BINS[1])
    if (each == 0).any():  # bins smaller than a tile
        each = np.ones(BINS[1])
    return np.tile(each, (BINS[0], 1))


def _assign(x: np.ndarray, y: np.ndarray, xy: np.ndarray):
    """Pairs (block, site) that move blocks the least, far moves weighing more."""
    from scipy.optimize import linear_sum_assignment

    away = np.abs(x[:, None] - xy[:, 0] - 0.5) + np.abs(y[:, None] - xy[:, 1] - 0.5)
    return zip(*linear_sum_assignment(away**1.5), strict=True)
