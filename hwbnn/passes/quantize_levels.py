"""Integer form of quantisers that take their range from the values at hand; part of `quantize`."""

import numpy as np

from .. import ints
from ..errors import UnsupportedError
from ..ir import Node
from ..ops import int_dynamic as D
from ..ops import int_levels as J

__all__ = ["LevelHandlers"]


class LevelHandlers:
    """Handlers of `quantize`'s walk, one a float op."""

    def _FMinMax(self, node):
        """At its input's position; a width that has no more levels than the numbers is no step."""
        (source,) = node.inputs
        bits, width = node.op.bits, self.numeric.feature_bits
        if width > ints.SPAN_BITS:
            raise UnsupportedError(
                f"a range found in maps of {width} bits has no integer form",
                where=node.source or node.name,
                hint=f"--feature-bits {ints.SPAN_BITS} or less has")
        self.frac[node.name] = self.frac[source]
        unit = 2.0 ** -self.frac[source]
        if source in self.factor:
            self.factor[node.name] = self.factor[source]
            unit *= self.factor[source].max()
        lo, hi = ints.signed_range(width)
        limit = int(min(np.rint(node.op.clip / unit), hi))
        finer = bits >= width
        cut = node.name if finer else f"{node.name}.cut"
        self.nodes.append(Node(cut, D.Clamp(max(-limit, lo), limit), node.inputs, node.source))
        if finer:
            self._decide(node.name, "kept as it is", f"{width} bits are no finer than its levels")
            return
        self.nodes.append(Node(node.name, J.MinMax(bits), (cut,), node.source))
