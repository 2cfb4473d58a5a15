"""Kernel codebooks: kernel IDs become kernels on their way into the XNOR array."""

from amaranth.hdl import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ..leaf import leaf

__all__ = ["KERNEL", "KernelCodebook"]

KERNEL = 9  # bits of a 3x3 kernel
LARGEST_PART = 8  # channels


def _members(channels: int, id_bits: int, output: str) -> dict:
    """Ports of tables for so many channels."""
    return {
        "i_write": In(1),
        "i_addr": In(id_bits),
        "i_code": In(KERNEL),
        "i_ids": In(channels * id_bits),
        output: Out(KERNEL * channels),
    }


class CodebookPart(wiring.Component):
    """Tables of a few channels, with a register of their own before the write port.

    A write goes to one table a channel, in pieces of 4 bits and 16 entries: without registers on
    the way its address and data would drive hundreds of pins all over the device.

    Members
    -------
    i_write, i_addr, i_code : In
        Fill entry ``i_addr`` with a codeword, which is read from two cycles later on.
    i_ids : In(channels*id_bits);  o_codes : Out(9*channels)
        Combinational, channel 0 in the low bits.
    """

    def __init__(self, *, channels: int, id_bits: int):
        self._channels, self._id_bits = channels, id_bits
        self.leaf_name = f"codebook_c{channels}_i{id_bits}"
        super().__init__(_members(channels, id_bits, "o_codes"))

    def elaborate(self, platform):
        m = Module()
        bits = self._id_bits
        enable = Signal()
        address, code = Signal(bits, reset_less=True), Signal(KERNEL, reset_less=True)
        m.d.sync += [enable.eq(self.i_write), address.eq(self.i_addr), code.eq(self.i_code)]
        for c in range(self._channels):
            # one table a channel: distributed RAM has one read port
            m.submodules[f"table{c}"] = table = memory.Memory(
                shape=unsigned(KERNEL), depth=1 << bits, init=[])
            write, read = table.write_port(), table.read_port(domain="comb")
            m.d.comb += [
                write.en.eq(enable),
                write.addr.eq(address),
                write.data.eq(code),
                read.addr.eq(self.i_ids[bits * c : bits * (c + 1)]),
                self.o_codes[KERNEL * c : KERNEL * (c + 1)].eq(read.data),
            ]
        return m


class KernelCodebook(wiring.Component):
    """Expands S kernel IDs to S kernels of 9 bits a cycle, by a table in distributed RAM.

    Members
    -------
    i_write, i_addr, i_code : In
        Fill entry ``i_addr`` with a 9-bit codeword, which is read from two cycles later on.
    i_ids : In(S*id_bits)
        Kernel IDs, input channel 0 in the low bits. An ID of 9 bits is the kernel itself.
    o_kernels : Out(9*S)
        Bit ``tap*S + channel``: the codeword of each channel, tap by tap. Combinational.
    """

    def __init__(self, *, channels: int, id_bits: int):
        self._channels, self._id_bits = channels, id_bits
        super().__init__(_members(channels, id_bits, "o_kernels"))

    def elaborate(self, platform):
        m = Module()
        channels, bits = self._channels, self._id_bits
        codes = self.i_ids
        if bits != KERNEL:
            each = next(n for n in range(LARGEST_PART, 0, -1) if channels % n == 0)
            codes = []
            for k in range(channels // each):
                part = CodebookPart(channels=each, id_bits=bits)
                m.submodules[f"part{k}"] = leaf(part, platform)
                m.d.comb += [
                    part.i_write.eq(self.i_write),
                    part.i_addr.eq(self.i_addr),
                    part.i_code.eq(self.i_code),
                    part.i_ids.eq(self.i_ids[each * bits * k : each * bits * (k + 1)]),
                ]
                codes.append(part.o_codes)
            codes = Cat(codes)
        m.d.comb += self.o_kernels.eq(Cat(codes[tap::KERNEL] for tap in range(KERNEL)))
        return m
