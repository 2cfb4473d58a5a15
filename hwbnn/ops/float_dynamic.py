"""Float ops of networks that decide at run time, and of their bounded maps (see float_ops)."""

import dataclasses

import numpy as np

from ..ir import Op, register_op
from ..types import TensorType
from .float_ops import Spread

__all__ = ["FDynamicThreshold", "FHardtanh", "FReLU", "FSigmoid", "FSubsamplePad"]


class _Pointwise(Op):
    """An op on every element; float in and out."""

    def out_type(self, x: TensorType) -> TensorType:
        return TensorType(x.shape, "float")


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class FHardtanh(_Pointwise):
    """Clamp to -1..1. Shape kept."""

    def run(self, x: np.ndarray) -> np.ndarray:
        return np.clip(x, -1.0, 1.0)

    def spread(self, x: Spread) -> Spread:
        return np.clip(x[0], -1.0, 1.0), np.minimum(x[1], 1.0)


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class FReLU(_Pointwise):
    """max(x, 0), of a dense layer. Shape kept."""

    def run(self, x: np.ndarray) -> np.ndarray:
        return np.maximum(x, 0.0)

    def spread(self, x: Spread) -> Spread:
        return np.maximum(x[0], 0.0), x[1]


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class FSigmoid(_Pointwise):
    """1 / (1 + exp(-x)). Shape kept; values in 0..1."""

    def run(self, x: np.ndarray) -> np.ndarray:
        return 0.5 + 0.5 * np.tanh(0.5 * x)

    def spread(self, x: Spread) -> Spread:
        return np.full_like(x[0], 0.5), np.full_like(x[1], 0.5 / 6)


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class FDynamicThreshold(Op):
    """sign(x + beta) as ±1, sign(0) = +1: a (N,C,H,W), beta (N,C,1,1) of the same image.

    SD-BNN: beta is computed from the whole of x, so that no bit exists before x is complete.
    """

    def out_type(self, x: TensorType, beta: TensorType) -> TensorType:
        if beta.shape != (x.shape[0], 1, 1):
            raise ValueError(f"thresholds {beta.shape} for {x.shape[0]} channels")
        return TensorType(x.shape, "float")

    def run(self, x: np.ndarray, beta: np.ndarray) -> np.ndarray:
        return np.where(x + beta >= 0, 1.0, -1.0)

    def spread(self, x: Spread, beta: Spread) -> Spread:
        return np.zeros_like(x[0]), np.ones_like(x[1])


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class FSubsamplePad(Op):
    """Every second row and column from the first, ``before`` and ``after`` channels of zeros.

    (N,C,H,W) -> (N, before+C+after, ceil(H/2), ceil(W/2)). Option A of ResNet's shortcuts.
    """

    before: int
    after: int

    def out_type(self, x: TensorType) -> TensorType:
        return TensorType(subsampled(self, x), "float")

    def run(self, x: np.ndarray) -> np.ndarray:
        return subsample_pad(x, self.before, self.after)

    def spread(self, x: Spread) -> Spread:
        pad = (self.before, self.after)
        return np.pad(x[0], pad), np.pad(x[1], pad)


def subsampled(op, x: TensorType) -> tuple[int, int, int]:
    """Shape that an op with ``before`` and ``after`` makes of ``x``."""
    if min(op.before, op.after) < 0:
        raise ValueError(f"{op.before} and {op.after} channels of zeros")
    c, h, w = x.shape
    return op.before + c + op.after, (h + 1) // 2, (w + 1) // 2


def subsample_pad(x: np.ndarray, before: int, after: int) -> np.ndarray:
    """What FSubsamplePad and SubsamplePad compute; dtype kept."""
    return np.pad(x[:, :, ::2, ::2], ((0, 0), (before, after), (0, 0), (0, 0)))
