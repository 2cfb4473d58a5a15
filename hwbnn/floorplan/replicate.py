"""Copies of registers and LUTs that drive pins all over the device, one for each neighbourhood.

A net of a thousand ends is long whatever the placement, and a router that rips it up sends all its
arcs back. A copy has the inputs of its original, so that both always hold the same value.
"""

from collections import defaultdict

import numpy as np

from ..yosys_json import free_bit

__all__ = ["replicate"]

MOST_ENDS = 64  # of a copy
NEAR = 16  # tiles, width and height together: ends within need no second copy
CONTROL = {"CE": 1 / 3, "LSR": 1 / 3}  # ends that all registers of a slice share count less
OUTPUT = {"LUT4": "Z", "TRELLIS_FF": "Q"}
SETTLING = 3  # registers after a crossing of clocks that must stay single


def replicate(module: dict, place: dict[str, tuple[float, float]]) -> int:
    """Add copies to the cells of a top module (yosys JSON); ``place`` has all of them, in tiles.

    Registers (TRELLIS_FF) and LUTs (LUT4) are copied where what they read comes straight from
    registers, so that a cycle is left to reach the copies; a register behind a LUT of its own with
    that LUT. Registers with an asynchronous reset, in pads, or next to another clock stay single.
    Returns how many copies there are.
    """
    return _Netlist(module, place).run()


class _Netlist:
    def __init__(self, module, place):
        self.cells, self.place, self.free = module["cells"], dict(place), free_bit(module)
        self.driver: dict[int, tuple[str, str]] = {}
        self.users: dict[int, list[tuple[str, str, int]]] = defaultdict(list)
        for name, cell in self.cells.items():
            if not cell["type"].startswith("$"):
                self._wire(name)
        self.seen: set[str] = set()
        self.copies = 0

    def _wire(self, name):
        cell = self.cells[name]
        for port, bits in cell["connections"].items():
            for index, bit in enumerate(bits):
                if isinstance(bit, str):
                    continue
                if cell["port_directions"][port] == "output":
                    self.driver[bit] = name, port
                else:
                    self.users[bit].append((name, port, index))

    def run(self) -> int:
        for kind in ("LUT4", "TRELLIS_FF"):
            for name in [n for n, cell in self.cells.items() if cell["type"] == kind]:
                self._visit(name, kind)
        return self.copies

    def _output(self, name):
        cell = self.cells[name]
        bits = cell["connections"].get(OUTPUT[cell["type"]], [])
        return bits[0] if bits and isinstance(bits[0], int) else None

    def _visit(self, name, kind):
        """Split the net of ``name``, those of its readers first: copies of these are ends, too."""
        stack = [(name, False)]
        while stack:
            name, ready = stack.pop()
            bit = self._output(name)
            if bit is None or (not ready and name in self.seen):
                continue
            if ready:
                self._split(name, bit)
                continue
            if self._weight(self.users[bit]) <= MOST_ENDS:
                continue
            self.seen.add(name)
            stack.append((name, True))
            stack += [(user, False) for user, _port, _index in self.users[bit]
                      if self.cells[user]["type"] == kind and user not in self.seen]

    @staticmethod
    def _weight(ends) -> float:
        return sum(CONTROL.get(port, 1) for _name, port, _index in ends)

    def _split(self, name, bit):
        ends = self.users[bit]
        if self._weight(ends) <= MOST_ENDS or not self._may_copy(name):
            return
        where = np.array([self.place[user] for user, _port, _index in ends])
        weight = np.array([CONTROL.get(port, 1) for _name, port, _index in ends])
        groups = _bisect(where, weight)
        if len(groups) < 2:
            return
        mine = np.array(self.place[name])
        centres = [where[group].mean(0) for group in groups]
        nearest = min(range(len(groups)), key=lambda g: np.abs(centres[g] - mine).sum())
        for g, group in enumerate(groups):
            if g == nearest:
                self.users[bit] = [ends[i] for i in group]
                continue
            copy = self._copy(name, tuple(centres[g]))
            for i in group:
                user, port, index = ends[i]
                self.cells[user]["connections"][port][index] = copy
                self.users[copy].append(ends[i])

    def _own_lut(self, name):
        """The LUT that only this register reads, and packs with."""
        bits = self.cells[name]["connections"].get("DI", [])
        source = self.driver.get(bits[0]) if bits and isinstance(bits[0], int) else None
        if source and self.cells[source[0]]["type"] == "LUT4" and len(self.users[bits[0]]) == 1:
            return source[0]
        return None

    def _copy(self, name, centre) -> int:
        """Another cell with the inputs of ``name``; returns its output."""
        cell, lut = self.cells[name], self._own_lut(name)
        connections = {port: list(bits) for port, bits in cell["connections"].items()}
        if lut:
            connections["DI"] = [self._copy(lut, centre)]
        new, self.free = self.free, self.free + 1
        connections[OUTPUT[cell["type"]]] = [new]
        self.copies += 1
        copy = f"{name}$copy{self.copies}"
        self.cells[copy] = {
            **cell, "connections": connections, "attributes": dict(cell.get("attributes", {}))
        }  # fmt: skip
        self.place[copy] = centre
        self.seen.add(copy)
        self._wire(copy)
        return new

    def _may_copy(self, name) -> bool:
        cell = self.cells[name]
        if any("CLK" in port or port == "WCK" or self.cells[user]["type"].startswith("$")
               for user, port, _index in self.users[self._output(name)]):
            return False
        if not self._early(name):
            return False
        if cell["type"] == "LUT4":
            return True
        if "syn_useioff" in cell.get("attributes", {}):
            return False
        if cell.get("parameters", {}).get("SRMODE") == "ASYNC":
            return False
        return self._settled(name)

    def _early(self, name) -> bool:
        """Nothing it reads has logic before it, a register's own LUT left out."""
        own = self._own_lut(name)
        if own and not self._early(own):
            return False
        for port, bits in self.cells[name]["connections"].items():
            if port == "CLK" or self.cells[name]["port_directions"][port] == "output":
                continue
            for bit in bits:
                source = self.driver.get(bit)
                if source and source[0] != own and \
                        self.cells[source[0]]["type"] not in ("TRELLIS_FF", "DCCA"):
                    return False
        return True

    def _settled(self, name) -> bool:
        """Neither a pin nor another clock is close before, registers alone between."""
        clock = self.cells[name]["connections"].get("CLK")
        for _hop in range(SETTLING):
            bits = self.cells[name]["connections"].get("DI", ["0"])
            if not isinstance(bits[0], int):
                return True
            source = self.driver.get(bits[0])
            if source is None:
                return False
            if self.cells[source[0]]["type"] != "TRELLIS_FF":
                return True
            name = source[0]
            if (self.cells[name]["connections"].get("CLK") != clock
                    or self.cells[name].get("parameters", {}).get("SRMODE") == "ASYNC"):
                return False
        return True


def _bisect(where: np.ndarray, weight: np.ndarray) -> list[list[int]]:
    """Indices of points, halved along the longer side until a group is small or near together."""
    groups, todo = [], [np.arange(len(where))]
    while todo:
        group = todo.pop()
        low, high = np.quantile(where[group], (0.1, 0.9), axis=0)
        if weight[group].sum() <= MOST_ENDS or (high - low).sum() <= NEAR:
            groups.append(group.tolist())
            continue
        order = group[np.argsort(where[group, int(np.argmax(high - low))], kind="stable")]
        middle = int(np.searchsorted(np.cumsum(weight[order]), weight[order].sum() / 2))
        middle = min(max(middle, 1), len(order) - 1)
        todo += [order[middle:], order[:middle]]
    return groups
