"""Copies of registers and LUTs: few ends each, and the same netlist but for them."""

import copy
import random

import pytest

from hwbnn.floorplan.replicate import MOST_ENDS, replicate

OUTPUTS = {"Q", "Z"}
SYNCHRONOUS = {"SRMODE": "LSR_OVER_CE"}


def cell(kind, parameters=None, attributes=None, **connections):
    return {
        "type": kind, "parameters": parameters or {}, "attributes": attributes or {},
        "port_directions": {p: "output" if p in OUTPUTS else "input" for p in connections},
        "connections": {p: [bit] for p, bit in connections.items()},
    }  # fmt: skip


def merged(cells):
    """The netlist with every copy put back into its original; copies must be like these."""
    bits = {}
    for name, c in cells.items():
        if "$copy" in name:
            out = "Z" if c["type"] == "LUT4" else "Q"
            original = cells[name.split("$copy")[0]]
            bits[c["connections"][out][0]] = original["connections"][out][0]
    result = {}
    for name, c in cells.items():
        c = copy.deepcopy(c)
        c["connections"] = {p: [bits.get(b, b) for b in bs] for p, bs in c["connections"].items()}
        original = name.split("$copy")[0]
        assert result.setdefault(original, c) == c, name  # the original stands before its copies
    return result


def ends_of(cells):
    ends = {}
    for name, c in cells.items():
        for port, bits in c["connections"].items():
            if c["port_directions"][port] == "input":
                for bit in bits:
                    ends.setdefault(bit, []).append((name, port))
    return ends


def star(source, ends=400, port="A", spread=80):
    """A source, cell "s" with output 1, and as many LUTs all over a square."""
    rng = random.Random(7)
    cells = dict(source)
    for i in range(ends):
        cells[f"end{i}"] = cell("LUT4", **{port: 1}, Z=1000 + i)
    place = {name: (rng.uniform(0, spread), rng.uniform(0, spread)) for name in cells}
    return cells, place


REGISTER = {"before": cell("TRELLIS_FF", SYNCHRONOUS, DI=9, CLK=2, Q=3),
            "s": cell("TRELLIS_FF", SYNCHRONOUS, DI=3, CLK=2, CE=4, LSR=5, Q=1),
            "logic": cell("LUT4", A=8, Z=9)}


@pytest.mark.parametrize("seed", range(6))
def test_random_netlists_come_back_when_copies_are_merged(seed):
    """Registers and LUTs in any order, loops through registers, ends of every kind."""
    rng = random.Random(seed)
    count = 1500
    cells = {}
    hubs = rng.sample(range(count), 12)  # what many read
    luts = {i for i in range(count) if rng.random() < 0.5}
    registers = sorted(set(range(count)) - luts)
    for i in range(count):
        def pick(i=i):
            if i in hubs and rng.random() < 0.8:
                return 100 + rng.choice(registers)
            return 100 + (rng.choice(hubs) if rng.random() < 0.7 else rng.randrange(count))

        if i in luts:
            cells[f"c{i}"] = cell("LUT4", {"INIT": rng.randrange(1 << 16)}, A=pick(), B=pick(),
                                  C=rng.choice(["0", "1", pick()]), D=pick(), Z=100 + i)
        else:
            cells[f"c{i}"] = cell("TRELLIS_FF", SYNCHRONOUS, DI=pick(), CLK=rng.choice([1, 1, 2]),
                                  CE=rng.choice(["1", pick()]), LSR=rng.choice(["0", pick()]),
                                  Q=100 + i)
    place = {name: (rng.uniform(0, 100), rng.uniform(0, 70)) for name in cells}
    before = copy.deepcopy(cells)
    made = replicate({"cells": cells}, place)
    assert made == len(cells) - len(before) > 0
    outputs = [bits[0] for c in cells.values() for p, bits in c["connections"].items()
               if c["port_directions"][p] == "output"]
    assert len(set(outputs)) == len(outputs) == len(cells)
    assert merged(cells) == before


@pytest.mark.parametrize("source", [REGISTER, {"s": cell("LUT4", A=7, B=8, Z=1)}])
def test_ends_are_few_and_close(source):
    cells, place = star(copy.deepcopy(source))
    replicate({"cells": cells}, place)
    ends = ends_of(cells)
    sources = [c["connections"].get("Z", c["connections"].get("Q"))[0]
               for name, c in cells.items() if name.split("$copy")[0] == "s"]
    assert len(sources) >= 400 / MOST_ENDS
    for bit in sources:
        xs, ys = zip(*(place[name] for name, _port in ends[bit]), strict=True)
        assert len(ends[bit]) <= MOST_ENDS
        assert max(xs) - min(xs) + max(ys) - min(ys) < 120  # 160 before


def test_ends_near_each_other_need_no_copies():
    cells, place = star(copy.deepcopy(REGISTER), spread=6)
    assert replicate({"cells": cells}, place) == 0


def test_a_register_is_copied_with_the_lut_it_packs_with():
    source = {"lut": cell("LUT4", A=7, B=8, Z=3),
              "s": cell("TRELLIS_FF", SYNCHRONOUS, DI=3, CLK=2, Q=1)}
    cells, place = star(source)
    before = copy.deepcopy(cells)
    replicate({"cells": cells}, place)
    assert merged(cells) == before
    ends = ends_of(cells)
    for name, c in cells.items():
        if name.startswith("lut"):
            assert len(ends[c["connections"]["Z"][0]]) == 1


@pytest.mark.parametrize("change", [
    {"s": cell("TRELLIS_FF", {"SRMODE": "ASYNC"}, DI=3, CLK=2, Q=1)},
    {"s": cell("TRELLIS_FF", SYNCHRONOUS, {"syn_useioff": "1"}, DI=3, CLK=2, Q=1)},
    {"before": cell("TRELLIS_FF", SYNCHRONOUS, DI=9, CLK=6, Q=3)},  # from another clock
    {"before": cell("TRELLIS_FF", SYNCHRONOUS, DI=77, CLK=2, Q=3)},  # from a pin, by two registers
    {"before": cell("TRELLIS_FF", {"SRMODE": "ASYNC"}, DI="0", CLK=2, Q=3)},
    {"before": cell("CCU2C", A0=8, Z=3)},  # a carry chain
    {"enable": cell("LUT4", A=8, Z=4)},  # its enable comes late
    {"lut": cell("LUT4", A=9, B=8, Z=33),  # so do the inputs of its own LUT
     "s": cell("TRELLIS_FF", SYNCHRONOUS, DI=33, CLK=2, Q=1)},
    {"s": cell("LUT4", A=9, B=8, Z=1)},
    {"clocked": cell("TRELLIS_FF", SYNCHRONOUS, DI=9, CLK=1, Q=88)},  # it is a clock
])
def test_what_must_stay_single(change):
    cells, place = star(copy.deepcopy(REGISTER) | copy.deepcopy(change))
    before = copy.deepcopy(cells)
    assert replicate({"cells": cells}, place) == 0
    assert cells == before
