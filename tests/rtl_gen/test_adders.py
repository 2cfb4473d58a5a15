# amaranth: UnusedElaboratable=no
import random

import pytest
from amaranth.sim import Simulator

from hwbnn import emit, tools
from rtl_gen.units.adders import Adder, AdderChain
from rtl_gen.units.xnor_lane import LanePlan, XnorLane, adder_of

CHAINS = {
    "one bit": [Adder(1, 1, True)],
    "no second operand": [Adder(3, 0), Adder(1, 0)],
    "short second operand": [Adder(4, 2), Adder(2, 1, True), Adder(1, 1)],
    "random": [Adder(w, y, y == 1) for w, y in ((1, 1), (2, 2), (5, 1), (3, 3), (4, 0), (6, 6))],
}
for n_inputs in (9, 40, 288):
    for k, sums in enumerate(LanePlan(n_inputs).chains):
        adders = [adder_of(s) for s in sums]
        if adders not in CHAINS.values():
            CHAINS[f"lane {n_inputs} chain {k}"] = adders


@pytest.mark.parametrize("adders", CHAINS.values(), ids=CHAINS)
def test_each_addition_stands_alone(adders):
    dut = AdderChain(adders)
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)

    async def bench(ctx):
        for trial in range(100):
            fill = rng.choice((0, (1 << dut.length) - 1, None))
            a, b, c, d = (
                rng.getrandbits(dut.length) if fill is None or rng.random() < 0.2 else fill
                for _ in range(4)
            )
            for port, value in zip((dut.a, dut.b, dut.c, dut.d), (a, b, c, d), strict=True):
                ctx.set(port, value)
            s = ctx.get(dut.s)
            for adder, first in zip(adders, dut.first, strict=True):
                x = ~(a ^ b) >> first & ((1 << adder.width) - 1)
                y = (c ^ d if adder.y_pair else c) >> first & ((1 << adder.y_width) - 1)
                carry = ~(a ^ b) >> (first - 1) & 1
                got = s >> first & ((2 << adder.width) - 1)
                assert got == x + y + carry, f"seed {seed}, trial {trial}, addition at {first}"

    sim = Simulator(dut)
    sim.add_testbench(bench)
    sim.run()


def prove(script, folder):
    """Run yosys; it fails where a proof does."""
    (folder / "proof.ys").write_text("\n".join(script))
    (folder / "hwbnn_adders.v").write_bytes((emit.VERILOG / "hwbnn_adders.v").read_bytes())
    log = folder / "proof.log"
    arguments = ["-q", "-l", "proof.log", "-s", "proof.ys"]
    tools.run(tools.find("yosys"), arguments, cwd=folder, log=folder / "proof.out")
    assert "SAT proof finished - no model found: SUCCESS!" in log.read_text()


@pytest.mark.parametrize("adders", CHAINS.values(), ids=CHAINS)
def test_cells_equal_their_sum(adders, tmp_path):
    """Every input, by SAT: the CCU2C cells against the addition that simulation uses."""
    chain = AdderChain(adders)
    parameters = {
        "LENGTH": str(chain.length),
        "GUARDS": f"{chain.length}'b{chain.guards:b}",
        "HAS_C": f"{chain.length}'b{chain.has_c:b}",
        "HAS_D": f"{chain.length}'b{chain.has_d:b}",
    }
    given = " ".join(f"-chparam {k} {v}" for k, v in parameters.items())
    prove(
        [
            "read_verilog -overwrite +/ecp5/cells_sim.v",
            "read_verilog hwbnn_adders.v",
            f"hierarchy -top hwbnn_adders {given}",
            "proc; flatten; opt_clean; rename -top cells; design -stash cells",
            "read_verilog -nosynthesis hwbnn_adders.v",
            f"hierarchy -top hwbnn_adders {given}",
            "proc; flatten; opt_clean; rename -top sum; design -stash sum",
            "design -copy-from cells cells; design -copy-from sum sum",
            "miter -equiv -make_outputs sum cells miter",
            "hierarchy -top miter; flatten; opt",
            "sat -verify -prove trigger 0 -set-def-inputs miter",
        ],
        tmp_path,
    )


@pytest.mark.parametrize("n_inputs", [5, 9])
def test_lane_netlist_equals_its_source(n_inputs, tmp_path):
    """Every input over as many cycles as the lane holds, by SAT, from cleared registers."""
    lane = XnorLane(n_inputs=n_inputs, pixels=1)
    source = emit.emit(lane, "lane").modules["lane"]
    (tmp_path / "lane.il").write_text(source)
    cycles = lane.plan.stages + 4
    prove(
        [
            "read_verilog -nosynthesis hwbnn_adders.v; read_rtlil lane.il",
            "hierarchy -top lane; proc; flatten; opt_clean; rename -top source",
            "design -stash source",
            "read_verilog hwbnn_adders.v; read_rtlil lane.il",
            f"synth_ecp5 -top lane {lane.leaf_synth}",
            "select lane; write_rtlil -selected net.il; select -clear; design -reset",
            "read_verilog -overwrite +/ecp5/cells_sim.v; read_rtlil net.il",
            "hierarchy -top lane; proc; flatten; opt_clean; rename -top netlist",
            "design -stash netlist",
            "design -copy-from source source; design -copy-from netlist netlist",
            "miter -equiv -make_outputs source netlist miter",
            "hierarchy -top miter; flatten; opt; async2sync; dffunmap",
            f"sat -verify -prove trigger 0 -seq {cycles} -set-init-zero -set-def-inputs miter",
        ],
        tmp_path,
    )
