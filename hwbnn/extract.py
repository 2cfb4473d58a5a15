"""From an integer graph to the layers of its engine, whatever family it is of."""

from .gain_layers import extract_gain_layers, has_gains
from .ir import Graph
from .layers import Layer, extract_layers
from .map_pass import MapPass

__all__ = ["extract"]


def extract(graph: Graph) -> list[Layer | MapPass]:
    """Layers and passes in an order in which each one's inputs exist.

    Raises UnsupportedError, naming the node, for a shape of network the engine has no step for.
    """
    return extract_gain_layers(graph) if has_gains(graph) else extract_layers(graph)
