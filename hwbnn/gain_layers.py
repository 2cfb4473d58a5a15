"""Layers of networks whose maps get gains of the image: what is summed, mixed and multiplied."""

import dataclasses

import numpy as np

from .errors import UnsupportedError
from .ir import Graph, Node
from .layers import Layer, check_geometry, grouped_bits, is_stem, ordered, stem_pool
from .level_pass import LevelPass, is_cut, level_pass
from .ops import int_dynamic as D
from .ops import int_gain as J
from .ops import int_ops as I
from .ops.int_levels import MinMax

__all__ = ["GainLayer", "computed_twice", "extract_gain_layers", "has_gains"]


@dataclasses.dataclass(frozen=True, eq=False)
class GainLayer(Layer):
    """A Layer of such a network; see `Plain` for its own attributes.

    ``again`` says that it makes bits of the stored map ``residual``, which has others, too.
    ``value`` is the result behind the activation, and behind the product where there is one.
    Bits are made of the value before the activation. ``of`` is 0 or the channels of the map that
    its results are part of.
    """

    sums: str | None = None
    sum_op: I.GlobalSum | None = None
    sum_early: bool = False
    x_early: bool = False
    product: J.Product | None = None
    in_branch: bool = False
    gains: str | None = None
    other: str | None = None
    second: np.ndarray | None = None
    again: bool = False
    at: int = 0
    of: int = 0
    remakes: "GainLayer | None" = None
    serves: "GainLayer | None" = None

    @property
    def weightless(self) -> bool:
        return self.again or self.gains is not None or self.other is not None

    @property
    def joint(self) -> int:
        return self.of or self.out_shape[0]

    @property
    def reads(self) -> tuple[str, ...]:
        more = (self.gains, self.other, *(self.remakes.reads if self.remakes else ()))
        return (*super().reads, *(name for name in more if name))

    @property
    def from_image(self) -> bool:
        return not self.weightless and super().from_image

    @property
    def from_x(self) -> bool:
        return not self.weightless and super().from_x

    @property
    def macs(self) -> int:
        return 0 if self.weightless or self.serves else super().macs


def computed_twice(layers: list[GainLayer], height: int) -> list[GainLayer]:
    """The layers with convolutions whose results wait for gains, in maps of ``height`` rows,
    computed twice: first for the channel sums alone, then, by rows, for the layer that applies the
    gains."""
    found = {layer.value: layer for layer in layers
             if layer.in_branch and layer.binary and layer.sums and not layer.bits
             and layer.out_shape[1] == height}
    sums, result = {}, []
    for layer in layers:
        if layer is found.get(layer.value):
            layer = sums[layer.value] = dataclasses.replace(
                layer, in_branch=False, product=None, residual=None, residual_channels=0)
        elif layer.gains and layer.source in sums:
            first = sums[layer.source]
            again = dataclasses.replace(found[layer.source], sums=None, sum_op=None, serves=first)
            layer = dataclasses.replace(layer, remakes=again)
        result.append(layer)
    return result


def has_gains(graph: Graph) -> bool:
    """Whether a map of the network gets gains of the image."""
    return any(isinstance(node.op, J.GainAffine) for node in graph)


def extract_gain_layers(graph: Graph) -> list[GainLayer | LevelPass]:
    """Layers and passes in an order in which each one's inputs exist.

    Raises UnsupportedError, naming the node, for a shape of network the engine has no step for.
    """
    found = _Finder(graph)
    # quantisers first: what one lacks is said of it, not of what it reads
    passes = [level_pass(graph, node, found.types, found.consumers) for node in graph
              if isinstance(node.op, MinMax)]
    layers = passes + [layer for node in graph for layer in found.layers(node)]
    place = {name: i for i, name in enumerate(graph.nodes)}
    image = next(node.name for node in graph if isinstance(node.op, I.QuantizeInput))
    return ordered(sorted(layers, key=lambda layer: place[layer.name]), image)


class _Finder:
    """Groups nodes; `Layer` keyword arguments are collected in dicts."""

    def __init__(self, graph: Graph):
        self.graph, self.types, self.consumers = graph, graph.types(), graph.consumers()

    def layers(self, node: Node) -> list[GainLayer]:
        """What one node begins: a convolution, a mix of two vectors, or a map's gains."""
        if isinstance(node.op, I.Conv2d | I.BinaryConv2d):
            return [self._conv(node)]
        if isinstance(node.op, J.Mix):
            return [self._mix(node)]
        if isinstance(node.op, J.GainAffine):
            return [self._gain(node)]
        again = isinstance(node.op, I.Threshold) and node is not self._first_bits(node.inputs[0])
        return [self._again(node)] if again else []

    def _first_bits(self, name: str) -> Node | None:
        """The comparison of a map that the layer makes which makes the map."""
        return next((n for n in self.consumers[name] if isinstance(n.op, I.Threshold)), None)

    def _only(self, name: str, *kinds) -> Node:
        """The single consumer of ``name``, which must be of ``kinds``."""
        followers = self.consumers[name]
        if len(followers) != 1 or not isinstance(followers[0].op, kinds):
            names = " or ".join(kind.__name__ for kind in kinds)
            raise UnsupportedError(f"must be followed by one {names}", where=name)
        return followers[0]

    def _conv(self, node: Node) -> GainLayer:
        check_geometry(node, self.types)
        if isinstance(node.op, I.Conv2d) and node.op.weight.shape[2] == 1 and node.op.stride == 2:
            raise UnsupportedError("a 1x1 convolution of stride 2 beside gains of the image has no "
                                   "step", where=node.source or node.name)
        affine = self._only(node.name, I.Affine)
        value = self._only(affine.name, I.Saturate).name
        if not is_stem(node, self.types):
            return self._layer(node, affine.op, node.inputs[0], value)
        readers = self.consumers[value]
        pool, value = stem_pool(node, affine.op, readers[0] if len(readers) == 1 else None)
        layer = self._layer(node, affine.op, node.inputs[0], value, pool=pool)
        if layer.halved:
            raise UnsupportedError("a shortcut with half the pixels behind the first max-pool has "
                                   "no step yet", where=layer.x)
        return layer

    def _mix(self, node: Node) -> GainLayer:
        op = node.op
        half = np.full(len(op.gain_a), (1 << op.shift) >> 1, dtype=np.int64)
        value = self._only(node.name, I.Saturate).name
        return self._layer(node, I.Affine(op.gain_a, half, op.shift, op.frac, 0), node.inputs[0],
                           value, other=node.inputs[1], second=op.gain_b, x_early=True)

    def _gain(self, node: Node) -> GainLayer:
        op, (source, gains) = node.op, node.inputs
        add = self._only(node.name, I.Add)
        residual = add.inputs[0] if add.inputs[1] == node.name else add.inputs[1]
        value = self._only(add.name, I.Saturate).name
        none = np.zeros(len(op.bias), dtype=np.int64)
        affine = I.Affine(none, op.bias, op.shift, self.types[node.name].frac, 0)
        return self._layer(node, affine, source, value, gains=gains, residual=residual,
                           residual_channels=len(op.bias))

    def _again(self, node: Node) -> GainLayer:
        """More bits of a map: nothing, plus the map as a residual, compared again."""
        source = node.inputs[0]
        shape, none = self.types[source].shape, np.zeros(len(node.op.thr), dtype=np.int64)
        if any(isinstance(n.op, I.RPReLU | I.ShiftRPReLU) for n in self.consumers[source]):
            raise UnsupportedError("a map that is binarised twice before an activation has no step",
                                   where=node.source or node.name)
        before = self.graph[source]
        while not isinstance(before.op, I.Affine | J.GainAffine):  # its shift is on the menu
            before = self.graph[before.inputs[0]]
        affine = I.Affine(none, none, before.op.shift, self.types[source].frac, 0)
        return GainLayer(
            conv=node, affine=affine, source=source,
            value=f"{node.name}.map", residual=source, act=None, bits=node.name, threshold=node.op,
            x=None, x_op=None, stored=False, in_shape=shape, conv_shape=shape, out_shape=shape,
            is_output=False, grouped=grouped_bits(node, self.consumers),
            residual_channels=shape[0], again=True, second=none,
        )

    def _layer(self, node: Node, affine, source: str, value: str, **more) -> GainLayer:
        """A layer up to its saturated ``value``, and what becomes of that."""
        types, where = self.types, node.source or node.name
        parts = {"residual": None, "act": None, "bits": None, "threshold": None, "x": None,
                 "x_op": None} | more
        shape = types[value].shape
        joint, at = self._joined(value)
        if joint != value:
            parts |= {"at": at, "of": types[joint].shape[0]}
        channels = slice(at, at + shape[0])
        late = joint
        for reader in self.consumers[joint]:
            op = reader.op
            if isinstance(op, I.RPReLU | I.ShiftRPReLU):
                if parts["act"]:
                    raise UnsupportedError("a map may have one activation", where=where)
                parts["act"] = _cut(op, channels)
                late = self._only(reader.name, I.Saturate).name
            elif isinstance(op, I.Threshold):
                if reader is not self._first_bits(joint):
                    parts["stored"] = True  # for an own step
                    continue
                parts |= {"bits": reader.name, "threshold": I.Threshold(op.thr[channels]),
                          "grouped": grouped_bits(reader, self.consumers)}
        while (clamp := self._clamp(late)) is not None:  # limits within limits are limits
            before = parts.get("clamp") or clamp.op
            parts["clamp"] = D.Clamp(max(before.lo, clamp.op.lo), min(before.hi, clamp.op.hi))
            late = clamp.name
            if parts["act"]:
                raise UnsupportedError("an activation before a clamp has no step", where=where)
        parts |= {"value": late, "stored": late == self.graph.output or "stored" in parts}
        for name in dict.fromkeys((joint, late)):
            for reader in self.consumers[name]:
                self._reader(reader, name, late, parts, where)
        conv_shape = types[node.name].shape
        return GainLayer(
            conv=node, affine=affine, source=source,
            in_shape=types[source].shape, conv_shape=conv_shape, out_shape=shape,
            is_output=late == self.graph.output, **parts,
        )

    def _clamp(self, name: str) -> Node | None:
        """The clamp that alone reads ``name``, but no quantiser's."""
        readers = self.consumers[name]
        alone = len(readers) == 1 and isinstance(readers[0].op, D.Clamp)
        return readers[0] if alone and not is_cut(readers[0], self.consumers) else None

    def _joined(self, name: str) -> tuple[str, int]:
        """The map that ``name`` is part of, and its first channel there."""
        readers = self.consumers[name]
        if len(readers) == 1 and isinstance(readers[0].op, J.Concat):
            first, second = readers[0].inputs
            if first != second:
                at = 0 if name == first else self.types[first].shape[0]
                return readers[0].name, at
        return name, 0

    def _reader(self, node: Node, name: str, late: str, parts: dict, where: str) -> None:
        """Note what one reader of the value (``name``; ``late`` behind the activation) needs."""
        op = node.op
        if isinstance(op, D.Clamp) and is_cut(node, self.consumers):
            self._dense(node, name, parts)
            return
        if isinstance(op, I.RPReLU | I.ShiftRPReLU | I.Threshold | D.Clamp):
            return
        if isinstance(op, I.GlobalSum):
            if parts.get("sums"):
                raise UnsupportedError("a map may be summed once", where=node.name)
            parts |= {"sums": node.name, "sum_op": op, "sum_early": name != late}
        elif name != late:
            raise UnsupportedError("a map that is used before and behind its activation has no "
                                   "step", where=node.name)
        elif isinstance(op, J.Product) and node.inputs[0] == name or isinstance(op, J.GainAffine):
            self._waits(node, parts, where)
        elif isinstance(op, I.Add | J.Product):
            parts["stored"] = True
        elif isinstance(op, I.AvgPool2x2 | I.Conv2d | D.Sigmoid):
            self._dense(node, name, parts)
        else:
            raise UnsupportedError(f"{type(op).__name__} has no place beside gains of the image",
                                   where=node.name)

    def _waits(self, node: Node, parts: dict, where: str) -> None:
        """The map is multiplied by gains later, perhaps by another map first."""
        if parts["residual"] or parts.get("in_branch"):
            raise UnsupportedError("a map with a residual that waits for gains has no step",
                                   where=where)
        parts["in_branch"] = True
        if isinstance(node.op, J.Product):
            value = self._only(node.name, I.Saturate).name
            self._only(value, J.GainAffine)
            parts |= {"product": node.op, "residual": node.inputs[1], "value": value,
                      "residual_channels": self.types[value].shape[0]}

    def _dense(self, node: Node, name: str, parts: dict) -> None:
        """The map, or a vector, goes to the dense array in some form."""
        made, how = node.name, node.op
        shape = self.types[name].shape
        if isinstance(how, I.Conv2d | D.Clamp):
            made, how = name, None
        elif isinstance(how, D.Sigmoid):
            scale = self._only(node.name, J.ScaledGain)
            made = scale.name
            parts |= {"second": scale.op.gain, "x_early": True}
        elif shape[1] % 2 or shape[2] % 2 or shape[1:] == (2, 2):
            raise UnsupportedError(f"a shortcut with half the pixels of a map {shape[1]}x{shape[2]}"
                                   " beside gains has no step", where=made)
        if parts["x"] not in (None, made):
            raise UnsupportedError("a map may feed the dense array in one form", where=made)
        parts |= {"x": made, "x_op": how}


def _cut(op, channels: slice):
    """An activation of some of the channels."""
    arrays = {f.name: getattr(op, f.name) for f in dataclasses.fields(op)
              if isinstance(getattr(op, f.name), np.ndarray)}
    return dataclasses.replace(op, **{name: array[channels] for name, array in arrays.items()})
