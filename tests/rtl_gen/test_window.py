"""Windows against a padded array, for both strides, any width, and every group of a map."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from rtl_gen.engine.config import ROW_BANKS
from rtl_gen.engine.window import Window

DEPTH = 5


def expected_window(image, y, x, stride):
    """(9) values and validity of the window that makes output pixel (y, x)."""
    h, w = image.shape
    values, valid = [], []
    for ky in range(3):
        for kx in range(3):
            r, c = y * stride + ky - 1, x * stride + kx - 1
            inside = 0 <= r < h and 0 <= c < w
            values.append(int(image[r, c]) if inside else 0)
            valid.append(int(inside))
    return values, valid


@pytest.mark.parametrize("pixels", [1, 2, 4])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(5, 7), (4, 8), (2, 2), (6, 9), (3, 16)])
def test_every_window_of_a_map(pixels, stride, size):
    windows_of_a_map(pixels, stride, size)


@pytest.mark.parametrize("pixels", [1, 2])
@pytest.mark.parametrize("centre", [0, 1])
@pytest.mark.parametrize(("groups", "first"), [(1, 0), (DEPTH, 0), (DEPTH, 2), (DEPTH, DEPTH - 1)])
def test_windows_whose_middle_alone_counts(pixels, centre, groups, first):
    windows_of_a_map(pixels, 1, (4, 7), {"centred": groups}, centre, first)


def windows_of_a_map(pixels, stride, size, more=None, centre=None, first=0):
    h, w = size
    rng = np.random.default_rng(h * 100 + w)
    image = rng.integers(0, 1 << DEPTH, (h, w))
    columns = 2 * pixels
    n_words = -(-w // columns)
    padded = np.zeros((h, n_words * columns), dtype=int)
    padded[:, :w] = image
    h_out, w_out = -(-h // stride), -(-w // stride)
    groups = -(-w_out // pixels)

    def word(row, index):
        """Contents of a word; junk outside the map, where borders must hide it."""
        if not (0 <= row < h and 0 <= index < n_words):
            return (1 << (DEPTH * columns)) - 1
        part = padded[row, index * columns : (index + 1) * columns]
        return sum(int(v) << (DEPTH * i) for i, v in enumerate(part))

    dut = Window(depth=DEPTH, pixels=pixels, **more or {})
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    results = []
    order = [(y, j) for y in range(h_out) for j in range(groups)]

    async def drive(ctx):
        if centre is not None:
            ctx.set(dut.i_centre, centre)
            ctx.set(dut.i_from, first)
        for y, j in order:
            middle = y * stride
            new = j == 0 or j % 2 == 1 or stride == 2
            index = j if stride == 2 else (j + 1) // 2
            top = (middle - 1) % ROW_BANKS
            ctx.set(dut.i_new, int(new))
            for r in range(3):
                ctx.set(dut.i_words[(top + r) % ROW_BANKS], word(middle - 1 + r, index))
            ctx.set(dut.i_top, top)
            ctx.set(dut.i_phase, int(stride == 1 and j % 2))
            ctx.set(dut.i_stride2, int(stride == 2))
            ctx.set(dut.i_row_class, 1 if middle == 0 else 2 if middle + 1 >= h else 0)
            ctx.set(dut.i_left, int(j == 0))
            right = [int((j * pixels + p) * stride + 1 >= w) for p in range(pixels)]
            ctx.set(dut.i_right, sum(b << p for p, b in enumerate(right)))
            await ctx.tick()

    async def watch(ctx):
        await ctx.tick().repeat(dut.LATENCY)
        for _ in order:
            results.append([
                ([ctx.get(dut.o_window[p][k]) for k in range(9)],
                 [ctx.get(dut.o_valid[p]) >> k & 1 for k in range(9)])
                for p in range(pixels)
            ])
            await ctx.tick()

    sim.add_testbench(drive)
    sim.add_testbench(watch, background=False)
    sim.run()
    compared = 0
    for (y, j), windows in zip(order, results, strict=True):
        for p, (values, valid) in enumerate(windows):
            x = j * pixels + p
            if x < w_out:
                expected = expected_window(image, y, x, stride)
                if centre:
                    middle, inside = (part[4] for part in expected)
                    expected = tuple([0, 0, 0, 0, v, 0, 0, 0, 0]
                                     for v in (middle >> first << first, inside))
                assert (values, valid) == expected, (y, x)
                compared += 1
    assert compared == h_out * w_out
