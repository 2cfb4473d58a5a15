# amaranth: UnusedElaboratable=no
"""Sigmoid table, max-pool and pass over a map, each against the integer arithmetic."""

import random

import numpy as np
import pytest
from amaranth.sim import Simulator

from hwbnn import ints
from rtl_gen.engine import sigmoid
from rtl_gen.engine.common import Ram
from rtl_gen.engine.config import EngineConfig
from rtl_gen.engine.map_pass import MapPass
from rtl_gen.engine.max_pool import MaxPool
from rtl_gen.engine.run_time_config import RunTimeConfig
from rtl_gen.engine.sigmoid import SigmoidUnit

BITS = 12


def edges(rng, bits=BITS):
    lo, hi = ints.signed_range(bits)
    return rng.choice([lo, lo + 1, -1, 0, 1, hi - 1, hi, rng.randint(lo, hi)])


def run(dut, bench):
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.parametrize(("lanes", "shift"), [(1, 0), (4, 3), (5, 2)])
def test_sigmoid_of_vectors_as_close_as_they_may_come(lanes, shift, monkeypatch):
    rng = random.Random(lanes)
    fracs, entries = (4, 10), 64
    config = RunTimeConfig(entries=entries, shift=shift, fracs=fracs)
    dut = SigmoidUnit(lanes=lanes, bits=BITS, config=config)
    step = 2.0 ** (shift - 8)
    tables = [ints.sigmoid_table(entries, step, frac) for frac in fracs]
    got, wanted, made = [], [], []

    class Reachable(Ram):
        def elaborate(self, platform):
            m = super().elaborate(platform)
            made.append(m.submodules.mem)
            return m

    monkeypatch.setattr(sigmoid, "Ram", Reachable)

    async def bench(ctx):
        (memory,) = made
        for i, word in enumerate(np.concatenate(tables)):
            ctx.set(memory.data[i], int(word))
        for n in range(24):
            table = n // 12
            if n == 12:  # static during a step: drained before it changes
                await drain(ctx)
                ctx.set(dut.i_table, 1)
            vector = [edges(rng) for _ in range(lanes)]
            wanted.append([ints.sigmoid(v, tables[table], shift, fracs[table]) for v in vector])
            ctx.set(dut.i_valid, 1)
            for lane, v in enumerate(vector):
                ctx.set(dut.i_x[lane], v)
            await watch(ctx)
            ctx.set(dut.i_valid, 0)
            for _ in range(lanes - 1 + rng.choice([0, 0, 3])):
                await watch(ctx)
        await drain(ctx)

    async def watch(ctx):
        await ctx.tick()
        if ctx.get(dut.o_valid):
            got.append([int(ctx.get(dut.o_y[lane])) for lane in range(lanes)])

    async def drain(ctx):
        for _ in range(lanes + SigmoidUnit.EXTRA_LATENCY + 1):
            await watch(ctx)

    run(dut, bench)
    assert got == wanted


@pytest.mark.parametrize(("lanes", "pixels", "height", "groups"), [(2, 1, 4, 4), (3, 2, 2, 2),
                                                                   (1, 4, 6, 4)])
def test_max_pool_takes_the_largest_or_the_smallest(lanes, pixels, height, groups):
    rng = random.Random(7)
    config = EngineConfig(channels_in=16, lanes=lanes, pixels=pixels, dense_inputs=lanes,
                          feature_bits=BITS, max_pool=True, pool_depth=8)
    dut = MaxPool(config)
    width, planes = groups * pixels, 3
    values = np.array([[edges(rng) for _ in range(height * width)]
                       for _ in range(planes * lanes)]).reshape(planes, lanes, height, width)
    falls = [[rng.getrandbits(1) for _ in range(lanes)] for _ in range(planes)]
    got, flags = [], []

    async def bench(ctx):
        for plane in range(planes):
            for y in range(height):
                for g in range(groups):
                    while rng.random() < 0.2:
                        ctx.set(dut.i_valid, 0)
                        await watch(ctx)
                    last = (y, g) == (height - 1, groups - 1)
                    for port, value in (("valid", 1), ("first", y == g == 0), ("last", last),
                                        ("odd", g % 2), ("row_odd", y % 2),
                                        ("row_last", g == groups - 1),
                                        ("pixel_valid", (1 << pixels) - 1)):
                        ctx.set(getattr(dut, f"i_{port}"), int(value))
                    ctx.set(dut.i_falls, sum(f << i for i, f in enumerate(falls[plane])))
                    for lane in range(lanes):
                        for t in range(pixels):
                            value = values[plane, lane, y, g * pixels + t]
                            ctx.set(dut.i_x[lane * pixels + t], int(value))
                    await watch(ctx)
        ctx.set(dut.i_valid, 0)
        for _ in range(MaxPool.LATENCY + 1):
            await watch(ctx)

    async def watch(ctx):
        await ctx.tick()
        if ctx.get(dut.o_valid):
            assert ctx.get(dut.o_pixel_valid) == (1 << pixels) - 1
            got.append([ctx.get(dut.o_x[i]) for i in range(lanes * pixels)])
            flags.append((ctx.get(dut.o_first), ctx.get(dut.o_last)))

    run(dut, bench)
    four = values.reshape(planes, lanes, height // 2, 2, width // 2, 2)
    turned = np.array(falls, bool)[:, :, None, None]
    best = np.where(turned, four.min(axis=(3, 5)), four.max(axis=(3, 5)))
    wanted = best.reshape(planes, lanes, height // 2, groups // 2, pixels)
    wanted = wanted.transpose(0, 2, 3, 1, 4).reshape(-1, lanes * pixels)
    assert np.array_equal(got, wanted)
    each = len(wanted) // planes
    assert flags == [(int(i % each == 0), int(i % each == each - 1)) for i in range(len(wanted))]


@pytest.mark.parametrize("tie", [0, 1])
def test_pass_compares_with_the_thresholds_of_its_plane(tie):
    rng = random.Random(tie)
    lanes, pixels, planes, groups, used = 3, 2, 3, 5, 2
    config = EngineConfig(channels_in=16, lanes=lanes, pixels=pixels, dense_inputs=lanes,
                          feature_bits=BITS, shared_x=True, feature_depth=64, affine_shifts=(0,),
                          run_time=RunTimeConfig(tie=tie, vector_depth=16))
    dut = MapPass(config)
    top = ints.signed_range(BITS)[1]
    got, wanted, addresses = [], [], []

    async def bench(ctx):
        for port, value in (("base", 7), ("step", 16), ("vector", 4), ("planes", planes - 1),
                            ("lanes", used - 1), ("setup", 1)):
            ctx.set(getattr(dut, f"i_{port}"), value)
        await ctx.tick()
        ctx.set(dut.i_setup, 0)
        for plane in range(planes):
            beta = [rng.randint(1, top) for _ in range(lanes)]
            for g in range(groups):
                ctx.set(dut.i_valid, 1)
                ctx.set(dut.i_first, int(g == 0))
                await ctx.delay(1e-8)
                addresses.append(ctx.get(dut.o_addr))
                if g == 0:
                    assert ctx.get(dut.o_vector_addr) == 4 + plane
                await ctx.tick()
                ctx.set(dut.i_valid, 0)
                if g == 0:
                    for lane in range(lanes):
                        ctx.set(dut.i_thresholds[lane], beta[lane])
                    ctx.set(dut.i_load, 1)
                    await ctx.tick()
                    ctx.set(dut.i_load, 0)
                x = [rng.choice([-beta[i // pixels], -beta[i // pixels] - 1, 1 - beta[i // pixels],
                                 edges(rng)]) for i in range(lanes * pixels)]
                for i, value in enumerate(x):
                    ctx.set(dut.i_x[i], value)
                await ctx.tick()
                got.append(int(ctx.get(dut.o_bits)))
                wanted.append(sum(
                    ints.dynamic_threshold(value, beta[i // pixels], tie) << i
                    for i, value in enumerate(x) if plane < planes - 1 or i // pixels < used))

    run(dut, bench)
    assert got == wanted
    assert addresses == [7 + 16 * plane + g for plane in range(planes) for g in range(groups)]
