"""BNext as a float graph. The mixed map is never made: its mean is the mix of two means."""

from hwbnn.ops import float_dynamic as D
from hwbnn.ops import float_gain as G
from hwbnn.ops import float_ops as F

from ..builder import GraphBuilder
from ..signs import signs
from ..snn.net import STEMS
from .net import Geometry, Geometry18

__all__ = ["eighteen_graph", "mobile_graph"]


def mobile_graph(made: GraphBuilder, geometry: Geometry, x: str) -> str:
    """BNext-T to -L from the image ``x`` to the logits."""
    stride = 2 if geometry.stem == "imagenet" else 1
    x = made.batch_norm("feature.0.bn1", made.conv("feature.0.conv1", x, stride, 1))
    for i, stride in enumerate(geometry.strides(), 1):
        m, doubles = f"feature.{i}", geometry.channels[i] != geometry.channels[i - 1]
        x = _unit(made, f"{m}.Attention", x, stride, product=i % 2 == 0)
        parts = [_unit(made, f"{m}.{part}", x, 1, clamps=True)
                 for part in (("FFN_1", "FFN_2") if doubles else ("FFN",))]
        x = made.add(f"{m}.concat", G.FConcat(), *parts) if doubles else parts[0]
    return _head(made, x)


def eighteen_graph(made: GraphBuilder, geometry: Geometry18, x: str) -> str:
    """BNext-18 from the image ``x`` to the logits."""
    imagenet = geometry.stem == "imagenet"
    kernel = STEMS[geometry.stem]
    x = made.batch_norm("bn1", made.conv("conv1", x, 2 if imagenet else 1, kernel // 2))
    if imagenet:
        x = made.add("maxpool", F.FMaxPool2d(3, 2, 1), x)
    for i, depth in enumerate(geometry.blocks):
        for b in range(depth):
            m, stride = f"layer{i}.{b}", 2 if i > 0 and b == 0 else 1
            x = _unit(made, f"{m}.Attention", x, stride, product=True, mixes_residual=True)
            x = _unit(made, f"{m}.FFN", x, 1, clamps=True, mixes_residual=True)
    return _head(made, x)


def _head(made: GraphBuilder, x: str) -> str:
    return made.linear("fc", made.add("avgpool", F.FGlobalAvgPool(), made.prelu("prelu", x)))


def _unit(made: GraphBuilder, m: str, x: str, stride: int, *, product: bool = False,
          clamps: bool = False, mixes_residual: bool = False) -> str:
    """`layers.Unit` at module ``m``; see there."""
    bits = made.sign(f"{m}.binary_activation", made.bias(f"{m}.move", x))
    y = made.batch_norm(f"{m}.norm1", _binary(made, f"{m}.binary_conv", bits, stride))
    y = made.prelu(f"{m}.activation2", y)
    r = made.prelu(f"{m}.activation1", x) if product else x
    if f"{m}.downsample.1.weight" in made.checkpoint.tensors:
        r = made.add(f"{m}.downsample.0", F.FAvgPool2d(2), r)
        r = made.batch_norm(f"{m}.downsample.2", made.conv(f"{m}.downsample.1", r))
    elif stride == 2:
        r = made.add(f"{m}.pool", F.FAvgPool2d(2), r)
    # Sides are even, so a pooled map has the mean of the map.
    gain = _gain(made, m, r if mixes_residual else x, y, clamps)
    # g*y*r as g*(y*r): the product of the maps does not wait for the gain.
    y = made.add(f"{m}.product", G.FProduct(), y, r) if product else y
    y = made.batch_norm(f"{m}.norm2", made.add(f"{m}.gain", G.FGain(), y, gain))
    return made.add(f"{m}.add", F.FAdd(), y, r)


def _gain(made: GraphBuilder, m: str, mixed: str, y: str, clamps: bool) -> str:
    """sigmoid(dense(relu(dense(s*mean(mixed) + (1-s)*mean(y)))))."""
    scale = made.array(f"{m}.scale").reshape(-1)
    if clamps:
        scale = scale.clip(0, 1)
    a, b = (_mean(made, name) for name in (mixed, y))
    x = made.add(f"{m}.se.mix", G.FMix(scale), a, b, source=f"{m}.scale")
    for layer in (1, 3):
        key = f"{m}.se.se.{layer}"
        weight = made.array(f"{key}.weight")
        op = F.FLinear(weight.reshape(weight.shape[:2]), made.array(f"{key}.bias"))
        x = made.add(key, op, x, source=f"{key}.weight")
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
