"""ReActNet-A with made-up parameters; see models.synth."""

import torch
from torch import Tensor, nn

from ..ab.synth import BRANCH
from ..mobile import REACTNET_A, MobileGeometry
from ..snn.net import LearnableBias
from ..snn.synth import filters, wrap
from ..synth import Hook, SyntheticNetwork, balance, centre_logits, shortcut_and_branch
from .net import HardBinaryConv, MobileBlock, ReActNetA

__all__ = ["NETWORKS", "hooks", "parameters"]


def parameters(geometry: MobileGeometry, generator: torch.Generator) -> ReActNetA:
    """A network of any geometry with every parameter drawn, in evaluation mode.

    A tenth of the normalisations' gains and a third of the slopes are negative, some slopes
    exceed 1. Biases and the size of the branches are left to `hooks`.
    """
    with torch.device("meta"):
        net = ReActNetA(geometry)
    net.to_empty(device="cpu").eval()

    def normal(like: Tensor, std: float = 1.0, mean: float = 0.0) -> Tensor:
        return torch.randn(like.shape, generator=generator) * std + mean

    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, HardBinaryConv):
                latent = module.weights.view(module.shape[0], -1)
                latent.copy_(normal(latent) * 0.05 * torch.exp(normal(latent[:, :1], 0.3)))
                latent[latent == 0] = 0.05  # no weight is exactly 0: it would have no sign
            elif isinstance(module, nn.BatchNorm2d):
                gain = torch.exp(normal(module.weight, 0.3))
                negative = torch.rand(gain.shape, generator=generator) < 0.1
                module.weight.copy_(torch.where(negative, -gain, gain))
                module.bias.copy_(normal(module.bias, 0.2))
                module.reset_running_stats()
            elif isinstance(module, nn.PReLU):
                module.weight.copy_(normal(module.weight, 0.45, 0.2))
            elif isinstance(module, LearnableBias):
                module.bias.zero_()
        stem = net.feature[0].conv1
        stem.weight.copy_(filters(stem.weight, generator))
        net.fc.weight.copy_(normal(net.fc.weight, 0.05))
        net.fc.bias.zero_()
    return net


def hooks(net: ReActNetA) -> dict[nn.Module, Hook]:
    """Biases keep bits and slopes in use; every branch is BRANCH of its shortcut; the classifier
    tells images apart."""
    made: dict[nn.Module, Hook] = {m: balance for m in net.modules()
                                   if isinstance(m, LearnableBias)}
    for block in net.modules():
        if not isinstance(block, MobileBlock):
            continue
        shortcut, branch = shortcut_and_branch(BRANCH)
        made[block.move11] = made[block.move21] = shortcut
        made |= {m: branch for m in block.children() if isinstance(m, nn.BatchNorm2d)}
    return made | {net.fc: centre_logits}


NETWORKS = (
    SyntheticNetwork("reactnet-a", "ReActNet-A, one bit a weight, ImageNet",
                     lambda g: parameters(MobileGeometry("imagenet", REACTNET_A, 1000), g),
                     hooks, wrap,
                     shapes=lambda: ReActNetA(MobileGeometry("imagenet", REACTNET_A, 1000))),
)
