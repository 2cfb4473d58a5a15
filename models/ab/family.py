"""A&B BNN: ReActNet-18/-34/-A, BiResNet-18 and XnorNet-18 without batch normalisation."""

import re
from pathlib import PurePath

import numpy as np
import torch

from hwbnn.errors import CheckpointError
from hwbnn.ir import Graph
from hwbnn.ops import float_ops as F

from ..builder import GraphBuilder
from ..checkpoint import Checkpoint
from ..mobile import MobileGeometry, channels_of, classes_of
from ..registry import COMMON, Match, Option, register
from ..sizes import STEM, check_tensors, choose_stem, input_size, record_size
from .net import STEMS, AbNet, AbReActNetA, Geometry, build, schedule, schedule_a
from .synth import NETWORKS
from .weights import binary_conv, binary_on_real, real_conv, slopes

__all__ = ["AbFamily", "infer_geometry"]


def _weights(text: str) -> str:
    if text not in ("auto", "binary"):
        raise ValueError("auto or binary")
    return text


@register
class AbFamily:
    """sign(x + move0*sqrt(ev)) -> binary conv * gain*m/4, + shortcut, QPReLU; authors' keys."""

    name = "ab"
    describe = ("A&B BNN without batch normalisation: ReActNet-18, -34 and -A, BiResNet-18, "
                "XnorNet-18; ImageNet or CIFAR stem, any widths and depths")
    options = (
        *(option for option in COMMON if option.name != "bn_eps"),
        STEM,
        Option("weights", "auto", "binary: the file is of training step 2, even if its name says "
               "step1", _weights),
    )
    synthetic = NETWORKS

    def recognise(self, checkpoint: Checkpoint) -> Match:
        keys = checkpoint.tensors
        stem = next((k for k in ("conv1.weight", "feature.0.conv1.weight") if k in keys), None)
        if stem is None:
            return Match.no("no conv1.weight")
        own = any(k.endswith((".gain", ".L_alpha")) for k in keys)
        if not own and not {"prelu1.weight", "prelu2.weight", "layer1.0.conv1.weight"} <= set(keys):
            return Match.no("no gain and no L_alpha")
        try:
            geometry = infer_geometry(checkpoint, "imagenet")
            _check(checkpoint, geometry)
        except CheckpointError as error:
            return Match(0.5, (f"the keys are A&B's, but {error}",))
        return Match(1.0, (f"A&B {geometry.describe()['network']}",))

    def geometry(self, checkpoint: Checkpoint, options: dict) -> Geometry | MobileGeometry:
        """Raises CheckpointError or UserError where stem or size cannot be told."""
        geometry = infer_geometry(checkpoint, None, options)
        _check(checkpoint, geometry)
        if "step1" in PurePath(checkpoint.origin).name and options["weights"] == "auto":
            raise CheckpointError(
                "is named as a step-1 file, whose weights are real", where=checkpoint.origin,
                hint="give the step-2 file, or --option weights=binary if it is one")
        for key in checkpoint.tensors:
            if key.endswith(".L_alpha"):
                slopes(checkpoint.array(key), f"{checkpoint.origin}: {key}")
        input_size(geometry.stem, geometry.reduction(), geometry.num_classes, options)
        return geometry

    def to_torch(self, checkpoint: Checkpoint, options: dict) -> AbNet | AbReActNetA:
        net = build(self.geometry(checkpoint, options))
        net.load_state_dict({k: v.float() for k, v in checkpoint.tensors.items()})
        return net.eval()

    def lower(self, checkpoint: Checkpoint, options: dict) -> Graph:
        geometry = self.geometry(checkpoint, options)
        mobile = isinstance(geometry, MobileGeometry)
        classes = geometry.num_classes
        size = input_size(geometry.stem, geometry.reduction(), classes, options)
        made = GraphBuilder(checkpoint)
        record_size(made, geometry.stem, size, classes, options, told=not mobile)
        x = made.input(size, options["mean"], options["std"])
        x = (_mobile if mobile else _residual)(made, geometry, x)
        x = made.linear("fc", made.add("avgpool", F.FGlobalAvgPool(), x))
        made.decide("alpha, beta, eps", "1/4, 1/sqrt(1 + blocks/16), 1e-5",
                    "the authors' constants, which no file stores")
        made.decide(
            "weights", "signs of W - mean, step 2",
            "a step-1 file (real weights) has the same keys and would be binarised: if accuracy "
            "is near chance, it was one", warn="step2" not in PurePath(checkpoint.origin).name)
        meta = {"family": self.name, "geometry": geometry.describe(), "input_size": size,
                "options": {k: list(v) if isinstance(v, tuple) else v
                            for k, v in options.items()}}
        return made.graph(x, meta)


def _residual(made: GraphBuilder, geometry: Geometry, x: str) -> str:
    imagenet, plain = geometry.stem == "imagenet", geometry.kind != "reactnet"
    x = real_conv(made, "conv1", x, *((2, 3) if imagenet else (1, 1)))
    if plain:
        x = made.prelu("prelu1", x)
    if imagenet:
        x = made.add("maxpool", F.FMaxPool2d(3, 2, 1), x)
    for i, evs in enumerate(schedule(geometry.blocks)):
        for b, ev in enumerate(evs):
            x = _block(made, f"layer{i + 1}.{b}", geometry.kind, x, i > 0 and b == 0, ev)
    return made.prelu("prelu2", x) if plain else x


def _block(made: GraphBuilder, module: str, kind: str, x: str, halve: bool, ev: float) -> str:
    full = kind == "reactnet"
    y = _move(made, f"{module}.move0", x, ev) if full else x
    y = made.sign(f"{module}.sign", y)
    y = binary_conv(made, [f"{module}.conv1"], y, 2 if halve else 1, 1)
    if halve:
        down = f"{module}.downsample"
        if kind == "xnornet":
            x = binary_on_real(made, f"{down}.0", x, stride=2)
        else:
            x = made.add(f"{down}.0", F.FAvgPool2d(2), x)
            x = (real_conv if kind == "biresnet" else binary_on_real)(made, f"{down}.1", x)
    y = made.add(f"{module}.add", F.FAdd(), y, x)
    return _qprelu(made, f"{module}.move1", f"{module}.prelu", f"{module}.move2", y) if full else y


def _move(made: GraphBuilder, module: str, x: str, ev: float) -> str:
    """move/beta: the bias of the bits with the factor beta = 1/sqrt(ev) divided out."""
    bias = made.array(f"{module}.bias").reshape(-1) * np.sqrt(ev)
    return made.add(module, F.FBias(bias), x)


def _qprelu(made: GraphBuilder, before: str, module: str, after: str, x: str) -> str:
    x = made.bias(before, x)
    exponents = slopes(made.array(f"{module}.L_alpha"), f"{module}.L_alpha")
    x = made.add(module, F.FPReLU(2.0**exponents), x)
    return made.bias(after, x)


def _mobile(made: GraphBuilder, geometry: MobileGeometry, x: str) -> str:
    strides, c = geometry.strides(), geometry.channels
    x = real_conv(made, "feature.0.conv1", x, 2 if geometry.stem == "imagenet" else 1, 1)
    for i, (stride, evs) in enumerate(zip(strides, schedule_a(strides), strict=True), 1):
        module = f"feature.{i}"
        y = made.sign(f"{module}.sign1", _move(made, f"{module}.move11", x, evs[0]))
        y = binary_conv(made, [f"{module}.binary_3x3"], y, stride, 1)
        if stride == 2:
            x = made.add(f"{module}.pooling", F.FAvgPool2d(2), x)
        x = made.add(f"{module}.add1", F.FAdd(), y, x)
        x = _qprelu(made, f"{module}.move12", f"{module}.prelu1", f"{module}.move13", x)
        y = made.sign(f"{module}.sign2", _move(made, f"{module}.move21", x, evs[1]))
        if c[i] != c[i - 1]:
            y = binary_conv(made, [f"{module}.binary_pw_down{j}" for j in (1, 2)], y, 1, 0,
                            name=f"{module}.binary_pw_down")
            x = made.add(f"{module}.repeat", F.FRepeat(2), x)
        else:
            y = binary_conv(made, [f"{module}.binary_pw"], y, 1, 0)
        x = made.add(f"{module}.add2", F.FAdd(), y, x)
        x = _qprelu(made, f"{module}.move22", f"{module}.prelu2", f"{module}.move23", x)
    return x


def infer_geometry(checkpoint: Checkpoint, stem: str | None,
                   options: dict | None = None) -> Geometry | MobileGeometry:
    """The network by keys and shapes; ``stem`` None chooses it by ``options``.

    Raises CheckpointError at the first tensor that rules every network out.
    """
    classes = classes_of(checkpoint)
    tensors, origin = checkpoint.tensors, checkpoint.origin
    if any(k.startswith("feature.") for k in tensors):
        channels = channels_of(checkpoint)
        stem = stem or choose_stem(checkpoint, None, classes, options)
        return MobileGeometry(stem, channels, classes)
    shape = tuple(tensors["conv1.weight"].shape) if "conv1.weight" in tensors else ()
    kernel = next((s for s, k in STEMS.items() if shape[1:] == (3, k, k)), None)
    if kernel is None:
        raise CheckpointError(f"shape {shape}", where=f"{origin}: conv1.weight",
                              hint="a 7x7 (ImageNet) or 3x3 (CIFAR) stem over 3 colours is "
                                   "supported")
    if options is not None:
        choose_stem(checkpoint, kernel, classes, options)
    blocks: dict[int, set[int]] = {}
    for key in tensors:
        if found := re.match(r"layer(\d+)\.(\d+)\.", key):
            blocks.setdefault(int(found[1]), set()).add(int(found[2]))
    if sorted(blocks) != list(range(1, len(blocks) + 1)) or not blocks:
        raise CheckpointError(f"stages {sorted(blocks)}", where=f"{origin}: layer*",
                              hint="stages count from layer1 without gaps")
    widths = []
    for stage in sorted(blocks):
        key = f"layer{stage}.0.conv1.weight"
        if key not in tensors or tensors[key].dim() != 4:
            raise CheckpointError("missing or of another shape", where=f"{origin}: {key}",
                                  hint="expected (out, in, 3, 3)")
        widths.append(int(tensors[key].shape[0]))
    depths = tuple(max(found) + 1 for _stage, found in sorted(blocks.items()))
    return Geometry(_kind(tensors), kernel, tuple(widths), depths, classes)


def _kind(tensors) -> str:
    if any(k.endswith(".L_alpha") or ".move" in k for k in tensors):
        return "reactnet"
    first = any(k.endswith("downsample.0.weight") for k in tensors)
    return "xnornet" if first else "biresnet"


def _check(checkpoint: Checkpoint, geometry: Geometry | MobileGeometry) -> None:
    with torch.device("meta"):
        net = build(geometry)
    check_tensors(checkpoint, net)
