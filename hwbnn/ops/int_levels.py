"""Integer op of networks whose quantisers take their range from the values at hand.

Least and largest value are gathered while the values are written; two divisions by the span (of
an image, or of an image and channel) give a reciprocal and a step, and where the values are read
again two multiplications put each of them on its level.
"""

import dataclasses

import numpy as np

from .. import ints
from ..ir import Op, register_op
from ..types import TensorType
from .float_levels import axes
from .int_ops import _need

__all__ = ["MinMax"]


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class MinMax(Op):
    """The nearest of 2**bits levels between least and largest value, as an integer at the same
    position: `ints.on_level`. Any map of at most 16 bits; shape, range and position kept.

    The range is that of an image and channel, or of an image where a map is a single pixel.
    """

    bits: int

    def out_type(self, x: TensorType) -> TensorType:
        _need(x, "int")
        if not 1 <= self.bits < ints.SPAN_BITS:
            raise ValueError(f"levels of {self.bits} bits")
        if x.range.hi - x.range.lo >= 1 << ints.SPAN_BITS:
            raise ValueError(f"a span of {x.range} exceeds {ints.SPAN_BITS} bits")
        return x

    def run(self, x: np.ndarray) -> np.ndarray:
        low = x.min(axis=axes(x.shape), keepdims=True)
        high = x.max(axis=axes(x.shape), keepdims=True)
        return ints.on_level(x, low, high, self.bits)
