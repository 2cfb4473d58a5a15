# amaranth: UnusedElaboratable=no
"""Quantisers whose range each image decides: division, factors, values and the unit that rewrites
a map or a vector, each against the integer arithmetic."""

import random

import numpy as np
import pytest
from amaranth.sim import Simulator

from hwbnn import ints
from hwbnn.ops.int_levels import MinMax
from rtl_gen.engine.level import LevelFactors, LevelValue
from rtl_gen.engine.levels import LevelsUnit, levels_cycles
from rtl_gen.units.divider import Divider

LEVELS = (4, 8)


def run(dut, bench):
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


def edge(rng, bits):
    lo, hi = ints.signed_range(bits)
    return rng.choice([lo, lo + 1, -1, 0, 1, hi - 1, hi, rng.randint(lo, hi)])


@pytest.mark.parametrize(("bits", "divisor_bits"), [(17, 16), (5, 3)])
def test_division(bits, divisor_bits):
    rng = random.Random(bits)
    dut = Divider(bits=bits, divisor_bits=divisor_bits)

    async def bench(ctx):
        for n in range(60):
            divisor = rng.randint(1, (1 << divisor_bits) - 1)
            if n < 4:
                divisor = (1, 2, (1 << divisor_bits) - 1, 1 << (divisor_bits - 1))[n]
            rest, low = rng.randrange(divisor), rng.randrange(1 << bits)
            if n % 3 == 0:
                rest, low = divisor - 1, (1 << bits) - 1
            ctx.set(dut.i_start, 1)
            for name, value in (("rest", rest), ("low", low), ("divisor", divisor)):
                ctx.set(getattr(dut, f"i_{name}"), value)
            await ctx.tick()
            ctx.set(dut.i_start, 0)
            for name in ("rest", "low", "divisor"):
                ctx.set(getattr(dut, f"i_{name}"), 0)
            await ctx.tick().repeat(dut.latency - 1)
            assert ctx.get(dut.o_quotient) == (rest << bits | low) // divisor

    run(dut, bench)


def spans(rng, bits):
    """Ranges (low, high) of values of ``bits`` bits: any length, and the ends of each."""
    lo, hi = ints.signed_range(bits)
    found = [(lo, hi), (lo, lo), (hi, hi), (0, 1), (-1, 0), (lo, 0), (0, hi)]
    for length in range(bits + 1):
        for span in {(1 << length) - 1, 1 << length, rng.randint(1 << length, 2 << length)}:
            span = min(span, hi - lo)
            low = rng.randint(lo, hi - span)
            found.append((low, low + span))
    return found


@pytest.mark.parametrize("bits", [16, 11])
def test_factors_of_a_range(bits):
    rng = random.Random(bits)
    dut = LevelFactors(bits=bits, levels=LEVELS)
    top = ints.signed_range(bits)[1]

    async def bench(ctx):
        for index, levels in enumerate(LEVELS):
            ctx.set(dut.i_levels, index)
            for low, high in spans(rng, bits):
                limit = rng.choice([top, top, rng.randint(1, top)])
                ctx.set(dut.i_limit, limit)
                ctx.set(dut.i_start, 1)
                ctx.set(dut.i_low, low)
                ctx.set(dut.i_high, high)
                await ctx.tick()
                ctx.set(dut.i_start, 0)
                ctx.set(dut.i_low, 0)
                ctx.set(dut.i_high, 0)
                await ctx.tick().repeat(dut.LATENCY - 1)
                low, high = (ints.clamp(v, -limit, limit) for v in (low, high))
                reciprocal, shift, step = ints.level_factors(high - low, levels)
                found = dut.o_factors
                assert ctx.get(found.low) == low
                assert ctx.get(found.reciprocal) == reciprocal, (high - low, levels)
                assert ctx.get(found.length) + 1 + 16 - levels == shift
                assert ctx.get(found.step) == step

    run(dut, bench)


@pytest.mark.parametrize("bits", [16, 11])
def test_values_on_levels(bits):
    rng = random.Random(bits)
    dut = LevelValue(bits=bits, levels=LEVELS)
    top = ints.signed_range(bits)[1]
    got, wanted = [], []

    async def bench(ctx):
        for index, levels in enumerate(LEVELS):
            ctx.set(dut.i_levels, index)
            limit = (top, top // 3)[index]
            ctx.set(dut.i_limit, limit)
            given = []
            for low, high in spans(rng, bits):
                middle = (low + high) // 2
                given += [(x, low, high) for x in
                          (low, high, middle, *(rng.randint(low, high) for _ in range(4)))]
            rng.shuffle(given)
            for n in range(len(given) + dut.LATENCY):
                x, low, high = given[min(n, len(given) - 1)]
                cut = [ints.clamp(v, -limit, limit) for v in (x, low, high)]
                reciprocal, shift, step = ints.level_factors(cut[2] - cut[1], levels)
                ctx.set(dut.i_x, x)
                ctx.set(dut.i_factors, {"low": cut[1], "reciprocal": reciprocal,
                                        "length": shift - 17 + levels, "step": step})
                if n < len(given):
                    wanted.append(ints.on_level(*cut, levels))
                if n >= dut.LATENCY:
                    got.append(ctx.get(dut.o_x))
                await ctx.tick()

    run(dut, bench)
    assert got == wanted and len(got) > 400


def test_the_highest_level_is_the_largest_value():
    """So that the hardware has nothing left to cut: for every span there is."""
    span = np.arange(1 << 16)
    for bits in (1, 2, 4, 8, 12, 15):
        reciprocal, shift, step = ints.level_factors(span, bits)
        level = (span * reciprocal + (1 << (shift - 1))) >> shift
        assert (level[1:] == (1 << bits) - 1).all() and level[0] == 0
        assert np.array_equal(ints.round_shift(level * step, bits), span)
        assert (np.diff(ints.round_shift(np.arange(1 << bits) * step[40000], bits)) >= 0).all()


def rewritten(dut, words, *, limit, index, vector, planes, rows, n_words, width, lanes, start, to):
    """Run the unit on a memory; returns (memory, cycles from start to done)."""
    memory, took = dict(enumerate(words)), []
    size = len(words)

    async def bench(ctx):
        for name, value in (("vector", vector), ("levels", index), ("limit", limit),
                            ("planes", planes - 1), ("rows", rows - 1), ("words", n_words - 1),
                            ("width", width), ("lanes", lanes - 1), ("from", start), ("to", to),
                            ("start", 1)):
            ctx.set(getattr(dut, f"i_{name}"), value)
        answers, stores = [None] * 2, [None]
        for cycle in range(100_000):
            # a registered port, and the memory's own two cycles
            ask = ctx.get(dut.o_addr) if ctx.get(dut.o_read) else None
            store = (ctx.get(dut.o_w_addr), ctx.get(dut.o_w_word)) if ctx.get(dut.o_write) else None
            if ctx.get(dut.o_done):
                took.append(cycle)
                break
            assert ctx.get(dut.o_busy) == (cycle > 0)
            await ctx.tick()
            ctx.set(dut.i_start, 0)
            arrived, answers = answers[0], [*answers[1:], ask]
            if arrived is not None:
                ctx.set(dut.i_word, memory[arrived % size])
            written, stores = stores[0], [store]
            if written is not None:
                memory[written[0]] = written[1]

    run(dut, bench)
    assert len(took) == 1
    return [memory[i] for i in range(size)], took[0]


def packed(values, bits):
    return sum((int(v) % (1 << bits)) << bits * i for i, v in enumerate(values))


@pytest.mark.parametrize(("lanes", "pixels", "bits"),
                         [(4, 1, 16), (3, 2, 16), (2, 4, 12), (1, 1, 16), (8, 1, 16)])
def test_maps_and_vectors_rewritten(lanes, pixels, bits):
    rng = np.random.default_rng(lanes * 10 + pixels)
    lo, hi = ints.signed_range(bits)
    for trial in range(5):
        dut = LevelsUnit(lanes=lanes, pixels=pixels, bits=bits, levels=LEVELS, address_bits=10,
                         side_bits=5, plane_bits=4)
        vector = trial % 2
        planes, rows = (1, 1) if vector else (int(rng.integers(1, 4)), int(rng.integers(1, 5)))
        width = 1 if vector else int(rng.integers(1, 12))
        c = int(rng.integers(1, 4 * lanes)) if vector else planes * lanes
        n_words = -(-c // lanes) if vector else -(-width // pixels)
        total = planes * rows * n_words
        # all values of the words, those that are none included
        every = rng.integers(lo, hi + 1, (total, lanes, pixels)) >> int(rng.integers(0, bits))
        index, limit = int(rng.integers(2)), hi if trial < 3 else hi // 5
        start = int(rng.integers(0, 5))
        to = start if trial % 3 else start + total
        words = [int(rng.integers(1 << 10)) for _ in range(start + 2 * total + 3)]
        words[start : start + total] = [packed(v.reshape(-1), bits) for v in every]
        got, took = rewritten(dut, words, limit=limit, index=index, vector=vector, planes=planes,
                              rows=rows, n_words=n_words, width=width, start=start, to=to,
                              lanes=(c - 1) % lanes + 1)
        assert took == levels_cycles(lanes=lanes, pixels=pixels, planes=planes,
                                     words=rows * n_words, vector=bool(vector))
        op = MinMax(LEVELS[index])
        if vector:
            x = every[:, :, 0].reshape(-1)[None, :c, None, None]
            wanted = op.run(x.clip(-limit, limit))[0, :, 0, 0]
            found = [(w >> bits * pixels * lane) % (1 << bits) for w in got[to : to + total]
                     for lane in range(lanes)][:c]
        else:
            x = every.reshape(planes, rows, n_words, lanes, pixels).transpose(0, 3, 1, 2, 4)
            x = x.reshape(1, planes * lanes, rows, n_words * pixels)[..., :width]
            wanted = ints.on_level(*(f(x.clip(-limit, limit)) for f in (
                lambda v: v, lambda v: v.min(axis=(2, 3), keepdims=True),
                lambda v: v.max(axis=(2, 3), keepdims=True))), LEVELS[index])[0]
            if width > 1:
                assert np.array_equal(wanted, op.run(x.clip(-limit, limit))[0])
            wanted = wanted.reshape(-1)
            found = np.array([[(w >> bits * i) % (1 << bits) for i in range(lanes * pixels)]
                              for w in got[to : to + total]], dtype=np.int64)
            found = found.reshape(planes, rows, n_words, lanes, pixels).transpose(0, 3, 1, 2, 4)
            found = found.reshape(planes * lanes, rows, -1)[..., :width].reshape(-1)
        assert [int(v) for v in found] == [int(v) % (1 << bits) for v in wanted]
        outside = [i for i in range(len(words)) if not to <= i < to + total]
        assert [got[i] for i in outside] == [words[i] for i in outside]
