"""Float ops of networks whose maps have a gain that the image decides (see float_ops).

BNext: g = sigmoid(two dense layers of the mean of a mix), out = norm(g * y [* r]) + r.
"""

import dataclasses

import numpy as np

from ..ir import Op, register_op
from ..types import TensorType, need_same_shape
from .float_ops import Spread, _c, _float, _need_channels

__all__ = ["FConcat", "FGain", "FGainAffine", "FMix", "FProduct", "gain_type"]

# 6 deviations of a normal value are exceeded as rarely as 18 of a product of two.
TAILS = 3.0


def gain_type(x: TensorType, g: TensorType) -> None:
    """Raises ValueError unless ``g`` is a vector of gains for the map ``x``."""
    if g.shape != (x.shape[0], 1, 1):
        raise ValueError(f"gains {g.shape} for {x.shape[0]} channels")


def product_spread(a: Spread, b: Spread) -> Spread:
    """(mean, std) of the product of independent values."""
    square = (a[0] ** 2 + a[1] ** 2) * (b[0] ** 2 + b[1] ** 2) - (a[0] * b[0]) ** 2
    return a[0] * b[0], np.sqrt(np.maximum(square, 0.0))


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class FMix(Op):
    """scale*a + (1-scale)*b, per-channel ``scale``; of means, where the mixed map has no reader."""

    scale: np.ndarray

    def out_type(self, a: TensorType, b: TensorType) -> TensorType:
        need_same_shape(a, b)
        _need_channels(a, scale=self.scale)
        return _float(a.shape)

    def run(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return _c(self.scale) * a + _c(1 - self.scale) * b

    def spread(self, a: Spread, b: Spread) -> Spread:
        s, t = self.scale, 1 - self.scale
        return s * a[0] + t * b[0], np.abs(s) * a[1] + np.abs(t) * b[1]


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class FProduct(Op):
    """Element by element product of two maps."""

    def out_type(self, a: TensorType, b: TensorType) -> TensorType:
        need_same_shape(a, b)
        return _float(a.shape)

    def run(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a * b

    def spread(self, a: Spread, b: Spread) -> Spread:
        mean, std = product_spread(a, b)
        return mean, TAILS * std


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class FGain(Op):
    """g*x: x (N,C,H,W), g (N,C,1,1) of the same image."""

    def out_type(self, x: TensorType, g: TensorType) -> TensorType:
        gain_type(x, g)
        return _float(x.shape)

    def run(self, x: np.ndarray, g: np.ndarray) -> np.ndarray:
        return x * g

    def spread(self, x: Spread, g: Spread) -> Spread:
        return product_spread(x, g)


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class FGainAffine(Op):
    """scale*g*x + bias; what folding makes of a gain and the normalisation behind it.

    ``spread_std``/``spread_mean`` keep the statistics that the normalisation knew.
    """

    scale: np.ndarray
    bias: np.ndarray
    spread_mean: np.ndarray | None = None
    spread_std: np.ndarray | None = None

    def out_type(self, x: TensorType, g: TensorType) -> TensorType:
        gain_type(x, g)
        _need_channels(x, scale=self.scale, bias=self.bias)
        return _float(x.shape)

    def run(self, x: np.ndarray, g: np.ndarray) -> np.ndarray:
        return _c(self.scale) * g * x + _c(self.bias)

    def spread(self, x: Spread, g: Spread) -> Spread:
        if self.spread_mean is not None:
            return self.spread_mean, self.spread_std
        mean, std = product_spread(x, g)
        return mean * self.scale + self.bias, std * np.abs(self.scale)


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class FConcat(Op):
    """Channels of ``b`` behind those of ``a``; maps of one size."""

    def out_type(self, a: TensorType, b: TensorType) -> TensorType:
        if a.shape[1:] != b.shape[1:]:
            raise ValueError(f"maps {a.shape} and {b.shape} differ in size")
        return _float((a.shape[0] + b.shape[0], *a.shape[1:]))

    def run(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.concatenate([a, b], axis=1)

    def spread(self, a: Spread, b: Spread) -> Spread:
        return np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1]])
