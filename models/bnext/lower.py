"""BNext as a float graph. The mixed map is never made: its mean is the mix of two means.

Weights of the quantised networks are the values that they are multiplied as.
"""

import numpy as np
import torch

from hwbnn.ops import float_dynamic as D
from hwbnn.ops import float_gain as G
from hwbnn.ops import float_levels as L
from hwbnn.ops import float_ops as F

from ..builder import GraphBuilder
from ..signs import signs
from ..snn.net import STEMS
from .net import Geometry, Geometry18
from .quant import QuantLinear, quantised

__all__ = ["eighteen_graph", "mobile_graph"]

Bits = tuple[int, int] | None  # of weights and inputs; None is float
EIGHT = (QuantLinear.BITS, QuantLinear.BITS)
FLOAT_BITS = 32  # what the authors take for no quantiser of inputs


def mobile_graph(made: GraphBuilder, geometry: Geometry, x: str) -> str:
    """BNext-T to -L from the image ``x`` to the logits."""
    stride = 2 if geometry.stem == "imagenet" else 1
    quant = geometry.se_bits is not None
    x = made.batch_norm("feature.0.bn1", _conv(made, "feature.0.conv1", x, stride, 1, quant))
    bits = (geometry.se_bits, geometry.se_bits) if quant else None
    for i, stride in enumerate(geometry.strides(), 1):
        m, doubles = f"feature.{i}", geometry.channels[i] != geometry.channels[i - 1]
        x = _unit(made, f"{m}.Attention", x, stride, bits, product=i % 2 == 0)
        parts = [_unit(made, f"{m}.{part}", x, 1, bits, clamps=not quant)
                 for part in (("FFN_1", "FFN_2") if doubles else ("FFN",))]
        x = made.add(f"{m}.concat", G.FConcat(), *parts) if doubles else parts[0]
    return _head(made, x, quant)


def eighteen_graph(made: GraphBuilder, geometry: Geometry18, x: str) -> str:
    """BNext-18 from the image ``x`` to the logits."""
    imagenet = geometry.stem == "imagenet"
    kernel, quant = STEMS[geometry.stem], geometry.se_bits is not None
    x = _conv(made, "conv1", x, 2 if imagenet else 1, kernel // 2, quant and imagenet)
    x = made.batch_norm("bn1", x)
    bits = (geometry.se_bits, 2 * geometry.se_bits) if quant else None
    if imagenet:
        x = made.add("maxpool", F.FMaxPool2d(3, 2, 1), x)
    for i, depth in enumerate(geometry.blocks):
        for b in range(depth):
            m, stride = f"layer{i}.{b}", 2 if i > 0 and b == 0 else 1
            x = _unit(made, f"{m}.Attention", x, stride, bits, product=True, mixes_residual=True)
            x = _unit(made, f"{m}.FFN", x, 1, bits, clamps=True, mixes_residual=True)
    return _head(made, x, quant)


def _head(made: GraphBuilder, x: str, quant: bool) -> str:
    x = made.add("avgpool", F.FGlobalAvgPool(), made.prelu("prelu", x))
    return _dense(made, "fc", x, EIGHT if quant else None, "act_clip_val")


def _conv(made: GraphBuilder, key: str, x: str, stride: int, padding: int, quant: bool) -> str:
    """A convolution of unquantised inputs."""
    weight = _weight(made, key, EIGHT[0] if quant else None)
    return made.add(key, F.FConv2d(weight, stride, padding), x, source=f"{key}.weight")


def _dense(made: GraphBuilder, key: str, x: str, bits: Bits, clip: str) -> str:
    """A dense layer; ``clip`` names the buffer that its inputs are cut to."""
    weight = _weight(made, key, bits and bits[0])
    x = _levels(made, key, x, bits, clip)
    op = F.FLinear(weight.reshape(weight.shape[:2]), made.array(f"{key}.bias"))
    return made.add(key, op, x, source=f"{key}.weight")


def _weight(made: GraphBuilder, key: str, bits: int | None) -> np.ndarray:
    weight = made.array(f"{key}.weight")
    if bits is None:
        return weight
    clip = torch.from_numpy(made.array(f"{key}.weight_clip_val"))
    return quantised(torch.from_numpy(weight), clip, bits).numpy()


def _levels(made: GraphBuilder, key: str, x: str, bits: Bits, clip: str) -> str:
    """The quantiser of a layer's inputs, where it has one."""
    if bits is None or bits[1] == FLOAT_BITS:
        return x
    op = L.FMinMax(bits[1], float(made.array(f"{key}.{clip}")[1]))
    return made.add(f"{key}.levels", op, x, source=f"{key}.{clip}")


def _unit(made: GraphBuilder, m: str, x: str, stride: int, bits: Bits, *, product: bool = False,
          clamps: bool = False, mixes_residual: bool = False) -> str:
    """`layers.Unit` at module ``m``; see there. ``bits`` are those of its SE layers."""
    y = made.sign(f"{m}.binary_activation", made.bias(f"{m}.move", x))
    y = made.batch_norm(f"{m}.norm1", _binary(made, f"{m}.binary_conv", y, stride))
    y = made.prelu(f"{m}.activation2", y)
    r = made.prelu(f"{m}.activation1", x) if product else x
    if f"{m}.downsample.1.weight" in made.checkpoint.tensors:
        r = made.add(f"{m}.downsample.0", F.FAvgPool2d(2), r)
        one = f"{m}.downsample.1"
        r = _levels(made, one, r, bits and EIGHT, "activation_clip_val")
        op = F.FConv2d(_weight(made, one, bits and EIGHT[0]))
        r = made.add(one, op, r, source=f"{one}.weight")
        if bits:
            r = made.add(f"{one}.bias", F.FBias(made.array(f"{one}.bias")), r)
        r = made.batch_norm(f"{m}.downsample.2", r)
    elif stride == 2:
        r = made.add(f"{m}.pool", F.FAvgPool2d(2), r)
    # Sides are even, so a pooled map has the mean of the map.
    gain = _gain(made, m, r if mixes_residual else x, y, clamps, bits)
    # g*y*r as g*(y*r): the product of the maps does not wait for the gain.
    y = made.add(f"{m}.product", G.FProduct(), y, r) if product else y
    y = made.batch_norm(f"{m}.norm2", made.add(f"{m}.gain", G.FGain(), y, gain))
    return made.add(f"{m}.add", F.FAdd(), y, r)


def _gain(made: GraphBuilder, m: str, mixed: str, y: str, clamps: bool, bits: Bits) -> str:
    """sigmoid(dense(relu(dense(s*mean(mixed) + (1-s)*mean(y)))))."""
    scale = made.array(f"{m}.scale").reshape(-1)
    if clamps:
        scale = scale.clip(0, 1)
    a, b = (_mean(made, name) for name in (mixed, y))
    x = made.add(f"{m}.se.mix", G.FMix(scale), a, b, source=f"{m}.scale")
    for layer in (1, 3):
        x = _dense(made, f"{m}.se.se.{layer}", x, bits, "activation_clip_val")
        x = made.add(f"{m}.se.se.{layer + 1}", D.FReLU() if layer == 1 else D.FSigmoid(), x)
    return x


def _mean(made: GraphBuilder, x: str) -> str:
    """Mean of a map; one node serves both units that read the map."""
    name = f"{x}.mean"
    if all(node.name != name for node in made.nodes):
        made.add(name, F.FGlobalAvgPool(), x)
    return name


def _binary(made: GraphBuilder, module: str, x: str, stride: int) -> str:
    key = f"{module}.weight"
    weight, zeros = signs(made.array(key), key)
    if zeros:
        made.decide(key, f"{zeros} zero weights as +1",
                    "PyTorch's sign(0) is 0, which a bit cannot hold", warn=True)
    op = F.FBinaryConv2d(weight, stride, weight.shape[2] // 2)
    return made.add(module, op, x, source=key)
