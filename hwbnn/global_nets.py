"""Resets onto the device's global network, which nextpnr uses for clocks alone by itself."""

import collections
import json
from pathlib import Path

from .yosys_json import free_bit, top_module

__all__ = ["promote"]

# Below, ordinary wires do; global networks that reach a register's reset are few (the ECP5 has 8,
# of which clocks take some).
FEWEST, MOST = 256, 4
BUFFER = {"CLKI": "input", "CE": "input", "CLKO": "output"}


def promote(netlist: Path) -> dict[str, int]:
    """Put global buffers (DCCA) behind the registers that reset the most others, and behind 0.

    Changes the yosys JSON file: synchronous resets (LSR of TRELLIS_FF) of FEWEST ends or more that
    come straight from a register, MOST of them at most; logic that reads the same net keeps it. And
    resets of multipliers that are never used: one constant 0 for all. Returns how many ends went
    behind each new buffer. On ordinary wires either jams the router (docs/design-notes.md,
    "Resets on the global network").
    """
    design = json.loads(netlist.read_text())
    module = top_module(design)
    cells = module.get("cells", {})
    groups = {f"$global_reset{n}": ends for n, ends in enumerate(_resets(cells))}
    unused = [(name, port) for name, cell in cells.items() if cell["type"] == "MULT18X18D"
              for port, bits in cell["connections"].items()
              if port.startswith("RST") and bits == ["0"]]
    if unused:
        groups["$global_zero"] = unused
    if not groups:
        return {}
    for new, (name, ends) in enumerate(groups.items(), free_bit(module)):
        cell, port = ends[0]
        source = list(cells[cell]["connections"][port])
        for cell, port in ends:
            cells[cell]["connections"][port] = [new]
        cells[name] = {
            "hide_name": 1, "type": "DCCA", "parameters": {}, "attributes": {},
            "port_directions": dict(BUFFER),
            "connections": {"CLKI": source, "CE": ["1"], "CLKO": [new]},
        }
        module.setdefault("netnames", {})[name] = {"hide_name": 1, "bits": [new], "attributes": {}}
    netlist.write_text(json.dumps(design))
    return {name: len(ends) for name, ends in groups.items()}


def _resets(cells) -> list[list[tuple[str, str]]]:
    """Ends of the largest resets, most first; equal ones in the netlist's order."""
    ends, registers = collections.defaultdict(list), set()
    for name, cell in cells.items():
        if cell["type"] == "TRELLIS_FF":
            registers.update(cell["connections"].get("Q", []))
            for bit in cell["connections"].get("LSR", []):
                if isinstance(bit, int):  # a string is a constant
                    ends[bit].append((name, "LSR"))
    large = (e for bit, e in ends.items() if len(e) >= FEWEST and bit in registers)
    return sorted(large, key=len, reverse=True)[:MOST]
