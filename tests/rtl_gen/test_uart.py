# amaranth: UnusedElaboratable=no
"""Serial port: a transmitter into a receiver, and lines that misbehave."""

import random

import pytest
from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from rtl_gen.uart import UartRx, UartTx

RATES = [(4, 1), (25, 3), (9, 2), (25, 1), (100, 7)]


class Loop(wiring.Component):
    """A transmitter wired to a receiver whose clock is off by a little."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))
    o_lost: Out(1)

    def __init__(self, clk, baud):
        self.tx = UartTx(clk_hz=clk, baud=baud)
        self.rx = UartRx(clk_hz=clk, baud=baud)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.tx, m.submodules.rx = self.tx, self.rx
        wiring.connect(m, wiring.flipped(self.i), self.tx.i)
        wiring.connect(m, self.rx.o, wiring.flipped(self.o))
        m.d.comb += [self.rx.i_line.eq(self.tx.o_line), self.o_lost.eq(self.rx.o_lost)]
        return m


@pytest.mark.parametrize(("clk", "baud"), RATES)
def test_bytes_cross_at_every_rate(clk, baud):
    dut = Loop(clk, baud)
    rng = random.Random(clk)
    sent = [0x00, 0xFF, 0x55, 0xAA, 0x01, 0x80] + [rng.randrange(256) for _ in range(60)]
    got = []

    async def put(ctx):
        for byte in sent:
            for _ in range(rng.choice((0, 0, 3, 50))):
                await ctx.tick()
            ctx.set(dut.i.payload, byte)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)

    async def get(ctx):
        ctx.set(dut.o.ready, 1)
        while len(got) < len(sent):
            (byte,) = await ctx.tick().sample(dut.o.payload).until(dut.o.valid)
            got.append(byte)
            assert not ctx.get(dut.o_lost)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(put)
    sim.add_testbench(get)
    sim.run_until(0.2)
    assert got == sent


async def send(ctx, rx, byte, cycles, stop=1):
    """Drive one character of ``cycles`` clocks a bit, with a stop bit that may be wrong."""
    for bit in (0, *((byte >> n) & 1 for n in range(8)), stop):
        ctx.set(rx.i_line, bit)
        for _ in range(cycles):
            await ctx.tick()
    ctx.set(rx.i_line, 1)


def receive(bench, clk=8, baud=1):
    """Run ``bench(ctx, rx)`` and return the bytes received and how many were lost."""
    rx = UartRx(clk_hz=clk, baud=baud)
    got, lost = [], []

    async def watch(ctx):
        async for _clk, _rst, valid, ready, payload, gone in ctx.tick().sample(
            rx.o.valid, rx.o.ready, rx.o.payload, rx.o_lost
        ):
            if valid and ready:
                got.append(payload)
            lost.append(gone)

    async def drive(ctx):
        await bench(ctx, rx)
        for _ in range(20 * clk):
            await ctx.tick()

    sim = Simulator(rx)
    sim.add_clock(1e-6)
    sim.add_testbench(drive)
    sim.add_testbench(watch, background=True)
    sim.run()
    return got, sum(lost)


@pytest.mark.parametrize("cycles", [24, 25, 26])
def test_a_sender_four_percent_off_is_understood(cycles):
    sent = [0, 255, 0x5A, 0xA5] * 4

    async def bench(ctx, rx):
        ctx.set(rx.o.ready, 1)
        for byte in sent:
            await send(ctx, rx, byte, cycles)

    assert receive(bench, clk=25) == (sent, 0)


def test_a_glitch_is_no_byte_and_a_break_is_one_loss():
    async def bench(ctx, rx):
        ctx.set(rx.o.ready, 1)
        ctx.set(rx.i_line, 0)
        await ctx.tick()
        ctx.set(rx.i_line, 1)
        for _ in range(100):
            await ctx.tick()
        ctx.set(rx.i_line, 0)
        for _ in range(300):
            await ctx.tick()
        ctx.set(rx.i_line, 1)
        for _ in range(8):
            await ctx.tick()
        await send(ctx, rx, 0x42, 8)

    assert receive(bench) == ([0x42], 1)


def test_a_byte_nobody_takes_stays_and_the_next_is_lost():
    async def bench(ctx, rx):
        for byte in (1, 2, 3):
            await send(ctx, rx, byte, 8)
        for _ in range(4):
            await ctx.tick()
        ctx.set(rx.o.ready, 1)
        await ctx.tick()
        await send(ctx, rx, 4, 8)

    assert receive(bench) == ([1, 4], 2)


@pytest.mark.parametrize("unit", [UartRx, UartTx])
def test_too_fast_a_rate_is_refused(unit):
    with pytest.raises(ValueError, match="from 1 to clk_hz / 4 = 6250000, not 6250001"):
        unit(clk_hz=25_000_000, baud=6_250_001)
