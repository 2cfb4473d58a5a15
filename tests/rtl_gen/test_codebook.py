# amaranth: UnusedElaboratable=no
"""Kernel codebooks: every ID gives its codeword, from two cycles after it was written."""

import random

import pytest
from amaranth.sim import Simulator

from rtl_gen.engine.codebook import KERNEL, KernelCodebook


def kernels(codes):
    """Bit ``tap*S + channel`` of codewords of 9 bits."""
    return sum((code >> tap & 1) << (tap * len(codes) + channel)
               for channel, code in enumerate(codes) for tap in range(KERNEL))


@pytest.mark.parametrize(("channels", "id_bits"),
    [(1, 1), (7, 5), (8, 6), (11, 4), (12, 4), (16, 8)])
def test_every_id_gives_its_codeword(channels, id_bits):
    rng = random.Random(channels * 16 + id_bits)
    dut = KernelCodebook(channels=channels, id_bits=id_bits)
    table = {}

    def check(ctx, ids):
        ctx.set(dut.i_ids, sum(i << (id_bits * c) for c, i in enumerate(ids)))
        assert ctx.get(dut.o_kernels) == kernels([table[i] for i in ids])

    async def bench(ctx):
        for _turn in range(2):  # filled again, other codewords
            entries = list(range(1 << id_bits))
            rng.shuffle(entries)
            for entry in entries:
                table[entry] = rng.choice([0, 511, rng.randrange(512)])
                ctx.set(dut.i_write, 1)
                ctx.set(dut.i_addr, entry)
                ctx.set(dut.i_code, table[entry])
                await ctx.tick()
                ctx.set(dut.i_write, 0)
                if rng.random() < 0.3:  # what is on the other ports without a write changes nothing
                    ctx.set(dut.i_addr, rng.randrange(1 << id_bits))
                    ctx.set(dut.i_code, rng.randrange(512))
                    await ctx.tick()
                    check(ctx, [entry] * channels)
            await ctx.tick()
            for _ in range(60):
                check(ctx, [rng.randrange(1 << id_bits) for _ in range(channels)])

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


def test_an_id_of_nine_bits_is_the_kernel():
    codes = [0, 511, 1, 256, 0b101010101]
    dut = KernelCodebook(channels=len(codes), id_bits=KERNEL)

    async def bench(ctx):
        ctx.set(dut.i_ids, sum(code << (KERNEL * c) for c, code in enumerate(codes)))
        assert ctx.get(dut.o_kernels) == kernels(codes)

    sim = Simulator(dut)
    sim.add_testbench(bench)
    sim.run()
