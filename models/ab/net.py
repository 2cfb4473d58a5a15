"""The networks of A&B BNN at any width, depth and stem, under the authors' key names.

    net = AbNet(Geometry("reactnet", "cifar", (32, 64, 128, 256), (2, 2, 2, 2), 10))
    set_binary_weights(net, False)   # training step 1: real weights, binary activations
    set_binary_weights(net, True)    # step 2: the same parameters, binary weights
"""

import dataclasses
import math

import torch
from torch import Tensor, nn

from ..mobile import REACTNET_A, MobileGeometry
from .layers import (
    ALPHA,
    BinaryStdConv2d,
    LearnableBias,
    QPReLU,
    ScaledStdConv2d,
    binary_sign,
)

__all__ = ["KINDS", "REACTNET_A", "AbNet", "AbReActNetA", "Geometry", "MobileGeometry", "build",
           "schedule", "schedule_a", "set_binary_weights"]

KINDS = ("reactnet", "biresnet", "xnornet")
STEMS = {"imagenet": 7, "cifar": 3}  # kernel size of a residual network's conv1


@dataclasses.dataclass(frozen=True)
class Geometry:
    """A residual network: ReActNet-18/-34, BiResNet-18 and XnorNet-18 are instances.

    Parameters
    ----------
    kind : "reactnet" (biases and QPReLU in every block, shortcut pooled, then a 1x1 of binary
        weights), "biresnet" (bare blocks, shortcut pooled, then a real 1x1) or "xnornet" (bare
        blocks, shortcut a 1x1 of binary weights with stride 2).
    stem : "imagenet" (7x7 stride 2, max-pool 3x3 stride 2) or "cifar" (3x3 stride 1).
    widths : channels of each stage.
    blocks : blocks of each stage. Every stage but the first halves the map.
    num_classes : outputs of the classifier.
    """

    kind: str
    stem: str
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    num_classes: int

    def reduction(self) -> int:
        """Pixels of the image along one side per pixel of the last map."""
        return 2 ** (len(self.blocks) - 1) * (4 if self.stem == "imagenet" else 1)

    def describe(self) -> dict:
        """For a graph's meta."""
        return {"network": self.kind, "stem": self.stem, "widths": list(self.widths),
                "blocks": list(self.blocks), "classes": self.num_classes}


def schedule(blocks: tuple[int, ...]) -> list[list[float]]:
    """Expected variance of each block's input, by stage: the authors' beta is 1/sqrt of it.

    Within a stage it grows by 1/16 a block, counted from the second; a stage's pooled shortcut
    starts it again at 1.
    """
    ev, result = 1.0, []
    for stage, depth in enumerate(blocks):
        row = [ev]
        if stage:
            ev = 1.0
        for _block in range(1, depth):
            row.append(ev)
            ev += 1 / 16
        result.append(row)
    return result


def schedule_a(strides: tuple[int, ...]) -> list[tuple[float, float]]:
    """Expected variances before the 3x3 and the 1x1 convolution of each block of ReActNet-A."""
    ev, result = 1.0, []
    for stride in strides:
        result.append((ev, ev + 1 / 16))
        ev = 1.0 if stride == 2 else ev + 1 / 8
    return result


def activation_bits(x: Tensor, move: LearnableBias | None, ev: float) -> Tensor:
    """sign((x + move/beta) * beta), beta = 1/sqrt(ev): beta shapes the gradient, not the sign."""
    beta = 1 / math.sqrt(ev)
    return binary_sign((x if move is None else move(x, 1 / beta)) * beta)


def _shortcut(kind: str, c_in: int, c_out: int) -> nn.Sequential:
    if kind == "xnornet":
        return nn.Sequential(BinaryStdConv2d(c_in, c_out, 1, 2))
    conv = ScaledStdConv2d if kind == "biresnet" else BinaryStdConv2d
    return nn.Sequential(nn.AvgPool2d(2, 2), conv(c_in, c_out, 1))


class Block(nn.Module):
    """0.25 * conv3x3(sign(x + move0*sqrt(ev))) + shortcut, then move1, QPReLU, move2.

    The three biases and QPReLU exist in "reactnet" alone.
    """

    def __init__(self, kind: str, c_in: int, c_out: int, halve: bool, ev: float):
        super().__init__()
        self.ev = ev
        full = kind == "reactnet"
        self.move0 = LearnableBias(c_in) if full else None
        self.conv1 = BinaryStdConv2d(c_in, c_out, 3, 2 if halve else 1, 1)
        self.move1 = LearnableBias(c_out) if full else None
        self.prelu = QPReLU(c_out) if full else None
        self.move2 = LearnableBias(c_out) if full else None
        self.downsample = _shortcut(kind, c_in, c_out) if halve else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(activation_bits(x, self.move0, self.ev)) * ALPHA
        y = y + (x if self.downsample is None else self.downsample(x))
        return y if self.prelu is None else self.move2(self.prelu(self.move1(y)))


class AbNet(nn.Module):
    """Maps float images (N, 3, H, W), normalised, to logits (N, num_classes).

    H and W must be even wherever a stage halves the map.
    """

    def __init__(self, geometry: Geometry):
        super().__init__()
        self.geometry = geometry
        kernel, imagenet = STEMS[geometry.stem], geometry.stem == "imagenet"
        plain = geometry.kind != "reactnet"
        width = geometry.widths[0]
        self.conv1 = ScaledStdConv2d(3, width, kernel, 2 if imagenet else 1, kernel // 2)
        self.prelu1 = nn.PReLU(width) if plain else None
        self.maxpool = nn.MaxPool2d(3, 2, 1) if imagenet else nn.Identity()
        self.prelu2 = nn.PReLU(geometry.widths[-1]) if plain else None
        for i, evs in enumerate(schedule(geometry.blocks)):
            stage = nn.Sequential()
            for b, ev in enumerate(evs):
                c_out = geometry.widths[i]
                stage.append(Block(geometry.kind, width, c_out, i > 0 and b == 0, ev))
                width = c_out
            self.add_module(f"layer{i + 1}", stage)
        self.fc = nn.Linear(width, geometry.num_classes)

    def stages(self) -> list[nn.Sequential]:
        """The residual stages in order."""
        return [getattr(self, f"layer{i + 1}") for i in range(len(self.geometry.blocks))]

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        if self.prelu1 is not None:
            x = self.prelu1(x)
        x = self.maxpool(x)
        for stage in self.stages():
            x = stage(x)
        if self.prelu2 is not None:
            x = self.prelu2(x)
        return self.fc(x.mean(dim=(2, 3)))


class Stem(nn.Module):
    """feature.0 of ReActNet-A: a real 3x3 convolution."""

    def __init__(self, c_out: int, stride: int):
        super().__init__()
        self.conv1 = ScaledStdConv2d(3, c_out, 3, stride, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1(x)


class MobileBlock(nn.Module):
    """A binary 3x3 and then a binary 1x1 convolution, each with shortcut, biases and QPReLU.

    Where channels double, two 1x1 convolutions read the same bits and each half of the result
    adds the same shortcut.
    """

    def __init__(self, c_in: int, c_out: int, stride: int, evs: tuple[float, float]):
        super().__init__()
        self.stride, self.evs, self.doubles = stride, evs, c_in != c_out
        self.move11 = LearnableBias(c_in)
        self.binary_3x3 = BinaryStdConv2d(c_in, c_in, 3, stride, 1)
        self.move12 = LearnableBias(c_in)
        self.prelu1 = QPReLU(c_in)
        self.move13 = LearnableBias(c_in)
        self.pooling = nn.AvgPool2d(2, 2)
        self.move21 = LearnableBias(c_in)
        for name in ("binary_pw_down1", "binary_pw_down2") if self.doubles else ("binary_pw",):
            self.add_module(name, BinaryStdConv2d(c_in, c_in, 1))
        self.move22 = LearnableBias(c_out)
        self.prelu2 = QPReLU(c_out)
        self.move23 = LearnableBias(c_out)

    def forward(self, x: Tensor) -> Tensor:
        y = self.binary_3x3(activation_bits(x, self.move11, self.evs[0])) * ALPHA
        x = y + (self.pooling(x) if self.stride == 2 else x)
        x = self.move13(self.prelu1(self.move12(x)))
        bits = activation_bits(x, self.move21, self.evs[1])
        if self.doubles:
            halves = (self.binary_pw_down1, self.binary_pw_down2)
            x = torch.cat([conv(bits) * ALPHA + x for conv in halves], dim=1)
        else:
            x = self.binary_pw(bits) * ALPHA + x
        return self.move23(self.prelu2(self.move22(x)))


class AbReActNetA(nn.Module):
    """Maps float images (N, 3, H, W), normalised, to logits (N, num_classes)."""

    def __init__(self, geometry: MobileGeometry):
        super().__init__()
        self.geometry = geometry
        strides, c = geometry.strides(), geometry.channels
        self.feature = nn.ModuleList([Stem(c[0], 2 if geometry.stem == "imagenet" else 1)])
        for i, (stride, evs) in enumerate(zip(strides, schedule_a(strides), strict=True)):
            self.feature.append(MobileBlock(c[i], c[i + 1], stride, evs))
        self.fc = nn.Linear(c[-1], geometry.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.feature:
            x = block(x)
        return self.fc(x.mean(dim=(2, 3)))


def build(geometry: Geometry | MobileGeometry) -> AbNet | AbReActNetA:
    """The network of a geometry, with untrained parameters and binary weights."""
    kind = AbReActNetA if isinstance(geometry, MobileGeometry) else AbNet
    return kind(geometry)


def set_binary_weights(net: nn.Module, binary: bool) -> None:
    """Choose the training step of every BinaryStdConv2d: real weights (1) or binary ones (2)."""
    for module in net.modules():
        if isinstance(module, BinaryStdConv2d):
            module.binary = binary
