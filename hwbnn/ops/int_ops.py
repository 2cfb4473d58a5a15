"""Integer ops: what the hardware computes, each defined by `hwbnn.ints` (numeric contract).

Values are (N, C, H, W) int64; bits are int8 0/1 meaning -1/+1. Per-channel constants are 1-D.
"""

import dataclasses

import numpy as np

from .. import ints
from ..conv import conv2d, out_size, windows
from ..ir import Op, register_op
from ..types import IntRange, TensorType

__all__ = [
    "Add",
    "Affine",
    "AvgPool2x2",
    "BinaryConv2d",
    "Conv2d",
    "GlobalSum",
    "MaxPool2d",
    "QuantizeInput",
    "RPReLU",
    "Repeat",
    "Saturate",
    "ShiftRPReLU",
    "Threshold",
]

MULTIPLIER_BITS = 18  # MULT18X18D operands


def _c(v: np.ndarray) -> np.ndarray:
    return v[None, :, None, None]


def _need(type_: TensorType, kind: str) -> None:
    if type_.kind != kind:
        raise ValueError(f"needs {kind} input, got {type_.kind}")


def _need_channels(x: TensorType, *arrays: np.ndarray) -> None:
    for array in arrays:
        if array.shape != (x.shape[0],):
            raise ValueError(f"constant of shape {array.shape} on {x.shape[0]} channels")


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class QuantizeInput(Op):
    """uint8 image (N,H,W,C) -> ``(pixel << frac) - offset[c]``, NCHW."""

    shape: tuple[int, int, int]
    frac: int
    offset: np.ndarray

    def out_type(self) -> TensorType:
        lo = min(ints.quantize_pixel(0, int(o), self.frac) for o in self.offset)
        hi = max(ints.quantize_pixel(255, int(o), self.frac) for o in self.offset)
        return TensorType(tuple(self.shape), "int", IntRange(lo, hi), self.frac)

    def run(self, x: np.ndarray) -> np.ndarray:
        x = x.astype(np.int64).transpose(0, 3, 1, 2)
        return ints.quantize_pixel(x, _c(self.offset), self.frac)


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class Conv2d(Op):
    """Multi-bit convolution: ``weight`` int (O,I,k,k) of ``weight_bits``; padding adds 0.

    The result's fixed-point position is that of the input; the weights' scale belongs to the
    Affine that follows.
    """

    weight: np.ndarray
    stride: int = 1
    padding: int = 0
    weight_bits: int = 8

    def out_type(self, x: TensorType) -> TensorType:
        _need(x, "int")
        o, i, k, _k = self.weight.shape
        if i != x.shape[0]:
            raise ValueError(f"weight has {i} input channels, its input has {x.shape[0]}")
        lo, hi = ints.signed_range(self.weight_bits)
        if self.weight.min() < lo or self.weight.max() > hi:
            raise ValueError(f"weights exceed {self.weight_bits} bits")
        positive = np.maximum(self.weight, 0).astype(np.int64).sum(axis=(1, 2, 3))
        negative = np.minimum(self.weight, 0).astype(np.int64).sum(axis=(1, 2, 3))
        low, high = min(x.range.lo, 0), max(x.range.hi, 0)  # padded taps are 0
        rng = IntRange(
            int((positive * low + negative * high).min()),
            int((positive * high + negative * low).max()),
        )
        size = (out_size(s, k, self.stride, self.padding) for s in x.shape[1:])
        return TensorType((o, *size), "int", rng, x.frac)

    def run(self, x: np.ndarray) -> np.ndarray:
        return conv2d(x, self.weight, self.stride, self.padding)


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class BinaryConv2d(Op):
    """±1 convolution of bits: integer dot product p; out-of-image taps count ``pad_value``.

    ``weight`` int8 ±1 (O,I,k,k); ``codebook`` (n,k*k) and ``ids`` (O,I) where sub-bit.
    """

    weight: np.ndarray
    stride: int = 1
    padding: int = 1
    pad_value: int = 0
    codebook: np.ndarray | None = None
    ids: np.ndarray | None = None

    def out_type(self, x: TensorType) -> TensorType:
        _need(x, "bit")
        o, i, k, _k = self.weight.shape
        if i != x.shape[0]:
            raise ValueError(f"weight has {i} input channels, its input has {x.shape[0]}")
        if self.pad_value not in (-1, 0, 1):
            raise ValueError(f"pad_value must be -1, 0 or 1, not {self.pad_value}")
        fan_in = i * k * k
        size = (out_size(s, k, self.stride, self.padding) for s in x.shape[1:])
        return TensorType((o, *size), "int", IntRange(-fan_in, fan_in))

    def run(self, x: np.ndarray) -> np.ndarray:
        return conv2d(2 * x - 1, self.weight, self.stride, self.padding, self.pad_value)


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class Affine(Op):
    """``(gain*t + bias) >> shift`` with ``t = prescale(x, pre)`` (rule 4).

    ``gain`` signed 18 bit, ``bias`` int64 with the rounding half inside, ``frac`` the result's
    fixed-point position.
    """

    gain: np.ndarray
    bias: np.ndarray
    shift: int
    frac: int
    pre: int = 0

    def out_type(self, x: TensorType) -> TensorType:
        _need(x, "int")
        _need_channels(x, self.gain, self.bias)
        lo, hi = ints.signed_range(MULTIPLIER_BITS)
        if self.gain.min() < lo or self.gain.max() > hi:
            raise ValueError(f"gain exceeds {MULTIPLIER_BITS} bits")
        t = [int(ints.prescale(v, self.pre, MULTIPLIER_BITS)) for v in (x.range.lo, x.range.hi)]
        corners = np.array([ints.affine(v, self.gain, self.bias, self.shift) for v in t])
        return TensorType(
            x.shape, "int", IntRange(int(corners.min()), int(corners.max())), self.frac
        )

    def run(self, x: np.ndarray) -> np.ndarray:
        t = ints.prescale(x, self.pre, MULTIPLIER_BITS)
        return ints.affine(t, _c(self.gain), _c(self.bias), self.shift)


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class Add(Op):
    """Residual sum of two maps at one fixed-point position; not saturated."""

    def out_type(self, a: TensorType, b: TensorType) -> TensorType:
        _need(a, "int")
        _need(b, "int")
        if a.shape != b.shape or a.frac != b.frac:
            raise ValueError(f"operands differ: {a} and {b}")
        return TensorType(a.shape, "int", a.range + b.range, a.frac)

    def run(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a + b


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class Saturate(Op):
    """Clamp to ``bits`` two's complement bits."""

    bits: int = 16

    def out_type(self, x: TensorType) -> TensorType:
        _need(x, "int")
        limit = IntRange.of_bits(self.bits)
        rng = IntRange(
            int(ints.clamp(x.range.lo, limit.lo, limit.hi)),
            int(ints.clamp(x.range.hi, limit.lo, limit.hi)),
        )
        return TensorType(x.shape, "int", rng, x.frac)

    def run(self, x: np.ndarray) -> np.ndarray:
        return ints.clamp(x, *ints.signed_range(self.bits))

    def saturated(self, x: np.ndarray) -> int:
        """How many elements of ``x`` the clamp changes (rule 9)."""
        lo, hi = ints.signed_range(self.bits)
        return int(((x < lo) | (x > hi)).sum())


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class RPReLU(Op):
    """RPReLU with a multiplier (rule 5): slope ``slope[c] * 2**-shift``, second bias ``bias[c]``.

    Not saturated; a Saturate follows.
    """

    slope: np.ndarray
    bias: np.ndarray
    shift: int

    def out_type(self, x: TensorType) -> TensorType:
        _need(x, "int")
        _need_channels(x, self.slope, self.bias)
        points = [v for v in (x.range.lo, 0, x.range.hi) if x.range.lo <= v <= x.range.hi]
        values = np.array([self._at(v) for v in points])
        return TensorType(
            x.shape, "int", IntRange(int(values.min()), int(values.max())), x.frac
        )

    def _at(self, z: int) -> np.ndarray:
        z = np.full(self.slope.shape, z)
        return ints.rprelu(z, self.slope, self.bias, self.shift)

    def run(self, x: np.ndarray) -> np.ndarray:
        return ints.rprelu(x, _c(self.slope), _c(self.bias), self.shift)


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class ShiftRPReLU(Op):
    """RPReLU whose slopes are ``sign[c] * 2**exponent[c]``: no multiplier (rule 5)."""

    sign: np.ndarray
    exponent: np.ndarray
    bias: np.ndarray

    def out_type(self, x: TensorType) -> TensorType:
        _need(x, "int")
        _need_channels(x, self.sign, self.exponent, self.bias)
        if not np.isin(self.sign, (-1, 1)).all():
            raise ValueError("sign must be -1 or +1")
        points = [v for v in (x.range.lo, 0, x.range.hi) if x.range.lo <= v <= x.range.hi]
        values = np.array([self._at(v) for v in points])
        return TensorType(
            x.shape, "int", IntRange(int(values.min()), int(values.max())), x.frac
        )

    def _at(self, z: int) -> np.ndarray:
        z = np.full(self.sign.shape, z)
        return ints.rprelu_shift(z, self.sign, self.exponent, self.bias)

    def run(self, x: np.ndarray) -> np.ndarray:
        return ints.rprelu_shift(x, _c(self.sign), _c(self.exponent), _c(self.bias))


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class Threshold(Op):
    """Activation bit ``x >= thr[c]`` (rule 2)."""

    thr: np.ndarray

    def out_type(self, x: TensorType) -> TensorType:
        _need(x, "int")
        _need_channels(x, self.thr)
        return TensorType(x.shape, "bit", IntRange(0, 1))

    def run(self, x: np.ndarray) -> np.ndarray:
        return ints.threshold(x, _c(self.thr))


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class AvgPool2x2(Op):
    """2x2 stride-2 mean, ``(sum + 2) >> 2`` (rule 8); an odd last row or column is dropped."""

    def out_type(self, x: TensorType) -> TensorType:
        _need(x, "int")
        c, h, w = x.shape
        return TensorType((c, h // 2, w // 2), "int", x.range, x.frac)

    def run(self, x: np.ndarray) -> np.ndarray:
        v = windows(x, 2, 2, 0)
        return ints.avg_pool2x2(v[..., 0, 0], v[..., 0, 1], v[..., 1, 0], v[..., 1, 1])


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class MaxPool2d(Op):
    """Largest value of each window; a padded tap counts as minus infinity, never as a value.

    Position and range are those of the input. ``2*padding <= kernel``, so that every window has a
    tap in the map.
    """

    kernel: int
    stride: int
    padding: int = 0

    def out_type(self, x: TensorType) -> TensorType:
        _need(x, "int")
        if min(self.kernel, self.stride) < 1 or not 0 <= 2 * self.padding <= self.kernel:
            raise ValueError(
                f"a window of {self.kernel} with stride {self.stride} and padding {self.padding} "
                "must have a tap in the map"
            )
        c, *size = x.shape
        made = tuple(out_size(s, self.kernel, self.stride, self.padding) for s in size)
        if min(made) < 1:
            raise ValueError(f"a window of {self.kernel} does not fit a map of {size}")
        return TensorType((c, *made), "int", x.range, x.frac)

    def run(self, x: np.ndarray) -> np.ndarray:
        lowest = np.iinfo(x.dtype).min
        return windows(x, self.kernel, self.stride, self.padding, lowest).max(axis=(-1, -2))


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class Repeat(Op):
    """All channels again behind themselves, ``times`` in all: out[c] = x[c mod C] (rule 10)."""

    times: int = 2

    def out_type(self, x: TensorType) -> TensorType:
        _need(x, "int")
        if self.times < 1:
            raise ValueError(f"times must be positive, not {self.times}")
        c, h, w = x.shape
        return dataclasses.replace(x, shape=(self.times * c, h, w))

    def run(self, x: np.ndarray) -> np.ndarray:
        return np.tile(x, (1, self.times, 1, 1))


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class GlobalSum(Op):
    """Channel sum over the map, rounded shift, ``bits`` saturated; 1/(H*W) is folded onwards."""

    shift: int
    bits: int = 16

    def out_type(self, x: TensorType) -> TensorType:
        _need(x, "int")
        c, h, w = x.shape
        ends = [int(ints.global_sum(v * h * w, self.shift, self.bits)) for v in
                (x.range.lo, x.range.hi)]
        return TensorType((c, 1, 1), "int", IntRange(*ends), x.frac - self.shift)

    def run(self, x: np.ndarray) -> np.ndarray:
        return ints.global_sum(x.sum(axis=(2, 3), keepdims=True), self.shift, self.bits)
