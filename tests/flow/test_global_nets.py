"""Resets on the global network."""

import json

import pytest

from hwbnn.build import get_board
from hwbnn.cache import Cache
from hwbnn.global_nets import FEWEST, MOST, promote
from hwbnn.place import place_and_route
from hwbnn.synth import Netlist


def cell(kind, outputs=("Q", "Z"), **connections):
    return {
        "type": kind, "parameters": {}, "attributes": {},
        "port_directions": {p: "output" if p in outputs else "input" for p in connections},
        "connections": {p: [bit] for p, bit in connections.items()},
    }  # fmt: skip


def flip_flop(reset, q, clock=2, data=3):
    return cell("TRELLIS_FF", CLK=clock, DI=data, LSR=reset, Q=q)


def registers(resets, first=100):
    """One flip-flop for each of `resets`, named in order."""
    return {f"ff{first + i}": flip_flop(r, first + i) for i, r in enumerate(resets)}


def written(tmp_path, cells, ports=None):
    path = tmp_path / "design.json"
    top = {"attributes": {"top": "1"}, "ports": ports or {}, "cells": cells, "netnames": {}}
    path.write_text(json.dumps({"modules": {"leaf": {"cells": {}}, "top": top}}))
    return path


def cells_of(path):
    return json.loads(path.read_text())["modules"]["top"]["cells"]


def test_a_large_reset_goes_behind_a_buffer(tmp_path):
    cells = {"source": flip_flop("0", 50)} | registers([50] * FEWEST)
    cells["reader"] = cell("LUT4", A=50, Z=51)
    path = written(tmp_path, cells)
    made = promote(path)
    assert list(made.values()) == [FEWEST]
    after = cells_of(path)
    (name,) = made
    buffer = after.pop(name)
    assert buffer["type"] == "DCCA" and buffer["connections"]["CLKI"] == [50]
    (new,) = buffer["connections"]["CLKO"]
    assert all([new] not in c["connections"].values() for c in cells.values())
    assert after.keys() == cells.keys()
    for key, c in after.items():
        want = dict(cells[key]["connections"])
        if key.startswith("ff"):
            want["LSR"] = [new]
        assert c["connections"] == want  # logic and the source's own reset as they were


@pytest.mark.parametrize("cells", [
    {"source": flip_flop("0", 50)} | registers([50] * (FEWEST - 1)),
    {"logic": cell("LUT4", A=9, Z=50)} | registers([50] * FEWEST),  # late already
    registers(["0"] * FEWEST),
    {"source": flip_flop("0", 50)} | registers([9] * FEWEST),  # from a pin
    {},
])  # fmt: skip
def test_others_stay(tmp_path, cells):
    path = written(tmp_path, cells)
    before = path.read_bytes()
    assert promote(path) == {}
    assert path.read_bytes() == before


def test_unused_resets_of_multipliers_are_one_global_zero(tmp_path):
    unused = {"RST0": "0", "SOURCEA": "0"}
    cells = {f"mul{i}": cell("MULT18X18D", RST1=7, CE0="1", **unused) for i in range(3)}
    path = written(tmp_path, cells)
    assert promote(path) == {"$global_zero": 3}
    after = cells_of(path)
    buffer = after.pop("$global_zero")["connections"]
    assert buffer["CLKI"] == ["0"]
    for key, c in after.items():
        assert c["connections"] == cells[key]["connections"] | {"RST0": buffer["CLKO"]}


def test_nets_that_are_only_named_stay_apart(tmp_path):
    path = written(tmp_path, {"mul": cell("MULT18X18D", RST0="0")})
    design = json.loads(path.read_text())
    design["modules"]["top"]["netnames"] = {"dangling": {"bits": [3, 41, "x"]}}
    path.write_text(json.dumps(design))
    promote(path)
    assert cells_of(path)["mul"]["connections"]["RST0"] == [42]


def test_the_largest_ones_first(tmp_path):
    resets = range(10, 10 + MOST + 2)
    cells = {f"source{r}": flip_flop("0", r) for r in resets}
    each = [r for r in resets for _ in range(FEWEST + r)]
    path = written(tmp_path, cells | registers(each))
    made = promote(path)
    assert list(made.values()) == [FEWEST + r for r in reversed(resets)][:MOST]
    after = cells_of(path)
    assert [after[n]["connections"]["CLKI"][0] for n in made] == list(reversed(resets))[:MOST]


def test_the_reset_is_routed_on_the_global_network(tmp_path):
    """What nextpnr makes of it: a chain of registers, their reset from a register of its own."""
    cells = {"source": flip_flop("0", 50, data=3)}
    chain = registers([50] * FEWEST)
    for (_name, c), data in zip(chain.items(), [3, *range(100, 100 + FEWEST)], strict=False):
        c["connections"]["DI"] = [data]
    for c in (*chain.values(), *cells.values()):
        c["parameters"] = {"GSR": "DISABLED", "LSRMUX": "LSR", "REGSET": "RESET",
                           "SRMODE": "LSR_OVER_CE", "CEMUX": "1 ", "CLKMUX": "CLK"}
    ports = {"clk25": 2, "uart_rx": 3, "uart_tx": 99 + FEWEST}
    ports = {name: {"direction": "output" if name == "uart_tx" else "input", "bits": [bit]}
             for name, bit in ports.items()}
    path = written(tmp_path, cells | chain, ports)
    netlist = Netlist("top", path, path, {}, tuple(ports), (), "a test")
    place_and_route(netlist, get_board("ulx3s"), tmp_path, cache=Cache(tmp_path / "cache"))
    log = (tmp_path / "place-and-route.log").read_text()
    assert "routing clock net $global_reset0 using global" in log
