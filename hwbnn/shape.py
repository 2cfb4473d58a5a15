"""The engine configuration that a network needs for a given array shape."""

import dataclasses

import numpy as np

from rtl_gen.engine.config import EngineConfig

from . import ints
from .ir import Graph
from .layers import Layer, extract_layers, graph_input
from .ops import int_ops as I
from .pack import border_constants, required_bits
from .program import Program, program

__all__ = ["Shape", "derive"]

MIN_DEPTH = 16


@dataclasses.dataclass(frozen=True, order=True)
class Shape:
    """Array shape: S input channels, P lanes, T pixels, K dense inputs."""

    channels_in: int
    lanes: int
    pixels: int
    dense_inputs: int

    def __str__(self) -> str:
        return f"S={self.channels_in} P={self.lanes} T={self.pixels} K={self.dense_inputs}"


def derive(graph: Graph, shape: Shape, *, psum_depth: int = 512,
           const_words: int = 4) -> Program:
    """The smallest engine of ``shape`` that runs ``graph``, and its program.

    Widths come from the graph's ranges, depths from the program's placement.
    """
    layers = extract_layers(graph)
    types = graph.types()
    wide = EngineConfig(
        **dataclasses.asdict(shape),
        **_arithmetic(graph, layers, types),
        const_words=const_words,
        psum_depth=psum_depth,
        **{f"{name}_depth": 1 << 16 for name in ("bit", "image", "feature", "x", "weight",
                                                 "dense_weight", "const", "codebook", "step",
                                                 "load", "logit")},
        pool_depth=1 << 10,
    )
    border = [border_constants(layer, wide) for layer in layers if layer.binary]
    lo = min((int(b.min()) for b in border), default=0)
    hi = max((int(b.max()) for b in border), default=0)
    wide = dataclasses.replace(wide, border_bits=ints.signed_width(lo, hi))
    return _fit(layers, wide, graph_input(graph).op)


def _fit(layers: list[Layer], wide: EngineConfig, input_op) -> Program:
    """Shrink every depth to what the program uses."""
    needed = program(layers, wide, input_op).needed
    names = {
        "bits": "bit_depth", "image": "image_depth", "features": "feature_depth", "x": "x_depth",
        "psum": "psum_depth", "weights": "weight_depth", "dense_weights": "dense_weight_depth",
        "constants": "const_depth", "codebooks": "codebook_depth", "steps": "step_depth",
        "loads": "load_depth", "pool": "pool_depth", "logits": "logit_depth",
    }
    depths = {names[k]: max(MIN_DEPTH, v) for k, v in needed.items()}
    config = dataclasses.replace(wide, **depths)
    # narrower addresses change no count except the step's own words
    steps = program(layers, config, input_op).needed["steps"]
    config = dataclasses.replace(config, step_depth=max(MIN_DEPTH, steps))
    return program(layers, config, input_op)


def _arithmetic(graph: Graph, layers: list[Layer], types) -> dict:
    """Widths and menus that the network's ranges ask for."""
    affines = [layer.affine for layer in layers]
    z = []
    for node in graph:
        if isinstance(node.op, I.Affine | I.Add):
            z.append(types[node.name].range.width)
    bias = max(
        ints.signed_width(int(a.bias.min()), int(a.bias.max())) for a in affines
    )
    acc = max(types[layer.conv.name].range.width for layer in layers)
    counts = [layer.conv.op.weight[0].size for layer in layers if layer.binary]
    acc = max(acc, max((int(c).bit_length() + 2 for c in counts), default=0))
    acts = [layer.act for layer in layers if layer.act is not None]
    kinds = {type(a) for a in acts}
    rprelu = "none"
    if I.ShiftRPReLU in kinds:
        rprelu = "shift"
    elif kinds:
        rprelu = "multiplier"
    dense = [layer for layer in layers if not layer.binary]
    return {
        "id_bits": required_bits(layers),
        "feature_bits": _feature_bits(graph),
        "weight_bits": max(layer.conv.op.weight_bits for layer in dense),
        "acc_bits": max(acc, 19),
        "z_bits": max(z),
        "bias_bits": bias,
        "affine_shifts": tuple(sorted({a.shift for a in affines})),
        "prescales": tuple(sorted({layer.affine.pre for layer in dense})),
        "gsum_shifts": tuple(
            sorted({n.op.shift for n in graph if isinstance(n.op, I.GlobalSum)})
        ) or (0,),
        "slope_shift": next((a.shift for a in acts if isinstance(a, I.RPReLU)), 14),
        "rprelu": rprelu,
        "image_frac": graph_input(graph).op.frac,
    }


def _feature_bits(graph: Graph) -> int:
    return int(np.max([n.op.bits for n in graph if isinstance(n.op, I.Saturate)]))
