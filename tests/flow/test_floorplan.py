"""Sites for multipliers and block RAMs."""

import json

import numpy as np
import pytest

from hwbnn.build import get_board
from hwbnn.cache import Cache
from hwbnn.floorplan import floorplan
from hwbnn.floorplan.device import block_sites
from hwbnn.floorplan.graph import BLOCKS, problem
from hwbnn.floorplan.region import choose_region

BOARD = get_board("ulx3s")


def cell(kind, **connections):
    outputs = {"Z", "Q", "COUT", "P0", "DOA0"}
    return {
        "type": kind, "parameters": {}, "attributes": {},
        "port_directions": {p: "output" if p in outputs else "input" for p in connections},
        "connections": {p: [bit] for p, bit in connections.items()},
    }  # fmt: skip


def line(kind, count, shuffled):
    """Blocks in a row: each feeds a LUT and its flip-flop, which feed the next block."""
    inp, out = {"MULT18X18D": ("A0", "P0"), "DP16KD": ("DIA0", "DOA0")}[kind]
    cells = {}
    for place, name in enumerate(shuffled):
        bit = 10 + 3 * place
        cells[f"{kind}_{name}"] = cell(kind, **{inp: bit, out: bit + 1})
        cells[f"lut{kind}{place}"] = cell("LUT4", A=bit + 1, B="0", Z=bit + 2)
        if place + 1 < count:
            cells[f"ff{kind}{place}"] = cell("TRELLIS_FF", DI=bit + 2, CLK=2, Q=bit + 3)
    return cells


def design(tmp_path, count=150):
    rng = np.random.default_rng(7)
    cells = {}
    for kind in BLOCKS:
        part = line(kind, count, rng.permutation(count))
        if kind == "DP16KD":  # numbers of their own
            for c in part.values():
                c["connections"] = {p: [b[0] + 10_000] if isinstance(b[0], int) and b[0] > 2 else b
                                    for p, b in c["connections"].items()}
        cells |= part
    path = tmp_path / "design.json"
    path.write_text(json.dumps({"modules": {"top": {"cells": cells}}}))
    return path, cells


def place_of(site):
    x, y, _name = site.split("/")
    return int(x[1:]), int(y[1:])


def test_what_belongs_together_is_one_node():
    cells = {
        "c0": cell("CCU2C", A0=20, COUT=30), "c1": cell("CCU2C", A0=21, CIN=30, Z=31),
        "ff": cell("TRELLIS_FF", DI=31, CLK=2, Q=40), "l": cell("LUT4", A=40, Z=41),
        "m": cell("MULT18X18D", A0=41, P0=50), "scope": {"type": "$scopeinfo"},
    }  # fmt: skip
    found = problem(cells)
    assert len(found.kind) == 3  # the chain with its flip-flop, the LUT, the multiplier
    assert list(found.kind[[found.blocks["m"]]]) == [1]
    assert sorted(found.area) == [0, 1 / 16, 5 / 16]
    nets = np.split(found.pins, found.starts[1:])
    assert sorted(map(len, nets)) == [2, 2]


def test_every_device_tells_all_its_sites():
    for name in ("ulx3s-25f", "ulx3s-45f", "ulx3s-85f"):
        board = get_board(name)
        sites = block_sites(board, Cache())
        for kind, count in zip(BLOCKS, (board.budget.dsp, board.budget.ebr), strict=True):
            names, xy = sites[kind]
            assert len(names) == len(set(names)) == len(xy) == count, (name, kind)
            assert all(place_of(n) == tuple(at) for n, at in zip(names, xy, strict=True))


def test_neighbours_in_the_netlist_become_neighbours_on_the_device(tmp_path):
    path, _cells = design(tmp_path)
    found, stage = floorplan(path, BOARD, cache=Cache(), seed=3)
    assert stage.name == "floorplan" and stage.seconds > 0
    written = json.loads(path.read_text())["modules"]["top"]["cells"]
    assert len(found) == len(set(found.values())) == 300
    for kind in BLOCKS:
        sites = set(block_sites(BOARD, Cache())[kind][0])
        mine = {n: c["attributes"]["BEL"] for n, c in written.items() if c["type"] == kind}
        assert set(mine.values()) <= sites and mine.items() <= found.items()
        in_order = [found[n] for n in _order(written, kind)]
        away = np.abs(np.diff([place_of(s) for s in in_order], axis=0)).sum(1)
        # random sites of a 125x93 device are 60 tiles apart
        assert away.mean() < 12, (kind, away.mean())
    again, _stage = floorplan(design(tmp_path)[0], BOARD, cache=Cache(), seed=3)
    assert again == found


def _order(cells, kind):
    """Names of the blocks of one kind along their line."""
    port = {"MULT18X18D": "A0", "DP16KD": "DIA0"}[kind]
    mine = [n for n, c in cells.items() if c["type"] == kind]
    return sorted(mine, key=lambda n: cells[n]["connections"][port][0])


def test_a_small_design_is_left_alone(tmp_path):
    path, _cells = design(tmp_path, count=7)
    before = path.read_bytes()
    assert floorplan(path, BOARD, cache=Cache()) is None
    assert path.read_bytes() == before


@pytest.mark.parametrize("count", [20, 60, 150])
def test_a_design_gets_no_more_of_the_device_than_it_needs(tmp_path, count):
    _path, cells = design(tmp_path, count)
    sites = block_sites(BOARD, Cache())
    region = choose_region(problem(cells), sites)
    held = {kind: region.holds(sites[kind][1]).sum() for kind in BLOCKS}
    assert all(count <= n for n in held.values())
    if count < 100:
        assert min(held["MULT18X18D"] / 156, held["DP16KD"] / 208) < 0.6
