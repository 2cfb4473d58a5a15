# amaranth: UnusedElaboratable=no
"""Sums of numbers times ±1: the tree against NumPy, and beside the multipliers of a dense array."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from rtl_gen.engine.dense import DenseArray
from rtl_gen.units.signed_sum import SignedSumLane


def packed(values, width):
    return sum((int(v) % (1 << width)) << (width * i) for i, v in enumerate(values))


def numbers(rng, bits, shape):
    """Ends of the range often, and what carries far."""
    top = 1 << (bits - 1)
    ends = rng.choice([-top, 1 - top, -1, 0, 1, top - 1], shape)
    return np.where(rng.random(shape) < 0.6, ends, rng.integers(-top, top, shape))


@pytest.mark.parametrize(("inputs", "pixels", "bits"), [
    (1, 1, 8), (2, 2, 5), (3, 1, 8), (6, 1, 10), (7, 2, 8), (8, 1, 16), (16, 2, 16), (24, 1, 12),
])
def test_lane(inputs, pixels, bits):
    seed = inputs * bits
    rng = np.random.default_rng(seed)
    dut = SignedSumLane(inputs=inputs, pixels=pixels, bits=bits)
    top, n = 1 << (bits - 1), 60
    x = numbers(rng, bits, (n, pixels, inputs))
    minus = rng.integers(0, 2, (n, inputs))
    x[0], minus[0] = -top, 1  # the largest sum, and the least
    x[1], minus[1] = -top, 0
    expected = (x * (1 - 2 * minus[:, None])).sum(axis=2)
    seen = []

    async def bench(ctx):
        for i in range(n + dut.latency):
            if i < n:
                ctx.set(dut.i_x.as_value(), packed(x[i].ravel(), bits))
                ctx.set(dut.i_minus, packed(minus[i], 1))
                ctx.set(dut.i_plus, packed(1 - minus[i], 1))
            if i >= dut.latency:
                seen.append([ctx.get(dut.o_sum[t]) for t in range(pixels)])
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert np.array_equal(seen, expected), f"seed {seed}"


@pytest.mark.parametrize(("inputs", "lanes", "pixels"), [(4, 3, 2), (8, 4, 1), (1, 2, 1)])
def test_dense_array_gives_the_same_by_adders_as_by_multipliers(inputs, lanes, pixels):
    """Tiles follow each other with loads behind the computation; some inputs have no channel."""
    rng = np.random.default_rng(inputs)
    bits, weight_bits = 12, 6
    dut = DenseArray(inputs=inputs, lanes=lanes, pixels=pixels, weight_bits=weight_bits,
                     acc_bits=30, signed_bits=bits)
    tiles, each = 6, lanes + 3
    x = numbers(rng, bits, (tiles, each, pixels, inputs))
    weights = rng.choice([-1, 1], (tiles, lanes, inputs))
    weights[1, :, inputs // 2 :] = 0
    weights[3, :, 0] = 0
    expected = np.einsum("ncti,npi->ncpt", x, weights).reshape(-1, lanes * pixels)
    seen, by_multipliers = [], []

    async def load(ctx, tile, cycle):
        wanted = tile < tiles and cycle < lanes
        ctx.set(dut.i_load, wanted)
        if wanted:
            ctx.set(dut.i_weights, packed(weights[tile, lanes - 1 - cycle], weight_bits))

    async def bench(ctx):
        for cycle in range(lanes):
            await load(ctx, 0, cycle)
            await ctx.tick()
        total = tiles * each
        for n in range(total + dut.latency):
            tile, cycle = divmod(n, each)
            ctx.set(dut.i_swap, n < total and cycle == 0)
            await load(ctx, tile + 1, cycle)
            if n < total:
                ctx.set(dut.i_x.as_value(), packed(x[tile, cycle].ravel(), 18))
            if n >= dut.latency:
                seen.append([ctx.get(dut.o_signed[i]) for i in range(lanes * pixels)])
                by_multipliers.append([ctx.get(dut.o_sum[i]) for i in range(lanes * pixels)])
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert np.array_equal(by_multipliers, expected)
    assert np.array_equal(seen, expected)
