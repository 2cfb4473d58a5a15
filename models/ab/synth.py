"""The networks of A&B BNN with made-up parameters; see models.synth."""

import collections
import math

import torch
from torch import Tensor, nn

from ..mobile import REACTNET_A, MobileGeometry
from ..snn.synth import filters
from ..synth import Hook, SyntheticNetwork, balance, centre_logits
from .layers import ALPHA, BinaryStdConv2d, LearnableBias, QPReLU, ScaledStdConv2d
from .net import AbNet, Block, Geometry, MobileBlock, build

__all__ = ["BRANCH", "NETWORKS", "hooks", "parameters", "wrap"]

# A branch's deviation against its shortcut's. Random signs amplify every flipped bit, and these
# networks are deep: at 0.2, float32 rounding alone would decide classes.
BRANCH = 0.06

WIDTHS = (64, 128, 256, 512)
R18, R34 = (4, 4, 4, 4), (6, 8, 12, 6)
# Exponents of the slopes: (mean, deviation, share) of normal peaks, and the ends of their range,
# as the paper's poster shows them. A channel's left shifts are followed by right shifts, or
# outliers would grow from layer to layer; trained networks have learned not to.
EXPONENTS = {
    "imagenet": (((-6, 3.0, 0.2), (2, 1.3, 0.8)), (-19, 7)),
    "cifar": (((-3, 1.7, 1.0),), (-7, 2)),
}
# How far below zero the input of a left shift by 1, 2, 3 may reach, in its deviations; inputs of
# larger shifts stay above zero by SPARE.
REACH, SPARE = (3.0, 1.5, 0.4), 2.5
RANKS, SAMPLES = 31, 4096  # quantiles that a threshold chooses from, of so many values


def parameters(geometry: Geometry | MobileGeometry, generator: torch.Generator) -> nn.Module:
    """A network of any geometry with its weights drawn, in evaluation mode.

    Latent weights differ in mean and scale from channel to channel. Exponents are those of the
    poster, some exactly at a half and two at the ends of the range. Biases and gains are left to
    `hooks`.
    """
    with torch.device("meta"):
        net = build(geometry)
    net.to_empty(device="cpu").eval()

    def normal(like: Tensor, std: float = 1.0, mean: float = 0.0) -> Tensor:
        return torch.randn(like.shape, generator=generator) * std + mean

    layer = 0
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, ScaledStdConv2d):
                scale = 0.05 * torch.exp(normal(module.gain, 0.3))
                mean = normal(module.gain, 0.2)
                module.weight.copy_((normal(module.weight) + mean) * scale)
                module.gain.fill_(1)
            elif isinstance(module, QPReLU):
                left = (torch.arange(len(module.L_alpha)) + layer) % 2 == 0
                module.L_alpha.copy_(_exponents(left, geometry.stem, generator))
                layer += 1
            elif isinstance(module, nn.PReLU):
                module.weight.copy_(normal(module.weight, 0.25, 0.25))
            elif isinstance(module, LearnableBias):
                module.bias.zero_()
        stem = net.conv1 if isinstance(net, AbNet) else net.feature[0].conv1
        stem.weight.copy_(filters(stem.weight, generator))
        if isinstance(net, AbNet) and net.prelu1 is not None:
            net.prelu1.weight.abs_()  # a max-pool follows: pooled first, if no slope is negative
        net.fc.weight.copy_(normal(net.fc.weight, 0.05))
        net.fc.bias.zero_()
    return net


def _exponents(left: Tensor, stem: str, generator: torch.Generator) -> Tensor:
    """One a channel; right shifts of at least 1 except where ``left``."""
    peaks, (low, high) = EXPONENTS[stem]
    share = torch.tensor([p[2] for p in peaks])
    which = torch.multinomial(share, len(left), True, generator=generator)
    which[~left] = 0
    mean, std = (torch.tensor([p[k] for p in peaks], dtype=torch.float32)[which] for k in (0, 1))
    drawn = (mean + std * torch.randn(len(left), generator=generator)).clamp(low, high)
    drawn = torch.where(left, drawn, drawn.clamp(max=-1))
    at = torch.randperm(len(left), generator=generator)
    at = torch.cat([at[left[at]][:1], at[~left[at]][:3]])
    drawn[at] = torch.tensor((high, low, -2.5, -3.5))[: len(at)]
    return drawn


def hooks(net: nn.Module) -> dict[nn.Module, Hook]:
    """Gains by what reaches a layer, biases that keep bits and slopes in use, a centred classifier.

    Every branch is made BRANCH of its shortcut; the outputs of stem and 1x1 shortcuts vary by 1.
    """
    made: dict[nn.Module, Hook] = {}
    stem = net.conv1 if isinstance(net, AbNet) else net.feature[0].conv1
    made[stem] = lambda m, x, g: _set_gain(m, x, 1.0, g)
    for block in net.modules():
        if isinstance(block, Block):
            _residual_hooks(made, block)
        elif isinstance(block, MobileBlock):
            stream: dict = {}
            made[block.move11] = _bits(block.evs[0], stream)
            made[block.binary_3x3] = _branch(stream)
            made[block.move21] = _bits(block.evs[1], stream)
            for name, conv in block.named_children():
                if name.startswith("binary_pw"):
                    made[conv] = _branch(stream)
            for j in (1, 2):
                made[getattr(block, f"move{j}2")] = _before(getattr(block, f"prelu{j}"))
                made[getattr(block, f"move{j}3")] = balance
    return made | {net.fc: centre_logits}


def _residual_hooks(made: dict[nn.Module, Hook], block: Block) -> None:
    stream: dict = {}
    if block.move0 is None:
        made[block] = lambda m, x, g: stream.update(x=x)
        made[block.conv1] = lambda m, bits, g: _plain_branch(m, bits, stream.pop("x"), g)
    else:
        made[block.move0] = _bits(block.ev, stream)
        made[block.conv1] = _branch(stream)
        made[block.move1] = _before(block.prelu)
        made[block.move2] = balance
    for conv in block.downsample or ():
        if isinstance(conv, ScaledStdConv2d):
            made[conv] = lambda m, x, g: _set_gain(m, x, 1.0, g)


def _set_gain(conv: ScaledStdConv2d, x: Tensor, size: float, generator: torch.Generator) -> None:
    """Outputs of deviation ``size`` on average, of other channels more or less; either sign."""
    conv.gain.fill_(1)
    std = conv.forward(x).std(dim=(0, 2, 3)).view_as(conv.gain)  # forward: no hooks
    drawn = torch.exp(0.3 * torch.randn(conv.gain.shape, generator=generator))
    negative = torch.rand(conv.gain.shape, generator=generator) < 0.3
    conv.gain.copy_(torch.where(negative, -size, size) * drawn / std.clamp(min=1e-3))


def _bits(ev: float, stream: dict) -> Hook:
    """A bias that leaves both values of the bits in use, added with the factor sqrt(ev).

    A slope of 2^-6 puts half of a channel into almost one value. A threshold there would decide by
    the last bits of a float, so it goes where neighbours are apart.
    """

    def hook(module: LearnableBias, x: Tensor, generator: torch.Generator) -> None:
        stream["std"] = float(x.std())
        values = x.transpose(0, 1).flatten(1)
        ranks = torch.linspace(0.15, 0.85, RANKS)
        at = torch.quantile(values[:, :: max(1, values.shape[1] // SAMPLES)], ranks, dim=1).T
        apart = torch.minimum(at[:, 1:-1] - at[:, :-2], at[:, 2:] - at[:, 1:-1])
        drawn = torch.rand(apart.shape, generator=generator)
        # Any rank that is as far apart as in a normal distribution, else the one farthest apart.
        score = torch.where(apart > 0.5 / RANKS * values.std(dim=1, keepdim=True), 1 + drawn,
                            apart / apart.amax(dim=1, keepdim=True).clamp(min=1e-9))
        best = score.argmax(dim=1, keepdim=True)
        module.bias.copy_(-at[:, 1:-1].gather(1, best).view_as(module.bias) / math.sqrt(ev))

    return hook


def _branch(stream: dict) -> Hook:
    return lambda m, x, g: _set_gain(m, x, BRANCH / ALPHA * stream["std"], g)


def _before(prelu: QPReLU) -> Hook:
    """A bias that leaves both sides of QPReLU in use, but for left shifts, few below zero."""

    def hook(module: LearnableBias, z: Tensor, generator: torch.Generator) -> None:
        balance(module, z, generator)
        values = z.transpose(0, 1).flatten(1)
        exponent = torch.round(prelu.L_alpha)
        reach = torch.full_like(exponent, -SPARE)
        for e, most in enumerate(REACH, 1):
            reach[exponent == e] = most
        least = (-reach * values.std(dim=1) - values.amin(dim=1)).view_as(module.bias)
        left = (exponent > 0).view_as(module.bias)
        module.bias.copy_(torch.where(left, torch.maximum(module.bias, least), module.bias))

    return hook


def _plain_branch(conv: BinaryStdConv2d, bits: Tensor, x: Tensor,
                  generator: torch.Generator) -> None:
    """Gains, and weights that draw each channel of the stream towards zero: there is no bias.

    Adding a multiple of the bits' means to the weights moves the mean of the convolution; the
    multiple is found by bisection.
    """
    _set_gain(conv, bits, BRANCH / ALPHA * float(x.std()), generator)
    centre = torch.zeros(len(conv.weight))
    if x.shape[1] == len(centre):
        centre = x.mean(dim=(0, 2, 3))
    _bit_weights, factor = conv.parts()
    factor = ALPHA * factor.reshape(-1)
    wanted = (0.3 * x.std() * torch.randn(centre.shape, generator=generator) - centre) / factor
    mean = bits.mean(dim=(0, 2, 3))[None, :, None, None]
    latent = conv.weight.clone()
    latent = (latent - latent.mean(dim=(1, 2, 3), keepdim=True)) / latent.std(
        dim=(1, 2, 3), keepdim=True)
    low, high = torch.full_like(conv.gain, -3.0), torch.full_like(conv.gain, 3.0)
    for _ in range(16):
        middle = (low + high) / 2
        moved = latent + middle * mean
        sums = torch.sign(moved - moved.mean(dim=(1, 2, 3), keepdim=True)) * mean
        below = (sums.sum(dim=(1, 2, 3)) < wanted).view_as(low)
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    scale = conv.weight.std(dim=(1, 2, 3), keepdim=True)
    conv.weight.copy_((latent + low * mean) * scale + 0.2 * scale)


def wrap(net: nn.Module) -> dict:
    """What the authors save: the bare state_dict of a DataParallel network."""
    return collections.OrderedDict(
        (f"module.{k}", v.detach().clone()) for k, v in net.state_dict().items())


def _network(name: str, what: str, data: str, geometry):
    size, images = (224, 16) if geometry.stem == "imagenet" else (32, 128)
    return SyntheticNetwork(name, f"A&B {what}, {data}", lambda g: parameters(geometry, g), hooks,
                            wrap, size, images)


def _all():
    for tag, data, stem, classes in (("in", "ImageNet", "imagenet", 1000),
                                     ("c10", "CIFAR-10", "cifar", 10),
                                     ("c100", "CIFAR-100", "cifar", 100)):
        for kind, what in (("reactnet", "ReActNet"), ("biresnet", "BiResNet"),
                           ("xnornet", "XnorNet")):
            geometry = Geometry(kind, stem, WIDTHS, R18, classes)
            yield _network(f"ab-{kind}-18-{tag}", f"{what}-18", data, geometry)
        geometry = MobileGeometry(stem, REACTNET_A, classes)
        yield _network(f"ab-reactnet-a-{tag}", "ReActNet-A", data, geometry)
    geometry = Geometry("reactnet", "imagenet", WIDTHS, R34, 1000)
    yield _network("ab-reactnet-34-in", "ReActNet-34", "ImageNet", geometry)


NETWORKS = tuple(_all())
