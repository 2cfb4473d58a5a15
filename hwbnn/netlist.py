"""Changes to a mapped netlist that yosys cannot be told to make."""

import json
from collections import Counter
from pathlib import Path


def open_carry_ends(path: Path) -> int:
    """Leave unused carry outputs of CCU2C cells unconnected in the yosys JSON file ``path``.

    yosys ties the last carry of a chain to a net without users, and nextpnr spends a CCU2C, two
    TRELLIS_COMB, to lead such a net out of the chain. Returns how many ends were opened.
    """
    design = json.loads(path.read_text())
    opened = 0
    for module in design["modules"].values():
        users = Counter(
            bit
            for cell in module.get("cells", {}).values()
            for bits in cell["connections"].values()
            for bit in bits
        )
        users.update(bit for port in module.get("ports", {}).values() for bit in port["bits"])
        for cell in module.get("cells", {}).values():
            if cell["type"] != "CCU2C":
                continue
            carry = cell["connections"].get("COUT", [])
            if len(carry) == 1 and carry != ["x"] and users[carry[0]] == 1:
                cell["connections"]["COUT"] = ["x"]
                opened += 1
    path.write_text(json.dumps(design))
    return opened


def use_output_registers(path: Path) -> None:
    """Switch block RAMs below a scope named ``oreg`` of an RTLIL netlist to their output register.

    yosys maps memories without it; ``hwbnn_ram.v`` leaves the register out of the logic there.
    """
    lines, inside = path.read_text().split("\n"), False
    for i, line in enumerate(lines):
        text = line.strip()
        if text.startswith("cell "):
            inside = text.startswith("cell \\DP16KD ") and "oreg." in text
        elif inside and text.startswith("parameter \\REGMODE_"):
            lines[i] = line.replace('"NOREG"', '"OUTREG"')
        elif inside and text.startswith(("connect \\OCEA ", "connect \\OCEB ")):
            lines[i] = line.replace("1'0", "1'1")
    path.write_text("\n".join(lines))
