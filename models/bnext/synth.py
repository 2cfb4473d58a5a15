"""The published BNext networks with made-up parameters, also for CIFAR-10; see
models.synth."""

import torch
from torch import Tensor, nn

from ..ab.synth import BRANCH
from ..snn.net import LearnableBias
from ..snn.synth import filters
from ..synth import Hook, SyntheticNetwork, balance, centre_logits, shortcut_and_branch
from .layers import HardBinaryConv, HardSign, Unit
from .net import CHANNELS, R18, WIDTHS, BNext, BNext18, Geometry, Geometry18, build
from .quant import QuantConv2d, QuantLinear

__all__ = ["NETWORKS", "hooks", "parameters", "wrap"]

EPOCH = 511  # of 512: the temperature is 0.9 to its power
OUTSIDE = 1e-3  # how far one optimiser step takes a mixing scale beyond 0..1
SPREAD = 1.0  # deviation of an SE layer's outputs over images, before ReLU and sigmoid
SE_BITS = 8


def parameters(geometry: Geometry | Geometry18, generator: torch.Generator) -> BNext | BNext18:
    """A network of either shape with every parameter drawn, in evaluation mode and cooled down.

    A tenth of the normalisations' gains and some of the slopes are negative, some slopes exceed
    1, some mixing scales lie just outside 0..1. Biases before a sign, the SE layers and the size
    of the branches are left to `hooks`.
    """
    with torch.device("meta"):
        net = build(geometry)
    net.to_empty(device="cpu").eval()

    def normal(like: Tensor, std: float = 1.0, mean: float = 0.0) -> Tensor:
        return torch.randn(like.shape, generator=generator) * std + mean

    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, HardBinaryConv):
                latent = module.weight.normal_(0, 0.4, generator=generator).clamp_(-1.5, 1.5)
                latent[latent == 0] = 0.1  # no weight is exactly 0: it would have no sign
                module.temperature.fill_(0.9**EPOCH)
            elif isinstance(module, HardSign):
                module.temperature.fill_(0.9**EPOCH)
            elif isinstance(module, nn.BatchNorm2d):
                gain = torch.exp(normal(module.weight, 0.3))
                negative = torch.rand(gain.shape, generator=generator) < 0.1
                module.weight.copy_(torch.where(negative, -gain, gain))
                module.bias.copy_(normal(module.bias, 0.2))
                module.reset_running_stats()
            elif isinstance(module, nn.PReLU):
                module.weight.copy_(normal(module.weight, 0.3, 0.25))
            elif isinstance(module, LearnableBias):
                module.bias.zero_()
            elif isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.copy_(normal(module.weight, module.weight[0].numel() ** -0.5))
                if module.bias is not None:
                    module.bias.zero_()
                _clips(module)
            elif isinstance(module, Unit):
                scale = torch.rand(module.scale.shape, generator=generator)
                drawn = torch.rand(scale.shape, generator=generator)
                scale[drawn < 0.05] = -OUTSIDE
                scale[drawn > 0.95] = 1 + OUTSIDE
                module.scale.copy_(scale)
        stem = net.feature[0].conv1 if isinstance(net, BNext) else net.conv1
        stem.weight.copy_(filters(stem.weight, generator))
    return net


def _clips(module: nn.Module) -> None:
    if isinstance(module, QuantLinear):
        module.scale.zero_()
        clip, names = module.CLIP, ("weight_clip_val", "act_clip_val")
    elif isinstance(module, QuantConv2d):
        clip, names = 1000, ("weight_clip_val", "activation_clip_val")
    else:
        return
    for name in names:
        getattr(module, name).copy_(torch.tensor([-clip, clip]))


def hooks(net: BNext | BNext18) -> dict[nn.Module, Hook]:
    """Biases keep bits in use; gains differ between images; every branch is BRANCH of its
    shortcut; the classifier tells images apart."""
    made: dict[nn.Module, Hook] = {}
    for unit in net.modules():
        if isinstance(unit, Unit):
            made[unit.move], made[unit.norm2] = shortcut_and_branch(
                BRANCH, renewed=unit.downsample is not None)
            made[unit.se.se[1]] = _squeeze
            made[unit.se.se[3]] = _expand
    return made | {net.fc: centre_logits}


def _spread(module: nn.Conv2d, x: Tensor) -> Tensor:
    """Scale the weights to outputs of deviation SPREAD over images; the outputs without bias."""
    rows, weight = x.flatten(1), module.weight.flatten(1)
    varied = ((rows - rows.mean(dim=0)) @ weight.T).std()
    module.weight.mul_(SPREAD / varied)
    return rows @ module.weight.flatten(1).T


def _squeeze(module: nn.Conv2d, x: Tensor, generator: torch.Generator) -> None:
    """Each hidden channel is on for a share of the images."""
    balance(module, _spread(module, x)[:, :, None, None], generator)


def _expand(module: nn.Conv2d, x: Tensor, generator: torch.Generator) -> None:
    """Gains about a mean of their own in each channel."""
    mean = torch.randn(module.bias.shape, generator=generator)
    module.bias.copy_(mean - _spread(module, x).mean(dim=0))


def wrap(net: BNext | BNext18) -> dict:
    """The authors' wrapper at its last epoch; never trained, so no losses and accuracy 0."""
    state = {f"module.{k}": v.detach() for k, v in net.state_dict().items()}
    return {"epoch": EPOCH, "train_loss": [], "train_top1": [], "train_top5": [],
            "test_loss": [], "test_top1": [], "test_top5": [], "state_dict": state,
            "best_top1_acc": 0.0, "optimizer": torch.optim.AdamW(net.parameters()).state_dict(),
            "temp": [0.9**e for e in range(EPOCH + 1)], "alpha": 0.5}


def _network(size: str, se_bits: int | None, cifar: bool = False) -> SyntheticNetwork:
    stem, classes = ("cifar", 10) if cifar else ("imagenet", 1000)
    geometry = (Geometry18(stem, WIDTHS, R18, classes, se_bits) if size == "18" else
                Geometry(stem, CHANNELS[size], classes, se_bits))
    return SyntheticNetwork(
        f"bnext-{size}" + ("-c10" if cifar else "") + ("" if se_bits is None else "-quant"),
        f"BNext-{size.upper()}, {'CIFAR-10' if cifar else 'ImageNet'}"
        + ("" if se_bits is None else "; first convolution, SE and classifier quantised"),
        lambda g: parameters(geometry, g), hooks, wrap, *((32, 64) if cifar else ()),
        shapes=lambda: build(geometry))


NETWORKS = (
    *(_network(size, bits) for bits in (None, SE_BITS) for size in ("18", *CHANNELS)),
    *(_network(size, bits, cifar=True) for bits in (None, SE_BITS) for size in ("18", *CHANNELS)),
)
