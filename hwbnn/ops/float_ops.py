"""Float ops: the facts of a checkpoint as importers state them, executable in float64.

An importer (models/) builds a Graph of these. Values are (N, C, H, W) float64; vectors such as
the classifier's input are (N, C, 1, 1). Per-channel facts are 1-D arrays of length C. The passes
turn such a graph into integer ops; its own `run` is the reference for calibration.

``spread`` propagates (mean, std) per channel for compilation without calibration images:
normalisation layers know their output's mean and deviation by construction.
"""

import dataclasses

import numpy as np

from ..conv import conv2d, out_size, windows
from ..ir import Op, register_op
from ..types import TensorType, need_same_shape

__all__ = [
    "FAdd",
    "FAffine",
    "FAvgPool2d",
    "FBatchNorm",
    "FBias",
    "FBinaryConv2d",
    "FConv2d",
    "FGlobalAvgPool",
    "FInput",
    "FLinear",
    "FMaxPool2d",
    "FPReLU",
    "FRPReLU",
    "FRepeat",
    "FScale",
    "FSign",
    "FThreshold",
]

Spread = tuple[np.ndarray, np.ndarray]


def _c(v: np.ndarray) -> np.ndarray:
    return np.asarray(v, dtype=np.float64)[None, :, None, None]


def _float(shape) -> TensorType:
    return TensorType(tuple(int(s) for s in shape), "float")


def _need_channels(type_: TensorType, **arrays) -> None:
    for name, array in arrays.items():
        if array is not None and array.shape != (type_.shape[0],):
            raise ValueError(
                f"{name} has shape {array.shape}, its input has {type_.shape[0]} channels"
            )


class _SameShape(Op):
    """An op that keeps its input's shape and checks its per-channel arrays."""

    def out_type(self, x: TensorType) -> TensorType:
        arrays = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        _need_channels(x, **{k: v for k, v in arrays.items() if isinstance(v, np.ndarray)})
        return _float(x.shape)


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class FInput(Op):
    """Image input: uint8 (N,H,W,C) -> (x/255 - mean)/std, NCHW."""

    shape: tuple[int, int, int]
    mean: np.ndarray
    std: np.ndarray

    def out_type(self) -> TensorType:
        return _float(self.shape)

    def run(self, x: np.ndarray) -> np.ndarray:
        return (x.transpose(0, 3, 1, 2) / 255.0 - _c(self.mean)) / _c(self.std)

    def spread(self) -> Spread:
        return np.zeros(self.shape[0]), np.ones(self.shape[0])


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class FConv2d(Op):
    """Real convolution, zero padding. ``weight`` (O,I,k,k); no bias (use FBias)."""

    weight: np.ndarray
    stride: int = 1
    padding: int = 0

    def out_type(self, x: TensorType) -> TensorType:
        return _conv_type(self, x)

    def run(self, x: np.ndarray) -> np.ndarray:
        return conv2d(x, self.weight.astype(np.float64), self.stride, self.padding)

    def spread(self, x: Spread) -> Spread:
        w = self.weight.astype(np.float64)
        mean = w.sum(axis=(2, 3)) @ x[0]
        return mean, np.sqrt((w**2).sum(axis=(2, 3)) @ x[1] ** 2)


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class FBinaryConv2d(Op):
    """±1 convolution: ``weight`` int8 (O,I,k,k) of ±1, input ±1, out-of-image taps ``pad_value``.

    ``codebook`` int8 (n, k*k) of ±1 and ``ids`` (O,I) with ``weight == codebook[ids]`` where the
    layer is sub-bit (``tau`` = ceil(log2(n)) bits a kernel); None for one-bit weights.
    """

    weight: np.ndarray
    stride: int = 1
    padding: int = 1
    pad_value: int = 0
    codebook: np.ndarray | None = None
    ids: np.ndarray | None = None

    def out_type(self, x: TensorType) -> TensorType:
        if not np.isin(self.weight, (-1, 1)).all():
            raise ValueError("binary weights must be -1 or +1")
        if self.codebook is not None:
            expanded = self.codebook[self.ids].reshape(self.weight.shape)
            if not np.array_equal(expanded, self.weight):
                raise ValueError("codebook[ids] differs from weight")
        return _conv_type(self, x)

    def run(self, x: np.ndarray) -> np.ndarray:
        return conv2d(
            x.astype(np.int8), self.weight, self.stride, self.padding, self.pad_value
        ).astype(np.float64)

    def spread(self, x: Spread) -> Spread:
        fan_in = self.weight[0].size
        o = self.weight.shape[0]
        return np.zeros(o), np.full(o, np.sqrt(fan_in))


def _conv_type(op, x: TensorType) -> TensorType:
    o, i, k, _k = op.weight.shape
    if i != x.shape[0]:
        raise ValueError(f"weight has {i} input channels, its input has {x.shape[0]}")
    return _float((o, *(out_size(s, k, op.stride, op.padding) for s in x.shape[1:])))


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class FScale(_SameShape):
    """Per-channel factor, e.g. the weight scale alpha."""

    scale: np.ndarray

    def run(self, x: np.ndarray) -> np.ndarray:
        return x * _c(self.scale)

    def spread(self, x: Spread) -> Spread:
        return x[0] * self.scale, x[1] * np.abs(self.scale)


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class FBatchNorm(_SameShape):
    """Batch normalisation in evaluation: gamma (x - mean) / sqrt(var + eps) + beta."""

    gamma: np.ndarray
    beta: np.ndarray
    mean: np.ndarray
    var: np.ndarray
    eps: float = 1e-5

    @property
    def affine(self) -> tuple[np.ndarray, np.ndarray]:
        """Scale and bias, float64."""
        scale = self.gamma.astype(np.float64) / np.sqrt(self.var.astype(np.float64) + self.eps)
        return scale, self.beta.astype(np.float64) - self.mean.astype(np.float64) * scale

    def run(self, x: np.ndarray) -> np.ndarray:
        scale, bias = self.affine
        return x * _c(scale) + _c(bias)

    def spread(self, x: Spread) -> Spread:
        return self.beta.astype(np.float64), np.abs(self.gamma.astype(np.float64))


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class FBias(_SameShape):
    """Per-channel addition, e.g. a LearnableBias or a classifier's bias."""

    bias: np.ndarray

    def run(self, x: np.ndarray) -> np.ndarray:
        return x + _c(self.bias)

    def spread(self, x: Spread) -> Spread:
        return x[0] + self.bias, x[1]


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class FAffine(_SameShape):
    """scale*x + bias per channel; what folding makes of scales, biases and normalisation.

    ``spread_std``/``spread_mean`` keep the statistics that a folded FBatchNorm knew.
    """

    scale: np.ndarray
    bias: np.ndarray
    spread_mean: np.ndarray | None = None
    spread_std: np.ndarray | None = None

    def run(self, x: np.ndarray) -> np.ndarray:
        return x * _c(self.scale) + _c(self.bias)

    def spread(self, x: Spread) -> Spread:
        if self.spread_mean is not None:
            return self.spread_mean, self.spread_std
        return x[0] * self.scale + self.bias, x[1] * np.abs(self.scale)


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class FPReLU(_SameShape):
    """x > 0 ? x : slope*x, per-channel slope."""

    slope: np.ndarray

    def run(self, x: np.ndarray) -> np.ndarray:
        return np.where(x > 0, x, x * _c(self.slope))

    def spread(self, x: Spread) -> Spread:
        gain = np.maximum(1.0, np.abs(self.slope))
        return x[0] * gain, x[1] * gain


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class FRPReLU(_SameShape):
    """PReLU followed by a per-channel bias (ReActNet's RPReLU with its first bias folded away)."""

    slope: np.ndarray
    bias: np.ndarray

    def run(self, x: np.ndarray) -> np.ndarray:
        return np.where(x > 0, x, x * _c(self.slope)) + _c(self.bias)

    def spread(self, x: Spread) -> Spread:
        gain = np.maximum(1.0, np.abs(self.slope))
        return x[0] * gain + self.bias, x[1] * gain


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class FSign(_SameShape):
    """Activation sign as ±1; sign(0) is +1 here (PyTorch has 0, a recorded difference)."""

    def run(self, x: np.ndarray) -> np.ndarray:
        return np.where(x >= 0, 1.0, -1.0)

    def spread(self, x: Spread) -> Spread:
        return np.zeros_like(x[0]), np.ones_like(x[1])


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class FThreshold(_SameShape):
    """sign(x + move) per channel as ±1, sign(0) = +1; what folding makes of bias and sign."""

    move: np.ndarray

    def run(self, x: np.ndarray) -> np.ndarray:
        return np.where(x + _c(self.move) >= 0, 1.0, -1.0)

    def spread(self, x: Spread) -> Spread:
        return np.zeros_like(x[0]), np.ones_like(x[1])


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class FAdd(Op):
    """Sum of two maps of one shape (residual)."""

    def out_type(self, a: TensorType, b: TensorType) -> TensorType:
        need_same_shape(a, b)
        return _float(a.shape)

    def run(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a + b

    def spread(self, a: Spread, b: Spread) -> Spread:
        return a[0] + b[0], np.sqrt(a[1] ** 2 + b[1] ** 2)


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class FRepeat(Op):
    """All channels again behind themselves, ``times`` in all: out[c] = x[c mod C].

    The shortcut of a block that multiplies its channels (ReActNet-A).
    """

    times: int = 2

    def out_type(self, x: TensorType) -> TensorType:
        if self.times < 1:
            raise ValueError(f"times must be positive, not {self.times}")
        return _float((self.times * x.shape[0], *x.shape[1:]))

    def run(self, x: np.ndarray) -> np.ndarray:
        return np.tile(x, (1, self.times, 1, 1))

    def spread(self, x: Spread) -> Spread:
        return np.tile(x[0], self.times), np.tile(x[1], self.times)


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class FAvgPool2d(Op):
    """Average pool, kernel = stride = ``kernel``, no padding."""

    kernel: int = 2

    def out_type(self, x: TensorType) -> TensorType:
        return _float((x.shape[0], x.shape[1] // self.kernel, x.shape[2] // self.kernel))

    def run(self, x: np.ndarray) -> np.ndarray:
        return windows(x, self.kernel, self.kernel, 0).mean(axis=(-1, -2))

    def spread(self, x: Spread) -> Spread:
        return x


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class FMaxPool2d(Op):
    """Max pool; padding counts as -inf."""

    kernel: int
    stride: int
    padding: int = 0

    def out_type(self, x: TensorType) -> TensorType:
        sizes = (out_size(s, self.kernel, self.stride, self.padding) for s in x.shape[1:])
        return _float((x.shape[0], *sizes))

    def run(self, x: np.ndarray) -> np.ndarray:
        return windows(x, self.kernel, self.stride, self.padding, -np.inf).max(axis=(-1, -2))

    def spread(self, x: Spread) -> Spread:
        return x[0] + x[1], x[1]


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class FGlobalAvgPool(Op):
    """Mean over the map: (N,C,H,W) -> (N,C,1,1)."""

    def out_type(self, x: TensorType) -> TensorType:
        return _float((x.shape[0], 1, 1))

    def run(self, x: np.ndarray) -> np.ndarray:
        return x.mean(axis=(2, 3), keepdims=True)

    def spread(self, x: Spread) -> Spread:
        return x


@register_op
@dataclasses.dataclass(frozen=True, eq=False)
class FLinear(Op):
    """Classifier: (N,C,H,W) -> (N,O,1,1), ``weight`` (O,C*H*W), ``bias`` (O,).

    A map is flattened channel by channel, row by row, as PyTorch flattens it.
    """

    weight: np.ndarray
    bias: np.ndarray

    def out_type(self, x: TensorType) -> TensorType:
        if int(np.prod(x.shape)) != self.weight.shape[1]:
            raise ValueError(f"weight {self.weight.shape} does not match an input of {x.shape}")
        return _float((self.weight.shape[0], 1, 1))

    def run(self, x: np.ndarray) -> np.ndarray:
        y = x.reshape(len(x), -1) @ self.weight.astype(np.float64).T + self.bias
        return y[:, :, None, None]

    def spread(self, x: Spread) -> Spread:
        w = self.weight.astype(np.float64)
        pixels = w.shape[1] // len(x[0])
        mean, std = np.repeat(x[0], pixels), np.repeat(x[1], pixels)
        return w @ mean + self.bias, np.sqrt((w**2) @ std**2)
