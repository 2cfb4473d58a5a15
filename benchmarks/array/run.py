"""Area and speed of the XNOR-popcount array after place and route on an LFE5U-85F-6."""

import argparse
import json
import time
from pathlib import Path

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwbnn import emit, netlist, tools
from rtl_gen.leaf import leaf
from rtl_gen.units.xnor_array import XnorArray

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
TABLE = HERE / "results.md"
DEVICE = ("--85k", "--package", "CABGA381", "--speed", "6")
PIN_MERGE = 4  # inputs of one XOR in the folding tree


class Bench(wiring.Component):
    """The array between a shift register and an XOR tree: three pins, nothing to optimise away."""

    i: In(1)
    o: Out(1)

    def __init__(self, array: XnorArray):
        self.array = array
        # The array is a leaf here, so that the wrapper can be counted without it.
        array.leaf_name = "array"
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        array = self.array
        m.submodules.array = leaf(array, platform)
        n, pixels = array.n_inputs, array.pixels
        shift = Signal(n * (pixels + 1) + 2, reset_less=True)
        m.d.sync += shift.eq(Cat(self.i, shift))
        for t in range(pixels):
            m.d.comb += array.i_act[t].eq(shift[n * t : n * t + n])
        m.d.comb += [
            array.i_wgt.eq(shift[n * pixels : n * pixels + n]),
            Cat(array.i_load, array.i_swap).eq(shift[-2:]),
        ]
        level, bits = 0, Signal(len(array.o_sum.as_value()), name="fold0", reset_less=True)
        m.d.sync += bits.eq(array.o_sum.as_value())
        while len(bits) > 1:
            level += 1
            groups = [bits[k : k + PIN_MERGE].xor() for k in range(0, len(bits), PIN_MERGE)]
            bits = Signal(len(groups), name=f"fold{level}", reset_less=True)
            m.d.sync += bits.eq(Cat(groups))
        m.d.comb += self.o.eq(bits)
        return m


def synthesise(emitted: emit.Emitted, work: Path) -> dict:
    """Each module alone, the modules below it as black boxes; then all of it flattened.

    Returns seconds, peak bytes and the LUTs of the top without its leaves.
    """
    yosys = tools.find("yosys")
    order = [name for name in emitted.modules if name != emitted.top] + [emitted.top]
    for file in emit.PRIMITIVES:
        (work / file).write_bytes((emit.VERILOG / file).read_bytes())
    seconds, peak = 0.0, 0
    for k, name in enumerate(order):
        (work / f"{name}.il").write_text(emitted.modules[name])
        script = "".join(f"read_rtlil {leaf}.netlist.il; blackbox {leaf}; " for leaf in order[:k])
        script += f"read_verilog hwbnn_adders.v; read_rtlil {name}.il; "
        # Names such as act[0], which arrays leave behind, would confuse abc9.
        script += f"hierarchy -top {name}; proc; flatten; opt_clean -purge; "
        script += f"synth_ecp5 -top {name} {emitted.synth.get(name, '')}; "
        script += f"tee -o {name}.stat.json stat -json {name}; select {name}; "
        script += f"write_rtlil -selected {name}.netlist.il"
        # The WASM yosys loses its standard output after abc9, but not its own log.
        arguments = ["-q", "-l", f"{name}.yosys.log", "-p", script]
        usage = tools.run(yosys, arguments, cwd=work, log=work / f"{name}.out")
        seconds, peak = seconds + usage.seconds, max(peak, usage.peak_bytes)
    script = "read_verilog -lib +/ecp5/cells_sim.v +/ecp5/cells_bb.v; blackbox =A:whitebox; "
    script += "".join(f"read_rtlil {name}.netlist.il; " for name in order)
    script += f"hierarchy -top {emitted.top}; flatten; clean; write_json {emitted.top}.json"
    usage = tools.run(yosys, ["-q", "-p", script], cwd=work, log=work / "flatten.out")
    netlist.open_carry_ends(work / f"{emitted.top}.json")
    stat = json.loads((work / f"{emitted.top}.stat.json").read_text())
    cells = stat["modules"][f"\\{emitted.top}"]["num_cells_by_type"]
    return {
        "yosys_s": round(seconds + usage.seconds, 1),
        "yosys_peak_mb": max(peak, usage.peak_bytes) >> 20,
        "wrapper_comb": cells.get("LUT4", 0) + 2 * cells.get("CCU2C", 0),
        "wrapper_ff": cells.get("TRELLIS_FF", 0),
    }


def place_and_route(top: str, work: Path, freq: float, options: list[str]) -> dict:
    """Place and route ``top``.json; returns what nextpnr reports."""
    nextpnr = tools.find("nextpnr-ecp5")
    arguments = [*DEVICE, "--json", f"{top}.json", "--report", "report.json"]
    arguments += ["--freq", str(freq), "--lpf-allow-unconstrained", "--timing-allow-fail"]
    usage = tools.run(nextpnr, arguments + options, cwd=work, log=work / "nextpnr.log")
    report = json.loads((work / "report.json").read_text())
    used = {name: entry["used"] for name, entry in report["utilization"].items()}
    return {
        "comb": used["TRELLIS_COMB"],
        "ff": used["TRELLIS_FF"],
        "fmax_mhz": round(max(entry["achieved"] for entry in report["fmax"].values()), 1),
        "nextpnr_s": round(usage.seconds, 1),
        "nextpnr_peak_mb": usage.peak_bytes >> 20,
    }


def measure(n_inputs: int, lanes: int, pixels: int, work: Path, freq: float, options) -> dict:
    """One row of the table."""
    array = XnorArray(n_inputs=n_inputs, lanes=lanes, pixels=pixels)
    macs = array.parameters.macs
    work.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    emitted = emit.emit(Bench(array), "bench")
    row = {"n_inputs": n_inputs, "lanes": lanes, "pixels": pixels, "macs": macs}
    row["emit_s"] = round(time.monotonic() - start, 1)
    row |= synthesise(emitted, work)
    row |= place_and_route("bench", work, freq, options)
    row["comb_per_mac"] = round((row["comb"] - row["wrapper_comb"]) / macs, 3)
    row["tools"] = [str(tools.find("yosys")), str(tools.find("nextpnr-ecp5"))]
    row["options"] = options
    return row


COLUMNS = {
    "n_inputs": "n_inputs",
    "P": "lanes",
    "T": "pixels",
    "MACs": "macs",
    "COMB": "comb",
    "of the wrapper": "wrapper_comb",
    "COMB/MAC": "comb_per_mac",
    "FF": "ff",
    "Fmax MHz": "fmax_mhz",
    "yosys s": "yosys_s",
    "nextpnr s": "nextpnr_s",
    "peak MB": "nextpnr_peak_mb",
}


def save(row: dict) -> None:
    """Add or replace the row of this shape; write the table anew."""
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    shape = ("n_inputs", "lanes", "pixels")
    rows = [r for r in rows if [r[k] for k in shape] != [row[k] for k in shape]] + [row]
    rows.sort(key=lambda r: (r["macs"], r["n_inputs"]))
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(str(r[k]) for k in COLUMNS.values()) + " |" for r in rows]
    TABLE.write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shape", nargs="+", help="n_inputs,lanes,pixels")
    parser.add_argument("--work", type=Path, default=HERE / "build")
    parser.add_argument("--freq", type=float, default=200.0, help="clock to aim at, MHz")
    parser.add_argument("--dry", action="store_true", help="print the row but do not store it")
    parser.add_argument("--nextpnr", default="", help="more options for nextpnr")
    arguments = parser.parse_args()
    for shape in arguments.shape:
        n_inputs, lanes, pixels = map(int, shape.split(","))
        work = arguments.work / shape.replace(",", "_")
        row = measure(n_inputs, lanes, pixels, work, arguments.freq, arguments.nextpnr.split())
        print(json.dumps(row))
        if not arguments.dry:
            save(row)


if __name__ == "__main__":
    main()
