"""Layers of A&B BNN (Ma et al., CVPR 2024), under the authors' parameter names.

Convolutions standardise their weights instead of normalising their output; slopes of QPReLU are
powers of two. What a file does not hold (eps, the fan-in scale, alpha = 1/4) is fixed here.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ALPHA", "BinaryStdConv2d", "LearnableBias", "QPReLU", "ScaledStdConv2d",
           "binary_sign", "standardised"]

ALPHA = 0.25  # factor of every binary convolution's branch
EPS = 1e-5  # of the weights' deviation
SLOPE_START = -2.0  # exponent of an untrained QPReLU: 1/4, as PReLU's


class _Sign(torch.autograd.Function):
    """sign(x) with the derivative of 2*sigmoid(3x): the paper's mask, which exists only here."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.sign(x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(3 * x)
        return grad * (6 * s * (1 - s))


def binary_sign(x: Tensor) -> Tensor:
    """Signs of x in {-1, 0, +1}; 0 only where x is exactly 0, as in the authors' code."""
    return _Sign.apply(x)


def standardised(weight: Tensor) -> Tensor:
    """(W - mean) / (deviation + 1e-5) / sqrt(fan-in) per output channel of (O, I, k, k)."""
    mean = weight.mean(dim=(1, 2, 3), keepdim=True)
    std = weight.std(dim=(1, 2, 3), keepdim=True, unbiased=False)
    return (weight - mean) / (std + EPS) * weight[0].numel() ** -0.5


class ScaledStdConv2d(nn.Module):
    """Real convolution with standardised weights times a learned gain per output channel.

    Members
    -------
    weight : Parameter (O, I, k, k), latent.
    gain : Parameter (O, 1, 1, 1), of either sign.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, padding: int = 0):
        super().__init__()
        self.stride, self.padding = stride, padding
        self.weight = nn.Parameter(torch.empty(c_out, c_in, kernel, kernel))
        self.gain = nn.Parameter(torch.ones(c_out, 1, 1, 1))
        nn.init.kaiming_normal_(self.weight, nonlinearity="linear")

    def forward(self, x: Tensor) -> Tensor:
        weight = self.gain * standardised(self.weight)
        return F.conv2d(x, weight.to(x.dtype), stride=self.stride, padding=self.padding)


class BinaryStdConv2d(ScaledStdConv2d):
    """Convolution whose weights are gain[c] * m[c] * sign(W - mean), m = mean |standardised W|.

    ``binary`` False gives the weights of training step 1, gain * standardised(W): the same
    parameters, so that a step-1 state_dict loads into step 2. Gradients of step 2 pass straight
    through to the standardised weights where these are within [-1, 1]. ``compute_dtype`` narrows
    the convolution while training, for inputs of ±1 (sums beyond 256 round in bfloat16);
    evaluation always uses the dtype of its input.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, padding: int = 0):
        super().__init__(c_in, c_out, kernel, stride, padding)
        self.binary = True
        self.compute_dtype: torch.dtype | None = None

    def parts(self) -> tuple[Tensor, Tensor]:
        """Weights (O, I, k, k) and the factor (O, 1, 1, 1) of their output: ±1 and gain*m, or
        standardised weights and the gain where not ``binary``."""
        latent = standardised(self.weight)
        if not self.binary:
            return latent, self.gain
        m = latent.detach().abs().mean(dim=(1, 2, 3), keepdim=True)
        # Not sign(latent): the deviation's eps divides, it never moves the sign.
        bits = torch.sign(self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)).detach()
        if not torch.is_grad_enabled():
            return bits, self.gain * m
        through = latent.clamp(-1, 1) / m  # gain*m*d(bits) = gain*d(latent), as the authors'
        return bits + (through - through.detach()), self.gain * m

    def forward(self, x: Tensor) -> Tensor:
        weight, factor = self.parts()
        if not self.training:
            weight = (weight * factor).to(x.dtype)
            return F.conv2d(x, weight, stride=self.stride, padding=self.padding)
        dtype = self.compute_dtype or x.dtype
        y = F.conv2d(x.to(dtype), weight.to(dtype), stride=self.stride, padding=self.padding)
        return y.to(x.dtype) * factor.reshape(-1, 1, 1)


class QPReLU(nn.Module):
    """x if x > 0, else x * 2^round(L_alpha), half to even; rounding passes gradients through.

    Members
    -------
    L_alpha : Parameter (C,)
        Exponent of each channel's slope.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.L_alpha = nn.Parameter(torch.full((channels,), SLOPE_START))

    def slope(self) -> Tensor:
        """2^round(L_alpha), (C,)."""
        exponent = self.L_alpha + (torch.round(self.L_alpha) - self.L_alpha).detach()
        return torch.exp2(exponent)

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, x * self.slope()[:, None, None])


class LearnableBias(nn.Module):
    """Adds one learned value per channel, times ``factor``.

    Members
    -------
    bias : Parameter (1, C, 1, 1).
    """

    def __init__(self, channels: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor, factor: float = 1.0) -> Tensor:
        return x + self.bias * factor
