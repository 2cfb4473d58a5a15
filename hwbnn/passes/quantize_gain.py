"""Integer forms of gains that the image decides, element products and concats; part of `quantize`.
"""

import numpy as np

from ..ir import Node
from ..ops import float_ops as F
from ..ops import int_gain as J
from .shifts import half, largest_shift

__all__ = ["GAIN_FRAC", "GainHandlers"]

GAIN_FRAC = 16  # of a gain in 0..1: with its sign 17 bits, a table entry 16


class GainHandlers:
    """Handlers of `quantize`'s walk, one a float op."""

    def _FMix(self, node):
        """Of two channel sums: 1/(H*W) and the step between positions are part of the gains."""
        frac = self.frac[node.name]
        ones = np.ones(len(node.op.scale))
        reals = [
            scale * self.factor.get(source, ones) * 2.0 ** (frac - self.frac[source])
            for source, scale in zip(node.inputs, (node.op.scale, 1 - node.op.scale), strict=True)
        ]
        shift = largest_shift(max(np.abs(r).max() for r in reals), self.numeric.shift_step,
                              node.source or node.name)
        gains = [np.rint(r * 2.0**shift).astype(np.int64) for r in reals]
        name = f"{node.name}.sum"
        self.nodes.append(Node(name, J.Mix(*gains, shift, frac), node.inputs, node.source))
        self._saturate(node, name)

    def _FProduct(self, node):
        given = sum(self.frac[i] for i in node.inputs)
        shift = max(0, given - self.frac[node.name])
        self.frac[node.name] = given - shift
        name = f"{node.name}.full"
        self.nodes.append(Node(name, J.Product(shift), node.inputs, node.source))
        self._saturate(node, name)

    def _FGainAffine(self, node):
        x, g = node.inputs
        frac = self.frac[node.name]
        real = node.op.scale * 2.0 ** (frac - self.frac[x])
        shift = largest_shift(np.abs(real).max(), self.numeric.shift_step,
                              node.source or node.name)
        gain = np.rint(real * 2.0**shift).astype(np.int64)
        name = f"{node.name}.scaled"
        op = J.ScaledGain(gain, self.frac[g], frac - self.frac[x] + shift)
        self.nodes.append(Node(name, op, (g,), node.source))
        bias = np.rint(node.op.bias * 2.0 ** (frac + shift)).astype(np.int64) + half(shift)
        readers = self.consumers[node.name]
        alone = len(readers) == 1 and isinstance(readers[0].op, F.FAdd)
        applied = node.name if alone else f"{node.name}.affine"
        self.nodes.append(Node(applied, J.GainAffine(bias, shift), (x, name), node.source))
        if not alone:
            self._saturate(node, applied)

    def _FConcat(self, node):
        self.nodes.append(Node(node.name, J.Concat(), node.inputs, node.source))
