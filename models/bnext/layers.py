"""BNext's unit: a binary convolution, a gain from the whole map, and a residual."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..snn.net import LearnableBias
from .quant import QuantConv2d

__all__ = ["HardBinaryConv", "HardSign", "SqueezeAndExpand", "Unit"]

RATIO = 8  # channels of an SE's input per hidden channel


class HardSign(nn.Module):
    """sign(x), 0 at 0. The authors' temperature is in the file; in evaluation it has no effect."""

    def __init__(self):
        super().__init__()
        self.register_buffer("temperature", torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.sign(x)


class HardBinaryConv(nn.Module):
    """k x k convolution with weights sign(W), without a factor.

    Members
    -------
    weight : Parameter (O, I, k, k), latent.
    temperature : buffer (1,). The weights are binary below ``limit``; from there on they are
        clamp(W / temperature, -1, 1), which has many values.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, limit: float):
        super().__init__()
        self.stride, self.padding, self.limit = stride, kernel // 2, limit
        self.weight = nn.Parameter(torch.randn(c_out, c_in, kernel, kernel) * 1e-3)
        self.register_buffer("temperature", torch.ones(1))

    def is_binary(self) -> bool:
        """Whether training had cooled down; on the meta device, where sizes are counted, true."""
        return self.temperature.is_meta or bool(self.temperature < self.limit)

    def forward(self, x: Tensor) -> Tensor:
        if self.is_binary():
            weight = torch.sign(self.weight)
        else:
            weight = (self.weight / self.temperature.clamp(min=1e-8)).clamp(-1, 1)
        return F.conv2d(x, weight, stride=self.stride, padding=self.padding)


class SqueezeAndExpand(nn.Module):
    """Gain in (0, 1) per image and channel: mean, two dense layers, sigmoid.

    ``bits`` None is in float; otherwise (weights, inputs) of both layers are quantised.
    """

    def __init__(self, channels: int, bits: tuple[int, int] | None):
        super().__init__()
        hidden = channels // RATIO

        def dense(c_in: int, c_out: int) -> nn.Conv2d:
            if bits is None:
                return nn.Conv2d(c_in, c_out, 1)
            return QuantConv2d(c_in, c_out, 1, bias=True, bits=bits[0],
                               activation_bits=None if bits[1] == 32 else bits[1])

        self.se = nn.Sequential(nn.AdaptiveAvgPool2d(1), dense(channels, hidden), nn.ReLU(),
                                dense(hidden, channels))

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.se(x))


class Unit(nn.Module):
    """out = norm2(g * y [* r]) + r, y = PReLU(norm1(conv(sign(x + move)))), g = SE(mix).

    r is x, halved by pooling where the convolution has stride 2; with ``product`` it is
    PReLU(x), pooled or ``downsample``d, and multiplies y element by element.
    mix = s * x + (1 - s) * y, x pooled alike, or s * r + (1 - s) * y with ``mixes_residual``.

    Parameters
    ----------
    limit : temperature below which the weights are binary.
    clamps : s is cut to 0..1 first. The authors do so in some classes and not in others, and
        training may leave s one step outside.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, eps: float, *,
                 product: bool, clamps: bool, mixes_residual: bool, limit: float,
                 se_bits: tuple[int, int] | None, downsample: nn.Module | None = None):
        super().__init__()
        self.stride, self.product = stride, product
        self.clamps, self.mixes_residual = clamps, mixes_residual
        self.scale = nn.Parameter(torch.full((1, c_out, 1, 1), 0.5))
        self.move = LearnableBias(c_in)
        self.binary_activation = HardSign()
        self.binary_conv = HardBinaryConv(c_in, c_out, kernel, stride, limit)
        self.norm1 = nn.BatchNorm2d(c_out, eps=eps)
        self.norm2 = nn.BatchNorm2d(c_out, eps=eps)
        self.activation1 = nn.PReLU(c_in)  # unused without product, but in the file
        self.activation2 = nn.PReLU(c_out)
        self.downsample = downsample
        self.se = SqueezeAndExpand(c_out, se_bits)

    def _halved(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2) if self.stride == 2 else x

    def forward(self, x: Tensor) -> Tensor:
        residual = self.activation1(x) if self.product else x
        residual = (self._halved if self.downsample is None else self.downsample)(residual)
        y = self.binary_conv(self.binary_activation(self.move(x)))
        y = self.activation2(self.norm1(y))
        scale = self.scale.clamp(0, 1) if self.clamps else self.scale
        mixed = residual if self.mixes_residual else self._halved(x)
        y = self.se(scale * mixed + (1 - scale) * y) * y
        if self.product:
            y = y * residual
        return self.norm2(y) + residual
