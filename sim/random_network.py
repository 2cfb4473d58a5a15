"""Random residual networks in the families' building blocks, as float graphs, for proofs.

They are drawn to reach what trained networks rarely do: negative normalisation scales, slopes
that are negative or above 1, every tau, odd sizes, ragged channel counts, all padding values.
"""

import dataclasses

import numpy as np

from hwbnn.ir import Graph, Node
from hwbnn.ops import float_ops as F

__all__ = ["RandomNetwork", "random_network"]


@dataclasses.dataclass
class RandomNetwork:
    """A drawn network and what it covers."""

    graph: Graph
    features: set[str]


def random_network(
    rng: np.random.Generator,
    *,
    max_channels: int = 40,
    size: int | None = None,
    max_blocks: int = 3,
    classes: int | None = None,
    max_tau: int = 9,
    imagenet: bool = False,
    pointwise: bool = False,
    multiple: int = 0,
    kinds: tuple[str, ...] = (),
) -> RandomNetwork:
    """Draw a network: stem, residual blocks with optional stride 2, pool, classifier.

    With ``pointwise`` some blocks have 1x1 binary convolutions. With ``multiple`` the channels are
    multiples of it, and residuals may be pooled, used twice, or come from every second pixel.
    With ``imagenet`` the stem is 7x7 stride 2 with a 3x3 stride 2 max-pool, sides multiples of 4.
    With ``kinds`` the blocks are not drawn: "3x3", "half" (3x3 with stride 2 and a pooled
    residual), "1x1", "double" (1x1 with a residual used twice).
    """
    builder = _Builder(rng, max_channels, max_tau, mobile=bool(multiple), multiple=multiple or 1)
    if imagenet:
        builder.imagenet_stem(size or 4 * int(rng.integers(4, 13)))
    else:
        builder.stem(size or int(rng.integers(4, 13)))
    for kind in kinds:
        builder.block(kind in ("1x1", "double"), kind)
    for _ in range(0 if kinds else int(rng.integers(1, max_blocks + 1))):
        builder.block(pointwise and rng.random() < 0.5)
    return builder.head(classes or int(rng.integers(2, 12)))


class _Builder:
    def __init__(self, rng, max_channels, max_tau, mobile=False, multiple=1):
        self.mobile, self.multiple = mobile, multiple
        self.rng, self.max_channels, self.max_tau = rng, max_channels, max_tau
        self.nodes: list[Node] = []
        self.features: set[str] = set()
        self.count = 0

    def add(self, op, *inputs, name=None) -> str:
        name = name or f"n{self.count}"
        self.count += 1
        self.nodes.append(Node(name, op, tuple(inputs)))
        return name

    def channels(self) -> int:
        if self.multiple > 1:
            return self.multiple * int(self.rng.integers(1, self.max_channels // self.multiple + 1))
        return int(self.rng.integers(2, self.max_channels + 1))

    def norm(self, x, channels, fan_in, gain=1.0):
        rng = self.rng
        gamma = gain * rng.uniform(0.3, 1.5, channels) * rng.choice([-1, 1], channels, p=[0.3, 0.7])
        if (gamma < 0).any():
            self.features.add("negative scale")
        var = fan_in * rng.uniform(0.5, 2.0, channels)
        return self.add(
            F.FBatchNorm(gamma, rng.normal(0, 0.3, channels), rng.normal(0, 1, channels), var), x
        )

    def stem(self, size):
        rng = self.rng
        self.h = size
        self.w = size if rng.random() < 0.7 else max(4, size + int(rng.integers(-2, 3)))
        if self.h % 2 or self.w % 2:
            self.features.add("odd size")
        self.c = self.channels()
        x = self.add(
            F.FInput((3, self.h, self.w), rng.uniform(0.3, 0.6, 3), rng.uniform(0.2, 0.3, 3)),
            name="image",
        )
        x = self.add(F.FConv2d(rng.normal(0, 0.3, (self.c, 3, 3, 3)), 1, 1), x)
        self.x = self.norm(x, self.c, 2.0)

    def imagenet_stem(self, size):
        rng = self.rng
        w = size if rng.random() < 0.7 else max(16, size + 4 * int(rng.integers(-2, 3)))
        self.c = self.channels()
        x = self.add(
            F.FInput((3, size, w), rng.uniform(0.3, 0.6, 3), rng.uniform(0.2, 0.3, 3)),
            name="image",
        )
        x = self.add(F.FConv2d(rng.normal(0, 0.3, (self.c, 3, 7, 7)), 2, 3), x)
        x = self.norm(x, self.c, 10.0)
        self.x = self.add(F.FMaxPool2d(3, 2, 1), x)
        self.h, self.w = size // 4, w // 4
        if self.h % 2 or self.w % 2:
            self.features.add("odd size")

    def binary_weight(self, out, inp):
        rng = self.rng
        # the widest codebook, often: it is what a machine is made for
        tau = self.max_tau if rng.random() < 0.15 else int(rng.integers(1, self.max_tau + 1))
        self.features.add(f"tau {tau}")
        codes = rng.choice(512, size=2**tau, replace=False) if tau < 9 else np.arange(512)
        codebook = (((codes[:, None] >> np.arange(9)) & 1) * 2 - 1).astype(np.int8)
        ids = rng.integers(0, 2**tau, (out, inp))
        weight = codebook[ids].reshape(out, inp, 3, 3)
        return (weight, codebook, ids) if tau < 9 else (weight, None, None)


    def block(self, pointwise=False, kind=None):
        rng = self.rng
        likely = 0.7 if self.mobile else 0.45
        down = min(self.h, self.w) >= 4 and rng.random() < likely and not pointwise
        stride, out = (2, self.channels()) if down else (1, self.c)
        # mobile networks: maps are pooled and added as they are, 1x1 layers double the channels
        even = not (self.h % 2 or self.w % 2)
        pooled = self.mobile and down and even and rng.random() < 0.5
        double = pointwise and self.mobile and rng.random() < 0.5
        if kind:
            down = pooled = kind == "half"
            double, stride, out = kind == "double", 1 + down, self.c
        if pooled:
            out = self.c
        if double:
            out = 2 * self.c
        pad = int(rng.choice([-1, 0, 1], p=[0.2, 0.6, 0.2]))
        self.features.add(f"padding {pad:+d}" if pad else "padding 0")
        if stride == 2:
            self.features.add("stride 2")
        t = self.add(F.FBias(rng.normal(0, 0.3, self.c)), self.x)
        t = self.add(F.FSign(), t)
        if pointwise:
            self.features.add("1x1")
            weight = rng.choice(np.array([-1, 1], np.int8), (out, self.c, 1, 1))
            y = self.add(F.FBinaryConv2d(weight, 1, 0, 0, None, None), t)
        else:
            weight, codebook, ids = self.binary_weight(out, self.c)
            y = self.add(F.FBinaryConv2d(weight, stride, 1, pad, codebook, ids), t)
        y = self.add(F.FScale(rng.uniform(0.01, 0.1, out)), y)
        y = self.norm(y, out, 9 * self.c * 0.003)
        r = self.x
        if stride == 2:
            # a shortcut exists only where pooling gives the convolution's size
            if self.h % 2 or self.w % 2:
                r = None
            else:
                r = self.add(F.FAvgPool2d(2), r) if pooled or not self.mobile else r
            if pooled:
                self.features.add("pooled residual")
            elif r is not None:
                weight = rng.normal(0, 1, (out, self.c, 1, 1))
                if self.mobile:
                    self.features.add("sampled shortcut")
                r = self.add(F.FConv2d(np.sign(weight) if self.mobile else weight,
                                       2 if self.mobile else 1, 0), r)
                r = self.norm(r, out, self.c)
        if double:
            self.features.add("repeated residual")
            r = self.add(F.FRepeat(2), r)
        if r is not None:
            y = self.add(F.FAdd(), y, r)
        if rng.random() < 0.8:
            y = self.add(F.FBias(rng.normal(0, 0.2, out)), y)
            slope = rng.normal(0.1, 0.6, out)
            if (slope < 0).any():
                self.features.add("negative slope")
            if (np.abs(slope) > 1).any():
                self.features.add("slope above 1")
            y = self.add(F.FPReLU(slope), y)
            y = self.add(F.FBias(rng.normal(0, 0.2, out)), y)
        self.x, self.c = y, out
        self.h, self.w = -(-self.h // stride), -(-self.w // stride)

    def head(self, classes) -> RandomNetwork:
        x = self.add(F.FGlobalAvgPool(), self.x)
        weight = self.rng.normal(0, 0.5, (classes, self.c))
        out = self.add(F.FLinear(weight, self.rng.normal(0, 0.5, classes)), x, name="logits")
        return RandomNetwork(Graph(self.nodes, out), self.features)
