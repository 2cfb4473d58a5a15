"""Random networks with thresholds of each image, as float graphs, for proofs (SD-BNN's blocks)."""

import numpy as np

from hwbnn.ir import Graph, Node
from hwbnn.ops import float_dynamic as D
from hwbnn.ops import float_ops as F

from .random_network import RandomNetwork

__all__ = ["random_run_time"]


def random_run_time(rng: np.random.Generator, *, size: int | None = None, max_channels: int = 40,
                    max_blocks: int = 3, prelu: bool = False, flat: bool = False) -> RandomNetwork:
    """Draw a network: stem, blocks, head.

    Blocks have no shortcut, an identity, an option-A, a real 1x1 or a pooled real 1x1 shortcut, or
    a max-pool of their sums. Maps are bounded by hardtanh, or with ``prelu`` not at all. With
    ``flat`` the classifier reads a whole map.
    """
    builder = _Builder(rng, max_channels, prelu)
    builder.stem(size or 2 * int(rng.integers(2, 6)) + int(rng.random() < 0.2))
    for _ in range(int(rng.integers(1, max_blocks + 1))):
        builder.block()
    return builder.head(flat)


class _Builder:
    def __init__(self, rng, max_channels, prelu):
        self.rng, self.max_channels, self.prelu = rng, max_channels, prelu
        self.nodes: list[Node] = []
        self.features: set[str] = set()

    def add(self, op, *inputs, name=None) -> str:
        name = name or f"n{len(self.nodes)}"
        self.nodes.append(Node(name, op, tuple(inputs)))
        return name

    def norm(self, x, channels, fan_in):
        rng = self.rng
        gamma = rng.uniform(0.2, 0.8, channels) * rng.choice([-1, 1], channels, p=[0.3, 0.7])
        var = fan_in * rng.uniform(0.5, 2.0, channels)
        return self.add(F.FBatchNorm(gamma, rng.normal(-0.4, 0.2, channels),
                                     rng.normal(0, 1, channels), var), x)

    def bound(self, x, channels, rising=False):
        if not self.prelu:
            return self.add(D.FHardtanh(), x)
        slope = self.rng.normal(0.2, 0.6, channels)
        return self.add(F.FPReLU(np.abs(slope) if rising else slope), x)

    def stem(self, size):
        rng = self.rng
        self.h = size
        self.w = size if rng.random() < 0.7 else max(4, size + int(rng.integers(-2, 3)))
        self.c = int(rng.integers(2, self.max_channels // 2 + 1))
        image = self.add(F.FInput((3, self.h, self.w), rng.uniform(0.3, 0.6, 3),
                                  rng.uniform(0.2, 0.3, 3)), name="image")
        x = self.add(F.FConv2d(rng.normal(0, 0.3, (self.c, 3, 3, 3)), 1, 1), image)
        self.x = self.bound(self.norm(x, self.c, 2.0), self.c)

    def bits(self, x):
        """sign(x + sigmoid(dense(relu(dense(mean(x))))))"""
        rng, hidden = self.rng, int(self.rng.integers(1, 7))
        y = self.add(F.FGlobalAvgPool(), x)
        y = self.add(F.FLinear(rng.normal(0, 2, (hidden, self.c)), np.zeros(hidden)), y)
        y = self.add(D.FReLU(), y)
        y = self.add(F.FLinear(rng.normal(0, 2, (self.c, hidden)), np.zeros(self.c)), y)
        return self.add(D.FDynamicThreshold(), x, self.add(D.FSigmoid(), y))

    def block(self):
        rng, x = self.rng, self.x
        even = not (self.h % 2 or self.w % 2) and min(self.h, self.w) >= 4
        kinds = ["identity", "none"]
        if even:
            kinds += ["real", "pooled real", "max-pool", "option A", "option A"]
        kind = str(rng.choice(kinds))
        if kind == "option A" and (self.c % 2 or 2 * self.c > 2 * self.max_channels):
            kind = "real"
        self.features.add(kind)
        stride = 2 if kind in ("real", "pooled real", "option A") else 1
        out = self.c
        if kind == "option A":
            out = 2 * self.c
        elif kind != "identity":
            out = int(rng.integers(2, self.max_channels + 1))
        weight = rng.choice(np.array([-1, 1], np.int8), (out, self.c, 3, 3))
        y = self.add(F.FBinaryConv2d(weight, stride, 1), self.bits(x))
        if kind == "max-pool":
            y = self.add(F.FMaxPool2d(2, 2), y)
        y = self.norm(y, out, 9 * self.c)
        r = None
        if kind == "identity":
            r = x
        elif kind == "option A":
            zeros = self.c // 2
            r = self.add(D.FSubsamplePad(zeros, zeros), x)
        elif stride == 2:
            if kind == "pooled real":
                x = self.add(F.FAvgPool2d(2), x)
            real = rng.normal(0, 1, (out, self.c, 1, 1))
            r = self.add(F.FConv2d(real, 1 if kind == "pooled real" else 2, 0), x)
            r = self.norm(r, out, self.c)
        if r is not None:
            y = self.add(F.FAdd(), y, r)
        # behind a max-pool of sums nothing may fall
        self.x, self.c = self.bound(y, out, kind == "max-pool"), out
        if kind == "max-pool" or stride == 2:
            self.h, self.w = self.h // 2, self.w // 2

    def head(self, flat) -> RandomNetwork:
        rng, classes = self.rng, int(self.rng.integers(2, 12))
        x, inputs = self.x, self.c
        if flat and self.h == self.w:
            inputs *= self.h * self.w
            self.features.add("flat")
        else:
            x = self.add(F.FGlobalAvgPool(), x)
        weight = rng.normal(0, inputs**-0.5, (classes, inputs))
        out = self.add(F.FLinear(weight, rng.normal(0, 0.2, classes)), x, name="logits")
        return RandomNetwork(Graph(self.nodes, out), self.features)
