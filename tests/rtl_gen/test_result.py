# amaranth: UnusedElaboratable=no
"""The scan of the logits: every logit stored, the first of the largest is the class."""

import random

import pytest
from amaranth.sim import Simulator

from hwbnn.shape import Shape, general_purpose
from rtl_gen.engine.result import ResultScan


@pytest.mark.parametrize("shape", [Shape(4, 1, 1, 1), Shape(8, 4, 1, 4), Shape(8, 3, 2, 3)])
def test_classes_of_nasty_logits(shape):
    config = general_purpose(shape)
    p, t, f = shape.lanes, shape.pixels, config.feature_bits
    lo, hi = -(1 << f - 1), (1 << f - 1) - 1
    rng = random.Random(p)
    cases = [[lo] * 9, [hi] * 9, list(range(-4, 5)), list(range(4, -5, -1)), [lo, hi, lo, hi], [7]]
    for _ in range(40):  # few values: ties, also between neighbours and across words
        values = rng.sample([lo, lo + 1, -1, 0, 1, hi - 1, hi], 3)
        cases.append([rng.choice(values) for _ in range(rng.randint(1, 4 * p + 2))])
    dut = ResultScan(config)
    memory = {}

    async def feature_memory(ctx):
        words = [0, 0, 0]  # on their way: three cycles
        while True:
            _, _, read, address = await ctx.tick().sample(dut.o_read, dut.o_addr)
            words = [memory[address] if read else rng.getrandbits(p * t * f), *words[:2]]
            ctx.set(dut.i_word, words[2])

    async def bench(ctx):
        for logits in cases:
            memory.clear()
            for word in range(-(-len(logits) // p)):
                group = logits[word * p : (word + 1) * p]
                bits = [(x & (1 << f) - 1) << n * t * f for n, x in enumerate(group)]
                memory[16 + word] = sum(bits)
            ctx.set(dut.i_address, 16)
            ctx.set(dut.i_last, len(logits) - 1)
            ctx.set(dut.i_start, 1)
            await ctx.tick()
            ctx.set(dut.i_start, 0)
            cycles = 0
            while not ctx.get(dut.o_done):
                cycles += 1
                await ctx.tick()
            assert cycles == 4 * len(memory) + len(logits) + 1, logits
            assert ctx.get(dut.o_class) == logits.index(max(logits)), logits
            await ctx.tick()
            for n, logit in enumerate(logits):
                ctx.set(dut.i_logit_addr, n)
                await ctx.tick().repeat(2)
                assert ctx.get(dut.o_logit) == logit, (n, logits)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.add_testbench(feature_memory, background=True)
    sim.run()
