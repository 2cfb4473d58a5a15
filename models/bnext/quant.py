"""Quantisers of the quantised BNext: ranges are those of the tensor at hand, never stored."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["QuantConv2d", "QuantLinear", "min_max", "quantised"]


def min_max(x: Tensor, clip: Tensor, bits: int, dims: tuple[int, ...]) -> Tensor:
    """``x`` on the 2^bits levels between its least and largest value along ``dims``.

    Halves round to even. ``clip`` (2,) bounds the values first.
    """
    x = x.clamp(clip[0], clip[1])
    low = x.amin(dims, keepdim=True)
    span = x.amax(dims, keepdim=True) - low + 1e-8
    steps = float(2**bits - 1)
    return torch.round((x - low) / span * steps) / steps * span + low


def quantised(weight: Tensor, clip: Tensor, bits: int) -> Tensor:
    """What is multiplied of a layer's weights, shaped as they are.

    Each output channel is divided by twice its mean magnitude, for the cut to ``clip`` (2,), and
    multiplied again. A range is that of a kernel (k > 1) or of an output channel.
    """
    size = 2 * weight.abs().flatten(1).mean(dim=1).view(-1, *[1] * (weight.dim() - 1))
    kernels = weight.dim() == 4 and weight.shape[2:] != (1, 1)
    dims = (2, 3) if kernels else tuple(range(1, weight.dim()))
    return min_max(weight / size, clip, bits, dims) * size


class QuantConv2d(nn.Conv2d):
    """Convolution of quantised weights and inputs.

    Weights have a range per kernel (k > 1) or per output channel (k = 1); inputs one per image
    and channel, or per image where the map is a single pixel.

    Parameters
    ----------
    activation_bits : None leaves the input alone.
    clip : weights, divided by twice their channel's mean magnitude, and inputs are cut to ±clip.
        An int makes int64 buffers, a float float32 ones, as in the authors' files.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, padding: int = 0, *,
                 bias: bool, bits: int = 8, activation_bits: int | None = 8,
                 clip: float = 1000.0):
        super().__init__(c_in, c_out, kernel, stride, padding, bias=bias)
        self.bits, self.activation_bits = bits, activation_bits
        self.register_buffer("weight_clip_val", torch.tensor([-clip, clip]))
        self.register_buffer("activation_clip_val", torch.tensor([-clip, clip]))

    def quantised_weight(self) -> Tensor:
        """What is multiplied, shaped as the weight."""
        return quantised(self.weight, self.weight_clip_val, self.bits)

    def forward(self, x: Tensor) -> Tensor:
        if self.activation_bits is not None:
            dims = (1, 2, 3) if x.shape[-1] == 1 else (2, 3)
            x = min_max(x, self.activation_clip_val, self.activation_bits, dims)
        return F.conv2d(x, self.quantised_weight(), self.bias, self.stride, self.padding)


class QuantLinear(nn.Linear):
    """Classifier with 8-bit weights, a range per class, and 8-bit inputs, a range per image.

    Members
    -------
    scale : Parameter (), unused; the authors' files have it.
    """

    CLIP, BITS = 25, 8

    def __init__(self, c_in: int, c_out: int):
        super().__init__(c_in, c_out)
        self.scale = nn.Parameter(torch.zeros(()))
        self.register_buffer("weight_clip_val", torch.tensor([-self.CLIP, self.CLIP]))
        self.register_buffer("act_clip_val", torch.tensor([-self.CLIP, self.CLIP]))

    def quantised_weight(self) -> Tensor:
        """What is multiplied, shaped as the weight."""
        return quantised(self.weight, self.weight_clip_val, self.BITS)

    def forward(self, x: Tensor) -> Tensor:
        x = min_max(x, self.act_clip_val, self.BITS, (1,))
        return F.linear(x, self.quantised_weight(), self.bias)
