"""The FIFO between an SDRAM that pushes when it must and a consumer that pops when it likes."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..engine.common import Ram

__all__ = ["CreditFifo", "check_depth"]


def check_depth(depth: int) -> int:
    """``depth``, or ValueError where a ``CreditFifo`` cannot have it."""
    if depth < 16 or depth & (depth - 1):
        raise ValueError(f"A FIFO's depth must be a power of two from 16 on, not {depth}")
    return depth


class CreditFifo(wiring.Component):
    """Block RAM FIFO whose writer never asks: it counts the words it has room for.

    Parameters
    ----------
    depth : int
        Words, a power of two, at least 16.
    width : int
        Bits of a word.
    name : str
        Of its memory.

    Members
    -------
    i_clear : In(1)
        Forget everything; nothing may be pushed. ``o.valid`` is low from the next cycle on, even if
        the word was not taken.
    i_push, i_data : In
        A word. The FIFO must have room for it.
    o : Out(stream)
        Words in order.
    o_popped : Out(1)
        A word was taken in the cycle before.

    Latency: a word pushed into an empty FIFO is valid ``LATENCY`` cycles later. One word a cycle.
    """

    LATENCY = 3

    def __init__(self, *, depth, width=16, name="sdram_fifo"):
        self._depth, self._width, self._name = check_depth(depth), width, name
        super().__init__(
            {
                "i_clear": In(1),
                "i_push": In(1),
                "i_data": In(width),
                "o": Out(stream.Signature(width)),
                "o_popped": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.ram = ram = Ram(name=self._name, width=self._width, depth=self._depth)
        write, read = Signal(range(2 * self._depth)), Signal(range(2 * self._depth))
        fetched = Signal()  # the block RAM's output holds a word
        take_output, take_fetched, fetch = Signal(), Signal(), Signal()
        m.d.comb += [
            take_output.eq(~self.o.valid | self.o.ready),
            take_fetched.eq(~fetched | take_output),
            fetch.eq(take_fetched & (read != write)),
            ram.w_en.eq(self.i_push),
            ram.w_addr.eq(write[:-1]),
            ram.w_data.eq(self.i_data),
            ram.r_en.eq(fetch),
            ram.r_addr.eq(read[:-1]),
        ]
        m.d.sync += self.o_popped.eq(self.o.valid & self.o.ready)
        with m.If(self.i_push):
            m.d.sync += write.eq(write + 1)
        with m.If(fetch):
            m.d.sync += read.eq(read + 1)
        with m.If(take_fetched):
            m.d.sync += fetched.eq(fetch)
        with m.If(take_output):
            m.d.sync += [self.o.valid.eq(fetched), self.o.payload.eq(ram.r_data)]
        with m.If(self.i_clear):
            m.d.sync += [write.eq(0), read.eq(0), fetched.eq(0), self.o.valid.eq(0)]
        return m
