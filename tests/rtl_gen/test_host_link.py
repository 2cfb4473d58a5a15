# amaranth: UnusedElaboratable=no
"""The host protocol: every command, every failure, garbage in between."""

import random

import pytest
from amaranth.sim import Simulator

from hwbnn import host_protocol as host
from rtl_gen.host_link import NEXT, Command, HostLink, Status

H, W, C, N = 3, 4, 3, 5
DIGEST = bytes(range(0xA0, 0xA8))
TIMEOUT = 400


class Bench:
    """A ``HostLink`` with an engine of Python behind it and random gaps on every stream."""

    BATCH = 1

    def __init__(self, seed, channels=C, **options):
        self.rng = random.Random(seed)
        self.dut = HostLink(
            height=H, width=W, channels=channels, n_classes=N, digest=DIGEST, timeout=TIMEOUT,
            **options,
        )
        self.sent = bytearray()  # what the device answered
        self.pixels, self.images = [], []
        self.result = host.Result(0, 0, (0,) * N)

    async def drive(self, ctx, data, gaps=0.2):
        dut = self.dut
        for byte in data:
            while self.rng.random() < gaps:
                await ctx.tick()
            ctx.set(dut.i.payload, byte)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)

    async def ask(self, ctx, data, gaps=0.2, start=None):
        """Send ``data``; return the next whole response, or that from byte ``start`` on."""
        start = len(self.sent) if start is None else start
        await self.drive(ctx, data, gaps)
        for _ in range(5000):
            frame = bytes(self.sent[start:])
            if len(frame) >= host.HEADER_BYTES:
                size = host.payload_length(frame[: host.HEADER_BYTES])
                if len(frame) == host.HEADER_BYTES + size + host.CRC_BYTES:
                    return frame
            await ctx.tick()
        raise AssertionError(f"no whole response: {bytes(self.sent[start:])}")

    async def quiet(self, ctx, cycles):
        before = len(self.sent)
        for _ in range(cycles):
            await ctx.tick()
        assert len(self.sent) == before

    async def _answers(self, ctx):
        dut = self.dut
        while True:
            ctx.set(dut.o.ready, self.rng.random() < 0.7)
            _, _, valid, ready, byte = await ctx.tick().sample(
                dut.o.valid, dut.o.ready, dut.o.payload
            )
            if valid and ready:
                self.sent.append(byte)

    async def _engine(self, ctx):
        dut, busy = self.dut, 0
        while True:
            ctx.set(dut.o_pixel.ready, self.rng.random() < 0.6)
            ctx.set(dut.i_done, busy == 1)
            self._show(ctx, busy)
            _, _, valid, ready, pixel, start = await ctx.tick().sample(
                dut.o_pixel.valid, dut.o_pixel.ready, dut.o_pixel.payload, dut.o_start
            )
            busy = max(busy - 1, 0)
            if valid and ready:
                self.pixels.append(pixel)
            if start:
                self.images.append(self.pixels[-H * W * self.BATCH :])
                busy = 20

    def _show(self, ctx, busy):
        if busy:  # results of the image before stay until there is another one
            ctx.set(self.dut.i_cycles, self.result.cycles)
            ctx.set(self.dut.i_class, self.result.label)

    async def _logits(self, ctx):
        late = N
        while True:  # two cycles, as the engine's memory takes
            _, _, addr = await ctx.tick().sample(self.dut.o_logit_addr)
            ctx.set(self.dut.i_logit_data, self.result.logits[late] if late < N else 0)
            late = addr

    def run(self, script):
        sim = Simulator(self.dut)
        sim.add_clock(1e-6)
        sim.add_testbench(script)
        for side in (self._answers, self._engine, self._logits):
            sim.add_testbench(side, background=True)
        sim.run()


class OverlapBench(Bench):
    """Its engine gives a frame's result, the sum of its pixels, after the frame.

    That is ``late`` cycles after it took ``at`` pixels of the next one; ``taken`` are the pixels
    since it was in reset, which makes its results 0.
    """

    def __init__(self, seed, at, late):
        super().__init__(seed, overlap=True)
        self.at, self.late, self.taken, self.resets = at, late, [], 0

    async def _engine(self, ctx):
        dut, busy, held_before = self.dut, 0, 1
        while True:
            ctx.set(dut.o_pixel.ready, self.rng.random() < 0.6)
            ctx.set(dut.i_done, busy == 1)
            if busy == 1:
                ctx.set(dut.i_cycles, sum(self.taken[: H * W]))
            _, _, valid, ready, pixel, hold = await ctx.tick().sample(
                dut.o_pixel.valid, dut.o_pixel.ready, dut.o_pixel.payload, dut.o_hold
            )
            busy = max(busy - 1, 0)
            if valid and ready and not hold:
                self.taken.append(pixel)
                if len(self.taken) == H * W + self.at:
                    busy = self.late
            if hold:
                self.resets += not held_before
                self.taken, busy = [], 0
                ctx.set(dut.i_cycles, 0)
                ctx.set(dut.o_pixel.ready, 0)
            held_before = hold


class BatchBench(Bench):
    """Its engine answers a batch with the results ``results``, one an image."""

    BATCH, CHUNK = 3, 16

    def __init__(self, seed):
        super().__init__(seed, batch=self.BATCH, chunk=self.CHUNK)
        self.results = [host.Result(0, 0, (0,) * N)] * self.BATCH
        self.image = 0  # whose results are shown: the one wanted a cycle before

    def _show(self, ctx, busy):
        ctx.set(self.dut.i_class, self.results[self.image].label)
        ctx.set(self.dut.i_cycles, self.results[self.image].cycles)
        self.image = min(ctx.get(self.dut.o_image), self.BATCH - 1)

    async def ask_in_pieces(self, ctx, frame, gaps=0.2):
        """The answer to a request; what is sent and not yet consumed is never too much."""
        start, driven = len(self.sent), 0
        for n, piece in enumerate(host.pieces(frame, self.CHUNK)):
            while n and len(self.sent) < start + n:
                await ctx.tick()
            await self.drive(ctx, piece, gaps)
            driven += len(piece)
            told = self.sent[start:].count(NEXT)
            assert told * self.CHUNK <= driven - host.HEADER_BYTES, "more than it has consumed"
        n_next = (len(frame) - host.HEADER_BYTES - host.CRC_BYTES) // self.CHUNK
        while len(self.sent) < start + n_next:
            await ctx.tick()
        assert self.sent[start : start + n_next] == bytes([NEXT]) * n_next
        return await self.ask(ctx, b"", start=start + n_next)

    async def _logits(self, ctx):
        late = 0
        while True:
            _, _, addr = await ctx.tick().sample(self.dut.o_logit_addr)
            logits = [logit for result in self.results for logit in result.logits]
            ctx.set(self.dut.i_logit_data, logits[late])
            late = min(addr, len(logits) - 1)


def pixels_of(image, channels=C):
    return [int.from_bytes(image[k : k + channels], "little")
            for k in range(0, len(image), channels)]  # fmt: skip


NASTY = [
    b"HB" * (H * W * C // 2),
    b"HB\x01\x00\x00\x00\xfe" * 5 + b"H",
    bytes(H * W * C),
    b"\xff" * (H * W * C),
    bytes(range(H * W * C)),
]


def test_identity():
    bench = Bench(1)

    async def script(ctx):
        answer = await bench.ask(ctx, host.request(Command.IDENTIFY))
        identity = host.parse_identity(host.parse_response(answer))
        assert identity == host.Identity(DIGEST, H, W, C, N)

    bench.run(script)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_with_nasty_bytes_back_to_back(channels):
    bench = Bench(2, channels)
    size = H * W * channels
    images = [image[:size] for image in NASTY]

    async def script(ctx):
        for k, image in enumerate(images):
            bench.result = host.Result(
                0xFFFF - k, 0xFFFFFFFF - k, (-(1 << 31), (1 << 31) - 1, -1, k, 0x48424842)
            )
            answer = await bench.ask(ctx, host.request(Command.RUN, image))
            assert host.parse_result(host.parse_response(answer)) == bench.result

    bench.run(script)
    assert bench.images == [pixels_of(image, channels) for image in images]
    assert len(bench.pixels) == H * W * len(images)


@pytest.mark.parametrize(("at", "late"), [(0, 1), (0, 400), (3, 1), (H * W, 50)])
def test_an_engine_that_overlaps_frames_answers_every_image(at, late):
    bench = OverlapBench(6, at, late)
    rng = random.Random(6)
    images = [rng.randbytes(H * W * C) for _ in range(4)]

    async def script(ctx):
        for k, image in enumerate(images):
            if k:
                broken = host.request(Command.RUN, image)[: 7 if k == 1 else 20]
                with pytest.raises(host.LinkError, match="TIMEOUT"):
                    host.parse_response(await bench.ask(ctx, broken, gaps=0.0))
            answer = await bench.ask(ctx, host.request(Command.RUN, image))
            result = host.parse_result(host.parse_response(answer))
            assert result.cycles == sum(pixels_of(image))
            assert ctx.get(bench.dut.o_hold), "nothing may change what is being sent"

    bench.run(script)
    assert bench.resets == 2 * len(images) - 1


def test_images_of_a_batch_are_answered_together():
    bench, rng = BatchBench(7), random.Random(7)
    size = H * W * C
    batches = [b"".join(NASTY[:3]), b"".join(NASTY[2:]), rng.randbytes(3 * size)]

    async def script(ctx):
        identity = host.parse_response(await bench.ask(ctx, host.request(Command.IDENTIFY)))
        assert host.parse_identity(identity) == host.Identity(DIGEST, H, W, C, N, 0, 3)
        for images in batches:
            bench.results = [
                host.Result(rng.getrandbits(16), rng.getrandbits(32),
                            tuple(rng.randrange(-(1 << 31), 1 << 31) for _ in range(N)))
                for _ in range(3)
            ]  # fmt: skip
            for wrong, status in ((images[:size], "BAD_LENGTH"), (images[:-1], "BAD_LENGTH")):
                with pytest.raises(host.LinkError, match=status):
                    host.parse_response(await bench.ask(ctx, host.request(Command.RUN, wrong)[:7]))
            broken = host.request(Command.RUN, images)[: 7 + 15]
            with pytest.raises(host.LinkError, match="TIMEOUT"):
                host.parse_response(await bench.ask(ctx, broken, gaps=0.0))
            for gaps in (0.2, 0.9):
                answer = await bench.ask_in_pieces(ctx, host.request(Command.RUN, images), gaps)
                assert host.parse_results(host.parse_response(answer), 3) == bench.results

    bench.run(script)
    assert bench.images[1::3] == bench.images[2::3] == [pixels_of(images) for images in batches]
    assert len(bench.pixels) == 9 * 3 * H * W, "a broken batch is completed"
    with pytest.raises(host.LinkError, match="35 bytes are no results of 3 images"):
        host.parse_results(bytes(35), 3)


def flipped(frame, position):
    return frame[:position] + bytes([frame[position] ^ 1]) + frame[position + 1 :]


EARLY = (Status.BAD_COMMAND, Status.BAD_LENGTH)
GOOD = host.request(Command.RUN, NASTY[4])


@pytest.mark.parametrize(
    ("frame", "status"),
    [
        (host._frame(b"HB", 7, b""), Status.BAD_COMMAND),
        (host._frame(b"HB", 0, b"")[:7], Status.BAD_COMMAND),
        (host.request(Command.RUN, NASTY[4][:-1]), Status.BAD_LENGTH),
        (host.request(Command.RUN, NASTY[4] + b"x"), Status.BAD_LENGTH),
        (host.request(Command.IDENTIFY, b"x"), Status.BAD_LENGTH),
        (flipped(GOOD, 10), Status.BAD_CHECKSUM),
        (flipped(GOOD, len(GOOD) - 1), Status.BAD_CHECKSUM),
        (flipped(GOOD, len(GOOD) - 2), Status.BAD_CHECKSUM),
        (flipped(host.request(Command.IDENTIFY), 8), Status.BAD_CHECKSUM),
        (GOOD[:20], Status.TIMEOUT),
        (GOOD[:7], Status.TIMEOUT),
        (GOOD[:-1], Status.TIMEOUT),
        (GOOD[:-2], Status.TIMEOUT),
    ],
)
def test_a_broken_request_is_answered_and_the_next_one_works(frame, status):
    bench = Bench(3)
    bench.result = host.Result(3, 99, (1, 2, 3, 4, 5))

    async def script(ctx):
        answer = await bench.ask(ctx, frame, gaps=0.0)
        with pytest.raises(host.LinkError, match=status.name):
            host.parse_response(answer)
        assert len(bench.pixels) == len(bench.images) * H * W, "the raster must stay in step"
        await bench.quiet(ctx, 100)
        answer = await bench.ask(ctx, GOOD)
        assert host.parse_result(host.parse_response(answer)) == bench.result

    bench.run(script)
    assert bench.images[-1] == pixels_of(NASTY[4])
    assert len(bench.images) == 1 + (frame[2] == Command.RUN and status not in EARLY)


@pytest.mark.parametrize(
    "garbage",
    [b"HHH", b"HBHB", b"B", b"HB\x02\x24\x00\x00\xd8", bytes(range(256)), b"HB\x02", b"hb\x00"],
)
def test_garbage_is_passed_over_in_silence(garbage):
    bench = Bench(4)

    async def script(ctx):
        await bench.drive(ctx, garbage)
        await bench.quiet(ctx, TIMEOUT + 20)
        answer = await bench.ask(ctx, host.request(Command.IDENTIFY))
        assert host.parse_identity(host.parse_response(answer)).digest == DIGEST

    bench.run(script)


def test_random_garbage_never_wedges_it():
    bench = Bench(5)
    rng = random.Random(5)

    async def script(ctx):
        for _ in range(8):
            noise = bytes(rng.choice(b"HB\x00\x01\x02\xfe\x24") for _ in range(rng.randrange(40)))
            await bench.drive(ctx, noise, gaps=0.0)
            for _ in range(3 * TIMEOUT):
                await ctx.tick()
            answer = await bench.ask(ctx, host.request(Command.IDENTIFY))
            assert host.parse_identity(host.parse_response(answer)).digest == DIGEST

    bench.run(script)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"digest": b"short"}, "Digest must have 8 bytes, not 5"),
        ({"height": 0}, "height must be from 1 to 65535, not 0"),
        ({"channels": 256}, "channels must be from 1 to 255, not 256"),
        ({"n_classes": 0}, "n_classes must be from 1 to 65535, not 0"),
        ({"height": 4096, "width": 4096}, "less than 2\\*\\*24 bytes"),
        ({"height": 1024, "width": 1024, "batch": 6}, "less than 2\\*\\*24 bytes"),
        ({"batch": 0}, "a batch of 0 images"),
        ({"chunk": 24}, "a power of two above one, not 24"),
        ({"batch": 2, "overlap": True}, "a batch of 2 images with overlap"),
    ],
)
def test_parameters_out_of_range_are_refused(change, text):
    good = {"height": H, "width": W, "channels": C, "n_classes": N, "digest": DIGEST}
    with pytest.raises(ValueError, match=text):
        HostLink(**(good | change))


def test_damaged_answers_are_noticed():
    good = host.response(Status.OK, b"payload")
    assert host.parse_response(good) == b"payload"
    for position in range(len(good)):
        with pytest.raises(host.LinkError):
            host.parse_response(flipped(good, position))
    with pytest.raises(host.LinkError, match="17 bytes with a payload of 7"):
        host.parse_response(good + b"x")
