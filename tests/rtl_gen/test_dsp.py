"""``Multiplier18`` in plain gates: the product, three cycles later."""

import random

from amaranth.sim import Simulator

from rtl_gen.units.dsp import Multiplier18

EDGES = (-(1 << 17), (1 << 17) - 1, 0, 1, -1, 2)


def test_products():
    dut = Multiplier18()
    rng = random.Random(18)
    pairs = [(a, b) for a in EDGES for b in EDGES]
    pairs += [(rng.randrange(-(1 << 17), 1 << 17), rng.randrange(-(1 << 17), 1 << 17))
              for _ in range(200)]
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
    lag = dut.LATENCY - 1
    assert seen[lag : lag + len(pairs)] == [a * b for a, b in pairs]
