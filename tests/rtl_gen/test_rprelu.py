"""The shift RPReLU over its whole input range at small widths, and at 16 bits where it hurts."""

import random

import pytest
from amaranth.sim import Simulator

from hwbnn.ints import rprelu_shift
from rtl_gen.units.rprelu import ShiftRPReLU


def run(bits, cases):
    dut = ShiftRPReLU(bits=bits)
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    results = []

    async def drive(ctx):
        # a value a cycle: a slope belongs to its value alone
        for z, sign, exponent in cases:
            ctx.set(dut.i_z, z)
            ctx.set(dut.i_negative, int(sign < 0))
            ctx.set(dut.i_shift, 7 - exponent)
            await ctx.tick()

    async def watch(ctx):
        await ctx.tick().repeat(dut.LATENCY)
        for _ in cases:
            results.append(ctx.get(dut.o_v))
            await ctx.tick()

    sim.add_testbench(drive)
    sim.add_testbench(watch)
    sim.run()
    return results


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("exponent", [7, 1, 0, -1, -3, -4, -19])
def test_whole_range(sign, exponent):
    bits = 6
    cases = [(z, sign, exponent) for z in range(-(1 << (bits - 1)), 1 << (bits - 1))]
    assert run(bits, cases) == [rprelu_shift(*case, 0) for case in cases]


def test_sixteen_bits():
    values = [-32768, -32767, -16385, -16384, -257, -256, -3, -2, -1, 0, 1, 2, 255, 32767]
    cases = [(z, s, e) for z in values for s in (-1, 1) for e in range(-19, 8)]
    random.Random(16).shuffle(cases)
    assert run(16, cases) == [rprelu_shift(*case, 0) for case in cases]
