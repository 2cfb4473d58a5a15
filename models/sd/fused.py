"""A training step of SD-BNN's ResNet-20 whose element-wise work is a few compiled passes.

    forward = fused(net)            # net.train() has been called
    logits = forward(images)        # what net(images) computes, and the same gradients

Feature maps are large and convolutions of ±1 in bfloat16 cheap, so that a step's time is that of
its passes over memory. Each function below is one pass; autograd is told both directions. A mask
of booleans, which the compiler would keep for hardtanh, costs more than all of them: it is
computed again from the map.
"""

from collections.abc import Callable
from functools import cache, partial, wraps

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.sd.net import BinaryConv, HeadedNet, shifted

__all__ = ["fused"]

SPATIAL = (2, 3)

_once = cache(partial(torch.compile, dynamic=False))  # loading the compiler takes seconds


def _compiled(function: Callable) -> Callable:
    @wraps(function)
    def call(*args):
        return _once(function)(*args)
    return call


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype == torch.bfloat16 else x


def _planes(x: Tensor) -> Tensor:
    return x[..., None, None]


@_compiled
def _moments(p: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and mean square of each channel."""
    x = _wide(p)
    return x.mean(SPATIAL).mean(0), (x * x).mean(SPATIAL).mean(0)


@_compiled
def _normed(p: Tensor, scale: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    y = (_wide(p) * _planes(scale) + _planes(offset)).clamp(-1, 1)
    return y, y.mean(SPATIAL)


@_compiled
def _normed_sum(p: Tensor, scale: Tensor, offset: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    y = (_wide(p) * _planes(scale) + _planes(offset) + r).clamp(-1, 1)
    return y, y.mean(SPATIAL)


@_compiled
def _through_clamp(grad: Tensor, grad_mean: Tensor, y: Tensor,
                   p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient before hardtanh, and each channel's sums of it and of its product with p."""
    share = grad_mean / (y.shape[2] * y.shape[3])
    d = torch.where(y.abs() < 1, grad + _planes(share), 0.0)
    return d, d.sum((0, 2, 3)), (d * _wide(p)).sum((0, 2, 3))


@_compiled
def _through_norm(d: Tensor, p: Tensor, scale: Tensor, k1: Tensor, k0: Tensor) -> Tensor:
    return (d * _planes(scale) - _wide(p) * _planes(k1) - _planes(k0)).to(p.dtype)


@_compiled
def _bits(a: Tensor, beta: Tensor, like: Tensor) -> Tensor:
    return torch.sign(a + _planes(beta)).to(like.dtype)


@_compiled
def _through_bits(grad: Tensor, a: Tensor, beta: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    e = torch.exp(-2 * t * (a + _planes(beta)).abs())  # 1 - tanh(z)^2 = 4e / (1 + e)^2
    d = _wide(grad) * (e / ((1 + e) * (1 + e))) * (4 * t.clamp_min(1.0))
    return d, d.sum(2).sum(2)  # in two: a third faster than at once


class _Norm(torch.autograd.Function):
    """hardtanh(batch_norm(p) + r) and its channel means; r may be None."""

    @staticmethod
    def forward(ctx, p, weight, bias, r, norm: nn.BatchNorm2d):
        mean, square = _moments(p)
        var = (square - mean * mean).clamp_min_(0)
        inverse = torch.rsqrt(var + norm.eps)
        n = p.numel() // p.shape[1]
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(var * (n / max(1, n - 1)), norm.momentum)
        norm.num_batches_tracked += 1
        scale = weight * inverse
        offset = bias - mean * scale
        y, means = _normed(p, scale, offset) if r is None else _normed_sum(p, scale, offset, r)
        ctx.save_for_backward(p, y, mean, inverse, scale)
        ctx.summed = r is not None
        return y, means

    @staticmethod
    def backward(ctx, grad, grad_mean):
        p, y, mean, inverse, scale = ctx.saved_tensors
        d, d_bias, d_p = _through_clamp(grad, grad_mean, y, p)
        d_weight = (d_p - mean * d_bias) * inverse
        n = p.numel() // p.shape[1]
        k1 = scale * d_weight * inverse / n
        k0 = scale * d_bias / n - mean * k1
        return _through_norm(d, p, scale, k1, k0), d_weight, d_bias, d if ctx.summed else None, None


class _SignOfSum(torch.autograd.Function):
    """sign(a + beta) in the dtype of `like`, with the derivative of ``models.sd.net``'s sign."""

    @staticmethod
    def forward(ctx, a, beta, t, like):
        ctx.save_for_backward(a, beta, t)
        return _bits(a, beta, like)

    @staticmethod
    def backward(ctx, grad):
        return *_through_bits(grad, *ctx.saved_tensors), None, None


def _conv(conv: BinaryConv, a: Tensor, means: Tensor) -> Tensor:
    like = torch.empty((), dtype=conv.compute_dtype or a.dtype)
    bits = _SignOfSum.apply(a, conv.dybeta.fc(means), conv.sharpness, like)
    weight = conv.sign(shifted(conv.latent(), conv.alpha)).to(like.dtype)
    return F.conv2d(bits, weight, stride=conv.stride, padding=1)


def _norm(norm: nn.BatchNorm2d, p: Tensor, r: Tensor | None = None) -> tuple[Tensor, Tensor]:
    return _Norm.apply(p, norm.weight, norm.bias, r, norm)


def fused(net: HeadedNet) -> Callable[[Tensor], Tensor]:
    """The forward pass of `net` in training; its kind is "resnet20" and `sharpness` is set.

    Parameters, running statistics and gradients are those of `net`. Sums are taken in another
    order than by PyTorch's own operators, so values differ by roundings.
    """
    def forward(x: Tensor) -> Tensor:
        y, means = _norm(net.bn1, net.conv1(x))
        for i in range(len(net.geometry.blocks)):
            for block in getattr(net, f"layer{i + 1}"):
                r = block.shortcut(y)
                y, means = _norm(block.bn1, _conv(block.conv1, y, means), r)
                y, means = _norm(block.bn2, _conv(block.conv2, y, means), y)
        return net.linear(net.bn2(means))

    return forward
