"""Group an integer graph into layers: one convolution each, with what the lanes do behind it."""

import dataclasses

from .errors import UnsupportedError
from .ir import Graph, Node
from .map_pass import EverySecond, MapPass, extract_passes, is_late, sum_pass
from .ops import int_dynamic as J
from .ops import int_ops as I
from .plain import Plain

__all__ = ["EverySecond", "Layer", "check_geometry", "extract_layers", "graph_input",
           "grouped_bits", "is_stem", "ordered", "stem_pool"]


@dataclasses.dataclass(frozen=True, eq=False)
class Layer(Plain):
    """A convolution and the chain that one pass of the engine computes with it.

    ``source`` names the value read (bits, image or multi-bit map), ``value`` the saturated result,
    ``residual`` the map added, ``repeats`` times one behind the other, ``bits`` the Threshold made
    of the result. ``x`` names what the dense array reads later: ``value`` itself, its 2x2 mean,
    its even rows and columns, or its channel sums. ``stored`` says that ``value`` is kept in the
    feature memory (as a later residual, or as the logits); a residual may also be another layer's
    ``x``.
    ``grouped`` says that the bits are stored by channel groups, for 1x1 convolutions.
    ``pool`` is the max-pool fused behind a 7x7 first convolution; ``out_shape`` is then the pooled
    map's and ``conv_shape`` the convolution's own.
    ``max_pool`` says that the convolution's sums are max-pooled 2x2. ``clamp`` limits the sum
    beyond its saturation. ``residual_channels`` are fewer than the result's where the others are
    zero. Where thresholds come at run time, ``x`` may be the sigmoid of a vector, and a map whose
    channel sums are ``x`` is stored, too; bits are made by a MapPass. ``ahead`` says that a first
    3x3 convolution has a unit of its own, which computes the next image meanwhile. ``centred`` says
    of a 1x1 binary convolution that its map lies by rows; ``bits_in`` names bits in whose words,
    from channel ``bits_at`` on, its own lie, and ``reads_at`` says where those that it reads lie in
    words (see row_bits).
    """

    conv: Node
    affine: I.Affine
    source: str
    value: str
    residual: str | None
    act: I.RPReLU | I.ShiftRPReLU | None
    bits: str | None
    threshold: I.Threshold | None
    x: str | None
    x_op: I.AvgPool2x2 | EverySecond | I.GlobalSum | J.Sigmoid | None
    stored: bool
    in_shape: tuple[int, int, int]
    conv_shape: tuple[int, int, int]
    out_shape: tuple[int, int, int]
    is_output: bool
    pool: I.MaxPool2d | None = None
    grouped: bool = False
    repeats: int = 1
    clamp: J.Clamp | None = None
    max_pool: bool = False
    residual_channels: int = 0
    ahead: bool = False
    centred: bool = False
    bits_in: str | None = None
    bits_at: int = 0
    reads_at: int = 0

    map_pass = False

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the values it reads."""
        return (self.source,) if self.residual is None else (self.source, self.residual)

    def takes_place_of(self, residual: tuple[int, int, int]) -> bool:
        """Whether the result may be stored over a residual of that shape: word by word, over its
        last copy where it is used several times."""
        return (residual[0] * self.repeats, *residual[1:]) == self.out_shape

    @property
    def vector(self) -> bool:
        """Whether ``x`` is one value a channel."""
        return self.x is not None and (isinstance(self.x_op, I.GlobalSum)
                                       or self.out_shape[1:] == (1, 1))

    @property
    def name(self) -> str:
        return self.conv.name

    @property
    def binary(self) -> bool:
        return isinstance(self.conv.op, I.BinaryConv2d)

    @property
    def pointwise(self) -> bool:
        """Whether it is a 1x1 binary convolution."""
        return self.binary and self.conv.op.weight.shape[2] == 1

    @property
    def by_groups(self) -> bool:
        """Whether it reads six channel words of a pixel at once."""
        return self.pointwise and not self.centred

    @property
    def macs(self) -> int:
        """Multiply-accumulates per frame, padded taps included."""
        _o, h, w = self.conv_shape
        return h * w * self.conv.op.weight.size

    @property
    def halved(self) -> bool:
        """Whether ``x`` has half the rows and columns."""
        return isinstance(self.x_op, I.AvgPool2x2 | EverySecond)

    @property
    def issued(self) -> tuple[int, int]:
        """Rows and columns that the engine computes: those of the map before a max-pool."""
        return self.conv_shape[1:] if self.max_pool else self.out_shape[1:]

    @property
    def stem(self) -> bool:
        """Whether a unit beside the engine computes it: 7x7 on the image, with its max-pool, or
        3x3 on the image, an image ahead."""
        return self.pool is not None or self.ahead

    @property
    def from_image(self) -> bool:
        """Whether the dense array computes it from the image: 3x3."""
        return not self.binary and not self.stem and self.conv.op.padding == 1

    @property
    def from_x(self) -> bool:
        """Whether the dense array computes it from a map: 1x1, or as large as the map."""
        return not self.binary and not self.stem and self.conv.op.padding == 0

    @property
    def plus_minus(self) -> bool:
        """Whether it is a 1x1 layer of a multi-bit map whose weights are all ±1."""
        return self.from_x and not self.flat and bool((abs(self.conv.op.weight) == 1).all())

    @property
    def flat(self) -> bool:
        """Whether it is a dense layer on all pixels of a map."""
        return self.from_x and self.conv.op.weight.shape[2] > 1


def extract_layers(graph: Graph) -> list[Layer | MapPass]:
    """Layers and passes in an order in which each one's inputs exist.

    Raises UnsupportedError, naming the node, for a shape of network the engine has no step for.
    """
    types, consumers = graph.types(), graph.consumers()
    layers = [
        _layer(graph, node, types, consumers)
        for node in graph
        if isinstance(node.op, I.Conv2d | I.BinaryConv2d)
    ]
    passes = extract_passes(graph, types, consumers)
    for i, layer in enumerate(layers):
        if layer.stem and passes and isinstance(layer.x_op, I.GlobalSum):
            passes.append(sum_pass(graph[layer.x], types))  # the stem's steps make a row each
            layers[i] = dataclasses.replace(layer, x=None, x_op=None)
    static = next((layer.bits for layer in layers if layer.bits), None)
    if passes and static:
        raise UnsupportedError("constant thresholds beside run-time ones have no step",
                               where=static)
    place = {name: i for i, name in enumerate(graph.nodes)}
    return ordered(sorted([*layers, *passes], key=lambda layer: place[layer.name]),
                    graph_input(graph).name)


def graph_input(graph: Graph) -> Node:
    """The QuantizeInput node."""
    for node in graph:
        if isinstance(node.op, I.QuantizeInput):
            return node
    raise UnsupportedError("the graph has no image input")


def _layer(graph: Graph, conv: Node, types, consumers) -> Layer:
    def only(name: str, *kinds) -> Node | None:
        """The single consumer of ``name`` if it is one of ``kinds``."""
        followers = consumers[name]
        return followers[0] if len(followers) == 1 and isinstance(followers[0].op, kinds) else None

    check_geometry(conv, types)
    max_pool = only(conv.name, I.MaxPool2d) if isinstance(conv.op, I.BinaryConv2d) else None
    if max_pool is not None:
        _check_pool(max_pool, types[conv.name].shape)
    affine = only((max_pool or conv).name, I.Affine)
    if affine is None:
        raise UnsupportedError(
            "a convolution must be followed by one affine", where=conv.source or conv.name
        )
    end, residual, repeats, channels = affine.name, None, 1, types[affine.name].shape[0]
    add = only(end, I.Add)
    if add is not None:
        residual = add.inputs[0] if add.inputs[1] == end else add.inputs[1]
        if isinstance(graph[residual].op, I.Repeat):
            residual, repeats = graph[residual].inputs[0], graph[residual].op.times
        elif isinstance(graph[residual].op, J.SubsamplePad):
            channels = types[graph[residual].inputs[0]].shape[0]
        end = add.name
    saturate = only(end, I.Saturate)
    if saturate is None:
        raise UnsupportedError("an affine must be saturated before it is used", where=end)
    value, act, pool = saturate.name, None, None
    if is_stem(conv, types):
        pool, value = stem_pool(conv, affine.op, only(value, I.MaxPool2d))
        if residual:
            raise UnsupportedError("the first convolution has a residual", where=conv.name)
    rprelu = only(value, I.RPReLU, I.ShiftRPReLU)
    if rprelu is not None:
        act = rprelu.op
        value = only(rprelu.name, I.Saturate).name
    clamp = only(value, J.Clamp)
    if clamp is not None:
        value = clamp.name
    bits = threshold = x = x_op = None
    late = is_late(value, consumers)
    grouped = False
    stored = value == graph.output
    for node in consumers[value]:
        if isinstance(node.op, I.Threshold):
            if bits:
                raise UnsupportedError("a map may be binarised once", where=node.name)
            bits, threshold = node.name, node.op
            grouped = grouped_bits(node, consumers)
        elif isinstance(node.op, I.Add | I.Repeat):
            stored = True
        elif late and _of_pass(node):
            stored = True
        elif isinstance(node.op, I.AvgPool2x2 | I.GlobalSum | I.Conv2d | J.Sigmoid):
            _c, h, w = types[value].shape
            made, how = node.name, node.op
            if isinstance(node.op, I.Conv2d):
                made, how = _dense_source(node), EverySecond() if node.op.stride == 2 else None
            if isinstance(how, I.AvgPool2x2 | EverySecond) and (h % 2 or w % 2):
                raise UnsupportedError(f"a shortcut with half the pixels of an odd map {h}x{w}",
                                       where=node.name)
            if x not in (None, made):
                raise UnsupportedError("a map may feed the dense array in one form", where=made)
            x, x_op = made, how
        else:
            raise UnsupportedError(
                f"{type(node.op).__name__} has no place behind a convolution", where=node.name
            )
    if pool is not None and isinstance(x_op, I.AvgPool2x2 | EverySecond):
        raise UnsupportedError("a shortcut with half the pixels behind the first max-pool has no "
                               "step yet", where=x)
    if max_pool is not None:
        _check_behind_pool(max_pool, residual, act, bits, x_op)
    source, in_shape = conv.inputs[0], types[conv.inputs[0]].shape
    if isinstance(conv.op, I.Conv2d) and conv.op.weight.shape[2] == 1 and conv.op.stride == 2:
        source, in_shape = _dense_source(conv), (in_shape[0], *types[conv.name].shape[1:])
    return Layer(
        conv, affine.op, source, value, residual, act, bits, threshold, x, x_op, stored,
        in_shape, types[conv.name].shape, types[value].shape,
        value == graph.output, pool, grouped, repeats, clamp.op if clamp else None,
        max_pool is not None, channels,
    )


def _check_pool(node: Node, shape: tuple[int, int, int]) -> None:
    """A max-pool of a binary convolution's sums."""
    op = node.op
    if (op.kernel, op.stride, op.padding) != (2, 2, 0) or shape[1] % 2 or shape[2] % 2:
        raise UnsupportedError(
            f"a max-pool of {op.kernel}x{op.kernel} with stride {op.stride} and padding "
            f"{op.padding} on a map of {shape[1]}x{shape[2]} has no step",
            where=node.source or node.name, hint="2x2 with stride 2 on even maps has")


def _check_behind_pool(node: Node, residual, act, bits, x_op) -> None:
    """The pool's place is behind the lanes: what they do must be monotonic, and their results are
    the only ones pooled."""
    where = node.source or node.name
    if residual:
        raise UnsupportedError("a residual behind a max-pool of binary sums has no step",
                               where=where)
    falls = act is not None and (
        (act.sign < 0).any() if isinstance(act, I.ShiftRPReLU) else (act.slope < 0).any())
    if falls:
        raise UnsupportedError("a RPReLU with negative slopes behind a max-pool of binary sums has "
                               "no step", where=where)
    if bits or isinstance(x_op, I.AvgPool2x2 | EverySecond):
        raise UnsupportedError("constant thresholds and smaller maps behind a max-pool of binary "
                               "sums have no step", where=where)


def _of_pass(node: Node) -> bool:
    """Whether a reader of a map gets it from the pass that makes its bits."""
    halves = isinstance(node.op, I.Conv2d) and node.op.stride == 2
    return halves or isinstance(node.op, J.DynamicThreshold | J.SubsamplePad | I.AvgPool2x2)


def _dense_source(conv: Node) -> str:
    """What a 1x1 convolution of a multi-bit map reads: of stride 2, every second pixel."""
    return f"{conv.inputs[0]}.even" if conv.op.stride == 2 else conv.inputs[0]


def grouped_bits(threshold: Node, consumers) -> bool:
    """Whether bits go to 1x1 convolutions; they are stored in another order then."""
    kernels = {node.op.weight.shape[2] for node in consumers[threshold.name]}
    if len(kernels) > 1:
        raise UnsupportedError("bits for 3x3 and 1x1 convolutions alike have no step",
                               where=threshold.source or threshold.name)
    return kernels == {1}


def is_stem(conv: Node, types) -> bool:
    """Whether it is a 7x7 first convolution."""
    return (isinstance(conv.op, I.Conv2d) and conv.op.weight.shape[2] == 7
            and not _is_flat(conv, types))


def _is_flat(conv: Node, types) -> bool:
    """Whether its kernel covers the whole map."""
    op, source = conv.op, types[conv.inputs[0]]
    k = op.weight.shape[2]
    return (isinstance(op, I.Conv2d) and k > 1 and (op.stride, op.padding) == (1, 0)
            and source.shape[1:] == (k, k))


def stem_pool(conv: Node, affine: I.Affine, node: Node | None) -> tuple[I.MaxPool2d, str]:
    """The max-pool ``node`` behind a 7x7 convolution and its value's name: it is computed before
    the affine, which must not fall. Raises UnsupportedError."""
    where = conv.source or conv.name
    if node is None or not isinstance(node.op, I.MaxPool2d) or (
            node.op.kernel, node.op.stride, node.op.padding) != (3, 2, 1):
        raise UnsupportedError("a 7x7 first convolution without a 3x3 stride 2 max-pool has no "
                               "step yet", where=where)
    if (affine.gain < 0).any():
        raise UnsupportedError("a max-pool behind a falling affine has no step", where=where,
                               hint="lower the network with this compiler's passes")
    return node.op, node.name


def check_geometry(conv: Node, types) -> None:
    """Raise UnsupportedError for a convolution that the engine has no step for."""
    op, source = conv.op, types[conv.inputs[0]]
    k = op.weight.shape[2]
    where = conv.source or conv.name
    if is_stem(conv, types):
        c, h, w = source.shape
        if (c, op.stride, op.padding) != (3, 2, 3) or h % 4 or w % 4 or min(h, w) < 16:
            raise UnsupportedError(
                f"a 7x7 convolution of {c} channels {h}x{w} with stride {op.stride} and padding "
                f"{op.padding} has no step yet", where=where,
                hint="3 channels, stride 2, padding 3, sides that are multiples of 4 have",
            )
        return
    if _is_flat(conv, types):
        return
    image = source.kind == "int" and k == 3
    if isinstance(op, I.BinaryConv2d) and k == 1:
        if (op.stride, op.padding) != (1, 0):
            raise UnsupportedError(
                f"a 1x1 binary convolution with stride {op.stride} and padding {op.padding} has "
                "no step", where=where, hint="stride 1 and padding 0 have",
            )
        return
    if isinstance(op, I.BinaryConv2d) or image:
        if (k, op.padding) != (3, 1) or op.stride not in (1, 2):
            raise UnsupportedError(
                f"a {k}x{k} convolution with stride {op.stride} and padding {op.padding} has no "
                "step yet",
                where=where,
                hint="3x3 with padding 1 and stride 1 or 2, and binary 1x1, have",
            )
        if min(source.shape[1:]) < 2:
            raise UnsupportedError("a 3x3 window needs a map of 2x2 or more", where=where)
    elif (k, op.padding) != (1, 0) or op.stride not in (1, 2):
        raise UnsupportedError(
            f"a multi-bit {k}x{k} convolution with stride {op.stride} has no step yet",
            where=where,
            hint="3x3 on the image and 1x1 with stride 1 or 2 have",
        )
    if image and source.shape[0] != 3:
        raise UnsupportedError(f"an image of {source.shape[0]} channels", where=where,
                               hint="3 channels (RGB) are supported")


def ordered(layers: list, image: str) -> list[Layer | MapPass]:
    """Stable order in which sources and residuals exist."""
    ready, done, waiting = {image}, [], list(layers)
    while waiting:
        for layer in waiting:
            if set(layer.reads) <= ready:
                waiting.remove(layer)
                done.append(layer)
                # a map may be made in parts
                ready |= set(layer.made) - {name for other in waiting for name in other.made}
                break
        else:
            raise UnsupportedError("no layer's inputs are ready", where=waiting[0].name)
    return done
