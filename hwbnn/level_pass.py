"""Passes that bring a stored map or vector to levels between its least and largest value."""

import dataclasses

from .errors import UnsupportedError
from .ir import Graph, Node
from .map_pass import MapPass
from .ops import int_dynamic as D
from .ops import int_ops as I
from .ops.int_levels import MinMax

__all__ = ["LevelPass", "is_cut", "level_pass"]


@dataclasses.dataclass(frozen=True, eq=False)
class LevelPass(MapPass):
    """Two readings of the stored map or vector ``source``: for its ranges, and for the levels of
    its values, which ``x`` names. Values are cut to ±``limit`` first.

    A vector has one range, a map one a channel (see `MinMax`).
    """

    levels: MinMax | None = None
    limit: int = 0

    halved = False

    @property
    def vector(self) -> bool:
        return self.shape[1:] == (1, 1)


def is_cut(node: Node, consumers: dict[str, list[Node]]) -> bool:
    """Whether a clamp is part of the quantiser behind it."""
    readers = consumers[node.name]
    return (isinstance(node.op, D.Clamp) and len(readers) == 1
            and isinstance(readers[0].op, MinMax))


def level_pass(graph: Graph, node: Node, types, consumers) -> LevelPass:
    """The pass that a quantiser is. Raises UnsupportedError."""
    where = node.source or node.name
    cut = graph[node.inputs[0]]
    if not is_cut(cut, consumers) or cut.op.lo != -cut.op.hi:
        raise UnsupportedError("a quantiser whose range each image decides needs a clamp to ± a "
                               "limit before it, its own", where=where)
    if not all(isinstance(reader.op, I.Conv2d) for reader in consumers[node.name]):
        raise UnsupportedError("values on levels of the image may only go to multi-bit 1x1 "
                               "convolutions and dense layers", where=where)
    shape = types[node.name].shape
    if shape[2] == 1 and shape[1] > 1:
        raise UnsupportedError(f"a range of all channels of a map {shape[1]}x1 has no step",
                               where=where)
    return LevelPass(node, cut.inputs[0], None, node.name, None, shape, node.op, cut.op.hi)
