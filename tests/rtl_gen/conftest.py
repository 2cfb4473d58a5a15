"""What tests of several units share."""

import pytest
from amaranth.sim import Simulator


@pytest.fixture
def products():
    """``products(dut, pairs)``: what a multiplier with ports a, b and o makes of each pair."""

    def run(dut, pairs):
        seen = []

        async def bench(ctx):
            for a, b in pairs + [(0, 0)] * dut.LATENCY:
                ctx.set(dut.a, a)
                ctx.set(dut.b, b)
                await ctx.tick()
                seen.append(ctx.get(dut.o))

        sim = Simulator(dut)
        sim.add_clock(1e-6)
        sim.add_testbench(bench)
        sim.run()
        return seen[dut.LATENCY - 1 :][: len(pairs)]

    return run
