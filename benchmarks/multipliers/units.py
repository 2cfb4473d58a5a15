"""What units without multipliers cost: cells of the ECP5 by yosys, memories and routing left out.

    python benchmarks/multipliers/units.py

A dense array with and without adders for ±1 weights, and the same sums as yosys makes them of
plain additions; lanes whose scale is made by a multiplier and by 1, 2, 3 shifts. Writes units.json
and units.md beside this file.
"""

import datetime
import json
import tempfile
from pathlib import Path

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hwbnn.cache import Cache, default_folder
from hwbnn.emit import emit
from hwbnn.synth import synthesise
from rtl_gen.engine.config import EngineConfig
from rtl_gen.engine.dense import DenseArray
from rtl_gen.engine.lane import Lane
from rtl_gen.units.packed_mac import registered_sum
from rtl_gen.units.signed_sum import SignedSumLane

HERE = Path(__file__).resolve().parent
INPUTS, LANES, BITS = 16, 8, 16  # of the machine of examples/ab_cifar10.h5
CELLS = ("LUT4", "CCU2C", "TRELLIS_FF", "MULT18X18D")


class PlainSum(wiring.Component):
    """The sum of `SignedSumLane` written as additions of numbers or their negatives."""

    def __init__(self):
        self.leaf_name, self.leaf_synth = "plain_sum", ""
        super().__init__({"i_x": In(data.ArrayLayout(BITS, INPUTS)), "i_minus": In(INPUTS),
                          "o_sum": Out(signed(BITS + 5))})

    def elaborate(self, platform):
        m = Module()
        terms = []
        for k in range(INPUTS):
            x, term = self.i_x[k].as_signed(), Signal(signed(BITS + 1), name=f"term{k}",
                                                      reset_less=True)
            m.d.sync += term.eq(Mux(self.i_minus[k], -x, x))
            terms.append(term)
        total, _latency = registered_sum(m, terms, BITS + 5, "sum")
        m.d.comb += self.o_sum.eq(total)
        return m


def lane(digits: int, rprelu: str) -> Lane:
    """A lane of the bundled example's widths."""
    return Lane(EngineConfig(channels_in=32, lanes=LANES, dense_inputs=INPUTS, rprelu=rprelu,
                             acc_bits=29, z_bits=19, bias_bits=25, border_bits=13,
                             affine_shifts=(10, 12, 14, 16), prescales=(4, 8, 12),
                             scale_digits=digits))


def array(signed_bits: int) -> DenseArray:
    return DenseArray(inputs=INPUTS, lanes=LANES, pixels=1, weight_bits=12, acc_bits=36,
                      signed_bits=signed_bits)


def parts():
    """(name, component) of everything measured."""
    yield "sum of 16 numbers times ±1: chains, weight in the adder (built)", SignedSumLane(
        inputs=INPUTS, pixels=1, bits=BITS)
    yield "the same: negatives chosen, then added, as yosys maps it", PlainSum()
    yield "dense array, 16 inputs, 8 lanes", array(0)
    yield "the same with adders for ±1", array(BITS)
    for rprelu in ("multiplier", "shift"):
        yield f"lane, RPReLU by {rprelu}, scale by multiplier", lane(0, rprelu)
    for digits in (1, 2, 3):
        yield f"lane, RPReLU by shift, scale by shift-add:{digits}", lane(digits, "shift")


def main() -> None:
    found = {"date": datetime.date.today().isoformat(), "parts": {}}
    lines = ["| part, post-synthesis | LUT4 | CCU2C | LUT4 and carry | TRELLIS_FF | MULT18X18D |",
             "|---|---:|---:|---:|---:|---:|"]
    for number, (name, component) in enumerate(parts()):
        with tempfile.TemporaryDirectory() as work:
            made = synthesise(emit(component, f"part{number}"), {}, Path(work),
                              cache=Cache(default_folder()))
        row = {kind: made.cells.get(kind, 0) for kind in CELLS}
        found["parts"][name] = row
        lines.append(f"| {name} | {row['LUT4']:,} | {row['CCU2C']:,} "
                     f"| {row['LUT4'] + 2 * row['CCU2C']:,} | {row['TRELLIS_FF']:,} "
                     f"| {row['MULT18X18D']} |")
        print(lines[-1], flush=True)
    (HERE / "units.json").write_text(json.dumps(found, indent=1) + "\n")
    (HERE / "units.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
