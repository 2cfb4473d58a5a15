"""Passes over stored maps: bits at thresholds of the image, and what else a reading gives."""

import dataclasses

from .errors import UnsupportedError
from .ir import Graph, Node
from .ops import int_dynamic as J
from .ops import int_ops as I
from .plain import Plain

__all__ = ["EverySecond", "MapPass", "extract_passes", "is_late", "sum_pass"]


@dataclasses.dataclass(frozen=True)
class EverySecond:
    """Even rows and columns of a map: what a 1x1 convolution of stride 2 reads."""


@dataclasses.dataclass(frozen=True, eq=False)
class MapPass(Plain):
    """One reading of the stored map ``source``, word by word, when its thresholds are known.

    ``thresholds`` names the vector (beta) that it is compared with, ``bits`` the result; a pass
    that sums up channels has neither. ``x`` names a smaller map that is stored beside: the 2x2 mean
    or the even rows and columns, or the channel sums. Beyond these it has the attributes of a Layer
    that computes nothing.
    """

    node: Node
    source: str
    thresholds: str | None
    x: str | None
    x_op: I.AvgPool2x2 | EverySecond | J.SubsamplePad | I.GlobalSum | None
    shape: tuple[int, int, int]

    map_pass = True
    binary = pointwise = by_groups = centred = stem = from_image = from_x = False
    stored = is_output = grouped = flat = max_pool = False
    value = residual = act = threshold = pool = conv = affine = clamp = None
    bits_in = None
    bits_at = reads_at = 0
    macs, repeats = 0, 1

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def bits(self) -> str | None:
        return self.node.name if self.thresholds else None

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.source, self.thresholds) if self.thresholds else (self.source,)

    @property
    def in_shape(self) -> tuple[int, int, int]:
        return self.shape

    @property
    def out_shape(self) -> tuple[int, int, int]:
        return self.shape

    @property
    def issued(self) -> tuple[int, int]:
        return self.shape[1:]

    @property
    def halved(self) -> bool:
        return self.x is not None and not self.vector

    @property
    def vector(self) -> bool:
        return isinstance(self.x_op, I.GlobalSum)


def is_late(name: str, consumers: dict[str, list[Node]]) -> bool:
    """Whether the bits of a map are made by a pass over it."""
    return any(isinstance(node.op, J.DynamicThreshold) and node.inputs[0] == name
               for node in consumers[name])


def extract_passes(graph: Graph, types, consumers) -> list[MapPass]:
    """A pass for every comparison with run-time thresholds. Raises UnsupportedError."""
    return [_pass(node, types, consumers) for node in graph
            if isinstance(node.op, J.DynamicThreshold)]


def sum_pass(node: Node, types) -> MapPass:
    """A pass for the channel sums of a map that no single step makes."""
    source = node.inputs[0]
    return MapPass(node, source, None, node.name, node.op, types[source].shape)


def _pass(node: Node, types, consumers) -> MapPass:
    source, thresholds = node.inputs
    shape, x, x_op = types[source].shape, None, None
    for reader in consumers[node.name]:
        if reader.op.weight.shape[2] == 1:
            raise UnsupportedError("run-time thresholds before a 1x1 binary convolution have no "
                                   "step", where=reader.source or reader.name)
    for reader in consumers[source]:
        op, made = reader.op, reader.name
        if isinstance(op, I.Conv2d) and op.stride == 2:
            op, made = EverySecond(), f"{source}.even"
        elif isinstance(op, J.SubsamplePad):
            _check_padding(reader, consumers)
        elif not isinstance(op, I.AvgPool2x2):
            if isinstance(op, J.DynamicThreshold) and reader is not node:
                raise UnsupportedError("a map may be binarised once", where=reader.name)
            continue
        if x not in (None, made):
            raise UnsupportedError("a map may be made smaller in one way", where=made)
        if shape[1] % 2 or shape[2] % 2:
            raise UnsupportedError(f"a shortcut with half the pixels of an odd map {shape[1]}x"
                                   f"{shape[2]}", where=made)
        x, x_op = made, op
    return MapPass(node, source, thresholds, x, x_op, shape)


def _check_padding(node: Node, consumers) -> None:
    if node.op.before:
        raise UnsupportedError("an option-A shortcut with zero channels before the others has no "
                               "step", where=node.source or node.name,
                               hint="lower the network with this compiler's passes")
    if not all(isinstance(reader.op, I.Add) for reader in consumers[node.name]):
        raise UnsupportedError("an option-A shortcut may only be added", where=node.name)
