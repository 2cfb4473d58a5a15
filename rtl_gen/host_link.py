"""The device's end of the host protocol (docs/host-protocol.md), on streams of bytes."""

import enum
import operator

from amaranth.hdl import *
from amaranth.lib import crc, stream, wiring
from amaranth.lib.crc.catalog import CRC16_IBM_3740
from amaranth.lib.wiring import In, Out

__all__ = ["Command", "HostLink", "Status"]

REQUEST_MARK = b"HB"
RESPONSE_MARK = b"hb"
MAGIC = b"hwbn"
VERSION = 1
BATCH_VERSION = 3  # of devices that take several images at once
NEXT = 0x06  # such a device says that it has consumed CHUNK bytes more of the images
CHUNK = 1024  # a power of two


class Command(enum.IntEnum):
    """What a request asks for."""

    IDENTIFY = 1
    RUN = 2
    WRITE = 3  # devices with weights in off-chip memory (weight_link.py)
    CHECK = 4


class Status(enum.IntEnum):
    """How a request ended."""

    OK = 0
    BAD_COMMAND = 1
    BAD_LENGTH = 2
    BAD_CHECKSUM = 3
    TIMEOUT = 4
    NO_WEIGHTS = 5
    BAD_ADDRESS = 6
    NOT_READY = 7


class HostLink(wiring.Component):
    """Answers requests one at a time: who are you, and run this image.

    The methods whose docstrings begin with "Hook" are what a link with more commands overrides.

    Parameters
    ----------
    height, width, channels : int
        Shape of the image.
    n_classes : int
        Number of logits.
    digest : bytes
        Eight bytes that tell this build from others.
    timeout : int
        Cycles of waiting for a byte after which a half-received request is given up.
    overlap : bool
        The engine gives a frame's result in the next turn of its program: every image is followed
        by arbitrary pixels until the result is there, then the engine is reset.
    batch : int
        Images of a request, which follow each other; one: any engine without a batch. Not with
        ``overlap``. The engine may be busy for long between two images of a batch: the host sends
        2*chunk bytes at once, which the device must buffer, and chunk more at every NEXT.
    chunk : int
        Those bytes, a power of two.

    Members
    -------
    i, o : streams of 8 bits
        From and to the host.
    o_pixel : Out(stream of 8 * channels bits)
        Pixels in raster order, the first channel in the low bits. Always those of a whole batch,
        also when the request turns out to be broken: the engine runs every image.
    o_start : Out(1)
        High for a cycle after the last pixel of a batch was taken.
    i_done : In(1)
        High for a cycle, once for each batch, when cycles, classes and logits of all its images
        are there; they stay until the next batch is done.
    i_cycles, i_class : In(32), In(16)
        Cycles the image took, and its class.
    o_image : Out(range(batch))
        With ``batch`` above one only: the image whose cycles and class are wanted, many cycles
        before they are taken.
    o_hold : Out(1)
        With ``overlap`` only: keeps the engine, but not its memory of logits, in reset.
    o_logit_addr, i_logit_data : Out(range(n_classes * batch)), In(signed(32))
        Memory of logits, image after image; data comes up to two cycles after its address.
    """

    def __init__(self, *, height, width, channels=3, n_classes, digest, timeout=1 << 22,
                 overlap=False, batch=1, chunk=CHUNK):
        self._shape = tuple(operator.index(n) for n in (height, width, channels))
        self._n_classes = operator.index(n_classes)
        self._timeout = operator.index(timeout)
        self._overlap = bool(overlap)
        self._batch = operator.index(batch)
        if not 0 < self._batch < 1 << 16 or (self._batch > 1 and self._overlap):
            raise ValueError(f"a batch of {batch} images{' with overlap' if overlap else ''}")
        self._chunk = operator.index(chunk)
        if self._chunk < 2 or self._chunk & (self._chunk - 1):
            raise ValueError(f"chunk must be a power of two above one, not {chunk}")
        if len(digest) != 8:
            raise ValueError(f"Digest must have 8 bytes, not {len(digest)}")
        limits = (("height", 1 << 16), ("width", 1 << 16), ("channels", 1 << 8))
        for (name, limit), n in zip(limits, self._shape, strict=True):
            if not 0 < n < limit:
                raise ValueError(f"{name} must be from 1 to {limit - 1}, not {n}")
        if not 0 < self._n_classes < 1 << 16:
            raise ValueError(f"n_classes must be from 1 to 65535, not {n_classes}")
        h, w, c = self._shape
        self._run_bytes = h * w * c * self._batch
        if self._run_bytes >= 1 << 24:
            raise ValueError(f"Images must have less than 2**24 bytes, not {self._run_bytes}")
        version, tail = self._identity_tail()
        if self._batch > 1:
            version, tail = BATCH_VERSION, tail.ljust(4, b"\0") + self._batch.to_bytes(2, "little")
        self._identity = b"".join((
            MAGIC, bytes([version]), digest, h.to_bytes(2, "little"), w.to_bytes(2, "little"),
            bytes([c]), self._n_classes.to_bytes(2, "little"), tail,
        ))  # fmt: skip
        super().__init__({
            "i": In(stream.Signature(8)),
            "o": Out(stream.Signature(8)),
            "o_pixel": Out(stream.Signature(8 * c)),
            "o_start": Out(1),
            "i_done": In(1),
            "i_cycles": In(32),
            "i_class": In(16),
            "o_logit_addr": Out(range(self._n_classes * self._batch)),
            "i_logit_data": In(signed(32)),
        } | ({"o_hold": Out(1, init=1)} if self._overlap else {})
          | ({"o_image": Out(range(self._batch))} if self._batch > 1 else {})
          | self._more_members())

    @property
    def batch(self) -> int:
        """Images of a request."""
        return self._batch

    def _identity_tail(self) -> tuple[int, bytes]:
        """Hook: version of the protocol, and what follows the number of classes."""
        return VERSION, b""

    def _more_members(self) -> dict:
        """Hook: members besides those above."""
        return {}

    def _judge_run(self, m, fail):
        """Hook: Elif branches of reasons to refuse an image."""

    def _judge(self, m, length, fail):
        """Hook: cases of more commands by the length in the header."""

    def _more_states(self, m, crc16, command, took, late, fail):
        """Hook: states of more commands; they go on to "crc low" or fail."""

    def _must_wait(self, command):
        """Hook: the request, whatever became of it, put an image into the engine."""
        return command == Command.RUN

    def _after_checksum(self, m, command, status):
        """Hook: what else happens in state "finish"."""

    def _answer(self, command):
        """Hook: (length of the answer but for IDENTIFY's, whether results is it, results)."""
        run_bytes = (6 + 4 * self._n_classes) * self._batch
        result = self._found if self._overlap else Cat(self.i_class, self.i_cycles)
        return run_bytes, command == Command.RUN, result

    def elaborate(self, platform):
        m = Module()
        self._found = Signal(48, name="found")  # the result, with overlap
        # with a batch: bytes of a chunk that are consumed, and how many NEXT are not sent yet
        self._consumed = Signal(range(self._chunk), name="consumed")
        self._owed = Signal(2, name="owed")
        m.submodules.crc = crc16 = crc.Processor(CRC16_IBM_3740(data_width=8))
        status, command = Signal(8), Signal(8)
        took = Signal()
        m.d.comb += took.eq(self.i.valid & self.i.ready)

        waited, late = Signal(range(self._timeout + 1)), Signal()
        m.d.comb += late.eq(waited == self._timeout)
        with m.If(took | ~self.i.ready):
            m.d.sync += waited.eq(0)
        with m.Elif(~late):
            m.d.sync += waited.eq(waited + 1)

        m.d.sync += self.o_start.eq(0)
        done = Signal()
        if self._overlap:
            self._latch(m, done)
        else:
            with m.If(self.o_start):
                m.d.sync += done.eq(0)
            with m.Elif(self.i_done):
                m.d.sync += done.eq(1)

        if self._batch > 1:
            m.d.comb += [self.o.valid.eq(self._owed != 0), self.o.payload.eq(NEXT)]
            with m.If((self._owed != 0) & self.o.ready):
                m.d.sync += self._owed.eq(self._owed - 1)

        with m.FSM():
            self._receive(m, crc16, status, command, took, late)
            if self._overlap:
                self._push(m, done)
            with m.State("wait"), m.If(done):
                m.next = "respond"
            self._respond(m, crc16, status, command)
        return m

    def _count(self, m, took):
        """A byte of a batch's images is gone."""
        if self._batch > 1:
            with m.If(took):
                m.d.sync += self._consumed.eq(self._consumed + 1)
                with m.If(self._consumed == self._chunk - 1):
                    # the host has two chunks to go on with: at most two are owed
                    sent = (self._owed != 0) & self.o.ready
                    m.d.sync += self._owed.eq(self._owed + 1 - sent)

    def _receive(self, m, crc16, status, command, took, late):
        """States from waiting for a request to its checksum."""
        byte = self.i.payload
        header, n_header = Signal(40), Signal(range(5))
        pixel_bytes = self._shape[2]
        pixels = self._run_bytes // pixel_bytes
        pixel, n_bytes = Signal(8 * pixel_bytes), Signal(range(pixel_bytes + 1))
        n_pixels, filling = Signal(range(pixels)), Signal()
        checksum = Signal(8)

        def fail(why, then="respond"):
            m.d.sync += status.eq(why)
            m.next = then

        with m.State("hunt"):
            m.d.comb += [self.i.ready.eq(1), crc16.start.eq(1)]
            m.d.sync += [n_header.eq(0), status.eq(Status.OK)]
            if self._batch > 1:
                m.d.sync += self.o_image.eq(0)
            with m.If(took & (byte == REQUEST_MARK[0])):
                m.next = "mark"
        with m.State("mark"):
            m.d.comb += [self.i.ready.eq(1), crc16.start.eq(1)]
            with m.If(took):
                with m.If(byte == REQUEST_MARK[1]):
                    m.next = "header"
                with m.Elif(byte != REQUEST_MARK[0]):
                    m.next = "hunt"
        with m.State("header"):
            m.d.comb += [self.i.ready.eq(1), crc16.valid.eq(took), crc16.data.eq(byte)]
            with m.If(late):
                m.next = "hunt"
            with m.Elif(took):
                m.d.sync += [header.eq(Cat(header[8:], byte)), n_header.eq(n_header + 1)]
                with m.If(n_header == 4):
                    m.next = "hunt"
                    fold = byte
                    for n in range(1, 5):
                        fold = fold ^ header.word_select(n, 8)
                    with m.If(fold == 0xFF):
                        m.next = "judge"
        with m.State("judge"):
            length = header[8:32]
            m.d.sync += [command.eq(header[:8]), n_pixels.eq(0), n_bytes.eq(0), filling.eq(0)]
            if self._batch > 1:
                m.d.sync += self._consumed.eq(0)
            with m.Switch(header[:8]):
                with m.Case(Command.IDENTIFY):
                    m.next = "crc low"
                    with m.If(length != 0):
                        fail(Status.BAD_LENGTH)
                with m.Case(Command.RUN):
                    m.next = "image"
                    with m.If(length != self._run_bytes):
                        fail(Status.BAD_LENGTH)
                    self._judge_run(m, fail)
                self._judge(m, length, fail)
                with m.Default():
                    fail(Status.BAD_COMMAND)
        with m.State("image"):
            full = Signal()
            if self._overlap:
                m.d.sync += self.o_hold.eq(0)
            m.d.comb += [
                full.eq((n_bytes == pixel_bytes) | filling),
                self.i.ready.eq(~full),
                self.o_pixel.valid.eq(full),
                self.o_pixel.payload.eq(pixel),
                crc16.valid.eq(took),
                crc16.data.eq(byte),
            ]
            self._count(m, took)
            with m.If(took):
                m.d.sync += [pixel.eq(Cat(pixel, byte)[8:]), n_bytes.eq(n_bytes + 1)]
            with m.Elif(late):
                # The rest of the image as anything, so that the engine's raster stays in step.
                m.d.sync += filling.eq(1)
            with m.If(full & self.o_pixel.ready):
                m.d.sync += [n_bytes.eq(0), n_pixels.eq(n_pixels + 1)]
                with m.If(n_pixels == pixels - 1):
                    m.d.sync += self.o_start.eq(1)
                    m.next = "crc low"
                    with m.If(filling):
                        fail(Status.TIMEOUT, "finish")
        self._more_states(m, crc16, command, took, late, fail)
        with m.State("crc low"):
            m.d.comb += self.i.ready.eq(1)
            m.d.sync += checksum.eq(byte)
            with m.If(took):
                m.next = "crc high"
            with m.Elif(late):
                fail(Status.TIMEOUT, "finish")
        with m.State("crc high"):
            m.d.comb += self.i.ready.eq(1)
            with m.If(took):
                m.next = "finish"
                with m.If(Cat(checksum, byte) != crc16.crc):
                    fail(Status.BAD_CHECKSUM, "finish")
            with m.Elif(late):
                fail(Status.TIMEOUT, "finish")
        with m.State("finish"):
            # Whatever became of the request, an image that went in comes out before the answer.
            m.next = "respond"
            with m.If(self._must_wait(command)):
                m.next = "push" if self._overlap else "wait"
            self._after_checksum(m, command, status)

    def _latch(self, m, done):
        """The first result of an engine that was reset; it is reset again at once."""
        with m.If(self.i_done & ~self.o_hold):
            result = Cat(self.i_class, self.i_cycles)
            m.d.sync += [done.eq(1), self.o_hold.eq(1), self._found.eq(result)]
        with m.Elif(~self.o_hold):
            m.d.sync += done.eq(0)

    def _push(self, m, done):
        """The state that gives pixels to the engine until it has a result."""
        with m.State("push"):
            m.d.comb += self.o_pixel.valid.eq(~done)
            with m.If(done):
                m.next = "wait"

    def _respond(self, m, crc16, status, command):
        """States from the first to the last byte of a response."""
        answer_bytes, is_result, result = self._answer(command)
        header, n_sent, length = Signal(7 * 8), Signal(3), Signal(24)
        indices = range(self._n_classes * self._batch + 1)
        left, results, n_logit = Signal(24), Signal(len(result)), Signal(indices)
        in_word, identity = Signal(3), Signal(range(len(self._identity)))
        n_image_logit = Signal(range(self._n_classes + 1))  # of an image of a batch
        sent = Signal()
        m.d.comb += [sent.eq(self.o.valid & self.o.ready), self.o_logit_addr.eq(n_logit)]

        with m.State("respond"):
            m.d.comb += [crc16.start.eq(1), length.eq(0)]
            with m.If(status == Status.OK):
                identify = command == Command.IDENTIFY
                m.d.comb += length.eq(Mux(identify, len(self._identity), answer_bytes))
            check = Signal(8)
            m.d.comb += check.eq(status ^ length[:8] ^ length[8:16] ^ length[16:] ^ 0xFF)
            mark = int.from_bytes(RESPONSE_MARK, "little")
            m.d.sync += [
                header.eq(Cat(Const(mark, 16), status, length, check)),
                left.eq(length),
                n_sent.eq(0),
                identity.eq(0),
                n_logit.eq(0),
                results.eq(result),
                in_word.eq(6),
            ]
            m.next = "send header"
            if self._batch > 1:
                m.d.sync += [self.o_image.eq(1), n_image_logit.eq(0)]
                with m.If(self._owed != 0):
                    m.next = "respond"
        with m.State("send header"):
            m.d.comb += [
                self.o.valid.eq(1),
                self.o.payload.eq(header[:8]),
                crc16.valid.eq(sent & (n_sent >= len(RESPONSE_MARK))),
                crc16.data.eq(header[:8]),
            ]
            with m.If(sent):
                m.d.sync += [header.eq(header[8:]), n_sent.eq(n_sent + 1)]
                with m.If(n_sent == 6):
                    m.next = "send body"
        with m.State("send body"):
            name = Const(int.from_bytes(self._identity, "little"), 8 * len(self._identity))
            with m.If(left == 0):
                m.d.sync += n_sent.eq(0)
                m.next = "send crc"
            with m.Elif((command == Command.RUN) & (in_word == 0)):
                m.next = "fetch logit"
                if self._batch > 1:
                    with m.If(n_image_logit == self._n_classes):
                        m.next = "fetch result"
            with m.Else():
                m.d.comb += [
                    self.o.valid.eq(1),
                    self.o.payload.eq(
                        Mux(
                            is_result,
                            results[:8],
                            name.word_select(identity, 8),
                        )
                    ),
                    crc16.valid.eq(sent),
                    crc16.data.eq(self.o.payload),
                ]
                with m.If(sent):
                    m.d.sync += [
                        results.eq(results[8:]),
                        identity.eq(identity + 1),
                        in_word.eq(in_word - 1),
                        left.eq(left - 1),
                    ]
        with m.State("fetch logit"):
            # o_logit_addr has stood since the last logit was taken, four bytes ago.
            m.d.sync += [results.eq(self.i_logit_data), in_word.eq(4), n_logit.eq(n_logit + 1)]
            if self._batch > 1:
                m.d.sync += n_image_logit.eq(n_image_logit + 1)
            m.next = "send body"
        if self._batch > 1:
            with m.State("fetch result"):
                # o_image has stood since the image before was begun
                m.d.sync += [results.eq(result), in_word.eq(6), n_image_logit.eq(0),
                             self.o_image.eq(self.o_image + 1)]
                m.next = "send body"
        with m.State("send crc"):
            m.d.comb += [
                self.o.valid.eq(1),
                self.o.payload.eq(Mux(n_sent == 0, crc16.crc[:8], crc16.crc[8:])),
            ]
            with m.If(sent):
                m.d.sync += n_sent.eq(1)
                with m.If(n_sent == 1):
                    m.next = "hunt"
