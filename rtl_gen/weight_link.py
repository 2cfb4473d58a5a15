"""The host link of an accelerator whose weights the host puts into off-chip memory first."""

import operator

from amaranth.hdl import *
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from .host_link import Command, HostLink, Status

__all__ = ["CHECK_ANSWER_BYTES", "WEIGHT_VERSION", "WeightLink"]

WEIGHT_VERSION = 2
ADDRESS_BYTES = 4
CHECK_BYTES = 12  # address, words, CRC-32
CHECK_ANSWER_BYTES = 9  # whether they are equal, CRC-32 expected, CRC-32 found


class WeightLink(HostLink):
    """Writes the weight image, reads it back, lets the engine go; refuses images before that.

    Parameters
    ----------
    weight_words : int
        16-bit words of the image that the engine's program reads; told to the host.
    address_bits : int
        Of a word in the memory, at most 32.
    All of HostLink.

    Members
    -------
    o_write_start : Out(1);  o_write_base : Out;  o_write : Out(stream of 16 bits)
        A start, then words for consecutive addresses; the base stands from the start to the last
        of them. A chunk that turns out to be damaged was written all the same.
    o_base, o_words, o_go : Out
        Where the weight image is, and that it was read back without a difference.
    o_check : Out(1)
        High for a cycle: read ``o_words`` words from ``o_base`` on; ``o_go`` is low.
    i_checked : In(1);  i_crc : In(32)
        High for a cycle when they were read; their CRC-32, which stays.
    i_ready : In(1)
        The memory can be used.
    All of HostLink.
    """

    def __init__(self, *, weight_words: int, address_bits: int, **others):
        self._weight_words = operator.index(weight_words)
        self._address_bits = operator.index(address_bits)
        if not 1 <= self._address_bits <= 8 * ADDRESS_BYTES:
            raise ValueError(f"address_bits must be 1 to {8 * ADDRESS_BYTES}, not {address_bits}")
        if not 0 < self._weight_words <= 1 << self._address_bits:
            raise ValueError(f"{weight_words} words do not fit {1 << self._address_bits}")
        super().__init__(**others)

    def _identity_tail(self):
        return WEIGHT_VERSION, self._weight_words.to_bytes(4, "little")

    def _more_members(self):
        bits = self._address_bits
        return {
            "o_write_start": Out(1),
            "o_write_base": Out(bits),
            "o_write": Out(stream.Signature(16)),
            "o_base": Out(bits),
            "o_words": Out(bits + 1),
            "o_go": Out(1),
            "o_check": Out(1),
            "i_checked": In(1),
            "i_crc": In(32),
            "i_ready": In(1),
        }

    def elaborate(self, platform):
        self._left = Signal(24, name="payload_left")
        self._fields = Signal(8 * CHECK_BYTES, name="fields")  # the last byte on top
        self._equal = Signal(name="equal")
        return super().elaborate(platform)

    @property
    def _expected(self):
        return self._fields[64:96]

    def _judge_run(self, m, fail):
        with m.Elif(~self.o_go):
            m.d.sync += self._left.eq(self._run_bytes)
            fail(Status.NO_WEIGHTS, "skip")

    def _judge(self, m, length, fail):
        not_words = (length < ADDRESS_BYTES + 2) | length[0]
        for command, bad in ((Command.WRITE, not_words), (Command.CHECK, length != CHECK_BYTES)):
            with m.Case(command):
                m.d.sync += self._left.eq(length)
                m.next = "fields"
                with m.If(bad):
                    fail(Status.BAD_LENGTH)
                with m.Elif(~self.i_ready):
                    fail(Status.NOT_READY, "skip")

    def _more_states(self, m, crc16, command, took, late, fail):
        byte, fields, left = self.i.payload, self._fields, self._left
        n_fields, word, n_bytes = Signal(range(CHECK_BYTES)), Signal(16), Signal(2)

        with m.State("skip"):
            # what nobody wants, taken off the line so that no frame is found in it
            m.d.comb += [self.i.ready.eq(1), crc16.valid.eq(took), crc16.data.eq(byte)]
            self._count(m, took & (command == Command.RUN))
            with m.If(took):
                m.d.sync += left.eq(left - 1)
                with m.If(left == 1):
                    m.next = "crc low"
            with m.Elif(late):
                fail(Status.TIMEOUT, "finish")
        with m.State("fields"):
            m.d.comb += [self.i.ready.eq(1), crc16.valid.eq(took), crc16.data.eq(byte)]
            with m.If(took):
                m.d.sync += [
                    fields.eq(Cat(fields[8:], byte)),
                    left.eq(left - 1),
                    n_fields.eq(n_fields + 1),
                    n_bytes.eq(0),
                ]
                with m.If((command == Command.WRITE) & (n_fields == ADDRESS_BYTES - 1)):
                    m.d.sync += n_fields.eq(0)
                    m.next = "place"
                with m.If(left == 1):
                    m.d.sync += n_fields.eq(0)
                    m.next = "crc low"
            with m.Elif(late):
                m.d.sync += n_fields.eq(0)
                fail(Status.TIMEOUT, "finish")
        address = fields[64:96]
        m.d.comb += self.o_write_base.eq(address)
        with m.State("place"):
            m.next = "words"
            with m.If(self._outside(m, address, left[1:])):
                fail(Status.BAD_ADDRESS, "skip")
            with m.Else():
                m.d.comb += self.o_write_start.eq(1)
                m.d.sync += self.o_go.eq(0)
        with m.State("words"):
            full = Signal()
            m.d.comb += [
                full.eq(n_bytes == 2),
                self.i.ready.eq(~full),
                self.o_write.valid.eq(full),
                self.o_write.payload.eq(word),
                crc16.valid.eq(took),
                crc16.data.eq(byte),
            ]
            with m.If(took):
                m.d.sync += [
                    word.eq(Cat(word[8:], byte)),
                    n_bytes.eq(n_bytes + 1),
                    left.eq(left - 1),
                ]
            with m.Elif(late):
                fail(Status.TIMEOUT, "finish")
            with m.If(full & self.o_write.ready):
                m.d.sync += n_bytes.eq(0)
                with m.If(left == 0):
                    m.next = "crc low"
        self._read_back(m, fail)

    def _outside(self, m, address, words):
        """Whether a range of words ends beyond the memory."""
        end = Signal(8 * ADDRESS_BYTES + 1, name="range_end")
        m.d.comb += end.eq(address + words)
        return end > (1 << self._address_bits)

    def _read_back(self, m, fail):
        """States after a CHECK whose own checksum is right."""
        base, words = self._fields[:32], self._fields[32:64]
        with m.State("read back"):
            m.d.sync += [
                self.o_go.eq(0),
                self._equal.eq(0),
                self.o_base.eq(base),
                self.o_words.eq(words),
            ]
            m.next = "start reading"
            outside = self._outside(m, base, words)
            # an engine that got less than it waits for would never answer
            with m.If(words != self._weight_words):
                fail(Status.BAD_LENGTH)
            with m.Elif(outside):
                fail(Status.BAD_ADDRESS)
        with m.State("start reading"):
            m.d.comb += self.o_check.eq(1)
            m.next = "reading"
        with m.State("reading"), m.If(self.i_checked):
            equal = Signal()
            m.d.comb += equal.eq(self.i_crc == self._expected)
            m.d.sync += [self._equal.eq(equal), self.o_go.eq(equal)]
            m.next = "respond"

    def _must_wait(self, command):
        # nothing makes o_go low between an image and its result
        return (command == Command.RUN) & self.o_go

    def _after_checksum(self, m, command, status):
        with m.If((command == Command.CHECK) & (status == Status.OK)):
            m.next = "read back"

    def _answer(self, command):
        run_bytes, is_run, result = super()._answer(command)
        read = Cat(self._equal, Const(0, 7), self._expected, self.i_crc)
        length = Mux(command == Command.CHECK, CHECK_ANSWER_BYTES, Mux(is_run, run_bytes, 0))
        result = Mux(is_run, result, read)
        return length, command != Command.IDENTIFY, result
