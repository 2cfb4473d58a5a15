"""Fold scales, biases and normalisation until each convolution has one affine behind it.

Meaning is kept up to float64 rounding: BN, weight scales and a bias after the residual become
FAffine; PReLU + bias becomes FRPReLU; bias + sign becomes FThreshold. A max-pool of a binary
convolution's sums stays before its FAffine, whose gains may have either sign.
"""

import numpy as np

from ..ir import Decision, Graph, Node
from ..ops.float_gain import FGain, FGainAffine
from ..ops.float_ops import (
    FAdd,
    FAffine,
    FBatchNorm,
    FBias,
    FBinaryConv2d,
    FConv2d,
    FGlobalAvgPool,
    FLinear,
    FMaxPool2d,
    FPReLU,
    FRPReLU,
    FScale,
    FSign,
    FThreshold,
)

__all__ = ["fold_norm"]


def fold_norm(graph: Graph) -> Graph:
    """Graph of FConv2d/FBinaryConv2d -> FAffine -> [FAdd] -> [FRPReLU] and FThreshold."""
    merged = _merge_affines(_to_affines(_pool_first(graph)))
    return _finish(_gains(_push_biases(_into_classifier(merged))))


def _rebuild(graph: Graph, nodes, output: str | None = None) -> Graph:
    return Graph(nodes, output or graph.output, graph.decisions, graph.meta)


def _pool_first(graph: Graph) -> Graph:
    """A max-pool behind a PReLU whose slopes are all >= 0 moves before it: exact, it never falls.

    Then the pool can be fused behind the convolution, and the PReLU runs on fewer values.
    """
    consumers = graph.consumers()
    kept: dict[str, Node] = {}
    renamed: dict[str, str] = {}
    decisions = list(graph.decisions)
    for node in graph:
        node = Node(node.name, node.op, tuple(renamed.get(i, i) for i in node.inputs), node.source)
        before = kept.get(node.inputs[0]) if node.inputs else None
        if (
            isinstance(node.op, FMaxPool2d)
            and isinstance(before.op, FPReLU)
            and len(consumers[before.name]) == 1
            and (before.op.slope >= 0).all()
        ):
            pool = Node(node.name, node.op, before.inputs, node.source)
            del kept[before.name]
            kept[pool.name], renamed[pool.name] = pool, before.name
            node = Node(before.name, before.op, (pool.name,), before.source)
            decisions.append(Decision(
                pool.name, "max-pool before PReLU",
                "no slope is negative, so PReLU never falls and the two commute exactly"))
        kept[node.name] = node
    output = renamed.get(graph.output, graph.output)
    return Graph(kept.values(), output, decisions, graph.meta)


def _to_affines(graph: Graph) -> Graph:
    """FScale, FBatchNorm, FBias -> FAffine; every convolution gets an FAffine of its own."""
    types = graph.types()
    consumers = graph.consumers()
    nodes: list[Node] = []
    renamed: dict[str, str] = {}
    for node in graph:
        inputs = tuple(renamed.get(i, i) for i in node.inputs)
        op = node.op
        if isinstance(op, FScale):
            op = FAffine(op.scale.astype(np.float64), np.zeros(len(op.scale)))
        elif isinstance(op, FBias):
            op = FAffine(np.ones(len(op.bias)), op.bias.astype(np.float64))
        elif isinstance(op, FBatchNorm):
            scale, bias = op.affine
            mean, std = op.spread(None)
            op = FAffine(scale, bias, mean, std)
        nodes.append(Node(node.name, op, inputs, node.source))
        if isinstance(op, FConv2d | FBinaryConv2d):
            followers = _behind_pool(node, consumers)
            if len(followers) != 1 or not isinstance(
                followers[0].op, FScale | FBias | FBatchNorm | FAffine
            ):
                n = types[node.name].shape[0]
                name = f"{node.name}.unit"
                nodes.append(Node(name, FAffine(np.ones(n), np.zeros(n)), (node.name,)))
                renamed[node.name] = name
    return _rebuild(graph, nodes, renamed.get(graph.output))


def _behind_pool(conv: Node, consumers: dict[str, list[Node]]) -> list[Node]:
    """Readers of a convolution; of the max-pool of its integer sums where that is the only one."""
    followers = consumers[conv.name]
    if (
        isinstance(conv.op, FBinaryConv2d)
        and len(followers) == 1
        and isinstance(followers[0].op, FMaxPool2d)
    ):
        return consumers[followers[0].name]
    return followers


def _into_classifier(graph: Graph) -> Graph:
    """An affine between global mean and classifier (BatchNorm1d) becomes part of the latter."""
    consumers = graph.consumers()
    kept: dict[str, Node] = {}
    decisions = list(graph.decisions)
    for node in graph:
        before = kept.get(node.inputs[0]) if node.inputs else None
        if (
            isinstance(node.op, FLinear)
            and isinstance(before.op, FAffine)
            and len(consumers[before.name]) == 1
            and isinstance(kept[before.inputs[0]].op, FGlobalAvgPool)
        ):
            weight = node.op.weight.astype(np.float64)
            op = FLinear(weight * before.op.scale, node.op.bias + weight @ before.op.bias)
            del kept[before.name]
            node = Node(node.name, op, before.inputs, node.source)
            decisions.append(Decision(
                before.name, f"folded into {node.name}",
                "nothing stands between the normalisation and the classifier"))
        kept[node.name] = node
    return Graph(kept.values(), graph.output, decisions, graph.meta)


def _compose(first: FAffine, second: FAffine) -> FAffine:
    mean, std = second.spread_mean, second.spread_std
    if mean is None and first.spread_mean is not None:
        mean = first.spread_mean * second.scale + second.bias
        std = first.spread_std * np.abs(second.scale)
    return FAffine(
        first.scale * second.scale, first.bias * second.scale + second.bias, mean, std
    )


def _merge_affines(graph: Graph) -> Graph:
    """FAffine behind an FAffine that nobody else reads -> one FAffine."""
    consumers = graph.consumers()
    kept: dict[str, Node] = {}
    for node in graph:
        before = kept.get(node.inputs[0]) if node.inputs else None
        if (
            isinstance(node.op, FAffine)
            and before is not None
            and isinstance(before.op, FAffine)
            and len(consumers[before.name]) == 1
        ):
            del kept[before.name]
            node = Node(node.name, _compose(before.op, node.op), before.inputs, before.source)
        kept[node.name] = node
    return _rebuild(graph, kept.values())


def _push_biases(graph: Graph) -> Graph:
    """A bias behind a residual sum moves into the sum's affine operand (move1)."""
    consumers = graph.consumers()
    kept: dict[str, Node] = {}
    renamed: dict[str, str] = {}
    for node in graph:
        inputs = tuple(renamed.get(i, i) for i in node.inputs)
        node = Node(node.name, node.op, inputs, node.source)
        add = kept.get(inputs[0]) if inputs else None
        if (
            isinstance(node.op, FAffine)
            and (node.op.scale == 1).all()
            and add is not None
            and isinstance(add.op, FAdd)
            and len(consumers[add.name]) == 1
        ):
            for operand in add.inputs:
                target = kept.get(operand)
                if target and isinstance(target.op, FAffine) and len(consumers[operand]) == 1:
                    kept[operand] = Node(
                        operand, _compose(target.op, node.op), target.inputs, target.source
                    )
                    renamed[node.name] = add.name
                    break
        if node.name not in renamed:
            kept[node.name] = node
    return _rebuild(graph, kept.values(), renamed.get(graph.output))


def _gains(graph: Graph) -> Graph:
    """FGain [and the FAffine that alone reads it] -> FGainAffine."""
    consumers = graph.consumers()
    types = graph.types()
    kept: dict[str, Node] = {}
    for node in graph:
        before = kept.get(node.inputs[0]) if node.inputs else None
        if isinstance(node.op, FGain):
            n = types[node.name].shape[0]
            op = FGainAffine(np.ones(n), np.zeros(n))
            node = Node(node.name, op, node.inputs, node.source)
        elif (
            isinstance(node.op, FAffine)
            and before is not None
            and isinstance(before.op, FGainAffine)
            and len(consumers[before.name]) == 1
        ):
            del kept[before.name]
            both = _compose(FAffine(before.op.scale, before.op.bias), node.op)
            op = FGainAffine(both.scale, both.bias, both.spread_mean, both.spread_std)
            node = Node(node.name, op, before.inputs, node.source)
        kept[node.name] = node
    return _rebuild(graph, kept.values())


def _finish(graph: Graph) -> Graph:
    """PReLU [+ bias] -> FRPReLU; [bias +] sign -> FThreshold."""
    consumers = graph.consumers()
    types = graph.types()
    kept: dict[str, Node] = {}
    for node in graph:
        before = kept.get(node.inputs[0]) if node.inputs else None
        alone = before is not None and len(consumers[before.name]) == 1
        unit = isinstance(node.op, FAffine) and (node.op.scale == 1).all()
        if isinstance(node.op, FPReLU):
            slope = node.op.slope.astype(np.float64)
            node = Node(
                node.name, FRPReLU(slope, np.zeros(len(slope))), node.inputs, node.source
            )
        elif unit and alone and isinstance(before.op, FRPReLU):
            del kept[before.name]
            op = FRPReLU(before.op.slope, before.op.bias + node.op.bias)
            node = Node(node.name, op, before.inputs, before.source)
        elif isinstance(node.op, FSign):
            n = types[node.name].shape[0]
            move, inputs, source = np.zeros(n), node.inputs, node.source
            if (
                alone
                and isinstance(before.op, FAffine)
                and (before.op.scale == 1).all()
                and not isinstance(kept[before.inputs[0]].op, FConv2d | FBinaryConv2d)
            ):
                del kept[before.name]
                move, inputs, source = before.op.bias, before.inputs, before.source
            node = Node(node.name, FThreshold(move), inputs, source)
        kept[node.name] = node
    return _rebuild(graph, kept.values())
