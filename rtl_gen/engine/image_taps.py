"""The first layer's inputs, out of a window of the image."""

from amaranth.hdl import *
from amaranth.lib import data

from .config import IMAGE_TAPS, EngineConfig

__all__ = ["image_taps"]


def image_taps(m, config: EngineConfig, step, image_window, ig):
    """Pixels relative to the mean colour, K of 27 taps at a time (index t*K+i)."""
    t, k = config.pixels, config.dense_inputs
    groups = -(-IMAGE_TAPS // k)
    taps = [
        Signal(data.ArrayLayout(18, IMAGE_TAPS), name=f"taps{p}", reset_less=True)
        for p in range(t)
    ]
    for pixel in range(t):
        for tap in range(9):
            colour = image_window.o_window[pixel][tap]
            for c in range(3):
                value = Signal(signed(18), name=f"colour{pixel}_{tap}_{c}")
                m.d.comb += value.eq(
                    (colour[8 * c : 8 * c + 8] << config.image_frac) - step[f"offset{c}"]
                )
                m.d.sync += taps[pixel][3 * tap + c].eq(
                    Mux(image_window.o_valid[pixel][tap], value, 0)
                )
    result = []
    for pixel in range(t):
        for i in range(k):
            selected = Signal(18, name=f"selected{pixel}_{i}")
            with m.Switch(ig[: max(1, (groups - 1).bit_length())]):
                for g in range(groups):
                    if g * k + i < IMAGE_TAPS:
                        with m.Case(g):
                            m.d.comb += selected.eq(taps[pixel][g * k + i])
            result.append(selected.as_signed())
    return result
