"""Channel orders in which an option-A shortcut adds channel groups to channel groups."""

import dataclasses

import numpy as np

from ..ir import Decision, Graph, Node
from ..ops import float_dynamic as D
from ..ops import float_ops as F

__all__ = ["align_channels"]

# ops that leave every channel where it is, and treat it apart from the others
CHANNELWISE = (F.FAffine, F.FAdd, F.FRPReLU, F.FThreshold, F.FAvgPool2d, F.FMaxPool2d,
               F.FGlobalAvgPool, D.FHardtanh, D.FReLU, D.FSigmoid, D.FDynamicThreshold)
MIXING = (F.FConv2d, F.FBinaryConv2d, F.FLinear)  # whose outputs may come in any order


def align_channels(graph: Graph) -> Graph:
    """Put the zero channels of every option-A shortcut behind the others (folded float graph).

    A shortcut that pads ``before`` channels adds channel c to channel before + c, which are
    different lanes of an engine. The maps behind it are therefore computed in another order of
    their channels: weights and constants are permuted, and read back by whoever reads the map.
    Values are the same, at other places; the logits keep their places. Shortcuts whose map has a
    fixed order stay as they are.
    """
    if not any(isinstance(n.op, D.FSubsamplePad) and n.op.before for n in graph):
        return graph
    orders, moved = _orders(graph)
    nodes = [_permuted(node, orders, moved) for node in graph]
    decisions = [Decision(name, "zero channels last", "its channels, and those of the maps added "
                          "to it, are computed in another order: an addition then joins equal "
                          "lanes") for name in moved]
    return Graph(nodes, graph.output, [*graph.decisions, *decisions], graph.meta)


def _orders(graph: Graph) -> tuple[dict[str, np.ndarray], list[str]]:
    """For each value the old channel at every place (int64), and which shortcuts change."""
    types = graph.types()
    parent = {name: name for name in graph.nodes}

    def find(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for node in graph:
        if isinstance(node.op, CHANNELWISE):
            for name in node.inputs:
                parent[find(name)] = find(node.name)
    fixed = {find(graph.output)}
    for node in graph:
        if not isinstance(node.op, (*CHANNELWISE, *MIXING, D.FSubsamplePad)):
            fixed |= {find(name) for name in (node.name, *node.inputs)}
    order = {find(name): np.arange(types[name].shape[0]) for name in graph.nodes}
    moved = []
    for node in graph:
        if not isinstance(node.op, D.FSubsamplePad):
            continue
        root = find(node.name)
        if node.op.before == 0 or root in fixed:
            fixed.add(root)
            continue
        inner = node.op.before + order[find(node.inputs[0])]
        rest = np.setdiff1d(np.arange(types[node.name].shape[0]), inner)
        order[root] = np.concatenate([inner, rest])
        fixed |= {root, find(node.inputs[0])}
        moved.append(node.name)
    return {name: order[find(name)] for name in graph.nodes}, moved


def _permuted(node: Node, orders: dict[str, np.ndarray], moved: list[str]) -> Node:
    op, out = node.op, orders[node.name]
    if isinstance(op, D.FSubsamplePad):
        if node.name in moved:
            op = D.FSubsamplePad(0, op.before + op.after)
    elif isinstance(op, MIXING):
        op = _mixing(op, out, orders[node.inputs[0]])
    elif isinstance(op, CHANNELWISE):
        arrays = {f.name: getattr(op, f.name) for f in dataclasses.fields(op)}
        op = dataclasses.replace(op, **{k: v[out] for k, v in arrays.items()
                                        if isinstance(v, np.ndarray)})
    return Node(node.name, op, node.inputs, node.source)


def _mixing(op, out: np.ndarray, into: np.ndarray):
    """A convolution or dense layer between two orders; dense weights are channel by channel."""
    shape = op.weight.shape
    weight = op.weight.reshape(len(out), len(into), -1)[out][:, into].reshape(shape)
    more = {}
    if isinstance(op, F.FLinear):
        more["bias"] = op.bias[out]
    elif isinstance(op, F.FBinaryConv2d) and op.ids is not None:
        more["ids"] = op.ids[out][:, into]
    return dataclasses.replace(op, weight=weight, **more)
