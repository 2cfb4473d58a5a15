"""Integer ops that no hardware computes yet, refused by name before a machine is planned."""

from .errors import UnsupportedError
from .ir import Graph
from .ops import int_gain as J
from .ops.int_levels import MinMax

__all__ = ["refuse_unbuilt"]

WHAT = {
    J.Mix: "an SE gain, which each image decides from the whole map,",
    J.ScaledGain: "a gain that each image decides",
    J.GainAffine: "a gain that each image decides",
    J.Product: "the product of two maps",
    J.Concat: "maps put behind one another",
    MinMax: "a quantiser whose range each image decides",
}


def refuse_unbuilt(graph: Graph) -> None:
    """Raise UnsupportedError, naming the first node of ``graph`` that has no hardware yet."""
    for node in graph:
        if type(node.op) in WHAT:
            raise UnsupportedError(
                f"{WHAT[type(node.op)]} has no hardware yet", where=node.name,
                hint="hwbnn infer --path int-model runs this network in integers")
