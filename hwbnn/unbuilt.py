"""Integer ops that no hardware computes yet, refused by name before a machine is planned."""

from .errors import UnsupportedError
from .gain_layers import has_gains
from .ir import Graph
from .ops.int_levels import MinMax

__all__ = ["refuse_unbuilt"]


def refuse_unbuilt(graph: Graph) -> None:
    """Raise UnsupportedError, naming the first node of ``graph`` that has no hardware yet."""
    if has_gains(graph):
        return
    for node in graph:
        if isinstance(node.op, MinMax):
            raise UnsupportedError(
                "a quantiser whose range each image decides has hardware only in networks with "
                "gains of each image", where=node.name,
                hint="hwbnn infer --path int-model runs this network in integers")
