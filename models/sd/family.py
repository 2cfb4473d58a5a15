"""SD-BNN: ResNet-20, VGG-Small and ResNet-18 for CIFAR, ResNet-18 for ImageNet."""

import math
import re
from pathlib import PurePath

import numpy as np
import torch

from hwbnn.errors import CheckpointError, UserError
from hwbnn.ir import Graph
from hwbnn.ops import float_dynamic as D
from hwbnn.ops import float_ops as F

from ..builder import GraphBuilder
from ..checkpoint import Checkpoint
from ..registry import COMMON, Match, Option, register
from ..signs import signs
from ..sizes import SIZE, check_tensors, input_size, load_checked, record_size
from .net import MEAN_STEP, REDUCTION, Geometry, HeadedNet, VggSmall, build
from .synth import NETWORKS

__all__ = ["NEAR_TIE", "SdFamily", "decode", "infer_geometry"]

NEAR_TIE = 1e-7  # of the largest weight: float32, in which the authors add, may see another sign
VGG = ("conv0.weight", "conv1.dybeta.fc.0.weight", "fc.weight")
CIFAR = ("conv1.weight", "layer1.0.conv1.dybeta.fc.0.weight", "linear.weight")
IMAGENET = ("conv1.weight", "layer1.0.binary_conv.beta.fc.0.weight", "fc.weight")


def _weights(text: str) -> str:
    if text not in ("auto", "binary"):
        raise ValueError("auto or binary")
    return text


@register
class SdFamily:
    """sign(a + beta(a)) -> binary conv without scale -> BN; beta is computed for every image."""

    name = "sd"
    describe = ("SD-BNN: ResNet-20, VGG-Small, ResNet-18 for CIFAR, ResNet-18 for ImageNet; any "
                "widths and depths")
    options = (
        *COMMON,
        Option("weights", "auto", "binary: the weights are of training stage 2, even if the "
               "file's name says stage 1", _weights),
    )
    synthetic = NETWORKS

    def recognise(self, checkpoint: Checkpoint) -> Match:
        keys = checkpoint.tensors
        if not any(".dybeta.fc." in k or ".binary_conv.beta.fc." in k for k in keys):
            return Match.no("no dybeta.fc and no beta.fc")
        try:
            geometry = infer_geometry(checkpoint)
            _check(checkpoint, geometry)
        except CheckpointError as error:
            return Match(0.5, (f"the keys are SD-BNN's, but {error}",))
        return Match(1.0, (f"SD-BNN {geometry.kind}",))

    def geometry(self, checkpoint: Checkpoint, options: dict) -> Geometry:
        """Raises CheckpointError or UserError where tensors, name or size do not fit."""
        geometry = infer_geometry(checkpoint)
        _check(checkpoint, geometry)
        name = PurePath(checkpoint.origin).name.lower()
        if options["weights"] == "auto" and re.search(r"(stage|step)_?1", name):
            raise CheckpointError(
                "is named as a file of training stage 1, whose weights are real",
                where=checkpoint.origin,
                hint="give the stage-2 file, or --option weights=binary if it is one")
        _size(geometry, options)
        return geometry

    def to_torch(self, checkpoint: Checkpoint, options: dict) -> HeadedNet | VggSmall:
        net = build(self.geometry(checkpoint, options), options["bn_eps"])
        return load_checked(net, checkpoint)

    def lower(self, checkpoint: Checkpoint, options: dict) -> Graph:
        geometry = self.geometry(checkpoint, options)
        size = _size(geometry, options)
        made = GraphBuilder(checkpoint, options["bn_eps"])
        record_size(made, geometry.stem, size, geometry.num_classes, options, told=True)
        made.decide("bn_eps", f"{options['bn_eps']:g}", "not stored in a checkpoint")
        name = PurePath(checkpoint.origin).name
        if name == "model.th":
            made.decide("file", "the last epoch's weights",
                        "the authors' model.th is the last epoch, its best_prec1 another one's")
        x = made.input(size, options["mean"], options["std"])
        x = {"vgg": _vgg, "birealnet": _imagenet}.get(geometry.kind, _cifar)(made, geometry, x)
        made.decide("thresholds", "-beta for every image and channel",
                    "the small networks run at inference, too")
        if geometry.kind == "birealnet":
            made.decide(
                "weights", "signs of W + sigmoid(alpha)*0.01*mean, stage 2",
                "the published ImageNet code does not run as it is (these lines are commented "
                "out); a stage-1 file (real weights) has the same keys and would be binarised: if "
                "accuracy is near chance, it was one", warn=options["weights"] == "auto")
        meta = {"family": self.name, "geometry": geometry.describe(), "input_size": size,
                "options": {k: list(v) if isinstance(v, tuple) else v
                            for k, v in options.items()}}
        return made.graph(x, meta)


def decode(latent: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, int]:
    """W' of latent weights float64 (O, I, k, k), and how many of them float32 may sign otherwise.

    alpha float64 (O,).
    """
    mean = latent.mean(axis=(1, 2, 3), keepdims=True)
    moved = latent + MEAN_STEP / (1 + np.exp(-alpha.reshape(-1, 1, 1, 1))) * mean
    top = np.abs(latent).max(axis=(1, 2, 3), keepdims=True)
    near = (np.abs(moved) <= NEAR_TIE * top) & (moved != 0)
    return moved, int(near.sum())


def _binary(made: GraphBuilder, module: str, x: str, stride: int, shape: tuple | None = None,
            key: str = "weight", beta: str = "dybeta") -> str:
    """Bits of x at thresholds made of its channel means, and their convolution."""
    net = f"{module}.{beta}"
    y = made.add(f"{net}.mean", F.FGlobalAvgPool(), x)
    for layer in (0, 2):
        weight = made.array(f"{net}.fc.{layer}.weight")
        op = F.FLinear(weight, np.zeros(len(weight)))
        y = made.add(f"{net}.fc.{layer}", op, y, source=f"{net}.fc.{layer}.weight")
        y = made.add(f"{net}.fc.{layer + 1}", D.FSigmoid() if layer else D.FReLU(), y)
    bits = made.add(f"{module}.sign", D.FDynamicThreshold(), x, y)
    source = f"{module}.{key}"
    latent = made.array(source)
    moved, near = decode(latent.reshape(shape or latent.shape), made.array(f"{module}.alpha"))
    weight, zeros = signs(moved, source)
    if zeros:
        made.decide(source, f"{zeros} zero weights as +1",
                    "PyTorch's sign(0) is 0, which a bit cannot hold", warn=True)
    if near:
        made.decide(source, f"{near} weights by the exact sum",
                    "they differ from 0 by less than float32 tells apart")
    return made.add(module, F.FBinaryConv2d(weight, stride, 1), bits, source=source)


def _cifar(made: GraphBuilder, geometry: Geometry, x: str) -> str:
    x = made.batch_norm("bn1", made.conv("conv1", x, 1, 1))
    x = made.add("hardtanh", D.FHardtanh(), x)
    each = geometry.kind == "resnet20"
    for i, depth in enumerate(geometry.blocks):
        for b in range(depth):
            m, halve = f"layer{i + 1}.{b}", i > 0 and b == 0
            y = made.batch_norm(f"{m}.bn1", _binary(made, f"{m}.conv1", x, 2 if halve else 1))
            if halve and each:
                zeros = geometry.widths[i] // 4
                x = made.add(f"{m}.shortcut", D.FSubsamplePad(zeros, zeros), x)
            elif halve:
                x = made.batch_norm(f"{m}.shortcut.1", made.conv(f"{m}.shortcut.0", x, 2))
            if each:
                y = made.add(f"{m}.add1", F.FAdd(), y, x)
            y = made.add(f"{m}.hardtanh1", D.FHardtanh(), y)
            x = y if each else x
            y = made.batch_norm(f"{m}.bn2", _binary(made, f"{m}.conv2", y, 1))
            y = made.add(f"{m}.add2", F.FAdd(), y, x)
            x = made.add(f"{m}.hardtanh2", D.FHardtanh(), y)
    x = made.batch_norm("bn2", made.add("avgpool", F.FGlobalAvgPool(), x))
    return made.linear("linear", x)


def _vgg(made: GraphBuilder, geometry: Geometry, x: str) -> str:
    for i in range(len(geometry.widths)):
        x = _binary(made, f"conv{i}", x, 1) if i else made.conv("conv0", x, 1, 1)
        if i % 2:
            x = made.add(f"pool{i}", F.FMaxPool2d(2, 2), x)
        x = made.add(f"hardtanh{i}", D.FHardtanh(), made.batch_norm(f"bn{i}", x))
    return made.linear("fc", x)


def _imagenet(made: GraphBuilder, geometry: Geometry, x: str) -> str:
    x = made.batch_norm("bn1", made.conv("conv1", x, 2, 3))
    x = made.add("maxpool", F.FMaxPool2d(3, 2, 1), x)
    c_in = geometry.widths[0]
    for i, depth in enumerate(geometry.blocks):
        for b in range(depth):
            m, halve, c_out = f"layer{i + 1}.{b}", i > 0 and b == 0, geometry.widths[i]
            y = _binary(made, f"{m}.binary_conv", x, 2 if halve else 1, (c_out, c_in, 3, 3),
                        "weights", "beta")
            y = made.batch_norm(f"{m}.bn1", y)
            if halve:
                x = made.conv(f"{m}.downsample.1", made.add(f"{m}.downsample.0",
                                                            F.FAvgPool2d(2), x))
                x = made.batch_norm(f"{m}.downsample.2", x)
            x = made.prelu(f"{m}.prelu", made.add(f"{m}.add", F.FAdd(), y, x))
            c_in = c_out
    return made.linear("fc", made.add("avgpool", F.FGlobalAvgPool(), x))


def infer_geometry(checkpoint: Checkpoint) -> Geometry:
    """The network that keys and shapes imply; CheckpointError where they imply none."""
    keys = checkpoint.tensors
    for needed, found in ((VGG, _vgg_geometry), (CIFAR, _residual), (IMAGENET, _residual)):
        if all(k in keys for k in needed):
            return found(checkpoint, needed)
    missing = min(([k for k in needed if k not in keys] for needed in (VGG, CIFAR, IMAGENET)),
                  key=len)
    raise CheckpointError("missing", where=f"{checkpoint.origin}: {missing[0]}",
                          hint="SD-BNN's networks have it")


def _shape(checkpoint: Checkpoint, key: str, dim: int) -> tuple[int, ...]:
    shape = tuple(checkpoint.tensors[key].shape) if key in checkpoint.tensors else None
    if shape is None or len(shape) != dim:
        what = "missing" if shape is None else f"shape {shape}"
        raise CheckpointError(what, where=f"{checkpoint.origin}: {key}",
                              hint=f"expected {dim} dimensions")
    return shape


def _count(checkpoint: Checkpoint, pattern: str, name: str, first: int = 0) -> int:
    """How many numbers, from ``first`` without gaps, ``pattern`` finds in the keys."""
    found = {int(m[1]) for k in checkpoint.tensors if (m := re.match(pattern, k))}
    if found != set(range(first, first + len(found))):
        raise CheckpointError(f"numbers {sorted(found)}", where=f"{checkpoint.origin}: {name}",
                              hint=f"they count from {first} without gaps")
    return len(found)


def _vgg_geometry(checkpoint: Checkpoint, _needed: tuple) -> Geometry:
    count = _count(checkpoint, r"conv(\d+)\.", "conv*")
    widths = tuple(_shape(checkpoint, f"conv{i}.weight", 4)[0] for i in range(count))
    classes, inputs = _shape(checkpoint, "fc.weight", 2)
    edge = math.isqrt(inputs // widths[-1])
    if edge < 1 or edge**2 * widths[-1] != inputs:
        raise CheckpointError(f"{inputs} inputs are no square map of {widths[-1]} channels",
                              where=f"{checkpoint.origin}: fc.weight")
    return _wide_enough(checkpoint, Geometry("vgg", widths, (), classes, edge))


def _residual(checkpoint: Checkpoint, needed: tuple) -> Geometry:
    imagenet = needed is IMAGENET
    stages = _count(checkpoint, r"layer(\d+)\.", "layer*", 1)
    widths, blocks = [], []
    for i in range(1, stages + 1):
        blocks.append(_count(checkpoint, rf"layer{i}\.(\d+)\.", f"layer{i}.*"))
        widths.append(_shape(checkpoint, f"layer{i}.0.bn1.weight", 1)[0])
    kernel = _shape(checkpoint, "conv1.weight", 4)[2]
    if kernel != (7 if imagenet else 3):
        raise CheckpointError(f"a kernel of {kernel}", where=f"{checkpoint.origin}: conv1.weight",
                              hint=f"SD-BNN has {7 if imagenet else 3} in this network")
    kind = "birealnet"
    if not imagenet:
        real = any(".shortcut.0.weight" in k for k in checkpoint.tensors)
        kind = "resnet18" if real else "resnet20"
        if not real and stages == 1:
            raise CheckpointError("one stage tells no ResNet-20 from a ResNet-18",
                                  where=checkpoint.origin)
    if kind == "resnet20" and any(b != 2 * a for a, b in zip(widths, widths[1:], strict=False)):
        raise CheckpointError(f"stages of {widths} channels", where=checkpoint.origin,
                              hint="an option-A shortcut doubles them")
    classes = _shape(checkpoint, needed[2], 2)[0]
    return _wide_enough(checkpoint, Geometry(kind, tuple(widths), tuple(blocks), classes))


def _wide_enough(checkpoint: Checkpoint, geometry: Geometry) -> Geometry:
    least = REDUCTION[geometry.kind]
    if min(geometry.widths) < least:
        raise CheckpointError(f"{min(geometry.widths)} channels leave no hidden unit for beta",
                              where=checkpoint.origin, hint=f"at least {least} are needed")
    return geometry


def _check(checkpoint: Checkpoint, geometry: Geometry) -> None:
    with torch.device("meta"):
        net = build(geometry)
    check_tensors(checkpoint, net)


def _size(geometry: Geometry, options: dict) -> int:
    if geometry.kind != "vgg":
        return input_size(geometry.stem, geometry.reduction(), geometry.num_classes, options)
    size = geometry.edge * geometry.reduction()
    if options["input_size"] not in (None, size):
        raise UserError(f"{options['input_size']} is not the size of this network's images",
                        where="option input_size",
                        hint=f"its classifier reads {geometry.edge}x{geometry.edge} maps: {size}")
    if size > SIZE["imagenet"]:
        raise UserError(f"images of {size}x{size} are too large", where="fc.weight")
    return size
