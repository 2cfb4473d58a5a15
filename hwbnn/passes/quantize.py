"""Folded float graph -> integer graph (numeric contract). Lossy by nature; its loss is reported."""

import math

import numpy as np

from .. import ints
from ..errors import UnsupportedError
from ..ir import Decision, Graph, Node
from ..ops import float_dynamic as D
from ..ops import float_gain as G
from ..ops import float_levels as L
from ..ops import float_ops as F
from ..ops import int_ops as I
from ..ops.int_dynamic import FlatSaturate
from .calibrate import Calibration
from .numeric import SLOPES, Numeric
from .quantize_dynamic import DynamicHandlers, is_flat, sigmoid_frac, unstored
from .quantize_gain import GainHandlers
from .quantize_levels import LevelHandlers
from .scale_digits import HEADROOM, of_digits
from .shifts import half, largest_shift, limit_shifts

__all__ = ["quantize"]

ONE_BIT = 2  # two's complement width of +-1
IMAGE_BITS, STEM_BITS = 12, 8  # of the first convolution's weights, without and with a max-pool
ELEMENTWISE = (F.FAdd, F.FRPReLU, F.FAvgPool2d, F.FMaxPool2d, F.FRepeat, D.FHardtanh, D.FReLU,
               D.FSubsamplePad, G.FConcat, L.FMinMax)


def quantize(graph: Graph, calibration: Calibration, numeric: Numeric) -> Graph:
    """Choose fixed-point positions and build the integer network.

    Raises UnsupportedError, naming the layer, for a float op without an integer form.
    """
    return _Quantizer(graph, calibration, numeric).run()


class _Quantizer(DynamicHandlers, GainHandlers, LevelHandlers):
    def __init__(self, graph: Graph, calibration: Calibration, numeric: Numeric):
        self.graph, self.calibration, self.numeric = graph, calibration, numeric
        self.types = graph.types()
        self.consumers = graph.consumers()
        self.nodes: list[Node] = []
        self.decisions = list(graph.decisions)
        self.factor: dict[str, np.ndarray] = {}  # real = int * 2**-frac * factor[c]
        self.frac: dict[str, int] = {}
        self.weight_scale: dict[str, np.ndarray] = {}
        self.pixel_scale: dict[str, np.ndarray] = {}
        self.sign: dict[str, np.ndarray] = {}  # of channels whose weights were negated
        self.slope_shift = numeric.slope_shift
        self.rprelu = numeric.rprelu
        self.widths: dict[str, int] = {}  # those that follow from the network

    def run(self) -> Graph:
        self._choose_positions()
        self._choose_rprelu()
        self._choose_slope_shift()
        self._decide("ranges", self.calibration.source, "fixed-point positions follow them")
        self._decide(
            "sign(0)", "+1" if self.numeric.tie else "-1", "PyTorch's 0 has no bit (rule 2)"
        )
        for node in self.graph:
            handler = getattr(self, f"_{type(node.op).__name__}", None)
            if handler is None:
                raise UnsupportedError(
                    f"{type(node.op).__name__} has no integer form", where=node.source or node.name
                )
            handler(node)
        nodes = limit_shifts(self.nodes, self.numeric.max_shifts)
        if self.numeric.scale_digits:
            nodes, decision = of_digits(nodes, self.numeric.scale_digits)
            self.decisions.append(decision)
        meta = dict(self.graph.meta)
        named = ("feature_bits", "weight_bits", "tie")
        meta["numeric"] = {k: getattr(self.numeric, k) for k in named} | self.widths
        meta["numeric"]["rprelu"] = self.rprelu
        meta["numeric"]["scale_digits"] = self.numeric.scale_digits
        return Graph(nodes, self.graph.output, self.decisions, meta)

    def _decide(self, where, chose, why):
        self.decisions.append(Decision(where, str(chose), why))

    # -- fixed-point positions ---------------------------------------------------------------

    def _choose_positions(self) -> None:
        """One position per group of values that additions and element-wise ops tie together."""
        parent = {name: name for name in self.graph.nodes}

        def find(name):
            while parent[name] != name:
                name = parent[name]
            return name

        for node in self.graph:
            if isinstance(node.op, ELEMENTWISE):
                for name in node.inputs:
                    parent[find(name)] = find(node.name)
        peak: dict[str, float] = {}
        passing = unstored(self.graph, self.consumers)
        for node in self.graph:
            root = find(node.name)
            if node.name in passing:
                continue
            peak[root] = max(peak.get(root, 0.0), float(self.calibration.peak[node.name].max()))
        margin = self.numeric.margin if self.calibration.n_images else 1.0
        for node in self.graph:
            top = max(peak[find(node.name)] * margin, 2.0**-6)
            frac = self.numeric.feature_bits - 1 - math.ceil(math.log2(top))
            self.frac[node.name] = max(-8, min(frac, self.numeric.feature_bits - 2))
        sigmoid_frac(self.graph, self.frac, self.numeric)

    def _choose_rprelu(self) -> None:
        """Settle "auto" by the slopes: shifts where they lose nothing."""
        if self.rprelu != "auto":
            return
        slopes = [n.op.slope for n in self.graph if isinstance(n.op, F.FRPReLU)]
        slopes = np.concatenate(slopes) if slopes else np.zeros(0)
        exact = len(slopes) > 0 and bool(_shiftable(slopes).all())
        self.rprelu = "shift" if exact else "multiplier"
        if exact:
            low, high = SLOPES
            self._decide("rprelu", "shift", f"all {len(slopes)} slopes are +-2^k with k in "
                         f"{low}..{high}, so shifts lose nothing")
        elif len(slopes):
            self._decide("rprelu", "multiplier", f"{int((~_shiftable(slopes)).sum())} of "
                         f"{len(slopes)} slopes are no power of two that a shift reaches")

    def _choose_slope_shift(self) -> None:
        slopes = [np.abs(n.op.slope).max() for n in self.graph if isinstance(n.op, F.FRPReLU)]
        limit = ints.signed_range(I.MULTIPLIER_BITS)[1]
        while slopes and max(slopes) * 2.0**self.slope_shift > limit:
            self.slope_shift -= 1

    # -- one method per float op -------------------------------------------------------------

    def _FInput(self, node):
        op = node.op
        frac = self.numeric.input_frac
        offset = np.round(255.0 * op.mean * 2**frac).astype(np.int64)
        self.frac[node.name] = frac
        self.pixel_scale[node.name] = 1.0 / (255.0 * np.asarray(op.std, dtype=np.float64))
        self.nodes.append(
            Node(node.name, I.QuantizeInput(tuple(op.shape), frac, offset), (), node.source)
        )
        self._decide(
            node.name,
            f"(pixel << {frac}) - {offset.tolist()}",
            "padding is 0 in the normalised domain: the mean colour, exact to 2^-frac of a level",
        )

    def _FConv2d(self, node):
        weight = node.op.weight.astype(np.float64)
        source = node.inputs[0]
        bits = self.numeric.weight_bits
        sign = self._signs_before_max_pool(node)
        if source in self.pixel_scale:
            bits = self.numeric.image_weight_bits or (IMAGE_BITS if sign is None else STEM_BITS)
            self.widths["image_weight_bits"] = bits
            weight = weight * self.pixel_scale[source][None, :, None, None]
        elif source in self.factor:
            weight = weight * self.factor[source][None, :, None, None]
        if sign is not None:
            weight = weight * sign[:, None, None, None]
        self._conv(node, weight, node.op.stride, node.op.padding, bits)

    def _signs_before_max_pool(self, node) -> np.ndarray | None:
        """-1 for channels whose gain is negative, where a max-pool follows the affine.

        Hardware may pool before the affine if that never decreases. Weights are symmetric, so
        negating a channel's weights and its gain changes no value of the affine.
        """
        affine = next((n for n in self.consumers[node.name] if isinstance(n.op, F.FAffine)), None)
        if affine is None or not any(
            isinstance(n.op, F.FMaxPool2d) for n in self.consumers[affine.name]
        ):
            return None
        sign = np.where(affine.op.scale < 0, -1.0, 1.0)
        self.sign[node.name] = sign
        negated = int((sign < 0).sum())
        self._decide(
            node.name, f"weights of {negated} of {len(sign)} channels negated",
            "their gain is negative; now the max-pool may come before the affine",
        )
        return sign

    def _conv(self, node, weight, stride, padding, bits, name=None):
        top = np.abs(weight).max(axis=(1, 2, 3))
        if (np.abs(weight) == top[:, None, None, None]).all():
            bits = ONE_BIT  # +-1 times a scale: exact, and adders do
        hi = ints.signed_range(bits)[1]
        scale = np.where(top > 0, top / hi, 1.0)
        quantized = np.rint(weight / scale[:, None, None, None]).astype(np.int64)
        name = name or node.name
        self.frac[name] = self.frac[node.inputs[0]]
        self.weight_scale[name] = scale
        op = I.Conv2d(quantized, stride, padding, bits)
        self.nodes.append(Node(name, op, node.inputs, node.source))

    def _FBinaryConv2d(self, node):
        op = node.op
        new = I.BinaryConv2d(
            op.weight, op.stride, op.padding, op.pad_value, op.codebook, op.ids
        )
        self.frac[node.name] = 0
        self.nodes.append(Node(node.name, new, node.inputs, node.source))

    def _FAffine(self, node):
        source = node.inputs[0]
        scale = node.op.scale * self.sign.get(source, 1.0)
        self._affine(node, source, scale, node.op.bias)

    def _affine(self, node, source, scale, bias, conv_peak=None):
        binary = source not in self.weight_scale
        unit = 1.0 if binary else self.weight_scale[source] * 2.0 ** -self.frac[source]
        if conv_peak is None:
            conv_peak = self.calibration.peak[source]
        pre = 0
        if not binary:
            # one bit of head-room above the calibrated accumulator; saturation is counted
            top = float((2.0 * conv_peak / unit).max())
            bits = max(1, math.ceil(math.log2(max(top, 1.0)))) + 1
            pre = max(0, bits - I.MULTIPLIER_BITS)
            pre += -pre % self.numeric.prescale_step
        frac = self.frac[node.name]
        real_gain = scale * unit * 2.0 ** (frac + pre)
        top = np.abs(real_gain).max() * (HEADROOM if self.numeric.scale_digits else 1)
        shift = largest_shift(top, self.numeric.shift_step, node.source or node.name)
        gain = np.rint(real_gain * 2.0**shift).astype(np.int64)
        offset = np.rint(bias * 2.0 ** (frac + shift)).astype(np.int64) + half(shift)
        op = I.Affine(gain, offset, shift, frac, pre)
        if self._main_operand(node):
            self.nodes.append(Node(node.name, op, (source,), node.source))
        else:
            self.nodes.append(Node(f"{node.name}.affine", op, (source,), node.source))
            self._saturate(node, f"{node.name}.affine")

    def _main_operand(self, node) -> bool:
        """Whether an affine goes into a residual sum unsaturated (rule 4: one saturation after).

        That is the operand computed last: the binary convolution's, not the shortcut's.
        """
        consumers = self.consumers[node.name]
        if len(consumers) != 1 or not isinstance(consumers[0].op, F.FAdd):
            return False
        affines = [
            self.graph[i] for i in consumers[0].inputs if isinstance(self.graph[i].op, F.FAffine)
        ]
        binary = [
            a for a in affines if isinstance(self.graph[a.inputs[0]].op, F.FBinaryConv2d)
        ]
        return (binary or affines)[0] is node

    def _saturate(self, node, source):
        kind = FlatSaturate if is_flat(node, self.consumers) else I.Saturate
        op = kind(self.numeric.feature_bits)
        self.nodes.append(Node(node.name, op, (source,), node.source))

    def _FAdd(self, node):
        self.nodes.append(Node(f"{node.name}.sum", I.Add(), node.inputs, node.source))
        self._saturate(node, f"{node.name}.sum")

    def _FRPReLU(self, node):
        bias = np.rint(node.op.bias * 2.0 ** self.frac[node.name]).astype(np.int64)
        slope = node.op.slope
        if self.rprelu == "shift":
            # a zero slope becomes a shift that leaves nothing of any 16-bit value
            exponent = np.where(
                slope == 0, SLOPES[0], np.rint(np.log2(np.maximum(np.abs(slope), 2.0**-30)))
            )
            exponent = np.clip(exponent, *SLOPES).astype(np.int64)
            sign = np.where(slope < 0, -1, 1).astype(np.int64)
            error = np.abs(sign * 2.0**exponent - slope).max()
            if error:
                self._decide(
                    node.name, "slopes rounded to powers of two", f"largest slope error {error:.4f}"
                )
            op = I.ShiftRPReLU(sign, exponent, bias)
        else:
            slope = np.rint(slope * 2.0**self.slope_shift).astype(np.int64)
            op = I.RPReLU(slope, bias, self.slope_shift)
        self.nodes.append(Node(f"{node.name}.rprelu", op, node.inputs, node.source))
        self._saturate(node, f"{node.name}.rprelu")

    def _FThreshold(self, node):
        lo, hi = ints.signed_range(self.numeric.feature_bits)
        exact = -node.op.move * 2.0 ** self.frac[node.inputs[0]]
        thr = np.ceil(exact) if self.numeric.tie else np.floor(exact) + 1
        # codes: lo fires always, hi + 1 never
        thr = np.clip(thr, lo, hi + 1).astype(np.int64)
        self.nodes.append(Node(node.name, I.Threshold(thr), node.inputs, node.source))

    def _FAvgPool2d(self, node):
        if node.op.kernel != 2:
            raise UnsupportedError(
                f"average pool of {node.op.kernel} has no hardware", where=node.name,
                hint="2x2 stride 2 has",
            )
        self.nodes.append(Node(node.name, I.AvgPool2x2(), node.inputs, node.source))

    def _FRepeat(self, node):
        self.nodes.append(Node(node.name, I.Repeat(node.op.times), node.inputs, node.source))

    def _FMaxPool2d(self, node):
        op = I.MaxPool2d(node.op.kernel, node.op.stride, node.op.padding)
        if isinstance(self.graph[node.inputs[0]].op, F.FBinaryConv2d):
            self._pool_of_sums(node)
        self.nodes.append(Node(node.name, op, node.inputs, node.source))

    def _FGlobalAvgPool(self, node):
        _c, h, w = self.types[node.inputs[0]].shape
        bits = self.numeric.feature_bits
        margin = self.numeric.margin if self.calibration.n_images else 1.0
        peak = float(self.calibration.peak[node.name].max()) * margin * h * w
        top = peak * 2.0 ** self.frac[node.inputs[0]]
        shift = max(0, math.ceil(math.log2(max(top, 1.0))) + 1 - bits)
        self.frac[node.name] = self.frac[node.inputs[0]] - shift
        self.factor[node.name] = np.full(self.types[node.name].shape[0], 1.0 / (h * w))
        self.nodes.append(Node(node.name, I.GlobalSum(shift, bits), node.inputs, node.source))
        self._decide(node.name, f"sum >> {shift}", f"1/{h * w} is folded into the classifier")

    def _FLinear(self, node):
        weight = node.op.weight.astype(np.float64)
        source = node.inputs[0]
        peak = self.calibration.peak[node.name] + np.abs(node.op.bias)
        if source in self.factor:
            weight = weight * self.factor[source][None, :]  # of a global mean: a vector
        name = f"{node.name}.dot"
        bits = self.numeric.weight_bits
        if node.name == self.graph.output:
            bits = self.numeric.classifier_weight_bits or bits
            self.widths["classifier_weight_bits"] = bits
        c, h, w = self.types[source].shape
        if h != w:
            raise UnsupportedError(f"a classifier on a map of {h}x{w} has no integer form",
                                   where=node.source or node.name, hint="square maps have")
        # a dense layer on a map is a convolution as large as the map
        self._conv(node, weight.reshape(-1, c, h, w), 1, 0, bits, name)
        self._affine(node, name, np.ones(len(weight)), node.op.bias.astype(np.float64), peak)


def _shiftable(slopes: np.ndarray) -> np.ndarray:
    """Where a slope is +-2**k with k in SLOPES."""
    mantissa, exponent = np.frexp(np.abs(slopes))  # |slope| = mantissa * 2**exponent
    low, high = SLOPES
    return (mantissa == 0.5) & (exponent - 1 >= low) & (exponent - 1 <= high)
