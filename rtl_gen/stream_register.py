"""A register between a stream's producer and its consumer, which may be far apart."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["StreamRegister"]


class StreamRegister(wiring.Component):
    """Holds one word; valid and ready of both sides are registers. At most a word in two cycles.

    Parameters
    ----------
    width : int
        Bits of a word.

    Members
    -------
    i, o : streams of ``width`` bits
    """

    def __init__(self, width: int):
        super().__init__({"i": In(stream.Signature(width)), "o": Out(stream.Signature(width))})

    def elaborate(self, platform):
        m = Module()
        full = Signal()
        word = Signal.like(self.o.payload, reset_less=True)
        m.d.comb += [self.i.ready.eq(~full), self.o.valid.eq(full), self.o.payload.eq(word)]
        with m.If(~full):
            m.d.sync += [full.eq(self.i.valid), word.eq(self.i.payload)]
        with m.Elif(self.o.ready):
            m.d.sync += full.eq(0)
        return m
