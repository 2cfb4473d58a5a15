"""The published SD-BNN networks with made-up parameters; see models.synth."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..snn.synth import filters
from ..synth import Hook, SyntheticNetwork, centre_logits, statistics
from .net import BetaNet, BinaryConv, CifarBlock, Geometry, ImageNetBlock, VggSmall, build

__all__ = ["NETWORKS", "hooks", "parameters", "wrap"]

# A branch's deviation against a shortcut's of STREAM: random signs amplify every flipped bit.
BRANCH, STREAM = 0.08, 0.5
# Where a channel's mean is put: thresholds are -beta, in -1..0, and bits of both kinds are wanted.
CENTRE = -0.45
PLANES = 12  # directions that channels code; filters read and write them alike, see `_latent`


def parameters(geometry: Geometry, generator: torch.Generator) -> nn.Module:
    """A network of any geometry with its weights drawn, in evaluation mode.

    Latent weights have something in common from layer to layer, as trained ones do; a tenth of
    the gains of a normalisation is negative (three tenths behind a max-pool of sums). What
    follows from the data is left to `hooks`.
    """
    with torch.device("meta"):
        net = build(geometry)
    net.to_empty(device="cpu").eval()

    def normal(like: Tensor, std: float = 1.0, mean: float = 0.0) -> Tensor:
        return torch.randn(like.shape, generator=generator) * std + mean

    pooled = {getattr(net, f"bn{i}") for i in range(1, len(geometry.widths), 2)} if isinstance(
        net, VggSmall) else set()
    codes = {c: torch.randn(c, PLANES, generator=generator) for c in sorted(set(geometry.widths))}
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, BinaryConv):
                module.latent().copy_(_latent(module.shape, codes, generator))
                module.alpha.copy_(normal(module.alpha, 1.0))
            elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
                gain = torch.exp(normal(module.weight, 0.3))
                share = 0.3 if module in pooled else 0.1
                negative = torch.rand(gain.shape, generator=generator) < share
                module.weight.copy_(torch.where(negative, -gain, gain))
                module.bias.copy_(normal(module.bias, 0.12))
                module.reset_running_stats()
            elif isinstance(module, nn.PReLU):
                slope = normal(module.weight, 0.2, 0.9)
                negative = torch.rand(slope.shape, generator=generator) < 0.03
                module.weight.copy_(torch.where(negative, -0.3 * slope, slope))
            elif isinstance(module, nn.Conv2d):
                module.weight.copy_(normal(module.weight, module.weight[0].numel() ** -0.5))
            elif isinstance(module, nn.Linear):
                module.weight.copy_(normal(module.weight, module.in_features**-0.5))
                if module.bias is not None:
                    module.bias.zero_()
        if isinstance(net, VggSmall):
            for i in range(1, len(geometry.widths)):  # what a negative gain would turn round
                sign = torch.sign(getattr(net, f"bn{i}").weight)
                getattr(net, f"conv{i}").weight.mul_(sign[:, None, None, None])
        stem = net.conv0 if isinstance(net, VggSmall) else net.conv1
        stem.weight.copy_(filters(stem.weight, generator))
    return net


def _latent(shape: tuple, codes: dict[int, Tensor], generator: torch.Generator) -> Tensor:
    """Filters that write the directions which the next layer's filters read, and some noise.

    Then a flipped bit is one of many that tell the same, as in a trained network; filters without
    anything in common would amplify it from layer to layer. Taps of a kernel mostly agree.
    """
    o, i, k, _k = shape

    def drawn(*size: int) -> Tensor:
        return torch.randn(size, generator=generator)

    common = (codes[o] @ codes[i].T / PLANES**0.5).view(o, i, 1, 1)
    weight = 0.8 * common + 0.4 * drawn(o, i, 1, 1) + 0.45 * drawn(o, i, k, k)
    weight = weight + 0.1 * drawn(o, 1, 1, 1)  # a mean for alpha to move
    weight[weight == 0] = 0.1  # no weight is exactly 0: it would have no sign
    return weight * 0.05 * torch.exp(0.3 * drawn(o, 1, 1, 1))


def hooks(net: nn.Module) -> dict[nn.Module, Hook]:
    """Normalisations that keep every map about CENTRE, thresholds in use, a centred classifier."""
    made: dict[nn.Module, Hook] = {}
    head = net.linear if hasattr(net, "linear") else net.fc
    for module in net.modules():
        if isinstance(module, BetaNet):
            made[module.fc[0]], made[module.fc[2]] = _hidden, _argument
        elif isinstance(module, nn.BatchNorm2d):
            made[module] = lambda m, x, g: _settle(m, x, STREAM, CENTRE)
        elif isinstance(module, nn.BatchNorm1d):
            made[module] = _statistics_1d
    for module in net.modules():
        if isinstance(module, CifarBlock):
            _cifar_hooks(made, module)
        elif isinstance(module, ImageNetBlock):
            _imagenet_hooks(made, module)
    if net.geometry.stem == "imagenet":  # a max-pool of 3x3 follows and raises every channel
        made[net.bn1] = lambda m, x, g: _settle(m, x, STREAM, CENTRE - 1.2 * STREAM)
    return made | {head: centre_logits}


def _cifar_hooks(made: dict[nn.Module, Hook], block: CifarBlock) -> None:
    stream: dict = {}
    if block.each:
        made[block] = lambda m, x, g: stream.update(r=block.shortcut(x))
        made[block.conv2] = lambda m, x, g: stream.update(r=x)
        made[block.bn1] = made[block.bn2] = _branch(stream)
        return
    real = len(block.shortcut) > 0
    made[block] = lambda m, x, g: stream.update(r=x)
    if real:  # computed after bn1 and before conv2
        made[block.shortcut[1]] = lambda m, x, g: (_settle(m, x, STREAM, CENTRE),
                                                   stream.update(r=F.batch_norm(
                                                       x, m.running_mean, m.running_var, m.weight,
                                                       m.bias, eps=m.eps)))
    made[block.bn2] = _branch(stream)


def _imagenet_hooks(made: dict[nn.Module, Hook], block: ImageNetBlock) -> None:
    stream: dict = {}
    made[block] = lambda m, x, g: stream.update(r=x)
    if block.downsample is not None:  # computed before the convolution

        def shortcut(m: nn.BatchNorm2d, x: Tensor, _g: torch.Generator) -> None:
            _settle(m, x, STREAM, CENTRE)
            stream.update(r=F.batch_norm(x, m.running_mean, m.running_var, m.weight, m.bias,
                                         eps=m.eps))

        made[block.downsample[2]] = shortcut
    made[block.bn1] = _branch(stream)


def _settle(module: nn.BatchNorm2d, x: Tensor, size: float, centre: float | Tensor) -> None:
    """Statistics of x; gain and bias about ``size`` and ``centre``."""
    statistics(module, x, None)
    module.weight.mul_(size)
    module.bias.add_(centre)


def _branch(stream: dict) -> Hook:
    """A branch of BRANCH where the shortcut has something, of STREAM where it is empty; its bias
    brings the sum to CENTRE."""

    def hook(module: nn.BatchNorm2d, x: Tensor, _generator: torch.Generator) -> None:
        r = stream["r"]
        size = torch.where(r.std(dim=(0, 2, 3)) > 0.05, BRANCH, STREAM)
        _settle(module, x, size, CENTRE - r.mean(dim=(0, 2, 3)))

    return hook


def _hidden(module: nn.Linear, x: Tensor, _generator: torch.Generator) -> None:
    """Hidden units that are on for most images, about 1."""
    y = x @ module.weight.T
    mean = y.mean(dim=0)
    sign = torch.where(mean < 0, -1.0, 1.0)
    module.weight.mul_((sign / (mean.abs() + y.std(dim=0)).clamp(min=1e-3))[:, None])


def _argument(module: nn.Linear, x: Tensor, generator: torch.Generator) -> None:
    """Arguments of the sigmoid with deviation 0.7 over channels."""
    y = x @ module.weight.T
    module.weight.mul_(0.7 / y.std().clamp(min=1e-3))


def _statistics_1d(module: nn.BatchNorm1d, x: Tensor, _generator: torch.Generator) -> None:
    module.running_mean.copy_(x.mean(dim=0))
    module.running_var.copy_(x.var(dim=0))


def wrap(net: nn.Module) -> dict:
    """What the authors save at the end of training."""
    state = {f"module.{k}": v.detach().clone() for k, v in net.state_dict().items()}
    return {"state_dict": state, "best_prec1": 0.0}


def _network(name: str, describe: str, geometry: Geometry) -> SyntheticNetwork:
    size, images = (224, 16) if geometry.stem == "imagenet" else (32, 128)
    return SyntheticNetwork(name, describe, lambda g: parameters(geometry, g), hooks, wrap, size,
                            images)


R18 = (64, 128, 256, 512)
NETWORKS = (
    _network("sd-resnet-20", "SD-BNN ResNet-20, CIFAR-10",
             Geometry("resnet20", (16, 32, 64), (3, 3, 3), 10)),
    _network("sd-vgg-small", "SD-BNN VGG-Small, CIFAR-10",
             Geometry("vgg", (128, 128, 256, 256, 512, 512), (), 10, 4)),
    _network("sd-resnet-18-c10", "SD-BNN ResNet-18, CIFAR-10",
             Geometry("resnet18", R18, (2, 2, 2, 2), 10)),
    _network("sd-resnet-18-in", "SD-BNN ResNet-18, ImageNet",
             Geometry("birealnet", R18, (4, 4, 4, 4), 1000)),
)
