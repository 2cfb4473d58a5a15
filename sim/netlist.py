"""A synthesised netlist against the design it came from, in lock step on random stimulus."""

import dataclasses
import json
import re
from pathlib import Path

from hwbnn import tools
from hwbnn.emit import Emitted, verilog_for_sim
from hwbnn.errors import Mismatch, ToolError
from hwbnn.memory_files import write_images
from hwbnn.synth import Netlist

from .verilator import binary

__all__ = ["compare", "netlist_sources"]

CELLS = Path(__file__).parent / "cells"
RESET_CYCLES = 4

# Widths are what the sources mean; the rest is about how yosys writes and models cells.
WARNINGS = ("WIDTHEXPAND", "WIDTHTRUNC", "PINMISSING", "MULTIDRIVEN", "INITIALDLY", "ZERODLY",
            "CASEINCOMPLETE", "UNOPTFLAT")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Port:
    name: str
    width: int
    is_input: bool


def netlist_sources(netlist: Netlist, out_dir: Path, *, name: str) -> tuple[Path, ...]:
    """Verilog files that simulate ``netlist`` as a module ``name``.

    Cells that yosys has behaviour for (LUT4, CCU2C, TRELLIS_FF and the like) come from yosys, the
    blocks it has none for from ``sim/cells``.

    Raises
    ------
    ToolError
        There is no model of a cell.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    text = netlist.verilog.read_text()
    header = re.compile(rf"^module \\?{re.escape(netlist.top)}\s*\(", re.M)
    if len(header.findall(text)) != 1:
        raise ToolError(f"no module {netlist.top}", where=str(netlist.verilog))
    design = out_dir / f"{name}.v"
    design.write_text(header.sub(f"module {name}(", text))

    known = _yosys_modules()
    wanted, library = list(netlist.cells), {}
    files = [design]
    for cell in wanted:
        model = CELLS / f"{cell}.v"
        if model.exists():
            files.append(model)
        elif cell in known:
            library[cell] = known[cell]
            wanted += [m for m in known if m not in wanted and re.search(rf"\b{m}\b", known[cell])]
        else:
            raise ToolError(f"no model of the cell {cell}", where=str(netlist.verilog))
    cells = out_dir / "yosys_cells.v"
    cells.write_text("`timescale 1ps / 1ps\n" + "\n".join(library.values()))
    return (*files, cells)


def _yosys_modules() -> dict[str, str]:
    """Name to text of every ECP5 cell that yosys ships a model of."""
    folder = tools.yosys_share() / "ecp5"
    text = (folder / "cells_sim.v").read_text()
    for file in re.findall(r'^`include "(\w+_sim\.vh)"', text, re.M):
        text += (folder / file).read_text()
    # Delays are for other purposes, and this simulator has no use for them.
    text = re.sub(r"^\s*specify\b.*?^\s*endspecify\b", "", text, flags=re.M | re.S)
    modules = re.findall(r"^module (\w+)\b.*?^endmodule", text, re.M | re.S)
    bodies = re.finditer(r"^module \w+\b.*?^endmodule", text, re.M | re.S)
    found = dict(zip(modules, (body[0] + "\n" for body in bodies), strict=True))
    return {name: body for name, body in found.items() if "assign" in body or "always" in body}


def compare(
    emitted: Emitted,
    netlist: Netlist,
    out_dir: Path,
    *,
    cycles: int,
    seed: int,
    contents=(),
    assume: str = "",
    reset_chance: float = 0.01,
) -> int:
    """Run the design and its netlist on the same random inputs; return how many cycles agreed.

    Both start from power-up and see the clock ``clk``; all outputs are compared in every cycle.

    Parameters
    ----------
    contents : mapping of memory name to words
        As given to ``synthesise``.
    assume : str
        Verilog statements that change the random inputs before they are applied.
    reset_chance : float
        Probability of ``rst`` in a cycle after the first few, where there is a ``rst``.

    Raises
    ------
    Mismatch
        An output differs; names it, the cycle, and both values.
    ToolError
        Verilator is missing or fails; a cell has no model.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    ports = _ports(netlist)
    if "clk" not in (p.name for p in ports) or all(p.is_input for p in ports):
        raise ValueError(f"{netlist.top} needs a port clk and an output to compare")
    rtl = verilog_for_sim(emitted, out_dir)
    gates = netlist_sources(netlist, out_dir, name="gates")
    write_images(emitted, dict(contents), out_dir / "images")
    bench = out_dir / "bench.v"
    bench.write_text(_bench(emitted.top, ports, cycles, assume, reset_chance))
    verilator = tools.find("verilator")
    program = binary(
        verilator,
        [*(f"-Wno-{name}" for name in WARNINGS),
         *(file.name for file in (bench, *rtl, *gates) if file.parent == out_dir),
         *(str(file) for file in gates if file.parent != out_dir)],
        out_dir,
    )  # fmt: skip
    lines: list[str] = []
    simulator = tools.Tool("netlist simulation", (str(program),), verilator.version,
                           verilator.kind)  # fmt: skip
    arguments = ["+IMAGES=images", f"+verilator+seed+{seed}"]
    tools.run(
        simulator, arguments, cwd=out_dir, log=out_dir / "simulation.log", on_line=lines.append
    )
    for line in lines:
        if line.startswith("MISMATCH "):
            _, cycle, port, expected, got = line.split()
            raise Mismatch(
                f"cycle {cycle}: expected {expected}, netlist has {got}",
                where=f"{netlist.top}.{port}",
                hint=f"seed {seed}, {out_dir}",
            )
    done = [int(line.split()[1]) for line in lines if line.startswith("AGREED ")]
    if done != [cycles]:
        raise ToolError("the simulation ended early", where=str(out_dir / "simulation.log"))
    return cycles


def _ports(netlist: Netlist) -> list[_Port]:
    ports = json.loads(netlist.json.read_text())["modules"][netlist.top]["ports"]
    return [_Port(n, len(p["bits"]), p["direction"] == "input") for n, p in ports.items()]


def _bench(top: str, ports: list[_Port], cycles: int, assume: str, reset_chance: float) -> str:
    inputs = [p for p in ports if p.is_input and p.name not in ("clk", "rst")]
    outputs = [p for p in ports if not p.is_input]
    lines = ["`timescale 1ps / 1ps", "module bench;", "    reg clk = 0, rst = 0;"]
    lines += [f"    reg [{p.width - 1}:0] {p.name} = 0;" for p in inputs]
    for side in ("want", "have"):
        lines += [f"    wire [{p.width - 1}:0] {side}_{p.name};" for p in outputs]
    for module, instance, side in ((top, "rtl", "want"), ("gates", "net", "have")):
        named = [f".{p.name}({side}_{p.name if not p.is_input else ''})" for p in outputs]
        named += [f".{p.name}({p.name})" for p in ports if p.is_input]
        lines.append(f"    \\{module} {instance} ({', '.join(named)});")
    lines += ["    reg [31:0] cycle = 0;", "    initial begin"]
    lines += [f"        while (cycle < {cycles}) begin"]
    per_million = round(reset_chance * 1e6)
    later = f" || $urandom_range(999999) < {per_million}" if per_million else ""
    lines += [f"            rst = cycle < {RESET_CYCLES}{later};"]
    for p in inputs:
        words = ", ".join(["$urandom"] * -(-p.width // 32))
        lines.append(f"            {p.name} = {p.width}'({{{words}}});")
    lines += [f"            {assume}", "            #4000;"]
    for p in outputs:
        show = f'"MISMATCH %0d {p.name} %h %h", cycle, want_{p.name}, have_{p.name}'
        lines += [
            f"            if (want_{p.name} !== have_{p.name}) begin",
            f"                $display({show});",
            "                $finish;",
            "            end",
        ]
    lines += ["            #1000 clk = 1;", "            #5000 clk = 0;"]
    lines += ["            cycle = cycle + 1;", "        end"]
    lines += ['        $display("AGREED %0d", cycle);', "        $finish;", "    end", "endmodule"]
    return "\n".join(lines) + "\n"
