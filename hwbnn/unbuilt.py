"""Integer ops that no hardware computes yet, refused by name before a machine is planned."""

from .errors import UnsupportedError
from .ir import Graph
from .ops.int_levels import MinMax

__all__ = ["refuse_unbuilt"]

WHAT = {
    MinMax: "a quantiser whose range each image decides",
}


def refuse_unbuilt(graph: Graph) -> None:
    """Raise UnsupportedError, naming the first node of ``graph`` that has no hardware yet."""
    for node in graph:
        if type(node.op) in WHAT:
            raise UnsupportedError(
                f"{WHAT[type(node.op)]} has no hardware yet", where=node.name,
                hint="hwbnn infer --path int-model runs this network in integers")
