# amaranth: UnusedElaboratable=no
"""The unit for a first 3x3 convolution: exact sums and exact cycles; the sampler of maps."""

import random

import numpy as np
import pytest
from amaranth.sim import Simulator

from rtl_gen.engine import first_conv
from rtl_gen.engine.common import Ram
from rtl_gen.engine.config import EngineConfig
from rtl_gen.engine.first_config import PAIR, TAPS, FirstConfig, FirstTimes
from rtl_gen.engine.first_conv import FirstConv, first_latency
from rtl_gen.engine.run_time_config import RunTimeConfig, ThresholdConfig
from rtl_gen.engine.threshold_unit import Sampler

IMAGES = 3


def convolved(image, weight, config):
    """(C, H, W) exact sums of an image (H, W, 3)."""
    x = (image.astype(np.int64) << config.image_frac) - np.array(config.offset)
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    h, w, _colours = image.shape
    result = np.zeros((len(weight), h, w), dtype=np.int64)
    for ky in range(3):
        for kx in range(3):
            part = padded[ky : ky + h, kx : kx + w]
            result += np.einsum("oc,hwc->ohw", weight[:, :, ky, kx], part)
    return result


@pytest.mark.parametrize(("lanes", "pixels", "channels", "size"),
                         [(4, 2, 8, (5, 6)), (8, 1, 16, (3, 4)), (2, 4, 8, (4, 7))])
@pytest.mark.parametrize("gaps", [0.0, 0.6])
def test_first_convolution(lanes, pixels, channels, size, gaps, monkeypatch):
    rng = random.Random(lanes + 10 * pixels)
    numbers = np.random.default_rng(lanes)
    config = FirstConfig(lanes=lanes, pixels=pixels, channels=channels, height=size[0],
                         width=size[1], weight_bits=9, acc_bits=29, image_frac=6,
                         offset=(8000, 1, 16000))
    weight = numbers.choice([-256, -255, -1, 0, 1, 255], (channels, 3, 3, 3))
    images = numbers.choice([0, 1, 127, 255], (IMAGES, *size, 3)).astype(np.uint8)
    made = {}

    class Reachable(Ram):
        def elaborate(self, platform):
            m = super().elaborate(platform)
            made[self._name] = m.submodules.mem
            return m

    monkeypatch.setattr(first_conv, "Ram", Reachable)
    dut = FirstConv(config)
    words = weight.transpose(0, 2, 3, 1).reshape(-1, PAIR * TAPS) % 512
    cycle, ready_at, taken_at, got = 0, [], [], []

    async def tick(ctx):
        nonlocal cycle
        await ctx.tick()
        cycle += 1

    async def pixels_in(ctx):
        for image in images:
            for red, green, blue in image.reshape(-1, 3).tolist():
                while rng.random() < gaps:
                    ctx.set(dut.i_pixel.valid, 0)
                    await ctx.tick()
                ctx.set(dut.i_pixel.valid, 1)
                ctx.set(dut.i_pixel.payload, red | green << 8 | blue << 16)
                await ctx.tick().until(dut.i_pixel.ready)
        ctx.set(dut.i_pixel.valid, 0)

    async def results_out(ctx):
        for i, word in enumerate(words):
            ctx.set(made["first_weights"].data[i], sum(int(w) << (9 * n)
                                                       for n, w in enumerate(word)))
        for _ in range(IMAGES):
            while not ctx.get(dut.o_ready):
                await tick(ctx)
                assert cycle < 100_000
            ready_at.append(cycle)
            for _ in range(rng.randrange(20)):
                await tick(ctx)
            read = []
            for address in range(config.groups * config.plane):
                ctx.set(dut.i_read, 1)
                ctx.set(dut.i_addr, address)
                await tick(ctx)
                ctx.set(dut.i_read, 0)
                await tick(ctx)
                read.append(ctx.get(dut.o_word))
            got.append(read)
            ctx.set(dut.i_take, 1)
            taken_at.append(cycle)
            await tick(ctx)
            ctx.set(dut.i_take, 0)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(pixels_in, background=True)
    sim.add_testbench(results_out)
    sim.run()
    for image, read in zip(images, got, strict=True):
        wanted = convolved(image, weight, config)
        for address, word in enumerate(read):
            group, rest = divmod(address, config.plane)
            y, j = divmod(rest, config.row_words)
            for p in range(lanes):
                for t in range(min(pixels, size[1] - j * pixels)):
                    bits = word >> (29 * (p * pixels + t)) & (1 << 29) - 1
                    value = bits - (bits >> 28 << 29)
                    assert value == wanted[group * lanes + p, y, j * pixels + t]
    if not gaps:
        times = FirstTimes(config, first_latency(config))
        assert ready_at == [times.next_ready(taken_at) for _ in range(IMAGES)]


@pytest.mark.parametrize("words", [1, 2])
@pytest.mark.parametrize(("lanes", "pixels", "height", "width"), [(2, 1, 4, 6), (4, 2, 2, 8)])
def test_sampler_keeps_even_rows_and_columns(lanes, pixels, height, width, words):
    rng = random.Random(width)
    unit = ThresholdConfig(inputs=1, words=words)
    config = EngineConfig(channels_in=4, lanes=lanes, pixels=pixels, dense_inputs=1,
                          feature_bits=11, feature_depth=64, shared_x=True,
                          run_time=RunTimeConfig(unit=unit))
    dut = Sampler(config)
    planes, row, pair = 2, width // pixels, pixels * words
    maps = np.random.default_rng(5).integers(-1024, 1024, (planes, height, width, lanes))
    stored = {}

    async def bench(ctx):
        ctx.set(dut.i_base, 7)
        ctx.set(dut.i_step, height * row // 4)
        ctx.set(dut.i_load, 1)
        await ctx.tick()
        ctx.set(dut.i_load, 0)
        for plane, y, j in np.ndindex(planes, height, row // words):
            while rng.random() < 0.3:
                ctx.set(dut.i_valid, 0)
                await ctx.tick()
            ctx.set(dut.i_valid, 1)
            ctx.set(dut.i_odd, j % 2)
            ctx.set(dut.i_row_odd, y % 2)
            ctx.set(dut.i_start, int(y == 0 and j == 2 - words))
            for lane in range(lanes):
                for t in range(pair):
                    ctx.set(dut.i_x[lane * pair + t], int(maps[plane, y, j * pair + t, lane]))
            await ctx.tick()
            if ctx.get(dut.o_en):
                address = ctx.get(dut.o_addr)
                assert address not in stored
                stored[address] = [ctx.get(dut.o_word[i]) for i in range(lanes * pixels)]

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    even = maps[:, ::2, ::2]
    wanted = {}
    for n, (plane, y, j) in enumerate(np.ndindex(planes, height // 2, row // 2)):
        wanted[7 + n] = [int(even[plane, y, j * pixels + t, lane])
                         for lane in range(lanes) for t in range(pixels)]
    assert stored == wanted
