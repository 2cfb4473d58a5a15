"""BNext (Guo et al., 2022): T, S, M, L and 18, float and quantised; the authors' key names."""

import dataclasses

import torch
from torch import Tensor, nn

from ..snn.net import STEMS
from .layers import Unit
from .quant import QuantConv2d, QuantLinear

__all__ = ["BNext", "BNext18", "CHANNELS", "Geometry", "Geometry18", "R18", "WIDTHS", "build"]

CHANNELS = {
    "t": (32, 64, *(128,) * 2, *(256,) * 2, *(512,) * 6, *(1024,) * 2),
    "s": (48, 96, *(192,) * 2, *(384,) * 2, *(768,) * 6, *(1536,) * 2),
    "m": (48, 96, *(192,) * 4, *(384,) * 4, *(768,) * 8, *(1536,) * 4),
    "l": (64, 128, *(256,) * 4, *(512,) * 4, *(1024,) * 16, *(2048,) * 4),
}
WIDTHS, R18 = (64, 128, 256, 512), (2, 2, 2, 2)
LIMIT, LIMIT18 = 1e-7, 1e-5  # temperatures below which the authors' code takes signs


@dataclasses.dataclass(frozen=True)
class Geometry:
    """BNext-T to -L: blocks of a binary 3x3 and a binary 1x1 convolution.

    Parameters
    ----------
    stem : "imagenet" (stride 2) or "cifar" (stride 1), 3x3 in both.
    channels : c0 (stem) to cn; each of the n blocks keeps or doubles them. A block that doubles
        has stride 2, but for the first one.
    num_classes : outputs of the classifier.
    se_bits : None for the float networks; in quantised ones weights and inputs of the SE layers.
    """

    stem: str
    channels: tuple[int, ...]
    num_classes: int
    se_bits: int | None = None

    def strides(self) -> tuple[int, ...]:
        """Of blocks 1 to n."""
        c = self.channels
        return tuple(2 if c[i] != c[i - 1] and i > 1 else 1 for i in range(1, len(c)))

    def reduction(self) -> int:
        """Pixels of the image along one side per pixel of the last map."""
        return 2 ** (self.strides().count(2) + (self.stem == "imagenet"))

    def describe(self) -> dict:
        """For people and for a graph's meta."""
        size = next((s for s, c in CHANNELS.items() if c == self.channels), None)
        return {"network": f"bnext-{size}" if size else "bnext", "stem": self.stem,
                "channels": list(self.channels), "classes": self.num_classes,
                "se_bits": self.se_bits}


@dataclasses.dataclass(frozen=True)
class Geometry18:
    """BNext-18: blocks of two binary 3x3 convolutions.

    Parameters
    ----------
    stem : "imagenet" (7x7 stride 2, max-pool) or "cifar" (3x3 stride 1).
    widths, blocks : channels and blocks of each stage; all but the first halve the map.
    num_classes : outputs of the classifier.
    se_bits : None for the float network; in the quantised one weights of the SE layers, whose
        inputs have twice as many.
    """

    stem: str
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    num_classes: int
    se_bits: int | None = None

    def reduction(self) -> int:
        """Pixels of the image along one side per pixel of the last map."""
        return 2 ** (len(self.widths) - 1) * (4 if self.stem == "imagenet" else 1)

    def describe(self) -> dict:
        """For people and for a graph's meta."""
        return {"network": "bnext-18", "stem": self.stem, "widths": list(self.widths),
                "blocks": list(self.blocks), "classes": self.num_classes,
                "se_bits": self.se_bits}


class Stem(nn.Module):
    """feature.0: a real 3x3 convolution and its normalisation; its PReLU is never applied."""

    def __init__(self, c_out: int, stride: int, quant: bool, eps: float):
        super().__init__()
        self.conv1 = _first(c_out, 3, stride, quant)
        self.bn1 = nn.BatchNorm2d(c_out, eps=eps)
        self.prelu = nn.PReLU(c_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn1(self.conv1(x))


class Block(nn.Module):
    """A unit with a 3x3 and one or, where channels double, two units with a 1x1 convolution.

    The key `Attention` is the authors' for the 3x3 unit whether or not it has the product.
    """

    def __init__(self, c_in: int, c_out: int, stride: int, product: bool, se_bits: int | None,
                 eps: float):
        super().__init__()
        common = {"mixes_residual": False, "limit": LIMIT,
                  "se_bits": None if se_bits is None else (se_bits, se_bits)}
        self.Attention = Unit(c_in, c_in, 3, stride, eps, product=product, clamps=False, **common)
        self.parts = ("FFN",) if c_in == c_out else ("FFN_1", "FFN_2")
        for part in self.parts:
            # The authors' quantised definitions clamp in training alone.
            self.add_module(part, Unit(c_in, c_in, 1, 1, eps, product=False,
                                       clamps=se_bits is None, **common))

    def forward(self, x: Tensor) -> Tensor:
        x = self.Attention(x)
        return torch.cat([getattr(self, part)(x) for part in self.parts], dim=1)


class BNext(nn.Module):
    """Evaluation alone. Maps normalised images (N, 3, H, W) to logits (N, num_classes)."""

    def __init__(self, geometry: Geometry, bn_eps: float = 1e-5):
        super().__init__()
        self.geometry = geometry
        c, bits = geometry.channels, geometry.se_bits
        stride = 2 if geometry.stem == "imagenet" else 1
        self.feature = nn.ModuleList([Stem(c[0], stride, bits is not None, bn_eps)])
        for i, stride in enumerate(geometry.strides(), 1):
            self.feature.append(Block(c[i - 1], c[i], stride, i % 2 == 0, bits, bn_eps))
        self.prelu = nn.PReLU(c[-1])
        self.fc = _classifier(c[-1], geometry)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.feature:
            x = block(x)
        return self.fc(self.prelu(x).mean(dim=(2, 3)))


class Block18(nn.Module):
    """A unit with product, which may halve the map, and one without."""

    def __init__(self, c_in: int, c_out: int, halve: bool, se_bits: int | None, eps: float):
        super().__init__()
        common = {"mixes_residual": True, "limit": LIMIT18,
                  "se_bits": None if se_bits is None else (se_bits, 2 * se_bits)}
        downsample = None
        if halve:
            one = (nn.Conv2d(c_in, c_out, 1, bias=False) if se_bits is None else
                   QuantConv2d(c_in, c_out, 1, bias=True, clip=1000))
            downsample = nn.Sequential(nn.AvgPool2d(2, 2), one, nn.BatchNorm2d(c_out, eps=eps))
        self.Attention = Unit(c_in, c_out, 3, 2 if halve else 1, eps, product=True, clamps=False,
                              downsample=downsample, **common)
        self.FFN = Unit(c_out, c_out, 3, 1, eps, product=False, clamps=True, **common)

    def forward(self, x: Tensor) -> Tensor:
        return self.FFN(self.Attention(x))


class BNext18(nn.Module):
    """Evaluation alone. Maps normalised images (N, 3, H, W) to logits (N, num_classes)."""

    def __init__(self, geometry: Geometry18, bn_eps: float = 1e-5):
        super().__init__()
        self.geometry = geometry
        imagenet, bits = geometry.stem == "imagenet", geometry.se_bits
        width = geometry.widths[0]
        # The authors quantise the first convolution behind ImageNet's stem only.
        self.conv1 = _first(width, STEMS[geometry.stem], 2 if imagenet else 1,
                            bits is not None and imagenet)
        self.bn1 = nn.BatchNorm2d(width, eps=bn_eps)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if imagenet else nn.Identity()
        for i, (c_out, depth) in enumerate(zip(geometry.widths, geometry.blocks, strict=True)):
            stage = nn.Sequential()
            for b in range(depth):
                stage.append(Block18(width, c_out, i > 0 and b == 0, bits, bn_eps))
                width = c_out
            self.add_module(f"layer{i}", stage)
        self.prelu = nn.PReLU(width)
        self.fc = _classifier(width, geometry)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.bn1(self.conv1(x)))
        for i in range(len(self.geometry.blocks)):
            x = getattr(self, f"layer{i}")(x)
        return self.fc(self.prelu(x).mean(dim=(2, 3)))


def _first(c_out: int, kernel: int, stride: int, quant: bool) -> nn.Conv2d:
    if not quant:
        return nn.Conv2d(3, c_out, kernel, stride, kernel // 2, bias=False)
    return QuantConv2d(3, c_out, kernel, stride, kernel // 2, bias=False, activation_bits=None,
                       clip=1000)


def _classifier(c_in: int, geometry: Geometry | Geometry18) -> nn.Linear:
    kind = nn.Linear if geometry.se_bits is None else QuantLinear
    return kind(c_in, geometry.num_classes)


def build(geometry: Geometry | Geometry18, bn_eps: float = 1e-5) -> BNext | BNext18:
    """The network of either shape."""
    return (BNext if isinstance(geometry, Geometry) else BNext18)(geometry, bn_eps)
