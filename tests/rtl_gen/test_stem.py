# amaranth: UnusedElaboratable=no
"""The stem against integers and its cycle model, several frames, random arrivals and takes."""

import random
import subprocess
from pathlib import Path

import numpy as np
import pytest
from amaranth.lib import memory
from amaranth.sim import Simulator

from hwbnn import tools
from hwbnn.emit import emit, verilog_for_sim
from hwbnn.errors import UserError
from hwbnn.memory_files import hex_text
from hwbnn.stem_pack import accumulator_bits, pack_stem
from rtl_gen.engine.stem import Stem
from rtl_gen.engine.stem_config import StemConfig
from rtl_gen.engine.stem_model import StemTimes

OFFSET = np.array([7919, 7477, 6629])


def expected(image, weights, offset, frac):
    """(O, H/4, W/4) results for an image (H, W, 3)."""
    x = (image.astype(np.int64) << frac) - offset
    h, w, _ = x.shape
    padded = np.pad(x, ((3, 3), (3, 3), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (7, 7), (0, 1))[::2, ::2]
    conv = np.einsum("hwcyx,ocyx->ohw", windows, weights)
    low = np.iinfo(np.int64).min
    conv = np.pad(conv, ((0, 0), (1, 1), (1, 1)), constant_values=low)
    pools = np.lib.stride_tricks.sliding_window_view(conv, (3, 3), (1, 2))[:, ::2, ::2]
    return pools[:, : h // 4, : w // 4].max((3, 4))


def simulate(monkeypatch, config, weights, offset, images, *, seed, pixel_gap, take_gap):
    """Results (F, O, H/4, W/4), cycles of ready rows and takes, of every row's last pixel."""
    contents = pack_stem(config, weights, offset)
    plain = memory.Memory

    class Loaded(plain):
        def __init__(self, *, shape, depth, init, attrs):
            words = contents.get(attrs["hwbnn_name"], init)
            super().__init__(shape=shape, depth=depth, init=words, attrs=attrs)

    dut = Stem(config)
    with monkeypatch.context() as patch:
        patch.setattr(memory, "Memory", Loaded)
        sim = Simulator(dut)
    sim.add_clock(1e-6)
    rng = random.Random(seed)
    rows = len(images) * config.height // 4
    ready, taken, arrived, results = [], [], [], []

    async def source(ctx):
        cycle = 0
        for image in images:
            for line in image:
                for red, green, blue in line.tolist():
                    while rng.random() < pixel_gap:
                        await ctx.tick()
                        cycle += 1
                    ctx.set(dut.i_pixel.valid, 1)
                    ctx.set(dut.i_pixel.payload, red | green << 8 | blue << 16)
                    while not ctx.get(dut.i_pixel.ready):
                        await ctx.tick()
                        cycle += 1
                    await ctx.tick()
                    ctx.set(dut.i_pixel.valid, 0)
                    cycle += 1
                arrived.append(cycle - 1)

    async def sink(ctx):
        cycle, width = 0, config.result_bits
        for _ in range(rows):
            while not ctx.get(dut.o_ready):
                await ctx.tick()
                cycle += 1
            ready.append(cycle)
            wait = rng.randrange(take_gap) if take_gap else 0
            words = []
            for n in range(config.row_words + 2):
                ctx.set(dut.i_read, int(n < config.row_words))
                ctx.set(dut.i_addr, min(n, config.row_words - 1))
                if n >= 2:
                    words.append(ctx.get(dut.o_word))
                await ctx.tick()
                cycle += 1
            for _ in range(wait):
                await ctx.tick()
                cycle += 1
            ctx.set(dut.i_take, 1)
            taken.append(cycle)
            await ctx.tick()
            cycle += 1
            ctx.set(dut.i_take, 0)
            half = 1 << (width - 1)
            values = [
                [(((word >> (c * width)) & (2 * half - 1)) ^ half) - half
                 for c in range(config.lanes)] for word in words
            ]
            grid = np.array(values, np.int64).reshape(config.groups, -1, config.lanes)
            results.append(grid.transpose(0, 2, 1).reshape(config.out_channels, -1))

    sim.add_testbench(source, background=True)
    sim.add_testbench(sink)
    sim.run()
    maps = np.array(results).reshape(len(images), config.height // 4, config.out_channels, -1)
    return maps.transpose(0, 2, 1, 3), ready, taken, arrived


def nasty_weights(rng, config, kind):
    top = 1 << (config.weight_bits - 1)
    shape = (config.out_channels, 3, 7, 7)
    return {
        "random": lambda: rng.integers(-top, top, shape),
        "ends": lambda: rng.choice([-top, top - 1], shape),
        "lowest": lambda: np.full(shape, -top),
    }[kind]()


def nasty_images(rng, config, n):
    shape = (config.height, config.width, 3)
    kinds = [np.full(shape, 255), rng.integers(0, 256, shape), rng.choice([0, 255], shape),
             np.zeros(shape, int)]
    return [kinds[i % 4] for i in range(n)]


CASES = [
    # height, width, lanes, channels, weight bits, logic pairs, weights, frames, gaps, rows
    ((16, 16), 4, 8, 8, 0, "random", 3, (0, 0), 2),
    ((24, 20), 4, 8, 8, 0, "ends", 2, (0, 1500), 2),
    ((20, 24), 8, 8, 8, 12, "lowest", 2, (0.4, 100), 2),
    ((16, 32), 2, 4, 7, 21, "random", 2, (0.2, 1000), 1),
    ((32, 32), 2, 2, 5, 0, "random", 1, (0.7, 0), 3),
]


@pytest.mark.parametrize("size, lanes, channels, bits, logic, kind, frames, gaps, rows", CASES)
def test_frames(monkeypatch, size, lanes, channels, bits, logic, kind, frames, gaps, rows):
    config = StemConfig(
        lanes=lanes, out_channels=channels, height=size[0], width=size[1], weight_bits=bits,
        logic_pairs=logic, out_rows=rows,
    )  # fmt: skip
    seed = size[0] * 1000 + size[1] * 10 + lanes
    rng = np.random.default_rng(seed)
    weights = nasty_weights(rng, config, kind)
    images = nasty_images(rng, config, frames)
    got, ready, taken, arrived = simulate(
        monkeypatch, config, weights, OFFSET, images,
        seed=seed, pixel_gap=gaps[0], take_gap=gaps[1],
    )  # fmt: skip
    for frame, image in enumerate(images):
        want = expected(image, weights, OFFSET, config.image_frac)
        wrong = np.argwhere(got[frame] != want)
        assert not len(wrong), f"seed {seed} frame {frame} (c, y, x): {wrong[:5].tolist()}"
    models = [StemTimes(config, lambda row, earliest: arrived[row])]
    if not gaps[0]:
        models.append(StemTimes(config))
    for times in models:
        # a row that was ready before its predecessor was taken is seen after that
        rows = enumerate(zip(ready, [-1, *taken], strict=False))
        assert ready == [
            max(times.next_ready(taken[:r]), before + 1) for r, (_, before) in rows
        ]


def test_a_small_accumulator_that_suffices(monkeypatch):
    """The narrowest legal width is exact where the extreme is reached."""
    rng = np.random.default_rng(3)
    weights = rng.integers(-3, 4, (2, 3, 7, 7))
    bits = accumulator_bits(weights, OFFSET, 6)
    config = StemConfig(lanes=2, out_channels=2, height=16, width=16, acc_bits=bits)
    image = np.zeros((16, 16, 3), int)
    for c in range(3):
        image[5:12, 5:12, c] = np.where(weights[0, c] > 0, 255, 0)  # window of pixel (4, 4)
    got, *_ = simulate(
        monkeypatch, config, weights, OFFSET, [image], seed=3, pixel_gap=0, take_gap=0
    )
    assert np.array_equal(got[0], expected(image, weights, OFFSET, 6))
    with pytest.raises(UserError, match="acc_bits"):
        pack_stem(StemConfig(lanes=2, out_channels=2, height=16, width=16, acc_bits=bits - 1),
                  weights, OFFSET)


def test_an_imagenet_frame_never_waits_when_rows_are_taken():
    config = StemConfig()
    times = StemTimes(config)
    taken = []
    for _ in range(3 * config.height // 4):
        taken.append(times.next_ready(taken) + config.row_words)
    assert taken[-1] - taken[-1 - 56] == times.frame_cycles == 778 * 8 * 113


def test_a_late_take_stalls_and_must_be_known():
    config = StemConfig(height=16, width=16, lanes=2, out_channels=4)
    times = StemTimes(config)
    free = [times.next_ready([]), times.next_ready([])]
    with pytest.raises(ValueError, match="take of row 0"):
        times.next_ready([])
    assert times.next_ready([free[1] + 10_000]) > free[1] + 10_000


@pytest.mark.parametrize("name, value", [
    ("lanes", 3), ("out_channels", 60), ("height", 18), ("width", 12), ("weight_bits", 9),
    ("logic_pairs", 6), ("ring_rows", 8), ("out_rows", 0),
])
def test_impossible_configurations_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        StemConfig(**{name: value})


@pytest.mark.slow
def test_imagenet_frames_in_verilator(tmp_path):
    """Two frames of 224x224 in the emitted Verilog: every result, and every row's cycle."""
    config = StemConfig()
    rng = np.random.default_rng(224)
    weights = rng.integers(-127, 128, (64, 3, 7, 7))
    shape = (224, 224, 3)
    images = [rng.integers(0, 256, shape), rng.choice([0, 255], shape)]
    sources = verilog_for_sim(emit(Stem(config), "stem"), tmp_path / "rtl")
    verilator = tools.find("verilator")
    options = "--cc --exe --build -O3 --x-assign fast --x-initial fast --noassert -Wno-fatal"
    options += " -CFLAGS -O1 --top-module stem --Mdir obj -o sim"
    files = [str(path) for path in (Path(__file__).with_name("stem_frames.cpp"), *sources)]
    tools.run(verilator, [*options.split(), *files], cwd=tmp_path, log=tmp_path / "build.log")
    pixels = b"".join(image.astype(np.uint8).tobytes() for image in images)
    (tmp_path / "pixels.bin").write_bytes(pixels)
    for name, words in pack_stem(config, weights, OFFSET).items():
        (tmp_path / f"{name}.hex").write_text(hex_text(words))
    rows = 2 * 56
    command = [tmp_path / "obj" / "sim", str(rows), str(config.row_words), "+IMAGES=."]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=300)

    raw = np.frombuffer((tmp_path / "words.bin").read_bytes(), np.uint8)
    bits = np.unpackbits(raw.reshape(rows * config.row_words, -1), axis=1, bitorder="little")
    width = config.result_bits
    bits = bits[:, : config.lanes * width].reshape(-1, config.lanes, width).astype(np.int64)
    values = (bits << np.arange(width)).sum(2)
    values -= (values >> (width - 1)) << width
    maps = values.reshape(2, 56, config.groups, 56, config.lanes).transpose(0, 2, 4, 1, 3)
    for got, image in zip(maps.reshape(2, 64, 56, 56), images, strict=True):
        assert np.array_equal(got, expected(image, weights, OFFSET, config.image_frac))

    lines = (tmp_path / "cycles.txt").read_text().splitlines()
    ready, taken = zip(*(map(int, line.split()) for line in lines), strict=True)
    times = StemTimes(config)
    assert list(ready) == [times.next_ready(taken[:r]) for r in range(rows)]
