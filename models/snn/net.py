"""The SNN and ReActNet residual network of any width, depth and stem; the authors' key names."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.snn.binarise import BinaryConv, binary_activation

STEMS = {"imagenet": 7, "cifar": 3}  # kernel size of conv1


@dataclass(frozen=True)
class Geometry:
    """What the keys and shapes of a state_dict say about the network.

    Parameters
    ----------
    stem : "imagenet" (7x7 stride 2, BN, max-pool 3x3 stride 2) or "cifar" (3x3 stride 1, BN).
    widths : channels of each stage.
    blocks : blocks of each stage.
    halves : whether the stage's first block has stride 2 and a pooled 1x1 shortcut.
    num_classes : outputs of the classifier.
    tau : per binary convolution, in order, the codebook's log2 size; None for plain signs.
    """

    stem: str
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    halves: tuple[bool, ...]
    num_classes: int
    tau: tuple[int | None, ...]

    @classmethod
    def uniform(cls, tau: int | None, *, stem="cifar", widths=(32, 64, 128, 192),
                blocks=(2, 2, 2, 1), num_classes=10) -> "Geometry":
        """One tau for all layers; every stage but the first halves the map."""
        halves = tuple(i > 0 for i in range(len(widths)))
        return cls(stem, tuple(widths), tuple(blocks), halves, num_classes, (tau,) * sum(blocks))


class LearnableBias(nn.Module):
    """Adds one learned value per channel."""

    def __init__(self, channels: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


class Block(nn.Module):
    """sign(x + move0) -> binary 3x3 -> BN, + shortcut, + move1 -> PReLU -> + move2."""

    def __init__(self, c_in: int, c_out: int, halve: bool, tau: int | None, eps: float):
        super().__init__()
        self.move0 = LearnableBias(c_in)
        self.binary_conv = BinaryConv(c_in, c_out, 2 if halve else 1, tau)
        self.bn1 = nn.BatchNorm2d(c_out, eps=eps)
        self.move1 = LearnableBias(c_out)
        self.prelu = nn.PReLU(c_out)
        self.move2 = LearnableBias(c_out)
        self.downsample = None
        if halve:
            self.downsample = nn.Sequential(
                nn.AvgPool2d(2, 2),
                nn.Conv2d(c_in, c_out, 1, bias=False),
                nn.BatchNorm2d(c_out, eps=eps),
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.binary_conv(binary_activation(self.move0(x))))
        y = y + (x if self.downsample is None else self.downsample(x))
        return self.move2(self.prelu(self.move1(y)))


class SnnNet(nn.Module):
    """Maps float images (N, 3, H, W), normalised, to logits (N, num_classes).

    H and W must be even wherever a stage halves the map.
    """

    def __init__(self, geometry: Geometry, bn_eps: float = 1e-5):
        super().__init__()
        self.geometry = geometry
        width, kernel = geometry.widths[0], STEMS[geometry.stem]
        stride = 2 if geometry.stem == "imagenet" else 1
        self.conv1 = nn.Conv2d(3, width, kernel, stride, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width, eps=bn_eps)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if geometry.stem == "imagenet" else nn.Identity()
        tau = iter(geometry.tau)
        for i, (c_out, depth) in enumerate(zip(geometry.widths, geometry.blocks, strict=True)):
            stage = nn.Sequential()
            for b in range(depth):
                halve = geometry.halves[i] and b == 0
                stage.append(Block(width, c_out, halve, next(tau), bn_eps))
                width = c_out
            self.add_module(f"layer{i + 1}", stage)
        self.fc = nn.Linear(width, geometry.num_classes)

    def stages(self) -> list[nn.Sequential]:
        """The residual stages in order."""
        return [getattr(self, f"layer{i + 1}") for i in range(len(self.geometry.blocks))]

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.bn1(self.conv1(x)))
        for stage in self.stages():
            x = stage(x)
        return self.fc(x.mean(dim=(2, 3)))
