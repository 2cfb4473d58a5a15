"""Integer ops of networks whose maps have a gain that the image decides (see int_ops).

A gain is made of: GlobalSum of two maps (gathered while they are written), Mix, two dense layers
(Conv2d 1x1 on channel vectors, Affine), Sigmoid (a table) and ScaledGain, all on channel vectors;
GainAffine applies it when the map, which was stored, is read again. Product multiplies the maps
before, so that one map is stored and not two. No product has an operand of more than 18 bits.
"""

import dataclasses

import numpy as np

from .. import ints
from ..ir import Op, register_op
from ..types import IntRange, TensorType, need_same_shape
from .float_gain import gain_type
from .int_ops import MULTIPLIER_BITS, _c, _need, _need_channels

__all__ = ["Concat", "GainAffine", "Mix", "Product", "ScaledGain"]


def _need_multiplier(**operands: IntRange) -> None:
    for name, rng in operands.items():
        if rng.width > MULTIPLIER_BITS:
            raise ValueError(f"{name} {rng} exceeds {MULTIPLIER_BITS} bits")


def _range_of(values: np.ndarray) -> IntRange:
    return IntRange(int(values.min()), int(values.max()))


def _corners(a: IntRange, b: IntRange) -> np.ndarray:
    """Products of the ends of two intervals; their own ends are among them."""
    return np.array([x * y for x in (a.lo, a.hi) for y in (b.lo, b.hi)])


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class Mix(Op):
    """``(gain_a*a + gain_b*b + half) >> shift``, per-channel gains of signed 18 bit.

    ``a`` and ``b`` may have positions of their own, which the gains bring to ``frac``. Not
    saturated; a Saturate follows.
    """

    gain_a: np.ndarray
    gain_b: np.ndarray
    shift: int
    frac: int

    def out_type(self, a: TensorType, b: TensorType) -> TensorType:
        _need(a, "int")
        _need(b, "int")
        need_same_shape(a, b)
        _need_channels(a, self.gain_a, self.gain_b)
        _need_multiplier(a=a.range, b=b.range, gain_a=_range_of(self.gain_a),
                         gain_b=_range_of(self.gain_b))
        ends = np.array([
            ints.mix(x, y, self.gain_a, self.gain_b, self.shift)
            for x in (a.range.lo, a.range.hi) for y in (b.range.lo, b.range.hi)
        ])
        return TensorType(a.shape, "int", _range_of(ends), self.frac)

    def run(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return ints.mix(a, b, _c(self.gain_a), _c(self.gain_b), self.shift)


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class Product(Op):
    """``(a*b + half) >> shift``, element by element; not saturated, a Saturate follows."""

    shift: int

    def out_type(self, a: TensorType, b: TensorType) -> TensorType:
        _need(a, "int")
        _need(b, "int")
        need_same_shape(a, b)
        _need_multiplier(a=a.range, b=b.range)
        ends = ints.round_shift(_corners(a.range, b.range), self.shift)
        return TensorType(a.shape, "int", _range_of(ends), a.frac + b.frac - self.shift)

    def run(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return ints.product(a, b, self.shift)


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class ScaledGain(Op):
    """A normalisation's gain times the image's: ``(gain*g + half) >> shift``, (N,C,1,1).

    ``gain`` signed 18 bit at position ``frac``, ``shift`` that of ``g``, so that the result stays
    at ``frac`` and, g being below 1, within 18 bits.
    """

    gain: np.ndarray
    shift: int
    frac: int

    def out_type(self, g: TensorType) -> TensorType:
        _need(g, "int")
        _need_channels(g, self.gain)
        gains = _range_of(self.gain)
        _need_multiplier(gain=gains, g=g.range)
        if g.frac != self.shift:
            raise ValueError(f"gains at position {g.frac} are shifted by {self.shift}")
        ends = ints.round_shift(_corners(gains, g.range), self.shift)
        return TensorType(g.shape, "int", _range_of(ends), self.frac)

    def run(self, g: np.ndarray) -> np.ndarray:
        return ints.product(_c(self.gain), g, self.shift)


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class GainAffine(Op):
    """``(g*x + bias) >> shift`` with a gain per image and channel: an Affine decided at run time.

    x (N,C,H,W) and g (N,C,1,1) of at most 18 bits; ``bias`` int64 with the rounding half inside.
    """

    bias: np.ndarray
    shift: int

    def out_type(self, x: TensorType, g: TensorType) -> TensorType:
        _need(x, "int")
        _need(g, "int")
        gain_type(x, g)
        _need_channels(x, self.bias)
        _need_multiplier(x=x.range, gain=g.range)
        ends = _corners(x.range, g.range)[:, None] + self.bias >> self.shift
        return TensorType(x.shape, "int", _range_of(ends), x.frac + g.frac - self.shift)

    def run(self, x: np.ndarray, g: np.ndarray) -> np.ndarray:
        return ints.affine(x, g, _c(self.bias), self.shift)


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class Concat(Op):
    """Channels of ``b`` behind those of ``a``; maps of one size at one position (rule 10)."""

    def out_type(self, a: TensorType, b: TensorType) -> TensorType:
        _need(a, "int")
        _need(b, "int")
        if a.shape[1:] != b.shape[1:] or a.frac != b.frac:
            raise ValueError(f"operands differ: {a} and {b}")
        rng = IntRange(min(a.range.lo, b.range.lo), max(a.range.hi, b.range.hi))
        return TensorType((a.shape[0] + b.shape[0], *a.shape[1:]), "int", rng, a.frac)

    def run(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.concatenate([a, b], axis=1)
