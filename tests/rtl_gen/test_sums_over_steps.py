# amaranth: UnusedElaboratable=no
"""Channel sums of a map that several steps make, against the sum of all of its values."""

import dataclasses
import random

import pytest
from amaranth.sim import Simulator

from hwbnn import ints
from rtl_gen.engine import xmap
from rtl_gen.engine.common import Ram
from rtl_gen.engine.config import EngineConfig
from rtl_gen.engine.gain_config import GainConfig
from rtl_gen.engine.run_time_config import RunTimeConfig

SHIFTS = (0, 4, 9)
CONFIG = EngineConfig(
    channels_in=8, lanes=2, dense_inputs=2, shared_x=True, gsum_shifts=SHIFTS, feature_depth=64,
    run_time=RunTimeConfig(vector_depth=64, fracs=(16,), gains=GainConfig(sum_depth=8)))
SWEEP = 4  # least cycles between the beginnings of groups


@pytest.mark.parametrize(("pixels", "groups", "steps"), [(1, 1, 3), (1, 8, 4), (2, 3, 1),
                                                         (4, 5, 5)])
def test_sums_over_steps(pixels, groups, steps, monkeypatch):
    rng = random.Random(100 * pixels + groups)
    config = dataclasses.replace(CONFIG, pixels=pixels)
    memories = {}

    class Known(Ram):
        def elaborate(self, platform):
            memories[self._name] = self
            return super().elaborate(platform)

    monkeypatch.setattr(xmap, "Ram", Known)
    dut = xmap.XMap(config)
    bits, n = config.feature_bits, config.lanes
    lo, hi = ints.signed_range(bits)
    stored, wanted = {}, {}

    def value():
        return rng.choice([lo, lo, hi, hi, -1, 0, rng.randint(lo, hi)])

    async def tick(ctx):
        # a map is read meanwhile, at addresses that vectors have, too: no vector is
        ctx.set(dut.i_read, rng.randrange(2))
        ctx.set(dut.i_read_addr, rng.randrange(64))
        await ctx.tick()
        ram = memories["vectors"]
        assert not ctx.get(ram.r_en)
        if ctx.get(ram.w_en):
            word = ctx.get(ram.w_data)
            stored[ctx.get(ram.w_addr)] = word

    async def bench(ctx):
        for number in range(3):  # maps one after another
            shift = rng.randrange(len(SHIFTS))
            totals = [[0] * n for _ in range(groups)]
            base = 10 * number
            for step in range(steps):
                ctx.set(dut.i_setup, 1)
                for name, at in (("i_sum", 1), ("i_gsum", shift), ("i_sum_addr", base),
                                 ("i_sum_begins", step == 0), ("i_sum_ends", step == steps - 1)):
                    ctx.set(getattr(dut, name), int(at))
                await tick(ctx)
                ctx.set(dut.i_setup, 0)
                for _ in range(6):
                    await tick(ctx)
                for group in range(groups):
                    words = rng.choice([1, 2, SWEEP, 9])
                    for at in range(words):
                        used = rng.choice([(1 << pixels) - 1, 1])
                        ctx.set(dut.i_valid, 1)
                        ctx.set(dut.i_first, int(at == 0))
                        ctx.set(dut.i_last, int(at == words - 1))
                        ctx.set(dut.i_pixel_valid, used)
                        for i in range(n * pixels):
                            x = value()
                            ctx.set(dut.i_sum_x[i], x)
                            totals[group][i // pixels] += x * (used >> i % pixels & 1)
                        await tick(ctx)
                    ctx.set(dut.i_valid, 0)
                    for _ in range(max(0, SWEEP - words) + rng.choice([0, 0, 3])):
                        await tick(ctx)
                for _ in range(8):
                    await tick(ctx)
                here = [a for a in stored if a >= base]
                assert len(here) == (groups if step == steps - 1 else 0)
            ctx.set(dut.i_vector, 1)
            ctx.set(dut.i_read, 1)
            await ctx.tick()
            assert ctx.get(memories["vectors"].r_en), "a step that reads vectors"
            ctx.set(dut.i_vector, 0)
            half = (1 << SHIFTS[shift]) >> 1
            for group, sums in enumerate(totals):
                wanted[base + group] = [max(lo, min(hi, s + half >> SHIFTS[shift])) for s in sums]

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    width = config.run_time.vector_bits(bits)
    mask = (1 << width) - 1
    assert stored.keys() == wanted.keys()
    for address, sums in wanted.items():
        assert [stored[address] >> width * i & mask for i in range(n)] == [s & mask for s in sums]
