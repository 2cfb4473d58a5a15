import random

import pytest
from amaranth.sim import Simulator

from rtl_gen.units.popcount import plan_popcount, postorder
from rtl_gen.units.xnor_array import XnorPopcount

# n_inputs, lanes, pixels
CATALOGUE = [
    (2, 1, 1),
    (3, 2, 1),
    (4, 5, 2),
    (5, 1, 4),
    (9, 1, 1),
    (9, 8, 2),
    (18, 3, 4),
    (31, 4, 1),
    (32, 9, 1),
    (64, 2, 2),
    (144, 3, 2),
    (144, 4, 1),
    (288, 2, 1),
    (288, 1, 4),
    (432, 2, 1),
    (576, 1, 1),
    (576, 4, 1),
]


def vectors(rng, n):
    full = (1 << n) - 1
    nasty = (0, full, full // 3, full - full // 3, 1, 1 << (n - 1))
    while True:
        yield rng.choice(nasty) if rng.random() < 0.4 else rng.getrandbits(n)


def stimulus(rng, dut, cycles):
    """(act, wgt, load, swap) a cycle: tiles back to back, then loads with gaps."""
    words = vectors(rng, dut.n_inputs)
    loaded, blocked = 0, 0
    for cycle in range(cycles):
        eager = cycle < cycles // 2
        swap = loaded >= dut.lanes and (eager or rng.random() < 0.3)
        blocked = dut.swap_guard if swap else max(blocked - 1, 0)
        load = not blocked and (eager or rng.random() < 0.6)
        loaded = (0 if swap else loaded) + load
        yield [next(words) for _ in range(dut.pixels)], next(words), load, swap


@pytest.mark.parametrize("parameters", CATALOGUE, ids=str)
def test_hardware_equals_compute(parameters):
    meaning = XnorPopcount(*parameters)
    dut = meaning.create()
    seed = random.randrange(1 << 32)
    steps = list(stimulus(random.Random(seed), dut, 4 * dut.lanes + 2 * dut.latency + 20))

    expected, shadows, weights = [], [None] * dut.lanes, [None] * dut.lanes
    for acts, wgt, load, swap in steps:
        weights = list(shadows) if swap else weights
        if load:
            shadows = [wgt, *shadows[:-1]]
        pairs = [(a, w) for w in weights for a in acts]
        expected.append([None if w is None else meaning.compute(a, w) for a, w in pairs])
    compared = 0

    async def bench(ctx):
        nonlocal compared
        for cycle in range(len(steps)):
            acts, wgt, load, swap = steps[cycle]
            for t, act in enumerate(acts):
                ctx.set(dut.i_act[t], act)
            ctx.set(dut.i_wgt, wgt)
            ctx.set(dut.i_load, load)
            ctx.set(dut.i_swap, swap)
            if cycle >= dut.latency:
                for k, want in enumerate(expected[cycle - dut.latency]):
                    if want is not None:
                        got = ctx.get(dut.o_sum[k])
                        where = f"seed {seed}, input of cycle {cycle - dut.latency}, sum {k}"
                        assert got == want, where
                        compared += 1
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert compared >= dut.lanes * dut.pixels * dut.latency


@pytest.mark.parametrize("n", [*range(2, 80), 144, 288, 432, 576, 1152])
def test_plan_uses_each_product_once(n):
    sums = postorder(plan_popcount(n))
    taken = [o for s in sums for o in (s.x, s.y, s.carry) if isinstance(o, int)]
    assert sorted(taken) == list(range(n))
    for s in sums:
        for operand in (s.x, s.y):
            if operand is not None and not isinstance(operand, int):
                assert operand.stage == s.stage - 1
                assert operand.out_width <= s.width
    assert min(s.stage for s in sums) == 0
    if n >= 9:
        assert sum(s.width + 1 for s in sums) <= 1.5 * n


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ((1, 1, 1), "n_inputs must be an integer of at least 2, not 1"),
        ((9, 0, 1), "lanes must be an integer of at least 1, not 0"),
        ((9, 1, 0), "pixels must be an integer of at least 1, not 0"),
    ],
)
def test_bad_parameters(parameters, text):
    with pytest.raises(ValueError, match=text):
        XnorPopcount(*parameters)
