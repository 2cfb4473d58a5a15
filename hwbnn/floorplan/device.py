"""The sites of a device's blocks, as nextpnr knows them."""

import json
import re
import tempfile
from pathlib import Path

import numpy as np

from boards import Board

from .. import tools
from ..cache import Cache, digest
from .graph import BLOCKS

__all__ = ["Sites", "block_sites"]

# site names and tile coordinates (n, 2) of every kind of block
Sites = dict[str, tuple[list[str], np.ndarray]]
OUTPUT = {"MULT18X18D": "P0", "DP16KD": "DOA0"}  # a port that keeps a block from being removed


def block_sites(board: Board, cache: Cache) -> Sites:
    """All sites of ``board``'s device: nextpnr places a netlist that fills it.

    Raises
    ------
    ToolError
        nextpnr is missing or failed.
    """
    nextpnr = tools.find("nextpnr-ecp5")
    options = [*board.nextpnr, "--out-of-context", "--lpf-allow-unconstrained", "--no-route"]
    key = digest("sites", str(nextpnr), *options)
    with tempfile.TemporaryDirectory(prefix="hwbnn-sites-") as name:
        work = Path(name)
        if cache.get(key, work) is None:
            (work / "full.json").write_text(json.dumps(_full(board)))
            files = ["--json", "full.json", "--write", "placed.json"]
            tools.run(nextpnr, [*options, *files], cwd=work, log=work / "sites.log")
            (work / "sites.json").write_text(json.dumps(_placed(work / "placed.json")))
            cache.put(key, [work / "sites.json"], {})
        found = json.loads((work / "sites.json").read_text())
    return {
        kind: (names, np.array([[int(v) for v in re.findall(r"[XY](\d+)", n)[:2]] for n in names]))
        for kind, names in found.items()
    }


def _full(board: Board) -> dict:
    """A netlist of as many blocks as the device has, wired to nothing."""
    cells, bit = {}, 2
    for kind, count in zip(BLOCKS, (board.budget.dsp, board.budget.ebr), strict=True):
        for n in range(count):
            port, bit = OUTPUT[kind], bit + 1
            cells[f"{kind}{n}"] = {
                "hide_name": 0, "type": kind, "parameters": {}, "attributes": {},
                "port_directions": {port: "output"}, "connections": {port: [bit]},
            }
    top = {"attributes": {"top": "1"}, "ports": {}, "cells": cells, "netnames": {}}
    return {"creator": "hwbnn", "modules": {"full": top}}


def _placed(path: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {kind: [] for kind in BLOCKS}
    for module in json.loads(path.read_text())["modules"].values():
        for cell in module.get("cells", {}).values():
            if cell["type"] in found:
                found[cell["type"]].append(cell["attributes"]["NEXTPNR_BEL"])
    return {kind: sorted(names) for kind, names in found.items()}
