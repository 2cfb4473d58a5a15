"""Bit map memory: what lane groups write is what words hold, straddling lanes included."""

import random

import numpy as np
import pytest
from amaranth.sim import Simulator

from hwbnn.geometry import bit_slots, bit_words, ceil_div
from hwbnn.layout import bit_memory_words
from rtl_gen.engine.bitmap import BitMap
from rtl_gen.engine.config import ROW_BANKS, EngineConfig

# S, P, T: lanes that divide the word, straddle it, fill it, fill two of it
SHAPES = [(16, 8, 1), (16, 6, 1), (16, 16, 2), (8, 16, 1), (12, 4, 4), (16, 5, 2), (48, 48, 1)]


def config_of(s, p, t):
    return EngineConfig(channels_in=s, lanes=p, pixels=t, dense_inputs=p, bit_depth=64,
                        image_depth=64)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("seed", range(2))
def test_write_then_read(shape, seed):
    config = config_of(*shape)
    p, t = config.lanes, config.pixels
    rng = np.random.default_rng(seed)
    stall = random.Random(seed)
    c, h, w = int(rng.integers(1, 40)), int(rng.integers(2, 7)), int(rng.integers(2, 9))
    bits = rng.integers(0, 2, (c, h, w))
    n_og, inside = ceil_div(c, p), ceil_div(w, t)
    issued = inside + (inside % 2 if config.straddles or p > config.channels_in else 0)
    buffer, base = seed % 2, int(rng.integers(0, 5))
    padded = np.zeros((n_og * p, h, issued * t), dtype=int)
    padded[:c, :, :w] = bits
    row = bit_words(bits.shape[2], config)
    plane = bit_slots(bits.shape[1]) * row
    expected = bit_memory_words(bits, buffer, base, config)

    dut = BitMap(config)
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    got = {}

    async def bench(ctx):
        # stale contents must not survive in unused channels
        ctx.set(dut.i_buffer, buffer)
        ctx.set(dut.i_source, 1 - buffer)
        ctx.set(dut.i_addr, base)
        ctx.set(dut.i_row_step, row)
        ctx.set(dut.i_cg_step, plane)
        for filler in (1, 0):
            ctx.set(dut.i_setup, 1)
            await ctx.tick()
            ctx.set(dut.i_setup, 0)
            for og in range(n_og):
                for y in range(h):
                    for j in range(issued):
                        while stall.random() < 0.2:
                            ctx.set(dut.i_valid, 0)
                            await ctx.tick()
                        group = padded[og * p : og * p + p, y, j * t : j * t + t].ravel()
                        value = sum(int(b) << i for i, b in enumerate(group))
                        if filler:
                            value = (1 << (p * t)) - 1
                        ctx.set(dut.i_valid, 1)
                        ctx.set(dut.i_first, int(y == 0 and j == 0))
                        ctx.set(dut.i_odd, j % 2)
                        ctx.set(dut.i_row_last, int(j == issued - 1))
                        ctx.set(dut.i_bits, value)
                        await ctx.tick()
                # the engine's sweeps are at least this far apart where groups straddle
                ctx.set(dut.i_valid, 0)
                await ctx.tick().repeat(3)
            await ctx.tick().repeat(dut.WRITE_LATENCY + 2)
        ctx.set(dut.i_source, buffer)
        addresses = sorted({a for words in expected.values() for a in words})
        for address in addresses:
            for bank in range(ROW_BANKS):
                ctx.set(dut.i_row_addr[bank], address)
            ctx.set(dut.i_new, 1)
            await ctx.tick()
            ctx.set(dut.i_new, 0)
            await ctx.tick()
            got[address] = [ctx.get(dut.o_words[bank]) for bank in range(ROW_BANKS)]

    sim.add_testbench(bench)
    sim.run()
    compared = 0
    for name, words in expected.items():
        for address, (word, mask) in words.items():
            assert (got[address][int(name[-1])] ^ word) & mask == 0, (seed, name, address)
            compared += 1
    assert compared >= h
