"""The published SNN and ReActNet networks with made-up parameters; see models.synth."""

import math

import torch
from torch import Tensor, nn

from ..synth import Hook, SyntheticNetwork, balance, centre_logits
from .binarise import KERNEL, BinaryConv, Codebook, all_codewords
from .net import Block, Geometry, LearnableBias, SnnNet

__all__ = ["NETWORKS", "filters", "parameters"]

# A block's convolution against its shortcut. Random signs amplify every flipped bit: with equal
# weight, float32 rounding alone would decide the classes. Trained networks absorb flips.
BRANCH = 0.2
WIDTHS, CLASSES = (64, 128, 256, 512), 1000
R18, R34 = (4, 4, 4, 4), (6, 8, 12, 6)


def parameters(geometry: Geometry, generator: torch.Generator) -> SnnNet:
    """A network of any geometry with every parameter drawn, in evaluation mode.

    Latent weights differ in scale from channel to channel, and the taps of a kernel agree more
    often than not; a tenth of the normalisations' gains and a third of the slopes are negative,
    some slopes exceed 1. Biases are left to `hooks`.
    """
    with torch.device("meta"):
        net = SnnNet(geometry)
    net.to_empty(device="cpu").eval()

    def normal(like: Tensor, std: float = 1.0, mean: float = 0.0) -> Tensor:
        return torch.randn(like.shape, generator=generator) * std + mean

    def signs(like: Tensor, negative: float) -> Tensor:
        return torch.where(torch.rand(like.shape, generator=generator) < negative, -1.0, 1.0)

    branches = {m.bn1 for m in net.modules() if isinstance(m, Block)}
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, BinaryConv):
                scale = 0.05 * torch.exp(normal(module.weight[:, :1, :1, :1], 0.3))
                kernel = 0.6 * normal(module.weight) + 0.8 * normal(module.weight[:, :, :1, :1])
                kernel[kernel == 0] = 0.1  # no weight is exactly 0: it would have no sign
                module.weight.copy_(kernel * scale)
            elif isinstance(module, Codebook):
                chosen = torch.randperm(2**KERNEL, generator=generator)[: len(module.patterns)]
                size = torch.rand(module.patterns.shape, generator=generator) + 0.5
                module.patterns.copy_(all_codewords()[chosen] * size)
                module.memory.copy_(torch.sign(module.patterns))
            elif isinstance(module, nn.BatchNorm2d):
                scale = BRANCH if module in branches else 1.0
                gain = scale * torch.exp(normal(module.weight, 0.3))
                module.weight.copy_(gain * signs(gain, 0.1))
                module.bias.copy_(normal(module.bias, 0.2))
                module.reset_running_stats()
            elif isinstance(module, nn.PReLU):
                module.weight.copy_(normal(module.weight, 0.45, 0.2))
            elif isinstance(module, LearnableBias):
                module.bias.zero_()
            elif isinstance(module, nn.Conv2d):
                std = 1 / math.sqrt(module.weight[0].numel())
                module.weight.copy_(normal(module.weight, std))
            elif isinstance(module, nn.Linear):
                module.weight.copy_(normal(module.weight, 0.05))
                module.bias.zero_()
        net.conv1.weight.copy_(filters(net.conv1.weight, generator))
    return net


def filters(weight: Tensor, generator: torch.Generator) -> Tensor:
    """First-layer filters: waves of any direction, length and colour under a bell, with noise."""
    count, colours, k, _k = weight.shape

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(count, *shape, 1, 1, generator=generator) * (high - low) + low

    at = torch.arange(k) - (k - 1) / 2
    y, x = at[:, None], at[None, :]
    angle, length = uniform(0, math.pi, 1), uniform(0.6, 2.0, 1) * k
    along = x * torch.cos(angle) + y * torch.sin(angle)
    wave = torch.cos(2 * math.pi * along / length + uniform(0, 2 * math.pi, 1))
    bell = torch.exp(-(x**2 + y**2) / (2 * (k / 4) ** 2))
    noise = torch.randn(weight.shape, generator=generator) * 0.1
    return (wave * uniform(-1, 1, colours) + noise) * bell * uniform(0.05, 0.4, 1)


def hooks(net: SnnNet) -> dict[nn.Module, Hook]:
    """Biases keep bits and slopes in use; the classifier tells images apart."""
    biases = {m: balance for m in net.modules() if isinstance(m, LearnableBias)}
    return biases | {net.fc: centre_logits}


def wrap(net: SnnNet) -> dict:
    """The authors' wrapper; never trained, so epoch and accuracy are 0."""
    state = {f"module.{k}": v.detach().clone() for k, v in net.state_dict().items()}
    return {"epoch": 0, "state_dict": state, "best_top1_acc": 0.0,
            "optimizer": torch.optim.Adam(net.parameters()).state_dict()}


def _network(name: str, describe: str, blocks: tuple[int, ...], tau: int | None):
    geometry = Geometry.uniform(tau, stem="imagenet", widths=WIDTHS, blocks=blocks,
                                num_classes=CLASSES)
    return SyntheticNetwork(name, describe, lambda g: parameters(geometry, g), hooks, wrap,
                            shapes=(lambda: SnnNet(geometry)) if tau is None else None)


NETWORKS = (
    *(_network(f"snn-r18-tau{tau}", f"SNN ResNet-18, {tau} bits a kernel, ImageNet", R18, tau)
      for tau in (4, 5, 6)),
    _network("snn-r18-tau9", "SNN ResNet-18, one bit a weight (512 codewords), ImageNet", R18, 9),
    _network("reactnet-18", "ReActNet-18, one bit a weight, ImageNet", R18, None),
    _network("reactnet-34", "ReActNet-34, one bit a weight, ImageNet", R34, None),
)
