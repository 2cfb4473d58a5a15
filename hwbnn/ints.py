"""The integer arithmetic of the networks: the one place where its meaning is written.

Every function takes Python ints or integer ndarrays (int64 unless said otherwise) and returns the
same. Golden executor, constant derivation and hardware tests all call these; hardware is right
when it equals them with ``==``. Numeric contract: DESIGN section 3.
"""

import numpy as np

__all__ = [
    "SPAN_BITS",
    "affine",
    "argmax",
    "avg_pool2x2",
    "clamp",
    "dot_from_popcount",
    "dynamic_threshold",
    "global_sum",
    "level_factors",
    "mix",
    "on_level",
    "prescale",
    "product",
    "quantize_pixel",
    "round_shift",
    "rprelu",
    "rprelu_shift",
    "sigmoid",
    "sigmoid_table",
    "signed_digits",
    "signed_range",
    "signed_width",
    "threshold",
]

SPAN_BITS = 16  # of the distance between least and largest value that a quantiser takes


def signed_range(bits: int) -> tuple[int, int]:
    """Lowest and highest value of a two's complement number of ``bits`` bits."""
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def signed_width(lo: int, hi: int) -> int:
    """Fewest two's complement bits that hold every integer in ``lo..hi``."""
    lo, hi = int(lo), int(hi)
    return max((~lo if lo < 0 else lo).bit_length(), (~hi if hi < 0 else hi).bit_length()) + 1


def clamp(x, lo: int, hi: int):
    """Saturate ``x`` to ``lo..hi``."""
    return np.clip(x, lo, hi) if isinstance(x, np.ndarray) else max(lo, min(hi, x))


def round_shift(x, shift: int):
    """``x / 2**shift`` rounded to nearest, halves up: add half, then floor (arithmetic shift)."""
    return x if shift == 0 else (x + (1 << (shift - 1))) >> shift


def quantize_pixel(pixel, offset, frac: int):
    """First-layer input ``(pixel << frac) - offset``; a padded tap is 0, i.e. the mean colour."""
    return (pixel << frac) - offset


def dot_from_popcount(count, constant):
    """±1 dot product from the number of equal bits: ``2*count + constant``.

    ``constant`` is minus the number of ±1 terms, plus what padded taps are owed in this border
    class (rule 3).
    """
    return 2 * count + constant


def prescale(acc, shift: int, bits: int = 18):
    """Bring a multi-bit accumulator to multiplier width: rounded shift, then saturation."""
    return clamp(round_shift(acc, shift), *signed_range(bits))


def affine(p, gain, bias, shift: int):
    """``(gain*p + bias) >> shift`` with floor; the rounding half is part of ``bias`` (rule 4)."""
    return (gain * p + bias) >> shift


def signed_digits(value: int, count: int) -> list[tuple[int, int]]:
    """``value`` as a sum of at most ``count`` signed powers of two: pairs (sign, exponent).

    The nearest power is taken from what is left each time, of two equally near ones the larger.
    That needs no more digits than the canonical form (none beside another), and what 1, 2, 3
    digits leave is at most 1/3, 1/11, 1/43 of the value, not 1/2, 1/8, 1/32. 0 has no digits.
    """
    found, left = [], int(value)
    while left and len(found) < count:
        size = abs(left)
        exponent = size.bit_length() - 1
        exponent += 2 * size >= 3 << exponent
        found.append((1 if left > 0 else -1, exponent))
        left -= found[-1][0] << exponent
    return found


def rprelu(z, slope, bias, shift: int):
    """RPReLU with a multiplier: ``z > 0 ? z + bias : (slope*z + C2) >> shift`` (rule 5).

    ``C2 = (bias << shift) + half`` holds the second bias and the rounding half.
    """
    c2 = (bias << shift) + ((1 << (shift - 1)) if shift else 0)
    negative = (slope * z + c2) >> shift
    return np.where(z > 0, z + bias, negative) if isinstance(z, np.ndarray) else (
        z + bias if z > 0 else negative
    )


def rprelu_shift(z, sign, exponent, bias):
    """RPReLU whose slope is ``sign * 2**exponent``: shifts and adders only.

    Negative exponents shift right with halves up, so a large shift gives 0 and not -1 LSB for a
    small negative ``z`` (rule 5). ``sign`` is +1 or -1, applied after rounding.
    """
    if not isinstance(z, np.ndarray):
        scaled = z << exponent if exponent >= 0 else round_shift(z, -exponent)
        return z + bias if z > 0 else sign * scaled + bias
    exponent = np.broadcast_to(exponent, z.shape)
    right = np.maximum(-exponent, 0)
    half = np.where(right > 0, np.left_shift(1, np.maximum(right - 1, 0)), 0)
    scaled = np.where(exponent >= 0, z << np.maximum(exponent, 0), (z + half) >> right)
    return np.where(z > 0, z + bias, sign * scaled + bias)


def threshold(x, thr):
    """Activation bit: 1 (+1) where ``x >= thr``, else 0 (-1) (rule 2)."""
    return (x >= thr).astype(np.int8) if isinstance(x, np.ndarray) else int(x >= thr)


def dynamic_threshold(x, beta, tie: int):
    """Activation bit of ``x + beta``: 1 where it is positive, ``tie`` where it is 0 (rule 2).

    The same as ``threshold(x, 1 - tie - beta)``: hardware subtracts once a channel and image, and
    compares where the map is read.
    """
    return threshold(x, 1 - tie - beta)


def sigmoid_table(entries: int, step: float, frac: int) -> np.ndarray:
    """int64 (entries,): sigmoid(i*step) at ``frac``, rounded, at most 2**frac - 1 (rule 8).

    So no entry is 1.0: a bounded value of exactly -1 never ties with its threshold.
    """
    exact = 1 / (1 + np.exp(-np.arange(entries) * step))
    return np.minimum(np.rint(exact * 2.0**frac), 2**frac - 1).astype(np.int64)


def sigmoid(x, table: np.ndarray, shift: int, frac: int):
    """Sigmoid at position ``frac`` by the table of its positive half (rule 8).

    ``table[round_shift(|x|, shift)]``, the last entry beyond its end; ``2**frac`` minus that for
    negative ``x``.
    """
    at = clamp(round_shift(abs(x), shift), 0, len(table) - 1)
    if not isinstance(x, np.ndarray):
        return int(table[at]) if x >= 0 else (1 << frac) - int(table[at])
    return np.where(x >= 0, table[at], (1 << frac) - table[at])


def mix(a, b, gain_a, gain_b, shift: int):
    """Weighted sum of two numbers, ``gain_a*a + gain_b*b``, rounded to ``2**-shift`` of it."""
    return round_shift(gain_a * a + gain_b * b, shift)


def product(a, b, shift: int):
    """``a*b / 2**shift`` rounded to nearest, halves up."""
    return round_shift(a * b, shift)


def level_factors(span, bits: int):
    """(reciprocal, shift, step) of 2**bits levels over ``span``, 0 to 2**SPAN_BITS - 1 (rule 8).

    Reciprocal and step have at most 17 bits: quotients of a restoring division, rounded to
    nearest; the reciprocal is normalised, ``shift`` undoes that. A span of 0 counts as 1.
    """
    if not isinstance(span, np.ndarray):
        found = level_factors(np.array([span], dtype=np.int64), bits)
        return tuple(int(v[0]) for v in found)
    steps, span = (1 << bits) - 1, np.maximum(span, 1)
    # frexp's exponent is the bit length
    shift = np.frexp(span)[1].astype(np.int64) + (SPAN_BITS - bits)
    reciprocal = ((steps << shift) + (span >> 1)) // span
    return reciprocal, shift, ((span << bits) + (steps >> 1)) // steps


def on_level(x, low, high, bits: int):
    """``x`` on the nearest of 2**bits levels between ``low`` and ``high``, rounded to an integer.

    Level ``q = ((x - low) * reciprocal + half) >> shift``, then ``low + ((q*step + half) >> bits)``
    with the factors of `level_factors`. At most one unit away from a level computed exactly, but
    where ``x`` is so near to half-way between two that the reciprocal decides.
    """
    reciprocal, shift, step = level_factors(high - low, bits)
    level = ((x - low) * reciprocal + (1 << (shift - 1))) >> shift
    return clamp(low + round_shift(level * step, bits), low, high)


def avg_pool2x2(a, b, c, d):
    """Mean of four, rounded: ``(a + b + c + d + 2) >> 2`` (rule 8)."""
    return (a + b + c + d + 2) >> 2


def global_sum(total, shift: int, bits: int = 16):
    """A map's channel sum, shifted with rounding and saturated; 1/(H*W) belongs to what follows."""
    return clamp(round_shift(total, shift), *signed_range(bits))


def argmax(logits) -> int:
    """Class of the largest logit; the lowest index wins a tie."""
    return int(np.argmax(np.asarray(logits)))
