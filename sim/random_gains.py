"""Random networks whose maps get gains of the image, as float graphs, for proofs (BNext)."""

import numpy as np

from hwbnn.ir import Graph, Node
from hwbnn.ops import float_dynamic as D
from hwbnn.ops import float_gain as G
from hwbnn.ops import float_levels as L
from hwbnn.ops import float_ops as F

from .random_network import RandomNetwork

__all__ = ["Builder", "random_gains"]


def random_gains(rng: np.random.Generator, *, size: int | None = None, max_channels: int = 24,
                 max_units: int = 4, pointwise: bool = False, step: int = 1,
                 levels: bool = False, imagenet: bool = False) -> RandomNetwork:
    """Draw a network: first convolution, units, head.

    A unit is a 3x3 or, with ``pointwise``, a 1x1 binary convolution; it may multiply by its
    shortcut, mix the sums of that or of its input, halve the map by a mean or a real 1x1
    convolution, or be one of two on one map, whose results are put behind one another. Channels
    are multiples of ``step``. With ``levels`` quantisers whose range each image decides stand
    before some dense layers and real 1x1 convolutions. With ``imagenet`` the first convolution is
    7x7 stride 2 with a 3x3 stride 2 max-pool; ``size`` is that of the map behind them.
    """
    builder = Builder(rng, max_channels, pointwise, step, levels)
    first = builder.imagenet_stem if imagenet else builder.stem
    first(size or 2 * int(rng.integers(2, 5)))
    for _ in range(int(rng.integers(1, max_units + 1))):
        builder.unit()
    return builder.head()


class Builder:
    """A network under way: `stem` or `imagenet_stem`, then units, then `head`."""

    def __init__(self, rng, max_channels, pointwise, step, levels):
        self.rng, self.max_channels, self.pointwise, self.step = rng, max_channels, pointwise, step
        self.quantised = levels
        self.nodes: list[Node] = []
        self.features: set[str] = set()
        self.means: dict[str, str] = {}
        self.kinds: list[str] | None = None  # of the next unit, where they are limited

    def add(self, op, *inputs, name=None) -> str:
        name = name or f"n{len(self.nodes)}"
        self.nodes.append(Node(name, op, tuple(inputs)))
        return name

    def channels(self) -> int:
        return self.step * int(self.rng.integers(1, self.max_channels // self.step + 1))

    def norm(self, x, channels, fan_in, size=1.0):
        rng = self.rng
        gamma = rng.uniform(0.2, 0.8, channels) * rng.choice([-1, 1], channels, p=[0.3, 0.7])
        var = fan_in * rng.uniform(0.5, 2.0, channels)
        mean = rng.normal(0, 1, channels) * var**0.5 / 4
        return self.add(F.FBatchNorm(size * gamma, rng.normal(0, 0.2, channels), mean, var), x)

    def prelu(self, x, channels):
        return self.add(F.FPReLU(self.rng.normal(0.25, 0.4, channels)), x)

    def stem(self, size):
        rng = self.rng
        self.h = size
        self.w = size if rng.random() < 0.6 else size + 2 * int(rng.integers(0, 3))
        self.c, stride = self.channels(), 1 + int(rng.random() < 0.2)
        image = self.add(F.FInput((3, self.h * stride, self.w * stride), rng.uniform(0.3, 0.6, 3),
                                  rng.uniform(0.2, 0.3, 3)), name="image")
        x = self.add(F.FConv2d(rng.normal(0, 0.3, (self.c, 3, 3, 3)), stride, 1), image)
        self.x = self.norm(x, self.c, 2.0)

    def imagenet_stem(self, size):
        rng = self.rng
        self.c, self.h, self.w = self.channels(), size, size
        image = self.add(F.FInput((3, 4 * size, 4 * size), rng.uniform(0.3, 0.6, 3),
                                  rng.uniform(0.2, 0.3, 3)), name="image")
        x = self.add(F.FConv2d(rng.normal(0, 0.15, (self.c, 3, 7, 7)), 2, 3), image)
        self.x = self.add(F.FMaxPool2d(3, 2, 1), self.norm(x, self.c, 2.0))
        self.kinds = ["sum", "product"]  # what halves the map has no step right behind the max-pool

    def levels(self, x, what) -> str:
        """``x``, or its levels between values of the image; its magnitude is about 1."""
        rng = self.rng
        if not self.quantised or rng.random() < 0.2:
            return x
        clip = float(rng.choice([1000, 2, 0.3]))
        self.features |= {f"levels of {what}"} | ({"clipped"} if clip < 1 else set())
        return self.add(L.FMinMax(int(rng.choice([4, 8])), clip), x)

    def mean(self, x) -> str:
        if x not in self.means:
            self.means[x] = self.add(F.FGlobalAvgPool(), x)
        return self.means[x]

    def unit(self):
        rng, even = self.rng, not (self.h % 4 or self.w % 4)
        kinds = ["sum", "product"]
        if even:
            kinds += ["halved sum", "halved product", "real"]
            kinds += ["real"] * 4 * self.quantised  # the one with levels of a map
        if 2 * self.c <= 2 * self.max_channels:
            kinds.append("two")
        kind = str(rng.choice(self.kinds or kinds))
        self.kinds = None
        self.features.add(kind)
        if kind == "two":
            parts = [self.branch(self.kernel(), 1, self.c, False, False) for _ in range(2)]
            self.x, self.c = self.add(G.FConcat(), *parts), 2 * self.c
            return
        stride = 1 if kind in ("sum", "product") else 2
        out = self.channels() if kind == "real" else self.c
        product = "product" in kind or kind == "real"
        late = kind == "real" or kind == "product" and rng.random() < 0.5
        self.features |= {"sum of shortcut"} if late else set()
        kernel = 3 if stride == 2 else self.kernel()
        self.x = self.branch(kernel, stride, out, product, late)
        self.c, self.h, self.w = out, self.h // stride, self.w // stride

    def kernel(self) -> int:
        kernel = 1 if self.pointwise and self.rng.random() < 0.5 else 3
        self.features.add(f"{kernel}x{kernel}")
        return kernel

    def branch(self, kernel, stride, out, product, late) -> str:
        """One unit on the map, of stride 2 with a real 1x1 shortcut where channels change."""
        rng, x, c = self.rng, self.x, self.c
        y = self.add(F.FSign(), self.add(F.FBias(rng.normal(0, 0.2, c)), x))
        weight = rng.choice(np.array([-1, 1], np.int8), (out, c, kernel, kernel))
        y = self.add(F.FBinaryConv2d(weight, stride, kernel // 2), y)
        y = self.prelu(self.norm(y, out, kernel * kernel * c), out)
        r = self.prelu(x, c) if product else x
        if stride == 2:
            r = self.add(F.FAvgPool2d(2), r)
        if product and late and stride == 2:
            r = self.levels(r, "a map")
            r = self.add(F.FConv2d(rng.normal(0, 1, (out, c, 1, 1))), r)
            r = self.norm(r, out, c)
        scale = rng.uniform(-0.01, 1.01, out)
        hidden = max(1, out // 8)
        g = self.add(G.FMix(scale), self.mean(r if late else x), self.mean(y))
        g = self.levels(g, "a mix")
        g = self.add(F.FLinear(rng.normal(0, 2, (hidden, out)), rng.normal(0, 0.3, hidden)), g)
        g = self.levels(self.add(D.FReLU(), g), "hidden values")
        g = self.add(F.FLinear(rng.normal(0, 2, (out, hidden)), rng.normal(0, 1, out)), g)
        g = self.add(D.FSigmoid(), g)
        y = self.add(G.FProduct(), y, r) if product else y
        y = self.norm(self.add(G.FGain(), y, g), out, 0.5)
        return self.add(F.FAdd(), y, r)

    def head(self) -> RandomNetwork:
        rng, classes = self.rng, int(self.rng.integers(2, 12))
        x = self.add(F.FGlobalAvgPool(), self.prelu(self.x, self.c))
        x = self.levels(x, "sums")
        weight = rng.normal(0, self.c**-0.5, (classes, self.c))
        out = self.add(F.FLinear(weight, rng.normal(0, 0.2, classes)), x, name="logits")
        return RandomNetwork(Graph(self.nodes, out), self.features)
