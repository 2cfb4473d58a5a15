"""The one-bit baseline of a sub-bit network: the same kernels, stored as plain bits."""

import dataclasses

from .ir import Decision, Graph, Node
from .ops.int_ops import BinaryConv2d

__all__ = ["one_bit"]


def one_bit(graph: Graph) -> Graph:
    """The same integer network without codebooks; every output stays as it is."""
    nodes = []
    for node in graph:
        op = node.op
        if isinstance(op, BinaryConv2d) and op.codebook is not None:
            op = dataclasses.replace(op, codebook=None, ids=None)
        nodes.append(Node(node.name, op, node.inputs, node.source))
    made = Decision("kernels", "stored as 9 plain bits", "asked for: the one-bit baseline")
    return Graph(nodes, graph.output, [*graph.decisions, made], graph.meta)
