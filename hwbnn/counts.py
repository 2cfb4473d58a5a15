"""Operation counts that papers of binary networks state (BOPs, OPs), from a network's graph.

ReActNet's and BNext's papers divide binary multiply-accumulates by 64 and add the others: whole
in float, by 64/b where both operands have b bits (BNext: 8 bits in the first convolution, the SE
layers and the classifier). One multiply-accumulate is one operation. BNext's "degree of
binarisation" is the share of the binary part, computed from rounded numbers.
"""

import dataclasses
from fractions import Fraction

from .ir import Graph
from .ops.float_ops import FBinaryConv2d, FConv2d, FInput, FLinear
from .ops.int_ops import BinaryConv2d, Conv2d, QuantizeInput

__all__ = ["PAPER", "RULES", "Published", "Rule", "Work", "degree", "operations", "paper_degree",
           "published_name", "work"]

FAMILIES = ("bnext", "reactnet-a", "snn")
RESNET18 = ((64, 128, 256, 512), (4, 4, 4, 4))
WORD = 64  # binary multiply-accumulates that count as one operation


@dataclasses.dataclass(frozen=True)
class Work:
    """Multiply-accumulates of one image, padded taps included.

    ``gates`` are the small dense layers that compute gains (SE) or thresholds from means;
    ``shortcuts`` all other multi-bit convolutions but the ``first`` one.
    """

    binary: int
    first: int
    shortcuts: int
    gates: int
    classifier: int

    @property
    def others(self) -> int:
        """All that are not binary."""
        return self.first + self.shortcuts + self.gates + self.classifier


@dataclasses.dataclass(frozen=True)
class Rule:
    """Bits of both operands of multi-bit products, of those in gates apart; None is float."""

    name: str
    bits: int | None
    gate_bits: int | None


FLOAT = Rule("float", None, None)
EIGHT = Rule("8 bits", 8, 8)
FOUR = Rule("8 bits, SE 4", 8, 4)
RULES = (EIGHT, FOUR, FLOAT)


@dataclasses.dataclass(frozen=True)
class Published:
    """What a paper or its repository prints of a network at 224x224 with 1000 classes.

    ``giga`` is its operations in 10^9, ``percent`` its degree of binarisation; ``note`` says where
    they do not follow from the graph.
    """

    rule: Rule
    giga: float | None
    percent: float | None
    note: str = ""


# BNext: table of its README. ReActNet: OPs of its README, degrees as BNext's README has them.
PAPER = {
    "bnext-t": Published(EIGHT, 0.077, 97.81),
    "bnext-s": Published(EIGHT, 0.172, 98.47),
    "bnext-m": Published(EIGHT, 0.317, 99.02),
    "bnext-l": Published(FOUR, 0.819, 99.49, "only 4-bit SE layers give these numbers"),
    "bnext-18": Published(EIGHT, None, 61.04, "61.047, cut and not rounded"),
    "reactnet-a": Published(FLOAT, 0.087, 86.50, "4.82 / 64 / 0.087 is 86.57"),
    "reactnet-18": Published(FLOAT, 0.163, 13.89, "OPs cut and not rounded; the degree is of "
                             "0.189 G, which this graph does not have"),
}


def work(graph: Graph) -> Work:
    """Count a float or an integer graph."""
    types = graph.types()
    total = dict.fromkeys((f.name for f in dataclasses.fields(Work)), 0)
    dense = graph.output  # in integers the classifier's product stands before its affine
    while not isinstance(graph[dense].op, FLinear | FConv2d | Conv2d) and graph[dense].inputs:
        dense = graph[dense].inputs[0]
    for node in graph:
        if not isinstance(node.op, FBinaryConv2d | BinaryConv2d | FConv2d | FLinear | Conv2d):
            continue
        _c, h, w = types[node.name].shape
        if isinstance(node.op, FBinaryConv2d | BinaryConv2d):
            kind = "binary"
        elif node.name == dense:
            kind = "classifier"
        elif isinstance(graph[node.inputs[0]].op, FInput | QuantizeInput):
            kind = "first"
        elif types[node.inputs[0]].shape[1:] == (1, 1):
            kind = "gates"
        else:
            kind = "shortcuts"
        total[kind] += h * w * node.op.weight.size
    return Work(**total)


def operations(work: Work, rule: Rule) -> Fraction:
    """Operations of one image by a rule."""
    def each(bits: int | None) -> Fraction:
        return Fraction(1) if bits is None else Fraction(bits, WORD)

    others = work.others - work.gates
    return (Fraction(work.binary, WORD) + others * each(rule.bits)
            + work.gates * each(rule.gate_bits))


def degree(work: Work, rule: Rule) -> float:
    """Share of the binary part of the operations, per cent."""
    return float(100 * Fraction(work.binary, WORD) / operations(work, rule))


def paper_degree(work: Work, rule: Rule) -> float:
    """The same as BNext's README computes it: binary MACs of 0.01 G, operations of 0.001 G."""
    giga = round(float(operations(work, rule)) / 1e9, 3)
    return 100 * round(work.binary / 1e9, 2) / WORD / giga if giga else 0.0


def published_name(graph: Graph) -> str | None:
    """The key of `PAPER` for a network at its published size; None for any other."""
    geometry, family = graph.meta.get("geometry", {}), graph.meta.get("family")
    if graph.meta.get("input_size") != 224 or geometry.get("classes") != 1000:
        return None
    name = geometry.get("network")
    if family == "snn" and set(geometry["tau"]) == {9}:
        widths, blocks = tuple(geometry["widths"]), tuple(geometry["blocks"])
        name = "reactnet-18" if (widths, blocks) == RESNET18 else None
    return name if family in FAMILIES and name in PAPER else None
