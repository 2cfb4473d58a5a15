"""The checksum of what an SDRAM holds: counts and sums the words of a read stream."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .checksum import Crc32

__all__ = ["ReadCheck"]


class ReadCheck(wiring.Component):
    """Takes a number of words from a stream and gives their CRC-32.

    Parameters
    ----------
    word_bits : int
        Width of the number of words.

    Members
    -------
    i_start : In(1);  i_words : In
        Begin; at least one word. The stream may still hold words of something else in this cycle.
    i : In(stream of 16 bits)
        The words; ready only while some are missing.
    o_done : Out(1)
        High for a cycle when ``o_crc`` is there.
    o_crc : Out(32)
        As ``Crc32``; stays until the next start.
    """

    def __init__(self, word_bits: int):
        super().__init__(
            {
                "i_start": In(1),
                "i_words": In(word_bits),
                "i": In(stream.Signature(16)),
                "o_done": Out(1),
                "o_crc": Out(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = Crc32()
        busy, left = Signal(), Signal.like(self.i_words)
        m.d.comb += [
            self.i.ready.eq(busy & (left != 0)),
            crc.i_clear.eq(self.i_start),
            crc.i_valid.eq(self.i.valid & self.i.ready),
            crc.i_data.eq(self.i.payload),
            self.o_done.eq(busy & (left == 0)),
            self.o_crc.eq(crc.o_crc),
        ]
        with m.If(self.i_start):
            m.d.sync += [busy.eq(1), left.eq(self.i_words)]
        with m.Elif(self.o_done):
            m.d.sync += busy.eq(0)
        with m.Elif(crc.i_valid):
            m.d.sync += left.eq(left - 1)
        return m
