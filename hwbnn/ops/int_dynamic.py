"""Integer ops of networks that decide at run time, and of their bounded maps (see int_ops).

A threshold that depends on the whole map is made of: GlobalSum (gathered while the map is
written), two dense layers (Conv2d 1x1 on channel vectors, Affine), Sigmoid (a table), and
DynamicThreshold (a comparison where the map is read again).
"""

import dataclasses

import numpy as np

from .. import ints
from ..ir import Op, register_op
from ..types import IntRange, TensorType
from .float_dynamic import subsample_pad, subsampled
from .int_ops import Saturate, _need

__all__ = ["Clamp", "DynamicThreshold", "FlatSaturate", "Sigmoid", "SubsamplePad"]


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class FlatSaturate(Saturate):
    """A Saturate whose reader is flat beyond the limits, as hardtanh and sigmoid are.

    Clamping then loses nothing, so `saturated` counts nothing.
    """

    def saturated(self, x: np.ndarray) -> int:
        return 0


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class Clamp(Op):
    """Clamp to ``lo..hi``, integers at the input's position: hardtanh is ±2**frac, exactly ±1.

    Any integer map; shape and position kept.
    """

    lo: int
    hi: int

    def out_type(self, x: TensorType) -> TensorType:
        _need(x, "int")
        if self.lo > self.hi:
            raise ValueError(f"limits {self.lo}..{self.hi}")
        ends = (int(ints.clamp(v, self.lo, self.hi)) for v in (x.range.lo, x.range.hi))
        return TensorType(x.shape, "int", IntRange(*ends), x.frac)

    def run(self, x: np.ndarray) -> np.ndarray:
        return ints.clamp(x, self.lo, self.hi)


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class Sigmoid(Op):
    """Sigmoid by a table of its positive half, `ints.sigmoid`.

    ``table`` int64 (n,): entry i is sigmoid(i * 2**(shift - f)) at position ``frac``, f being that
    of the input; entries are in 2**(frac-1) .. 2**frac - 1. Result in 1 .. 2**frac - 1.
    """

    table: np.ndarray
    shift: int
    frac: int

    def out_type(self, x: TensorType) -> TensorType:
        _need(x, "int")
        lo, hi = 1 << (self.frac - 1), (1 << self.frac) - 1
        if self.table.ndim != 1 or not len(self.table):
            raise ValueError("the table must be a row of entries")
        if self.table.min() < lo or self.table.max() > hi:
            raise ValueError(f"a table entry is outside {lo}..{hi}")
        top = int(self.table.max())
        return TensorType(x.shape, "int", IntRange((1 << self.frac) - top, top), self.frac)

    def run(self, x: np.ndarray) -> np.ndarray:
        return ints.sigmoid(x, self.table, self.shift, self.frac)

    def max_error(self, frac: int) -> float:
        """Largest distance from the sigmoid of x * 2**-frac, over every integer x there is."""
        x = np.arange((len(self.table) + 1) << self.shift)
        real = 1 / (1 + np.exp(-x * 2.0**-frac))
        error = np.abs(self.run(x) * 2.0**-self.frac - real).max()
        # beyond the table both the entry and the sigmoid stay where they are, the latter below 1
        return float(max(error, 1 - int(self.table[-1]) * 2.0**-self.frac))


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class DynamicThreshold(Op):
    """Bit of x + beta with a beta per image and channel: int (N,C,H,W), int (N,C,1,1) -> bit.

    Both at one position. ``tie`` is the bit of a sum of exactly 0 (rule 2).
    """

    tie: int = 1

    def out_type(self, x: TensorType, beta: TensorType) -> TensorType:
        _need(x, "int")
        _need(beta, "int")
        if beta.shape != (x.shape[0], 1, 1):
            raise ValueError(f"thresholds {beta.shape} for {x.shape[0]} channels")
        if x.frac != beta.frac:
            raise ValueError(f"positions {x.frac} and {beta.frac} differ")
        return TensorType(x.shape, "bit", IntRange(0, 1))

    def run(self, x: np.ndarray, beta: np.ndarray) -> np.ndarray:
        return ints.dynamic_threshold(x, beta, self.tie)


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class SubsamplePad(Op):
    """Every second row and column from the first, ``before`` and ``after`` channels of zeros.

    int (N,C,H,W) -> (N, before+C+after, ceil(H/2), ceil(W/2)); position kept (rule 10).
    """

    before: int
    after: int

    def out_type(self, x: TensorType) -> TensorType:
        _need(x, "int")
        rng = x.range
        if self.before or self.after:
            rng = IntRange(min(rng.lo, 0), max(rng.hi, 0))
        return TensorType(subsampled(self, x), "int", rng, x.frac)

    def run(self, x: np.ndarray) -> np.ndarray:
        return subsample_pad(x, self.before, self.after)
