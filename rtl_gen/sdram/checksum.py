"""CRC-32 of a stream of 16-bit words, one a cycle: what was stored against what was meant."""

import zlib
from collections.abc import Iterable

from amaranth.hdl import *
from amaranth.lib import crc, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

__all__ = ["Crc32", "crc32_of_words"]

PARAMETERS = CRC32_ISO_HDLC(data_width=16)


def crc32_of_words(words: Iterable[int]) -> int:
    """CRC-32 (IEEE 802.3, zlib's) over 16-bit words, each with its low byte first.

    Raises
    ------
    OverflowError
        A word is not in 0 to 65535.
    """
    return zlib.crc32(b"".join(int(word).to_bytes(2, "little") for word in words))


class Crc32(wiring.Component):
    """CRC-32 of the words since the last ``i_clear``; equals ``crc32_of_words``.

    Members
    -------
    i_clear : In(1)
        Start over, with no word; ``i_valid`` is ignored in this cycle.
    i_valid, i_data : In
        A word, any number of cycles in a row.
    o_crc : Out(32)
        Includes a word from the cycle after it on (LATENCY 1); 0 with no word.
    """

    LATENCY = 1

    i_clear: In(1)
    i_valid: In(1)
    i_data: In(16)
    o_crc: Out(32)

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = unit = crc.Processor(PARAMETERS)
        m.d.comb += [
            unit.start.eq(self.i_clear),
            unit.valid.eq(self.i_valid & ~self.i_clear),
            unit.data.eq(self.i_data),
            self.o_crc.eq(unit.crc),
        ]
        return m
