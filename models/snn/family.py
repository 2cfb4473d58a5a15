"""SNN (sub-bit) residual networks, and ReActNet-18/34 as their one-bit case."""

import re
from pathlib import PurePath

import numpy as np
import torch

from hwbnn.errors import CheckpointError, UserError
from hwbnn.ir import Graph
from hwbnn.ops import float_ops as F

from ..builder import GraphBuilder
from ..checkpoint import Checkpoint
from ..registry import COMMON, Match, Option, register
from ..sizes import check_tensors, load_checked
from .codebook import BinaryWeights, decode, read_patterns
from .net import STEMS, Geometry, SnnNet
from .synth import NETWORKS

__all__ = ["SnnFamily"]

INPUT_SIZE = {"imagenet": 224, "cifar": 32}
WEIGHTS = ("auto", "binary", "sub-bit")
MARKS = ("conv1.weight", "layer1.0.move0.bias", "layer1.0.binary_conv.weight",
         "layer1.0.prelu.weight", "layer1.0.move2.bias", "fc.weight")


def _weights(text: str) -> str:
    if text not in WEIGHTS:
        raise ValueError(f"one of {', '.join(WEIGHTS)}")
    return text


@register
class SnnFamily:
    """Blocks sign(x + move0) -> binary 3x3 -> BN, + shortcut, RPReLU; keys as the authors'."""

    name = "snn"
    describe = ("SNN sub-bit residual networks (tau 1 to 9) and ReActNet-18/34; "
                "7x7 ImageNet or 3x3 CIFAR stem, any widths and depths")
    options = (
        *COMMON,
        Option("weights", "auto",
               "auto: sub-bit where the file has codebooks, else binary; or insist on one: "
               "binary, sub-bit", _weights),
    )
    synthetic = NETWORKS

    def recognise(self, checkpoint: Checkpoint) -> Match:
        keys = checkpoint.tensors
        missing = [k for k in MARKS if k not in keys]
        if missing:
            return Match.no(f"no {missing[0]}")
        if any(".Attention." in k or k.endswith(".temperature") for k in keys):
            return Match.no("has the modules of BNext")
        try:
            geometry = infer_geometry(checkpoint)
        except CheckpointError as error:
            return Match(0.5, (f"the keys are SNN's, but {error}",))
        kind = "with codebooks" if geometry.tau[0] else "without codebooks (1W/1A)"
        return Match(1.0, (f"{sum(geometry.blocks)} blocks {kind}, {geometry.stem} stem",))

    def geometry(self, checkpoint: Checkpoint, options: dict) -> Geometry:
        geometry = infer_geometry(checkpoint)
        _check_kind(checkpoint, geometry, options["weights"])
        _check_tensors(checkpoint, geometry)
        return geometry

    def to_torch(self, checkpoint: Checkpoint, options: dict) -> SnnNet:
        geometry = self.geometry(checkpoint, options)
        for module, tau in zip(_convs(geometry), geometry.tau, strict=True):
            if tau is not None:  # refuses a lost codebook, as `lower` does
                key = f"{module}.binarize.patterns"
                read_patterns(checkpoint.array(key), key)
        net = SnnNet(geometry, options["bn_eps"])
        return load_checked(net, checkpoint)

    def lower(self, checkpoint: Checkpoint, options: dict) -> Graph:
        geometry = self.geometry(checkpoint, options)
        size = _input_size(geometry, options)
        build = GraphBuilder(checkpoint, options["bn_eps"])
        x = build.input(size, options["mean"], options["std"])
        x = build.conv("conv1", x, *((2, 3) if geometry.stem == "imagenet" else (1, 1)))
        x = build.batch_norm("bn1", x)
        if geometry.stem == "imagenet":
            x = build.add("maxpool", F.FMaxPool2d(3, 2, 1), x)
        stem = geometry.stem
        build.decide("input_size", f"{size}x{size}",
                     "given" if options["input_size"] else f"default of the {stem} stem")
        build.decide("bn_eps", f"{options['bn_eps']:g}", "not stored in a checkpoint")
        build.decide("normalisation", f"mean {options['mean']}, std {options['std']}",
                     "not stored in a checkpoint")
        bits = []
        for i, depth in enumerate(geometry.blocks):
            for b in range(depth):
                module = f"layer{i + 1}.{b}"
                x, weights = _block(build, module, x, geometry.halves[i] and b == 0)
                bits.append(9 if weights.codebook is None
                            else int(np.ceil(np.log2(max(2, len(weights.codebook))))))
        x = build.add("avgpool", F.FGlobalAvgPool(), x)
        x = build.linear("fc", x)
        if geometry.tau[0] is None:
            build.decide(
                "weights", "plain signs (1W/1A)",
                "no codebooks in the file; a step-1 file (real weights) has the same keys and "
                "would be binarised: if accuracy is near chance, it was one", warn=True)
        meta = {"family": self.name, "geometry": _describe(geometry), "input_size": size,
                "kernel_bits": bits, "options": {
                    k: list(v) if isinstance(v, tuple) else v for k, v in options.items()}}
        return build.graph(x, meta)


def _block(build: GraphBuilder, module: str, x: str, halve: bool) -> tuple[str, BinaryWeights]:
    conv = f"{module}.binary_conv"
    key = f"{conv}.binarize.patterns"
    patterns = build.array(key) if key in build.checkpoint.tensors else None
    weights = decode(build.array(f"{conv}.weight"), patterns, conv)
    _report(build, conv, weights)
    y = build.bias(f"{module}.move0", x)
    y = build.sign(f"{module}.sign", y)
    op = F.FBinaryConv2d(weights.weight, 2 if halve else 1, 1, 0, weights.codebook, weights.ids)
    y = build.add(conv, op, y, source=f"{conv}.weight")
    y = build.add(f"{conv}.alpha", F.FScale(weights.alpha), y, source=f"{conv}.weight")
    y = build.batch_norm(f"{module}.bn1", y)
    if halve:
        x = build.add(f"{module}.downsample.0", F.FAvgPool2d(2), x)
        x = build.conv(f"{module}.downsample.1", x)
        x = build.batch_norm(f"{module}.downsample.2", x)
    y = build.add(f"{module}.add", F.FAdd(), y, x)
    y = build.bias(f"{module}.move1", y)
    y = build.prelu(f"{module}.prelu", y)
    return build.bias(f"{module}.move2", y), weights


def _list(pairs) -> str:
    return ", ".join(str(list(p)) for p in pairs[:8]) + (", ..." if len(pairs) > 8 else "")


def _report(build: GraphBuilder, conv: str, weights: BinaryWeights) -> None:
    patterns = f"{conv}.binarize.patterns"
    if weights.held:
        build.decide(patterns, f"{len(weights.held)} elements by the sign that is stored",
                     "below 1e-3 the trained sign was in an unsaved attribute; [codeword, tap]: "
                     + _list(weights.held), warn=True)
    if weights.duplicates:
        build.decide(patterns, f"{weights.duplicates} repeated codewords dropped",
                     "equal signs; the first one is used")
    if weights.near_ties:
        build.decide(f"{conv}.weight", f"{len(weights.near_ties)} kernels by the exact product",
                     "their two best codewords are within 1e-4 of the kernel's norm, where float32 "
                     "may choose the other; [out, in]: " + _list(weights.near_ties))
    if weights.zeros:
        build.decide(f"{conv}.weight", f"{weights.zeros} zero weights as +1",
                     "PyTorch's sign(0) is 0, which a bit cannot hold", warn=True)


def infer_geometry(checkpoint: Checkpoint) -> Geometry:
    """Stem, stages, widths, blocks, codebook sizes from keys and shapes; CheckpointError if odd."""
    tensors, origin = checkpoint.tensors, checkpoint.origin

    def fail(what: str, key: str, hint: str = ""):
        return CheckpointError(what, where=f"{origin}: {key}", hint=hint)

    shape = tuple(tensors["conv1.weight"].shape) if "conv1.weight" in tensors else ()
    stem = next((s for s, k in STEMS.items() if shape[1:] == (3, k, k)), None)
    if stem is None:
        raise fail(f"shape {shape}", "conv1.weight",
                   "a 7x7 (ImageNet) or 3x3 (CIFAR) stem over 3 colours is supported")
    blocks: dict[int, set[int]] = {}
    for key in tensors:
        if found := re.match(r"layer(\d+)\.(\d+)\.", key):
            blocks.setdefault(int(found[1]), set()).add(int(found[2]))
    if sorted(blocks) != list(range(1, len(blocks) + 1)) or not blocks:
        raise fail(f"stages {sorted(blocks)}", "layer*", "stages count from layer1 without gaps")
    widths, depths, halves, tau = [], [], [], []
    for stage, found in sorted(blocks.items()):
        if sorted(found) != list(range(len(found))):
            raise fail(f"blocks {sorted(found)}", f"layer{stage}", "blocks count from 0")
        for b in sorted(found):
            conv = f"layer{stage}.{b}.binary_conv"
            weight = tensors.get(f"{conv}.weight")
            if weight is None or weight.dim() != 4 or tuple(weight.shape[2:]) != (3, 3):
                raise fail("missing" if weight is None else f"shape {tuple(weight.shape)}",
                           f"{conv}.weight", "expected (out, in, 3, 3)")
            tau.append(_tau(tensors.get(f"{conv}.binarize.patterns"), conv, fail))
        widths.append(int(tensors[f"layer{stage}.0.binary_conv.weight"].shape[0]))
        depths.append(len(found))
        halves.append(f"layer{stage}.0.downsample.1.weight" in tensors)
    if len({t is None for t in tau}) > 1:
        bare = [c for c, t in zip(_names(depths), tau, strict=True) if t is None]
        raise fail(f"{len(bare)} of {len(tau)} binary convolutions have no codebook",
                   f"{bare[0]}.binarize.patterns", "the file is incomplete")
    if "fc.weight" not in tensors or tensors["fc.weight"].dim() != 2:
        raise fail("missing or not a matrix", "fc.weight")
    return Geometry(stem, tuple(widths), tuple(depths), tuple(halves),
                    int(tensors["fc.weight"].shape[0]), tuple(tau))


def _tau(patterns: torch.Tensor | None, conv: str, fail) -> int | None:
    if patterns is None:
        return None
    shape = tuple(patterns.shape)
    if len(shape) != 2 or shape[1] != 9 or shape[0] not in [2**t for t in range(1, 10)]:
        raise fail(f"shape {shape}", f"{conv}.binarize.patterns", "expected (2^tau, 9), tau 1 to 9")
    return shape[0].bit_length() - 1


def _names(blocks) -> list[str]:
    return [f"layer{i + 1}.{b}.binary_conv" for i, depth in enumerate(blocks) for b in range(depth)]


def _convs(geometry: Geometry) -> list[str]:
    return _names(geometry.blocks)


def _check_kind(checkpoint: Checkpoint, geometry: Geometry, weights: str) -> None:
    """Settle what keys cannot: whether a file without codebooks is a plain binary network."""
    sub_bit = geometry.tau[0] is not None
    if weights == "sub-bit" and not sub_bit:
        raise CheckpointError(
            "has no codebooks (binarize.patterns), so it is a step-1 file with real weights or a "
            "1W/1A network", where=checkpoint.origin,
            hint="give the step-2 file (checkpoint.pth.tar), or --option weights=binary")
    if weights == "binary" and sub_bit and min(geometry.tau) < 9:
        raise CheckpointError(
            f"has codebooks of {2 ** min(geometry.tau)} codewords, so it is sub-bit",
            where=checkpoint.origin, hint="leave out weights=binary")
    if weights == "auto" and not sub_bit and "checkpoint_ba" in PurePath(checkpoint.origin).name:
        raise CheckpointError(
            "is named as the authors name step-1 files, whose convolutions have real weights",
            where=checkpoint.origin,
            hint="give the step-2 file, or --option weights=binary if it is a 1W/1A network")


def _check_tensors(checkpoint: Checkpoint, geometry: Geometry) -> None:
    """Every tensor that this geometry has, no other, in its shape."""
    with torch.device("meta"):
        net = SnnNet(geometry)
    check_tensors(checkpoint, net)


def _input_size(geometry: Geometry, options: dict) -> int:
    size = options["input_size"] or INPUT_SIZE[geometry.stem]
    step = (4 if geometry.stem == "imagenet" else 1) * 2 ** sum(geometry.halves)
    if size % step:
        raise UserError(f"{size} does not divide by {step}", where="option input_size",
                        hint=f"the maps are halved {step.bit_length() - 1} times; "
                             f"try {max(step, round(size / step) * step)}")
    return size


def _describe(geometry: Geometry) -> dict:
    return {"stem": geometry.stem, "widths": list(geometry.widths),
            "blocks": list(geometry.blocks), "classes": geometry.num_classes,
            "tau": [9 if t is None else t for t in geometry.tau]}
