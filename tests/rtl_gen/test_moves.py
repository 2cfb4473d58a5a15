# amaranth: UnusedElaboratable=no
"""Rows of a map handed to an off-chip memory and taken from it, with gaps, against the map."""

import random

import pytest
from amaranth.sim import Simulator

from rtl_gen.engine.moves import ASKS, READ_LATENCY, SETTLE, MoveUnit


@pytest.mark.parametrize(("values", "bits"), [(8, 16), (8, 11), (16, 16)])
@pytest.mark.parametrize("write", [0, 1])
def test_rows_in_the_order_of_the_memory(values, bits, write):
    rng = random.Random(10 * values + bits + write)
    dut = MoveUnit(values=values, bits=bits, address_bits=10, plane_bits=10)
    mask = (1 << bits) - 1
    memory = [rng.getrandbits(values * bits) for _ in range(1 << 10)]

    def signed(value):  # as it is off chip: 16 bits, its sign in all above its own
        return (value - (value >> bits - 1 << bits)) & 0xFFFF

    async def bench(ctx):
        pipe = [0] * READ_LATENCY

        async def tick():
            """A cycle of the memory around the unit; returns whether the unit was done."""
            pipe.append(memory[ctx.get(dut.o_addr)] if ctx.get(dut.o_read) else rng.getrandbits(9))
            if ctx.get(dut.o_store):
                memory[ctx.get(dut.o_addr)] = ctx.get(dut.o_word)
            done = ctx.get(dut.o_done)
            await ctx.tick()
            pipe.pop(0)
            ctx.set(dut.i_word, pipe[0])
            return done

        for _ in range(6):
            planes, rows, words = rng.randrange(1, 4), rng.randrange(1, 4), rng.choice([1, 2, 5])
            step = rows * words + rng.randrange(3)
            base = rng.randrange(1 << 9)
            order = [base + og * step + y * words + x
                     for y in range(rows) for og in range(planes) for x in range(words)]
            before = list(memory)
            for name, value in (("write", write), ("planes", planes - 1), ("words", words - 1),
                                ("from", base), ("step", step), ("start", 1)):
                ctx.set(getattr(dut, f"i_{name}"), value)
            cycles = 0
            await tick()
            ctx.set(dut.i_start, 0)
            while not ctx.get(dut.o_move):
                cycles += 1
                await tick()
            assert cycles == ASKS - 1
            count = len(order) * values
            if write:
                for n in range(count):
                    # words of a burst are taken one after another, bursts when their row is open
                    for _ in range(rng.choice([0, 0, 9]) if n % 8 == 0 else 0):
                        await tick()
                    found = before[order[n // values]] >> bits * (n % values) & mask
                    assert ctx.get(dut.o_data) == signed(found), n
                    ctx.set(dut.i_next, 1)
                    await tick()
                    ctx.set(dut.i_next, 0)
            come = [rng.getrandbits(16) for _ in range(0 if write else count)]
            for n, word in enumerate(come):
                for _ in range(rng.choice([0, 0, 9]) if n % 8 == 0 else 0):
                    await tick()
                ctx.set(dut.i_valid, 1)
                ctx.set(dut.i_data, word)
                await tick()
                ctx.set(dut.i_valid, 0)
            ctx.set(dut.i_moved, 1)
            await tick()
            ctx.set(dut.i_moved, 0)
            cycles = 1
            while not await tick():
                cycles += 1
                assert ctx.get(dut.o_busy)
            assert cycles == SETTLE
            wanted = list(before)
            for n, address in enumerate(order if come else ()):
                parts = come[n * values : (n + 1) * values]
                wanted[address] = sum((v & mask) << bits * i for i, v in enumerate(parts))
            assert memory == wanted

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


def test_values_of_more_than_a_word_are_refused():
    with pytest.raises(ValueError, match="values of 17 bits; 16 are the most"):
        MoveUnit(values=8, bits=17, address_bits=4, plane_bits=4)
