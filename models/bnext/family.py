"""BNext-T, -S, -M, -L and -18, float and quantised: recognised and run in PyTorch."""

import re

import torch

from hwbnn.errors import CheckpointError
from hwbnn.ir import Graph

from ..builder import GraphBuilder
from ..checkpoint import Checkpoint
from ..mobile import classes_of
from ..registry import COMMON, Match, Option, register
from ..sizes import STEM, check_tensors, choose_stem, input_size, record_size
from ..snn.net import STEMS
from .layers import HardBinaryConv
from .lower import eighteen_graph, mobile_graph
from .net import BNext, BNext18, Geometry, Geometry18, build
from .quant import QuantConv2d, QuantLinear
from .synth import NETWORKS, SE_BITS

__all__ = ["BNextFamily", "infer_geometry"]


def _se_bits(text: str) -> int:
    if text not in ("4", "8", "16", "32"):
        raise ValueError("4, 8, 16 or 32")
    return int(text)


@register
class BNextFamily:
    """Units of binary convolution, SE gain and residual; keys as the authors'."""

    name = "bnext"
    describe = ("BNext-T, -S, -M, -L and -18, float and quantised; any channels, widths and "
                "depths")
    options = (
        *COMMON,
        STEM,
        Option("se_bits", SE_BITS, "of the SE layers in a quantised network, which no file tells: "
               "4, 8, 16 or 32 (float); BNext-18 gives the layers' inputs twice as many",
               _se_bits),
    )
    synthetic = NETWORKS

    def recognise(self, checkpoint: Checkpoint) -> Match:
        keys = checkpoint.tensors
        if not any(re.fullmatch(r"(feature\.\d+|layer\d+\.\d+)\.Attention\.scale", k)
                   for k in keys):
            return Match.no("no Attention.scale")
        try:
            geometry = infer_geometry(checkpoint, "imagenet", SE_BITS)
            _meta(checkpoint, geometry)
        except CheckpointError as error:
            return Match(0.5, (f"the keys are BNext's, but {error}",))
        quantised = "" if geometry.se_bits is None else ", quantised"
        return Match(1.0, (geometry.describe()["network"] + quantised,))

    def geometry(self, checkpoint: Checkpoint, options: dict) -> Geometry | Geometry18:
        """Raises CheckpointError or UserError, also where stem or size cannot be told, weights
        are not yet binary, or a quantised channel would be NaN."""
        geometry = infer_geometry(checkpoint, None, options["se_bits"], options)
        net = _meta(checkpoint, geometry)
        for name, module in net.named_modules():
            if isinstance(module, HardBinaryConv):
                _check_cold(checkpoint, f"{name}.temperature", module.limit)
            elif isinstance(module, QuantConv2d | QuantLinear):
                _check_sizes(checkpoint, f"{name}.weight")
        input_size(geometry.stem, geometry.reduction(), geometry.num_classes, options)
        return geometry

    def to_torch(self, checkpoint: Checkpoint, options: dict) -> BNext | BNext18:
        geometry = self.geometry(checkpoint, options)
        with torch.device("meta"):
            net = build(geometry, options["bn_eps"])
        # Counters of batches may be missing; every other key was checked above.
        state = {k: torch.zeros_like(v, device="cpu") for k, v in net.state_dict().items()
                 if k.endswith("num_batches_tracked")}
        state |= {k: v.float() if v.is_floating_point() else v
                  for k, v in checkpoint.tensors.items()}
        net.load_state_dict(state, assign=True)
        return net.eval()

    def image_input(self, checkpoint: Checkpoint, options: dict) -> Graph:
        """A graph of the normalised image alone: what PyTorch's path needs to read pictures."""
        geometry = self.geometry(checkpoint, options)
        made = GraphBuilder(checkpoint, options["bn_eps"])
        size = input_size(geometry.stem, geometry.reduction(), geometry.num_classes, options)
        x = made.input(size, options["mean"], options["std"])
        return made.graph(x, {"family": self.name, "geometry": geometry.describe()})

    def lower(self, checkpoint: Checkpoint, options: dict) -> Graph:
        geometry = self.geometry(checkpoint, options)
        mobile = isinstance(geometry, Geometry)
        size = input_size(geometry.stem, geometry.reduction(), geometry.num_classes, options)
        made = GraphBuilder(checkpoint, options["bn_eps"])
        record_size(made, geometry.stem, size, geometry.num_classes, options, told=not mobile)
        made.decide("bn_eps", f"{options['bn_eps']:g}", "not stored in a checkpoint")
        x = made.input(size, options["mean"], options["std"])
        x = (mobile_graph if mobile else eighteen_graph)(made, geometry, x)
        made.decide("SE gains", "for every image and channel",
                    "the mean of the mix is the mix of two means; the mixed map is never made")
        if geometry.se_bits is not None:
            made.decide("quantisers of inputs", "ranges of each image",
                        "no file has any; SE layers of "
                        f"{geometry.se_bits} bits, which no file tells either")
            made.decide("quantised weights", "the values that they are multiplied as",
                        "their levels are not symmetric about 0")
        meta = {"family": self.name, "geometry": geometry.describe(), "input_size": size,
                "options": {k: list(v) if isinstance(v, tuple) else v
                            for k, v in options.items()}}
        return made.graph(x, meta)


def infer_geometry(checkpoint: Checkpoint, stem: str | None, se_bits: int,
                   options: dict | None = None) -> Geometry | Geometry18:
    """The network by keys and shapes; ``stem`` None chooses it by ``options``.

    Raises CheckpointError at the first tensor that rules every network out.
    """
    classes, tensors = classes_of(checkpoint), checkpoint.tensors
    bits = se_bits if any(k.endswith("weight_clip_val") for k in tensors) else None
    if any(k.startswith("feature.") for k in tensors):
        _first(checkpoint, "feature.0.conv1.weight", (3,))
        channels = _channels(checkpoint)
        stem = stem or choose_stem(checkpoint, None, classes, options)
        return Geometry(stem, channels, classes, bits)
    kernel = _first(checkpoint, "conv1.weight", tuple(STEMS.values()))
    kind = next(name for name, k in STEMS.items() if k == kernel)
    if options is not None:
        choose_stem(checkpoint, kind, classes, options)
    return Geometry18(kind, *_stages(checkpoint), classes, bits)


def _first(checkpoint: Checkpoint, key: str, kernels: tuple[int, ...]) -> int:
    """Kernel size of the first convolution."""
    weight = checkpoint.tensors.get(key)
    shape = () if weight is None else tuple(weight.shape)
    if len(shape) != 4 or shape[1:] not in {(3, k, k) for k in kernels}:
        raise CheckpointError("missing" if weight is None else f"shape {shape}",
                              where=f"{checkpoint.origin}: {key}",
                              hint=f"expected {' or '.join(f'{k}x{k}' for k in kernels)} over 3 "
                                   "colours")
    return shape[2]


def _channels(checkpoint: Checkpoint) -> tuple[int, ...]:
    tensors, origin = checkpoint.tensors, checkpoint.origin
    found = {int(m[1]) for k in tensors if (m := re.match(r"feature\.(\d+)\.", k))}
    if found != set(range(len(found))) or len(found) < 2:
        raise CheckpointError(f"blocks {sorted(found)}", where=f"{origin}: feature.*",
                              hint="blocks count from feature.0 without gaps")
    channels = [int(tensors["feature.0.conv1.weight"].shape[0])]
    for i in range(1, len(found)):
        doubles = any(k.startswith((f"feature.{i}.FFN_1.", f"feature.{i}.FFN_2."))
                      for k in tensors)
        channels.append(channels[-1] * (2 if doubles else 1))
    return tuple(channels)


def _stages(checkpoint: Checkpoint) -> tuple[tuple[int, ...], tuple[int, ...]]:
    tensors, origin = checkpoint.tensors, checkpoint.origin
    blocks: dict[int, set[int]] = {}
    for key in tensors:
        if found := re.match(r"layer(\d+)\.(\d+)\.", key):
            blocks.setdefault(int(found[1]), set()).add(int(found[2]))
    if sorted(blocks) != list(range(len(blocks))) or not blocks:
        raise CheckpointError(f"stages {sorted(blocks)}", where=f"{origin}: layer*",
                              hint="stages count from layer0 without gaps")
    widths = []
    for stage in range(len(blocks)):
        key = f"layer{stage}.0.Attention.binary_conv.weight"
        if key not in tensors or tensors[key].dim() != 4:
            raise CheckpointError("missing or of another shape", where=f"{origin}: {key}",
                                  hint="expected (out, in, 3, 3)")
        widths.append(int(tensors[key].shape[0]))
    return tuple(widths), tuple(max(blocks[stage]) + 1 for stage in range(len(blocks)))


def _meta(checkpoint: Checkpoint, geometry: Geometry | Geometry18) -> BNext | BNext18:
    """The network without values; CheckpointError where the file's tensors are not its own."""
    with torch.device("meta"):
        net = build(geometry)
    check_tensors(checkpoint, net)
    return net


def _check_cold(checkpoint: Checkpoint, key: str, limit: float) -> None:
    temperature = float(checkpoint.tensors[key])
    if temperature < limit:
        return
    warm = sum(k.endswith(".binary_conv.temperature") and float(v) >= limit
               for k, v in checkpoint.tensors.items())
    epoch = 110 if limit > 1e-6 else 153
    raise CheckpointError(
        f"{temperature:.3g} is not below {limit:g}: weights are not binary yet in {warm} "
        "convolutions", where=f"{checkpoint.origin}: {key}",
        hint=f"give a checkpoint of epoch {epoch} or later (the authors cool by 0.9 an epoch)")


def _check_sizes(checkpoint: Checkpoint, key: str) -> None:
    empty = (checkpoint.tensors[key].flatten(1) == 0).all(dim=1)
    if empty.any():
        raise CheckpointError(
            f"output channel {int(empty.nonzero()[0])} is all 0, and the quantiser divides by its "
            "size", where=f"{checkpoint.origin}: {key}", hint="the authors' code gives NaN, too")
