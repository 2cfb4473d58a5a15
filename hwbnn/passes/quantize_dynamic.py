"""Integer forms of run-time thresholds, hardtanh and option-A shortcuts; part of `quantize`."""

from .. import ints
from ..errors import UnsupportedError
from ..ir import Graph, Node
from ..ops import float_dynamic as D
from ..ops import float_ops as F
from ..ops import int_dynamic as J
from ..ops.float_gain import FGainAffine
from .numeric import Numeric
from .quantize_gain import GAIN_FRAC

__all__ = ["ENTRIES", "REACH", "DynamicHandlers", "is_flat", "sigmoid_frac", "unstored"]

REACH = 8  # the sigmoid's argument is clamped to +-REACH: beyond it, it is within 3.4e-4 of 0 or 1
ENTRIES = 1024  # of its positive half; one 18 kbit block holds them at up to 18 bits


def is_flat(node: Node, consumers: dict[str, list[Node]]) -> bool:
    """Whether the only reader of a value does not tell apart what lies beyond its limits."""
    readers = consumers[node.name]
    return len(readers) == 1 and isinstance(readers[0].op, D.FHardtanh | D.FSigmoid)


def unstored(graph: Graph, consumers: dict[str, list[Node]]) -> set[str]:
    """Values whose size says nothing of the stored map: they pass into a hardtanh.

    What the hardtanh reads, and the binary convolution's operand of a sum that it reads (the
    other operand is a stored map).
    """
    found: set[str] = set()
    for node in graph:
        if not isinstance(node.op, D.FHardtanh) or not is_flat(graph[node.inputs[0]], consumers):
            continue
        before = graph[node.inputs[0]]
        found.add(before.name)
        if isinstance(before.op, F.FAdd):
            found |= {
                i for i in before.inputs
                if len(consumers[i]) == 1 and isinstance(graph[i].op, F.FAffine)
                and isinstance(graph[graph[i].inputs[0]].op, F.FBinaryConv2d)
            }
    return found


def sigmoid_frac(graph: Graph, frac: dict[str, int], numeric: Numeric) -> None:
    """Put the argument of every sigmoid at the position where its width spans +-REACH.

    One table then serves every layer of one output position.
    """
    for node in graph:
        if isinstance(node.op, D.FSigmoid):
            frac[node.inputs[0]] = numeric.feature_bits - REACH.bit_length()


class DynamicHandlers:
    """Handlers of `quantize`'s walk, one a float op."""

    def _FHardtanh(self, node):
        one = 1 << self.frac[node.name]
        self.nodes.append(Node(node.name, J.Clamp(-one, one), node.inputs, node.source))

    def _FReLU(self, node):
        hi = ints.signed_range(self.numeric.feature_bits)[1]
        self.nodes.append(Node(node.name, J.Clamp(0, hi), node.inputs, node.source))

    def _FSubsamplePad(self, node):
        op = J.SubsamplePad(node.op.before, node.op.after)
        self.nodes.append(Node(node.name, op, node.inputs, node.source))

    def _FSigmoid(self, node):
        """At the position of the map that its value is compared with; gains have their own."""
        source = self.frac[node.inputs[0]]
        readers = self.consumers[node.name]
        maps = [n.inputs[0] for n in readers if isinstance(n.op, D.FDynamicThreshold)]
        gain = any(isinstance(n.op, FGainAffine) for n in readers)
        frac = GAIN_FRAC if gain else self.frac[maps[0]] if maps else self.frac[node.name]
        frac = max(1, frac)
        shift = max(0, source - (ENTRIES // REACH).bit_length() + 1)
        table = ints.sigmoid_table(ENTRIES, 2.0 ** (shift - source), frac)
        self.frac[node.name] = frac
        op = J.Sigmoid(table, shift, frac)
        self.nodes.append(Node(node.name, op, node.inputs, node.source))
        self._decide(node.name, f"table of {ENTRIES} entries, error at most "
                     f"{op.max_error(source):.2g}",
                     f"a gain of 0 to 1 at position {frac}, exact up to an argument of {REACH}"
                     if gain else
                     "its largest entry is below 1.0, so a saturated -1 gets the bit -1; PyTorch "
                     "has 0 there where float32 rounds the sigmoid to 1")

    def _FDynamicThreshold(self, node):
        x, beta = node.inputs
        if self.frac[x] != self.frac[beta]:
            raise UnsupportedError(
                f"a map at position {self.frac[x]} and thresholds at {self.frac[beta]} do not "
                "compare", where=node.source or node.name,
                hint="a map whose values exceed the range, or one sigmoid for several maps")
        op = J.DynamicThreshold(self.numeric.tie)
        self.nodes.append(Node(node.name, op, node.inputs, node.source))

    def _pool_of_sums(self, node):
        """A max-pool of integer sums, before the affine: exact whatever the sign of its gains."""
        affine = self.consumers[node.name]
        self.frac[node.name] = 0
        falling = sum(int((n.op.scale < 0).sum()) for n in affine if isinstance(n.op, F.FAffine))
        self._decide(node.name, "largest sum, then the affine",
                     f"as in PyTorch; {falling} channels have a negative gain, for which the two "
                     "must not be exchanged")
