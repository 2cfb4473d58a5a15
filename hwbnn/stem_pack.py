"""Contents of the stem's memories: weights in the order of its passes, and initial sums."""

import numpy as np

from rtl_gen.engine.stem_config import KERNEL, ROW_CLASSES, TAPS, StemConfig

from .errors import UserError

__all__ = ["accumulator_bits", "pack_stem"]

CENTRE = 128  # odd channels multiply the pixel minus this
# an output row of each class of a map with 8 rows
REPRESENTATIVE = (0, 1, 2, 7)


def accumulator_bits(weights: np.ndarray, offset: np.ndarray, image_frac: int) -> int:
    """Smallest ``acc_bits`` that is exact for (O, 3, 7, 7) weights and any image, at any border.

    ``offset`` (3,) is what ``pack_stem`` takes.
    """
    w = np.asarray(weights, np.int64)
    scale = 1 << image_frac
    low = -np.asarray(offset, np.int64)
    high = 255 * scale + low
    # a tap outside the image adds nothing
    ends = [np.minimum(0, low), np.maximum(0, high)]
    per_colour = [np.clip(w, None, 0).sum((2, 3)), np.clip(w, 0, None).sum((2, 3))]
    result_high = per_colour[1] @ ends[1] + per_colour[0] @ ends[0]
    result_low = per_colour[1] @ ends[0] + per_colour[0] @ ends[1]
    bound = max(int(result_high.max()), -int(result_low.min()) - 1, 0)
    return max(bound.bit_length() + 1 - image_frac, 1)


def pack_stem(config: StemConfig, weights: np.ndarray, offset: np.ndarray) -> dict[str, list[int]]:
    """Unsigned words of ``stem_weights`` and ``stem_psum`` for a (O, 3, 7, 7) convolution.

    ``offset`` (3,), integers in 2**-image_frac of a pixel step, is subtracted from every pixel
    inside the image. Layouts:

    - ``stem_weights``: word (g*7 + ky)*C + j holds half (C-1-j) % 2 of lane p = (C-1-j) // 2, as
      the words shift through the lanes. A lane's bits, low half first: 21 weights of channel
      g*C + 2p plus 2**(wb-1), 21 weights of channel g*C + 2p + 1 (two's complement), tap
      kx*3 + colour, then the sum of products of both over the taps in DSPs.
    - ``stem_psum``: word border_base + g*16 + row class*4 + column class: C initial sums of
      result_bits, minus the offset's share; odd channels also have back what their centred pixels
      take away.

    Raises
    ------
    UserError
        Shapes or weights do not fit the configuration, or a sum could exceed acc_bits.
    """
    w, offset = np.asarray(weights, np.int64), np.asarray(offset, np.int64)
    top = 1 << (config.weight_bits - 1)
    if w.shape != (config.out_channels, 3, KERNEL, KERNEL) or offset.shape != (3,):
        raise UserError(f"weights {w.shape}, offset {offset.shape}", where="stem")
    if w.min() < -top or w.max() >= top:
        raise UserError(f"weights exceed {config.weight_bits} bits", where="stem")
    needed = accumulator_bits(w, offset, config.image_frac)
    if needed > config.acc_bits:
        raise UserError(f"sums need acc_bits {needed}, not {config.acc_bits}", where="stem")
    return {"stem_weights": _weights(config, w), "stem_psum": _initial_sums(config, w, offset)}


def _weights(config, w):
    wb, top, half = config.weight_bits, 1 << (config.weight_bits - 1), config.weight_word
    dsp = TAPS - config.logic_taps
    by_row = w.transpose(0, 2, 3, 1).reshape(config.out_channels, KERNEL, TAPS)  # (O, ky, tap)
    words = []
    for g in range(config.groups):
        for ky in range(KERNEL):
            lanes = []
            for p in range(config.pairs):
                u = by_row[g * config.lanes + 2 * p, ky] + top
                odd = by_row[g * config.lanes + 2 * p + 1, ky]
                constant = int((u * odd)[:dsp].sum()) % (1 << config.const_bits)
                bits = _joined([*u, *odd % (2 * top)], wb) | constant << (2 * TAPS * wb)
                lanes += [bits & ((1 << half) - 1), bits >> half]
            words += lanes[::-1]
    return words


def _initial_sums(config, w, offset):
    width = config.result_bits
    words = [0] * config.border_base
    inside = [_taps_inside(i) for i in range(ROW_CLASSES)]
    per_colour = np.einsum("ocyx,c->oyx", w, offset)
    centre = CENTRE * w.sum(1) << config.image_frac
    for g in range(config.groups):
        channels = slice(g * config.lanes, (g + 1) * config.lanes)
        for ys in inside:
            for xs in inside:
                sums = -per_colour[channels, ys, xs].sum((1, 2))
                # passes outside the image are left out, columns outside it are not
                sums[1::2] += centre[channels, ys].sum((1, 2))[1::2]
                words.append(_joined(sums % (1 << width), width))
    return words


def _taps_inside(row_class):
    """Kernel rows (or columns) inside the image, for the class of an output row (or column)."""
    y, rows = REPRESENTATIVE[row_class], 2 * (REPRESENTATIVE[3] + 1)
    return slice(max(0, 3 - 2 * y), min(KERNEL, rows + 3 - 2 * y))


def _joined(values, width):
    return sum(int(value) << (width * i) for i, value in enumerate(values))
