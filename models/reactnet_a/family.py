"""ReActNet-A as its authors published it, with batch normalisation and real slopes."""

import numpy as np
import torch

from hwbnn.errors import CheckpointError
from hwbnn.ir import Graph
from hwbnn.ops import float_ops as F

from ..builder import GraphBuilder
from ..checkpoint import Checkpoint
from ..mobile import MobileGeometry, channels_of, classes_of
from ..registry import COMMON, Match, register
from ..sizes import STEM, check_tensors, choose_stem, input_size, load_checked, record_size
from ..snn.codebook import plain_signs
from .net import ReActNetA
from .synth import NETWORKS

__all__ = ["ReActNetAFamily"]


@register
class ReActNetAFamily:
    """Blocks of a binary 3x3 and a binary 1x1 convolution; keys as the authors'."""

    name = "reactnet-a"
    describe = "ReActNet-A: binary 3x3 and 1x1 pairs with batch normalisation, any channels"
    options = (*COMMON, STEM)
    synthetic = NETWORKS

    def recognise(self, checkpoint: Checkpoint) -> Match:
        keys = checkpoint.tensors
        for key in ("feature.0.conv1.weight", "feature.1.move11.bias", "feature.1.prelu1.weight"):
            if key not in keys:
                return Match.no(f"no {key}")
        try:
            _check(checkpoint, MobileGeometry("imagenet", channels_of(checkpoint),
                                              classes_of(checkpoint)))
        except CheckpointError as error:
            return Match(0.5, (f"the keys are ReActNet-A's, but {error}",))
        return Match(1.0, ("ReActNet-A",))

    def geometry(self, checkpoint: Checkpoint, options: dict) -> MobileGeometry:
        """Raises CheckpointError or UserError where stem or size cannot be told."""
        channels, classes = channels_of(checkpoint), classes_of(checkpoint)
        _check(checkpoint, MobileGeometry("imagenet", channels, classes))
        stem = choose_stem(checkpoint, None, classes, options)
        geometry = MobileGeometry(stem, channels, classes)
        input_size(stem, geometry.reduction(), classes, options)
        return geometry

    def to_torch(self, checkpoint: Checkpoint, options: dict) -> ReActNetA:
        net = ReActNetA(self.geometry(checkpoint, options), options["bn_eps"])
        return load_checked(net, checkpoint)

    def lower(self, checkpoint: Checkpoint, options: dict) -> Graph:
        geometry = self.geometry(checkpoint, options)
        size = input_size(geometry.stem, geometry.reduction(), geometry.num_classes, options)
        made = GraphBuilder(checkpoint, options["bn_eps"])
        # Stride 1 is a guess at what users change: the authors' code has stride 2 alone.
        record_size(made, geometry.stem, size, geometry.num_classes, options, told=False,
                    warn=geometry.stem == "cifar")
        made.decide("bn_eps", f"{options['bn_eps']:g}", "not stored in a checkpoint")
        x = made.input(size, options["mean"], options["std"])
        x = made.conv("feature.0.conv1", x, 2 if geometry.stem == "imagenet" else 1, 1)
        x = made.batch_norm("feature.0.bn1", x)
        c = geometry.channels
        for i, stride in enumerate(geometry.strides(), 1):
            x = _block(made, f"feature.{i}", x, c[i - 1], c[i] != c[i - 1], stride)
        x = made.linear("fc", made.add("avgpool", F.FGlobalAvgPool(), x))
        meta = {"family": self.name, "geometry": geometry.describe(), "input_size": size,
                "options": {k: list(v) if isinstance(v, tuple) else v
                            for k, v in options.items()}}
        return made.graph(x, meta)


def _block(made: GraphBuilder, module: str, x: str, c_in: int, doubles: bool, stride: int) -> str:
    y = made.sign(f"{module}.sign1", made.bias(f"{module}.move11", x))
    y = _binary(made, [f"{module}.binary_3x3"], y, (c_in, c_in, 3, 3), stride)
    y = made.batch_norm(f"{module}.bn1", y)
    if stride == 2:
        x = made.add(f"{module}.pooling", F.FAvgPool2d(2), x)
    x = made.add(f"{module}.add1", F.FAdd(), y, x)
    x = _rprelu(made, f"{module}.move12", f"{module}.prelu1", f"{module}.move13", x)
    y = made.sign(f"{module}.sign2", made.bias(f"{module}.move21", x))
    shape = (c_in, c_in, 1, 1)
    if doubles:
        y = _binary(made, [f"{module}.binary_pw_down{j}" for j in (1, 2)], y, shape, 1,
                    f"{module}.binary_pw_down")
        y = _two_norms(made, module, y)
        x = made.add(f"{module}.repeat", F.FRepeat(2), x)
    else:
        y = _binary(made, [f"{module}.binary_pw"], y, shape, 1)
        y = made.batch_norm(f"{module}.bn2", y)
    x = made.add(f"{module}.add2", F.FAdd(), y, x)
    return _rprelu(made, f"{module}.move22", f"{module}.prelu2", f"{module}.move23", x)


def _rprelu(made: GraphBuilder, before: str, module: str, after: str, x: str) -> str:
    return made.bias(after, made.prelu(module, made.bias(before, x)))


def _binary(made: GraphBuilder, modules: list[str], x: str, shape: tuple, stride: int,
            name: str | None = None) -> str:
    """Binary convolution and its alpha; two on the same bits become one with both outputs."""
    parts = []
    for module in modules:
        key = f"{module}.weights"
        found = plain_signs(made.array(key).reshape(shape), key)
        parts.append(found)
        if found.zeros:
            made.decide(key, f"{found.zeros} zero weights as +1",
                        "PyTorch's sign(0) is 0, which a bit cannot hold", warn=True)
    name = name or modules[0]
    source = ", ".join(f"{module}.weights" for module in modules)
    op = F.FBinaryConv2d(np.concatenate([p.weight for p in parts]), stride, shape[2] // 2)
    x = made.add(name, op, x, source=source)
    alpha = np.concatenate([p.alpha for p in parts])
    return made.add(f"{name}.alpha", F.FScale(alpha), x, source=source)


def _two_norms(made: GraphBuilder, module: str, x: str) -> str:
    """bn2_1 on the first half of the channels and bn2_2 on the second."""
    parts = [np.concatenate([made.array(f"{module}.bn2_{j}.{part}") for j in (1, 2)])
             for part in ("weight", "bias", "running_mean", "running_var")]
    op = F.FBatchNorm(*parts, made.bn_eps)
    return made.add(f"{module}.bn2", op, x, source=f"{module}.bn2_1, {module}.bn2_2")


def _check(checkpoint: Checkpoint, geometry: MobileGeometry) -> None:
    real = [k for k in checkpoint.tensors if k.startswith("feature.")
            and k.endswith((".binary_3x3.weight", ".binary_pw.weight"))]
    if real:
        raise CheckpointError("is a real weight of training step 1",
                              where=f"{checkpoint.origin}: {real[0]}",
                              hint="give the step-2 file, whose key ends in .weights")
    with torch.device("meta"):
        net = ReActNetA(geometry)
    check_tensors(checkpoint, net)
