# amaranth: UnusedElaboratable=no
"""Scaled gains, products, constants of the image and values before an activation, each against the
integer arithmetic."""

import dataclasses
import random

import numpy as np
import pytest
from amaranth.sim import Simulator

from hwbnn import ints
from rtl_gen.engine import sigmoid
from rtl_gen.engine.common import Ram
from rtl_gen.engine.config import EngineConfig
from rtl_gen.engine.constants import LANE_STAGES, LaneConstants
from rtl_gen.engine.gain import Branch, Products
from rtl_gen.engine.gain_config import GAIN_BITS, GainConfig
from rtl_gen.engine.lane import LATENCY, STAGE, Lane
from rtl_gen.engine.run_time_config import RunTimeConfig
from rtl_gen.engine.sigmoid import SigmoidUnit

FRAC = 16
CONFIG = EngineConfig(
    channels_in=8, lanes=4, dense_inputs=4, shared_x=True, affine_shifts=(0, 6, 14),
    prescales=(0,), feature_depth=64, bias_bits=38, z_bits=38,
    run_time=RunTimeConfig(fracs=(FRAC,), gains=GainConfig(shift=FRAC, product_shifts=(0, 11))),
)


def edge(rng, bits):
    lo, hi = ints.signed_range(bits)
    return rng.choice([lo, lo + 1, -1, 0, 1, hi - 1, hi, rng.randint(lo, hi)])


def run(dut, bench):
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.parametrize(("lanes", "bits"), [(1, 16), (4, 16), (5, 12)])
def test_gains_of_sigmoids_as_close_as_they_may_come(lanes, bits, monkeypatch):
    rng = random.Random(lanes)
    entries, shift = 64, bits - 8
    config = RunTimeConfig(entries=entries, shift=shift, fracs=(FRAC,),
                           gains=GainConfig(shift=FRAC))
    dut = SigmoidUnit(lanes=lanes, bits=bits, config=config)
    table = ints.sigmoid_table(entries, 2.0 ** (shift - bits + 4), FRAC)
    got, wanted, made = [], [], []

    class Reachable(Ram):
        def elaborate(self, platform):
            m = super().elaborate(platform)
            made.append(m.submodules.mem)
            return m

    monkeypatch.setattr(sigmoid, "Ram", Reachable)

    async def bench(ctx):
        for i, word in enumerate(table):
            ctx.set(made[0].data[i], int(word))
        for _ in range(20):
            values = [edge(rng, bits) for _ in range(lanes)]
            gains = [edge(rng, GAIN_BITS) for _ in range(lanes)]
            wanted.append([int(ints.product(k, ints.sigmoid(v, table, shift, FRAC), FRAC))
                           for k, v in zip(gains, values, strict=True)])
            ctx.set(dut.i_valid, 1)
            for lane in range(lanes):
                ctx.set(dut.i_x[lane], values[lane])
                ctx.set(dut.i_gains[lane], gains[lane])
            await watch(ctx)
            ctx.set(dut.i_valid, 0)
            for lane in range(lanes):
                ctx.set(dut.i_gains[lane], -1)  # only those beside the values count
            for _ in range(lanes + 3 + rng.choice([0, 0, 3])):
                await watch(ctx)
        for _ in range(lanes + SigmoidUnit.EXTRA_LATENCY + SigmoidUnit.GAIN_LATENCY):
            await watch(ctx)

    async def watch(ctx):
        await ctx.tick()
        if ctx.get(dut.o_valid):
            got.append([int(ctx.get(dut.o_y[lane])) for lane in range(lanes)])

    run(dut, bench)
    assert got == wanted


def test_products_round_and_saturate():
    rng, bits, count = random.Random(5), 16, 3
    shifts = (0, 3, 15)
    dut = Products(count=count, bits=bits, shifts=shifts)
    lo, hi = ints.signed_range(bits)
    got, wanted, clamped = [], [], 0

    async def bench(ctx):
        nonlocal clamped
        for index, shift in enumerate(shifts):  # static during a step
            ctx.set(dut.i_shift, index)
            pairs = [[(edge(rng, bits), edge(rng, bits)) for _ in range(count)]
                     for _ in range(30)]
            for n in range(len(pairs) + dut.LATENCY):
                for i, (a, b) in enumerate(pairs[min(n, len(pairs) - 1)]):
                    ctx.set(dut.i_x[i], a)
                    ctx.set(dut.i_r[i], b)
                await ctx.tick()
                if dut.LATENCY - 1 <= n < len(pairs) + dut.LATENCY - 1:
                    got.append([ctx.get(dut.o_x[i]) for i in range(count)])
            exact = [[int(ints.product(a, b, shift)) for a, b in each] for each in pairs]
            clamped += sum(not lo <= v <= hi for each in exact for v in each)
            wanted.extend([ints.clamp(v, lo, hi) for v in each] for each in exact)

    run(dut, bench)
    assert got == wanted and clamped > 20


@pytest.mark.parametrize("rprelu", ["multiplier", "shift", "none"])
def test_constants_of_the_image(rprelu):
    """A step's kind says whether gain and bias are as loaded, a vector's, or have one in them."""
    config = dataclasses.replace(CONFIG, rprelu=rprelu)
    rng = random.Random(3)
    dut = LaneConstants(config)
    second, words = config.second_field, config.const_words
    checked = []

    async def bench(ctx):
        for kind in ("plain", "gain", "mix") * 8:
            record = {"gain": edge(rng, 18), "bias": edge(rng, 36)}
            record[second] = edge(rng, config.const_layout[second].width)
            if rprelu != "shift":
                record[second] = edge(rng, GAIN_BITS)
            value = config.const_layout.const({
                name: number % (1 << config.const_layout[name].width)
                for name, number in record.items()}).as_bits()
            for i in range(words):
                ctx.set(dut.i_shift, 1)
                await ctx.tick()
                ctx.set(dut.i_shift, 0)
                ctx.set(dut.i_word, value >> (config.const_width * i)
                        & ((1 << config.const_width) - 1))
                await ctx.tick()
            vector, other = edge(rng, GAIN_BITS), edge(rng, 16)
            ctx.set(dut.i_gain, kind == "gain")
            ctx.set(dut.i_mix, kind == "mix")
            ctx.set(dut.i_other, other)
            for n in range(LANE_STAGES):
                ctx.set(dut.i_swap, 1 << n)
                # it is taken from the register behind i_swap
                ctx.set(dut.i_vector, vector if n == STAGE["gain"] + 1 else 77)
                await ctx.tick()
            ctx.set(dut.i_swap, 0)
            await ctx.tick()
            active = {name: ctx.get(dut.o_active[name]) for name in ("gain", "bias", second)}
            wanted = dict(record)
            if kind == "gain":
                wanted["gain"] = vector
            if kind == "mix":
                wanted["bias"] += other * record[second]
            for name, number in wanted.items():
                width = config.const_layout[name].width
                assert active[name] == number % (1 << width), (kind, name)
            checked.append(kind)

    run(dut, bench)
    assert len(checked) == 24


@pytest.mark.parametrize("rprelu", ["multiplier", "shift", "none"])
def test_a_lane_shows_the_value_before_its_activation(rprelu):
    config = dataclasses.replace(CONFIG, rprelu=rprelu)
    rng = random.Random(9)
    dut = Lane(config)
    got, wanted = [], []

    async def bench(ctx):
        for _ in range(30):
            constants = {"gain": edge(rng, 18), "bias": edge(rng, 36),
                         "threshold": rng.randint(-32768, 32768)}
            if rprelu != "none":
                constants |= {"slope": rng.getrandbits(5), "act_bias": edge(rng, 16)}
            value, shift = edge(rng, 18), rng.randrange(3)
            ctx.set(dut.i_constants, {
                name: constants.get(name, 0) % (1 << field.width)
                for name, field in config.const_layout})
            ctx.set(dut.i_acc, value)
            ctx.set(dut.i_dense, 1)
            ctx.set(dut.i_shift, shift)
            await ctx.tick().repeat(LATENCY)
            early = ctx.get(dut.o_early)
            await ctx.tick()
            got.append((early, ctx.get(dut.o_bit)))
            z = ints.affine(value, constants["gain"], constants["bias"],
                            config.affine_shifts[shift])
            z = ints.clamp(z, *ints.signed_range(16))
            wanted.append((z, int(ints.threshold(z, constants["threshold"]))))

    run(dut, bench)
    assert got == wanted and 5 < sum(bit for _early, bit in wanted) < 25


def test_maps_that_wait_come_back_as_they_were():
    config = dataclasses.replace(CONFIG, run_time=dataclasses.replace(
        CONFIG.run_time, gains=GainConfig(branch_depth=64)))
    dut, rng = Branch(config), random.Random(1)
    width, planes, groups, step = config.memories()["branch"][0], 3, 5, 7
    words = np.array([rng.getrandbits(width) for _ in range(planes * groups)], dtype=object)
    got = []

    async def bench(ctx):
        ctx.set(dut.i_addr, 9)
        ctx.set(dut.i_step, step)
        for reads in (False, True):
            ctx.set(dut.i_setup, 1)
            await ctx.tick()
            ctx.set(dut.i_setup, 0)
            for n in range(planes * groups):
                while rng.random() < 0.3:
                    await ctx.tick()
                first = n % groups == 0
                ctx.set(dut.i_read if reads else dut.i_write, 1)
                ctx.set(dut.i_read_first, first if reads else not first)
                ctx.set(dut.i_write_first, not first if reads else first)
                ctx.set(dut.i_word, words[n])
                await ctx.tick()
                ctx.set(dut.i_read, 0)
                ctx.set(dut.i_write, 0)
                ctx.set(dut.i_word, 0)
                if reads:
                    await ctx.tick().repeat(Branch.READ_LATENCY - 1)
                    got.append(ctx.get(dut.o_word))
            await ctx.tick().repeat(Branch.WRITE_LATENCY)

    run(dut, bench)
    assert got == list(words)
