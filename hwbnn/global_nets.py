"""Resets of many registers onto the device's global network, which routes only clocks by itself."""

import collections
import json
from pathlib import Path

__all__ = ["promote"]

# Below, ordinary wires do; global networks that reach a register's reset are few (the ECP5 has 8,
# of which clocks take some).
FEWEST, MOST = 256, 4
BUFFER = {"CLKI": "input", "CE": "input", "CLKO": "output"}


def promote(netlist: Path) -> dict[str, int]:
    """Put a global buffer (DCCA) behind the registers that reset the most others.

    Changes the yosys JSON file: synchronous resets (LSR of TRELLIS_FF) of FEWEST ends or more that
    come straight from a register, MOST of them at most. Logic that reads the same net keeps it.
    Returns how many ends went behind each new buffer, most first. A reset of 3,000 ends on ordinary
    wires jams the router (docs/design-notes.md, "The engine's reset").
    """
    design = json.loads(netlist.read_text())
    module = max(design["modules"].values(), key=lambda m: len(m.get("cells", {})))
    cells = module.get("cells", {})
    ends, registers = collections.defaultdict(list), set()
    for name, cell in cells.items():
        if cell["type"] == "TRELLIS_FF":
            registers.update(cell["connections"].get("Q", []))
            for bit in cell["connections"].get("LSR", []):
                if isinstance(bit, int):  # a string is a constant
                    ends[bit].append(name)
    # equal counts in the netlist's order
    large = sorted((bit for bit in ends if len(ends[bit]) >= FEWEST and bit in registers),
                   key=lambda bit: -len(ends[bit]))[:MOST]
    if not large:
        return {}
    free = 1 + max(bit for cell in cells.values() for bits in cell["connections"].values()
                   for bit in bits if isinstance(bit, int))
    made = {}
    for new, bit in enumerate(large, free):
        name = f"$global_reset{new - free}"
        made[name] = len(ends[bit])
        for end in ends[bit]:
            cells[end]["connections"]["LSR"] = [new]
        cells[name] = {
            "hide_name": 1, "type": "DCCA", "parameters": {}, "attributes": {},
            "port_directions": dict(BUFFER),
            "connections": {"CLKI": [bit], "CE": ["1"], "CLKO": [new]},
        }
        module.setdefault("netnames", {})[name] = {"hide_name": 1, "bits": [new], "attributes": {}}
    netlist.write_text(json.dumps(design))
    return made
