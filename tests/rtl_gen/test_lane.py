"""One post-processing lane against the integer arithmetic, with nasty constants."""

import dataclasses
import random

import pytest
from amaranth.sim import Simulator

from hwbnn import ints
from rtl_gen.engine.config import EngineConfig
from rtl_gen.engine.lane import LATENCY, STAGE, Lane
from rtl_gen.units.shift_add import NO_TERM

CONFIG = EngineConfig(
    channels_in=16, lanes=4, dense_inputs=4, affine_shifts=(0, 6, 12, 18), prescales=(0, 4, 12),
    acc_bits=34, z_bits=38, bias_bits=36, border_bits=15,
)
N = 60
WIDEST = (-32768, 32767)
CLAMPS = ((-16384, 16384), (0, 32767), (-3, 2))


def expected(config, case):
    c = case
    if c["dense"]:
        t = ints.prescale(c["acc"], config.prescales[c["prescale"]])
    else:
        border = c["constants"][f"border{3 * c['row'] + c['col']}"]
        t = ints.dot_from_popcount(c["acc"], border)
    k = c["constants"]
    z = ints.affine(t, k["gain"], k["bias"], config.affine_shifts[c["shift"]])
    z = ints.clamp(z + (c["residual"] if c["residual_on"] else 0), *c["limits"])
    if config.rprelu == "multiplier":
        z = ints.rprelu(z, k["slope"], k["act_bias"], config.slope_shift)
    elif config.rprelu == "shift":
        sign = -1 if k["slope"] & 1 else 1
        z = ints.rprelu_shift(z, sign, 7 - (k["slope"] >> 1), k["act_bias"])
    x = ints.clamp(z, -32768, 32767)
    return x, ints.threshold(x, k["threshold"])


def draw(rng, config):
    def edge(bits):
        lo, hi = ints.signed_range(bits)
        return rng.choice([lo, lo + 1, -1, 0, 1, hi - 1, hi, rng.randint(lo, hi)])

    dense = rng.random() < 0.5
    slope = rng.randint(0, 26) << 1 | rng.getrandbits(1)
    if config.rprelu == "multiplier":
        slope = edge(18)
    constants = {"gain": edge(18), "bias": edge(34), "threshold": rng.randint(-32768, 32768),
                 **{f"border{i}": edge(13) for i in range(9)}}
    if config.rprelu != "none":
        constants |= {"slope": slope, "act_bias": edge(16)}
    return {
        "dense": dense, "acc": edge(34) if dense else rng.randint(0, 4608),
        "row": rng.randrange(3), "col": rng.randrange(3), "prescale": rng.randrange(3),
        "shift": rng.randrange(4), "residual": edge(16), "residual_on": rng.getrandbits(1),
        "constants": constants,
        "limits": rng.choice((WIDEST, *config.clamps)),
    }


def by_shifts(config, constants):
    """The constants with a gain of few digits, and as a lane without multiplier takes them."""
    digits = ints.signed_digits(min(constants["gain"], 98303), config.scale_digits)
    constants["gain"] = sum(sign << exponent for sign, exponent in digits)
    terms = 0
    for n in range(config.scale_digits):
        sign, exponent = digits[n] if n < len(digits) else (1, NO_TERM)
        terms |= ((sign < 0) | exponent << 1) << 6 * n
    return {"gain": terms, "bias": constants["bias"] + sum(sign < 0 for sign, _e in digits)}


@pytest.mark.parametrize(("rprelu", "seed", "clamps", "digits"), [
    *((rprelu, seed, clamps, 0) for rprelu in ("multiplier", "shift", "none")
      for seed, clamps in ((0, ()), (1, ()), (2, ()), (3, CLAMPS))),
    ("shift", 4, (), 1), ("shift", 5, (), 2), ("multiplier", 6, (), 3),
])
def test_lane(rprelu, seed, clamps, digits):
    config = dataclasses.replace(CONFIG, rprelu=rprelu, clamps=clamps, scale_digits=digits)
    rng = random.Random(seed)
    cases = [draw(rng, config) for _ in range(N)]
    for case in cases:
        case["set"] = case["constants"] | (by_shifts(config, case["constants"]) if digits else {})
    dut = Lane(config)
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    got = []

    async def bench(ctx):
        for case in cases:
            ctx.set(dut.i_acc, case["acc"])
            ctx.set(dut.i_dense, case["dense"])
            ctx.set(dut.i_prescale, case["prescale"])
            ctx.set(dut.i_shift, case["shift"])
            ctx.set(dut.i_residual_on, case["residual_on"])
            if clamps:
                ctx.set(dut.i_lo, case["limits"][0])
                ctx.set(dut.i_hi, case["limits"][1])
            ctx.set(dut.i_row_class, case["row"])
            ctx.set(dut.i_col_class, case["col"])
            ctx.set(dut.i_residual, 12345)  # wrong until its stage
            layout = config.const_layout
            ctx.set(dut.i_constants, {
                name: case["set"][name] % (1 << field.width) for name, field in layout
            })
            await ctx.tick().repeat(STAGE["residual"])
            ctx.set(dut.i_residual, case["residual"])
            await ctx.tick()
            ctx.set(dut.i_residual, -999)
            await ctx.tick().repeat(LATENCY - STAGE["residual"] - 1)
            x = ctx.get(dut.o_x)
            await ctx.tick()
            got.append((x, ctx.get(dut.o_bit)))

    sim.add_testbench(bench)
    sim.run()
    assert got == [expected(config, case) for case in cases], f"seed {seed}"
