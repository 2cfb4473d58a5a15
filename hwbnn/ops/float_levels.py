"""Float op of networks whose quantisers take their range from the values at hand."""

import dataclasses

import numpy as np

from ..ir import Op, register_op
from ..types import TensorType
from .float_ops import Spread

__all__ = ["FMinMax", "axes"]


def axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Axes of (N,C,H,W) that share a range: all of an image's where a map is a single pixel wide,
    else those of a channel (BNext)."""
    return (1, 2, 3) if shape[-1] == 1 else (2, 3)


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class FMinMax(Op):
    """The nearest of 2**bits levels between the least and the largest value; halves to even.

    The range is that of an image and channel, or of an image where a map is a single pixel.
    Values are cut to ±clip first. Shape kept.
    """

    bits: int
    clip: float

    def out_type(self, x: TensorType) -> TensorType:
        return TensorType(x.shape, "float")

    def run(self, x: np.ndarray) -> np.ndarray:
        x = np.clip(x, -self.clip, self.clip)
        low = x.min(axis=axes(x.shape), keepdims=True)
        span = x.max(axis=axes(x.shape), keepdims=True) - low + 1e-8
        steps = 2.0**self.bits - 1
        return np.rint((x - low) / span * steps) / steps * span + low

    def spread(self, x: Spread) -> Spread:
        return x
