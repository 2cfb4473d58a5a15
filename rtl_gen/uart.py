"""Serial port: 8 data bits, no parity, one stop bit."""

import math
import operator

from amaranth.hdl import *
from amaranth.lib import cdc, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["UartRx", "UartTx"]

SLOWEST_RATIO = 4


class _BitTimer:
    """A tick every clk_hz / baud cycles on average, never more than one cycle off.

    A counter advances by ``step`` modulo ``total``; it runs over ``step / total`` times a cycle.
    """

    def __init__(self, clk_hz: int, baud: int):
        clk_hz, baud = operator.index(clk_hz), operator.index(baud)
        if baud < 1 or clk_hz < SLOWEST_RATIO * baud:
            raise ValueError(
                f"Baud rate must be from 1 to clk_hz / {SLOWEST_RATIO} = "
                f"{clk_hz // SLOWEST_RATIO}, not {baud}"
            )
        common = math.gcd(clk_hz, baud)
        self.total, self.step = clk_hz // common, baud // common
        self.phase = Signal(range(self.total))
        self.tick = Signal()

    def add_to(self, m: Module, restart: Value, start: int) -> None:
        """Add the counter to ``m``; while ``restart`` is high it stays at ``start``."""
        following = Signal(range(self.total + self.step))
        m.d.comb += [
            following.eq(self.phase + self.step),
            self.tick.eq(~restart & (following >= self.total)),
        ]
        with m.If(restart):
            m.d.sync += self.phase.eq(start)
        with m.Else():
            m.d.sync += self.phase.eq(Mux(self.tick, following - self.total, following))


class UartRx(wiring.Component):
    """Bytes from a serial line.

    Parameters
    ----------
    clk_hz, baud : int
        Clock and bit rate; at least 4 clocks a bit, not necessarily a whole number.

    Members
    -------
    i_line : In(1), initially 1
        The line, asynchronous.
    o : Out(stream of 8 bits)
        Bytes. One that is not taken before the next one ends is lost.
    o_lost : Out(1)
        High for a cycle when a byte is lost, or dropped because its stop bit is low.
    """

    i_line: In(1, init=1)
    o: Out(stream.Signature(8))
    o_lost: Out(1)

    def __init__(self, *, clk_hz: int, baud: int):
        self._timer = _BitTimer(clk_hz, baud)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        line = Signal(init=1)
        m.submodules.sync = cdc.FFSynchronizer(self.i_line, line, init=1)
        timer, idle = self._timer, Signal()
        # The first tick comes half a bit after the start bit is seen: all samples lie mid-bit.
        timer.add_to(m, idle, timer.total - timer.total // 2)
        byte, n_bits = Signal(8), Signal(range(8))
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.FSM():
            with m.State("idle"):
                m.d.comb += idle.eq(1)
                with m.If(~line):
                    m.next = "start"
            with m.State("start"), m.If(timer.tick):
                m.next = "data"
                with m.If(line):
                    m.next = "idle"  # a glitch
            with m.State("data"), m.If(timer.tick):
                m.d.sync += [byte.eq(Cat(byte[1:], line)), n_bits.eq(n_bits + 1)]
                with m.If(n_bits == 7):
                    m.next = "stop"
            with m.State("stop"), m.If(timer.tick):
                m.next = "idle"
                with m.If(~line):
                    m.d.comb += self.o_lost.eq(1)
                    m.next = "break"
                with m.Elif(self.o.valid & ~self.o.ready):
                    m.d.comb += self.o_lost.eq(1)
                with m.Else():
                    m.d.sync += [self.o.payload.eq(byte), self.o.valid.eq(1)]
            with m.State("break"):
                m.d.comb += idle.eq(1)
                with m.If(line):
                    m.next = "idle"
        return m


class UartTx(wiring.Component):
    """Bytes to a serial line.

    Parameters
    ----------
    clk_hz, baud : int
        Clock and bit rate; at least 4 clocks a bit, not necessarily a whole number.

    Members
    -------
    i : In(stream of 8 bits)
        Bytes.
    o_line : Out(1), initially 1
        The line.
    """

    i: In(stream.Signature(8))
    o_line: Out(1, init=1)

    def __init__(self, *, clk_hz: int, baud: int):
        self._timer = _BitTimer(clk_hz, baud)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        frame, left = Signal(10, init=1), Signal(range(11))
        self._timer.add_to(m, self.i.ready, 0)
        m.d.comb += [self.i.ready.eq(left == 0), self.o_line.eq(frame[0])]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [frame.eq(Cat(0, self.i.payload, 1)), left.eq(10)]
        with m.Elif(self._timer.tick):
            m.d.sync += [frame.eq(Cat(frame[1:], 1)), left.eq(left - 1)]
        return m
