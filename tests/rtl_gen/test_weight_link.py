# amaranth: UnusedElaboratable=no
"""The host protocol's weight image: written, read back, refused; images wait for it."""

import importlib.util
import struct
from pathlib import Path

import numpy as np
import pytest

from hwbnn import host_protocol as host
from rtl_gen.host_link import Command, Status
from rtl_gen.sdram.checksum import crc32_of_words
from rtl_gen.weight_link import WeightLink

_spec = importlib.util.spec_from_file_location(
    "host_link_bench", Path(__file__).parent / "test_host_link.py")
plain = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(plain)
H, W, C, N = plain.H, plain.W, plain.C, plain.N
ADDRESS_BITS = 6
IMAGE = bytes(range(H * W * C))
RUN = host.request(Command.RUN, IMAGE)
WEIGHTS = np.array([0x4248, 0x4842, 0, 0xFFFF, 0x0102, 0xFE24, 7, 0x8000, 0x4248], np.uint16)
CRC = crc32_of_words(WEIGHTS)


class Bench(plain.Bench):
    """A ``WeightLink`` with a memory of Python besides; ``memory[None]`` is its next address."""

    def __init__(self, seed, **options):
        super().__init__(seed)
        self.dut = WeightLink(
            weight_words=len(WEIGHTS), address_bits=ADDRESS_BITS, height=H, width=W, channels=C,
            n_classes=N, digest=plain.DIGEST, timeout=plain.TIMEOUT, **options,
        )  # fmt: skip
        self.memory, self.next = [0] * (1 << ADDRESS_BITS), None
        self.ready, self.reads = True, 0
        self.result = host.Result(1, 2, (3, 4, 5, 6, 7))

    async def _writes(self, ctx):
        dut = self.dut
        while True:
            ctx.set(dut.i_ready, self.ready)
            ctx.set(dut.o_write.ready, self.next is not None and self.rng.random() < 0.3)
            _, _, start, base, valid, ready, word, go = await ctx.tick().sample(
                dut.o_write_start, dut.o_write_base, dut.o_write.valid, dut.o_write.ready,
                dut.o_write.payload, dut.o_go,
            )  # fmt: skip
            if valid and ready:
                assert not go, "words are written under a running engine"
                self.memory[self.next] = word
                self.next += 1
            if start:
                self.next = base

    async def _reads(self, ctx):
        dut = self.dut
        while True:
            _, _, check, base, words, go = await ctx.tick().sample(
                dut.o_check, dut.o_base, dut.o_words, dut.o_go
            )
            if check:
                assert not go
                self.reads += 1
                self.next = None
                ctx.set(dut.i_crc, crc32_of_words(self.memory[base : base + words]))
                await ctx.tick().repeat(20)
                ctx.set(dut.i_checked, 1)
                await ctx.tick()
                ctx.set(dut.i_checked, 0)

    def run(self, script):
        sim = plain.Simulator(self.dut)
        sim.add_clock(1e-6)
        sim.add_testbench(script)
        for side in (self._answers, self._engine, self._logits, self._writes, self._reads):
            sim.add_testbench(side, background=True)
        sim.run()

    async def get(self, ctx, frame):
        """Payload of the answer to ``frame``."""
        return host.parse_response(await self.ask(ctx, frame))

    async def refused(self, ctx, frame, status):
        with pytest.raises(host.LinkError, match=status.name):
            await self.get(ctx, frame)

    async def load(self, ctx, base=0):
        for frame in host.uploads(WEIGHTS, base, chunk_words=4):
            assert await self.get(ctx, frame) == b""
        return host.parse_check(await self.get(ctx, host.check_request(len(WEIGHTS), CRC, base)))


class BatchBench(Bench):
    """With an engine that takes several images at once."""

    BATCH, CHUNK = plain.BatchBench.BATCH, plain.BatchBench.CHUNK
    _show, _logits = plain.BatchBench._show, plain.BatchBench._logits
    ask_in_pieces = plain.BatchBench.ask_in_pieces

    def __init__(self, seed):
        super().__init__(seed, batch=self.BATCH, chunk=self.CHUNK)
        self.results = [host.Result(n, 10 + n, (n,) * N) for n in range(self.BATCH)]
        self.image = 0


@pytest.mark.parametrize("base", [0, 5, (1 << ADDRESS_BITS) - len(WEIGHTS)])
def test_weights_in_chunks_then_images(base):
    bench = Bench(1)

    async def script(ctx):
        identity = host.parse_identity(await bench.get(ctx, host.request(Command.IDENTIFY)))
        assert identity == host.Identity(plain.DIGEST, H, W, C, N, len(WEIGHTS))
        assert await bench.load(ctx, base) == host.Check(True, CRC, CRC)
        assert ctx.get(bench.dut.o_base) == base and ctx.get(bench.dut.o_words) == len(WEIGHTS)
        for _ in range(2):
            assert host.parse_result(await bench.get(ctx, RUN)) == bench.result

    bench.run(script)
    assert bench.memory[base : base + len(WEIGHTS)] == WEIGHTS.tolist()
    assert not any(bench.memory[:base] + bench.memory[base + len(WEIGHTS) :])
    assert bench.images == [plain.pixels_of(IMAGE)] * 2


def test_an_image_before_the_weights_is_refused_and_taken_off_the_line():
    bench = Bench(2)
    hidden = host.request(Command.IDENTIFY)  # a frame inside the image must not be answered
    nasty = host.request(Command.RUN, (hidden * 4)[: H * W * C])

    async def script(ctx):
        for frame in (RUN, nasty):
            await bench.refused(ctx, frame, Status.NO_WEIGHTS)
            await bench.quiet(ctx, 200)
        for frame in host.uploads(WEIGHTS):
            await bench.get(ctx, frame)
        await bench.refused(ctx, RUN, Status.NO_WEIGHTS)
        await bench.refused(ctx, RUN[:-1], Status.TIMEOUT)
        await bench.refused(ctx, plain.flipped(RUN, 12), Status.BAD_CHECKSUM)
        assert not ctx.get(bench.dut.o_go)
        await bench.load(ctx)
        await bench.get(ctx, RUN)

    bench.run(script)
    assert len(bench.images) == 1 and len(bench.pixels) == H * W


def test_a_batch_is_taken_off_the_line_and_answered_whole():
    bench = BatchBench(8)
    images = IMAGE * 3

    async def script(ctx):
        identity = host.parse_identity(await bench.get(ctx, host.request(Command.IDENTIFY)))
        assert identity == host.Identity(plain.DIGEST, H, W, C, N, len(WEIGHTS), 3)
        frame = host.request(Command.RUN, images)
        with pytest.raises(host.LinkError, match="NO_WEIGHTS"):
            host.parse_response(await bench.ask_in_pieces(ctx, frame))
        assert await bench.load(ctx) == host.Check(True, CRC, CRC)
        payload = host.parse_response(await bench.ask_in_pieces(ctx, frame))
        assert host.parse_results(payload, 3) == bench.results

    bench.run(script)
    assert bench.images == [plain.pixels_of(images)]


def test_a_wrong_image_is_reported_and_not_used():
    bench = Bench(3)

    async def script(ctx):
        assert (await bench.load(ctx)).ok
        await bench.get(ctx, RUN)
        wrong = CRC ^ 1 << 31
        answer = await bench.get(ctx, host.check_request(len(WEIGHTS), wrong))
        assert host.parse_check(answer) == host.Check(False, wrong, CRC)
        await bench.refused(ctx, RUN, Status.NO_WEIGHTS)
        bench.memory[3] ^= 4
        answer = await bench.get(ctx, host.check_request(len(WEIGHTS), CRC))
        found = crc32_of_words(bench.memory[: len(WEIGHTS)])
        assert host.parse_check(answer) == host.Check(False, CRC, found)
        await bench.refused(ctx, RUN, Status.NO_WEIGHTS)
        assert (await bench.load(ctx)).ok
        await bench.get(ctx, RUN)

    bench.run(script)
    assert len(bench.images) == 2


def test_new_words_take_the_permission_away():
    bench = Bench(4)

    async def script(ctx):
        assert (await bench.load(ctx)).ok
        await bench.get(ctx, host.write_request(2, WEIGHTS[2:4]))
        await bench.refused(ctx, RUN, Status.NO_WEIGHTS)
        answer = await bench.get(ctx, host.check_request(len(WEIGHTS), CRC))
        assert host.parse_check(answer).ok
        await bench.get(ctx, RUN)

    bench.run(script)


TOP = 1 << ADDRESS_BITS
CHUNK = host.write_request(4, WEIGHTS)
CHECK = host.check_request(len(WEIGHTS), CRC)


@pytest.mark.parametrize(
    ("frame", "status"),
    [
        (host.write_request(TOP - 1, WEIGHTS[:2]), Status.BAD_ADDRESS),
        (host.write_request(1 << 31, WEIGHTS[:2]), Status.BAD_ADDRESS),
        (host.check_request(len(WEIGHTS), CRC, TOP - 1), Status.BAD_ADDRESS),
        (host.check_request(len(WEIGHTS), CRC, (1 << 32) - 1), Status.BAD_ADDRESS),
        (host.check_request(0, 0), Status.BAD_LENGTH),
        (host.check_request(len(WEIGHTS) - 1, 0), Status.BAD_LENGTH),
        (host.request(Command.WRITE, bytes(4)), Status.BAD_LENGTH),
        (host.request(Command.WRITE, bytes(7)), Status.BAD_LENGTH),
        (host.request(Command.WRITE, b""), Status.BAD_LENGTH),
        (host.request(Command.CHECK, bytes(11)), Status.BAD_LENGTH),
        (host.request(Command.CHECK, bytes(13)), Status.BAD_LENGTH),
        (plain.flipped(CHUNK, len(CHUNK) - 3), Status.BAD_CHECKSUM),
        (plain.flipped(CHECK, 9), Status.BAD_CHECKSUM),
        (CHUNK[:9], Status.TIMEOUT),
        (CHUNK[:14], Status.TIMEOUT),
        (CHUNK[:-1], Status.TIMEOUT),
        (CHECK[:15], Status.TIMEOUT),
    ],
)
def test_broken_requests_are_answered_and_the_next_ones_work(frame, status):
    bench = Bench(5)

    async def script(ctx):
        await bench.refused(ctx, frame, status)
        await bench.quiet(ctx, 100)
        assert not ctx.get(bench.dut.o_go)
        assert bench.reads == 0
        assert (await bench.load(ctx)).ok
        await bench.get(ctx, RUN)

    bench.run(script)
    assert bench.memory[: len(WEIGHTS)] == WEIGHTS.tolist()


def test_a_memory_that_is_not_up_yet_refuses():
    bench = Bench(6)
    bench.ready = False

    async def script(ctx):
        await bench.refused(ctx, CHUNK, Status.NOT_READY)
        await bench.refused(ctx, CHECK, Status.NOT_READY)
        await bench.quiet(ctx, 100)
        bench.ready = True
        assert (await bench.load(ctx)).ok

    bench.run(script)


def test_weights_that_exceed_the_memory_are_refused():
    good = {"height": H, "width": W, "n_classes": N, "digest": plain.DIGEST}
    with pytest.raises(ValueError, match="65 words do not fit 64"):
        WeightLink(weight_words=65, address_bits=6, **good)
    with pytest.raises(ValueError, match="address_bits must be 1 to 32, not 33"):
        WeightLink(weight_words=1, address_bits=33, **good)


def test_answers_of_another_length_are_no_check():
    with pytest.raises(host.LinkError, match="8 bytes are no answer to CHECK"):
        host.parse_check(struct.pack("<II", 0, 0))
