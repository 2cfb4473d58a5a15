"""A mapped netlist as a placement problem: what moves together, and what is wired to what."""

import dataclasses
from collections import defaultdict

import numpy as np

__all__ = ["BLOCKS", "Problem", "problem"]

BLOCKS = ("MULT18X18D", "DP16KD")  # cells that get a site; kind 1, 2 of a node
TILE = 16  # LUTs and flip-flops of a tile
SIZES = {"LUT4": 1, "CCU2C": 2, "TRELLIS_FF": 1, "TRELLIS_DPR16X4": 3}
MUXES = {"PFUMX": ("ALUT", "BLUT"), "L6MUX21": ("D0", "D1")}
PACKED = ("LUT4", "CCU2C", "PFUMX", "L6MUX21", "TRELLIS_DPR16X4")  # with the flip-flop behind them
WIDEST = 2000  # pins of a net that says something about distances


@dataclasses.dataclass(frozen=True)
class Problem:
    """Nodes are cells that stay together: a carry chain, a LUT with its flip-flop, a block.

    ``pins`` holds the nodes of all nets one after another, net n from ``starts[n]`` on; ``area`` is
    in tiles of logic (0 for blocks), ``kind`` 0 for logic or one more than the index into BLOCKS.
    ``node`` is that of every cell, ``blocks`` maps the name of a block's cell to its node.
    """

    pins: np.ndarray
    starts: np.ndarray
    area: np.ndarray
    kind: np.ndarray
    node: np.ndarray
    blocks: dict[str, int]


def problem(cells: dict[str, dict]) -> Problem:
    """The problem of a top module's ``cells``, as yosys writes them to JSON."""
    cells = {name: cell for name, cell in cells.items() if not cell["type"].startswith("$")}
    types = [cell["type"] for cell in cells.values()]
    driver: dict[int, int] = {}
    users: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for i, cell in enumerate(cells.values()):
        for port, bits in cell["connections"].items():
            for bit in bits:
                if isinstance(bit, str):
                    continue
                if cell["port_directions"][port] == "output":
                    driver[bit] = i
                else:
                    users[bit].append((i, port))
    node = _together(types, driver, users)
    count = int(node.max()) + 1 if len(node) else 0
    area, kind = np.zeros(count), np.zeros(count, int)
    blocks = {}
    for i, name in enumerate(cells):
        if types[i] in BLOCKS:
            kind[node[i]] = 1 + BLOCKS.index(types[i])
            blocks[name] = int(node[i])
        area[node[i]] += SIZES.get(types[i], 0) / TILE
    nets = []
    for bit, readers in users.items():
        ends = {int(node[i]) for i, _port in readers}
        if bit in driver:
            ends.add(int(node[driver[bit]]))
        if 1 < len(ends) <= WIDEST:
            nets.append(sorted(ends))
    lengths = np.array([len(ends) for ends in nets], int)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(int) if nets else lengths
    return Problem(np.array([n for ends in nets for n in ends], int), starts, area, kind, node,
                   blocks)


def _together(types, driver, users) -> np.ndarray:
    """The node of every cell."""
    parent = list(range(len(types)))

    def root(i):
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for bit, readers in users.items():
        source = driver.get(bit)
        if source is None:
            continue
        for reader, port in readers:
            kind = types[reader]
            if (
                (kind == "CCU2C" and port == "CIN")
                or port in MUXES.get(kind, ())
                or (kind == "TRELLIS_FF" and port == "DI" and len(readers) == 1
                    and types[source] in PACKED)
            ):
                parent[root(reader)] = root(source)
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(root(i), len(numbers)) for i in range(len(types))], int)
