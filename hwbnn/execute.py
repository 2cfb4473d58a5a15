"""Run a graph node by node, holding only the values that are still to be read."""

from collections.abc import Iterator

import numpy as np

from .ir import Graph, Node

__all__ = ["batch_size", "walk"]

BUDGET = 256 << 20  # bytes of one node's widest working set, in batches of images


def walk(graph: Graph, images: np.ndarray) -> Iterator[tuple[Node, tuple, np.ndarray]]:
    """Yield (node, its inputs' values, its value) in order for uint8 images (N,H,W,C).

    A value is dropped once its last reader has run, so that a deep network on large images needs
    the memory of its widest place and not of its length.
    """
    readers = {name: len(nodes) for name, nodes in graph.consumers().items()}
    held: dict[str, np.ndarray] = {}
    for node in graph:
        args = tuple(held[name] for name in node.inputs) if node.inputs else (images,)
        value = node.op.run(*args)
        for name in set(node.inputs):
            readers[name] -= 1
            if not readers[name]:
                del held[name]
        if readers[node.name]:
            held[node.name] = value
        yield node, args, value


def batch_size(graph: Graph, most: int) -> int:
    """Images to run at once, 1 to ``most``: convolutions unfold their maps k*k times.

    The widest node of a batch, unfolded in float64, stays within 256 MB.
    """
    types = graph.types()
    widest = 1
    for node in graph:
        _c, h, w = types[node.name].shape
        weight = getattr(node.op, "weight", None)
        row = types[node.name].shape[0] if weight is None else weight[0].size
        widest = max(widest, row * h * w, int(np.prod(types[node.name].shape)))
    return max(1, min(most, BUDGET // (8 * widest)))
