"""What the weights in a file of A&B BNN mean, and the nodes that they become."""

import dataclasses

import numpy as np

from hwbnn.errors import CheckpointError
from hwbnn.ops import float_ops as F
from hwbnn.passes.numeric import SLOPES

from ..builder import GraphBuilder
from .layers import ALPHA, EPS

__all__ = ["BinaryWeights", "binary_conv", "binary_on_real", "decode", "real_conv", "slopes"]

NEAR_TIE = 1e-7  # of the largest weight: float32, in which the authors subtract, may see a tie


@dataclasses.dataclass(frozen=True)
class BinaryWeights:
    """One layer: scale[c] * weight.

    Members
    -------
    weight : int8 (O, I, k, k) of ±1, the sign of W - mean
    scale : float64 (O,), gain * mean |standardised W|, of either sign
    near_ties : weights so close to their mean that float32 may give the other sign, or 0
    """

    weight: np.ndarray
    scale: np.ndarray
    near_ties: int


def _parts(latent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """W - mean and the standardised W, float64 (O, I, k, k)."""
    centred = latent - latent.mean(axis=(1, 2, 3), keepdims=True)
    std = latent.std(axis=(1, 2, 3), keepdims=True)
    return centred, centred / (std + EPS) / np.sqrt(latent[0].size)


def decode(latent: np.ndarray, gain: np.ndarray) -> BinaryWeights:
    """Bits and scale from latent weights float64 (O, I, k, k) and gains of O elements.

    A weight equal to its mean is +1.
    """
    centred, standard = _parts(latent)
    m = np.abs(standard).mean(axis=(1, 2, 3))
    top = np.abs(latent).max(axis=(1, 2, 3), keepdims=True)
    near = (np.abs(centred) <= NEAR_TIE * top) & (m > 0)[:, None, None, None]
    weight = np.where(centred < 0, -1, 1).astype(np.int8)
    return BinaryWeights(weight, gain.reshape(-1) * m, int(near.sum()))


def slopes(exponents: np.ndarray, where: str) -> np.ndarray:
    """L_alpha rounded half to even; CheckpointError where a slope is out of a shift's reach."""
    rounded = np.rint(exponents.reshape(-1))
    low, high = SLOPES
    wrong = np.flatnonzero((rounded < low) | (rounded > high))
    if len(wrong):
        raise CheckpointError(
            f"channel {wrong[0]} has the slope 2^{int(rounded[wrong[0]])}, outside "
            f"2^{low}..2^{high}", where=where,
            hint=f"{len(wrong)} such slopes; was this network trained with QPReLU?")
    return rounded


def real_conv(made: GraphBuilder, module: str, x: str, stride: int = 1, padding: int = 0) -> str:
    """ScaledStdConv2d: its weights, standardised and times the gain."""
    _centred, standard = _parts(made.array(f"{module}.weight"))
    weight = standard * made.array(f"{module}.gain").reshape(-1, 1, 1, 1)
    return made.add(module, F.FConv2d(weight, stride, padding), x, source=f"{module}.weight")


def _decode(made: GraphBuilder, module: str) -> BinaryWeights:
    found = decode(made.array(f"{module}.weight"), made.array(f"{module}.gain"))
    if found.near_ties:
        made.decide(f"{module}.weight", f"{found.near_ties} weights by the exact mean",
                    "they differ from it by less than float32 tells apart")
    return found


def binary_conv(made: GraphBuilder, modules: list[str], x: str, stride: int, padding: int,
                name: str | None = None) -> str:
    """Binary convolution of bits times gain*m/4; several on the same bits become one."""
    found = [_decode(made, module) for module in modules]
    name = name or modules[0]
    weight = np.concatenate([part.weight for part in found])
    scale = ALPHA * np.concatenate([part.scale for part in found])
    source = ", ".join(f"{module}.weight" for module in modules)
    x = made.add(name, F.FBinaryConv2d(weight, stride, padding), x, source=source)
    return made.add(f"{name}.scale", F.FScale(scale), x, source=source)


def binary_on_real(made: GraphBuilder, module: str, x: str, stride: int = 1) -> str:
    """1x1 convolution of a multi-bit map with weights ±1, which adders do, times gain*m."""
    found = _decode(made, module)
    source = f"{module}.weight"
    x = made.add(module, F.FConv2d(found.weight.astype(np.float64), stride, 0), x, source=source)
    return made.add(f"{module}.scale", F.FScale(found.scale), x, source=source)
