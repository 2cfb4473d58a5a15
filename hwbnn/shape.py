"""The engine configuration that a network needs for a given array shape."""

import dataclasses

import numpy as np

from rtl_gen.engine.config import STREAM_KINDS, EngineConfig
from rtl_gen.engine.first_config import FirstConfig
from rtl_gen.engine.run_time_config import RunTimeConfig, ThresholdConfig
from rtl_gen.engine.stem_config import StemConfig
from rtl_gen.sdram.timing import part_of

from . import ints
from .ebr import ebr_blocks
from .errors import DoesNotFit
from .extract import extract
from .ir import Graph
from .layers import EverySecond, Layer, graph_input
from .off_chip import OffChip
from .ops import int_gain as J
from .ops import int_ops as I
from .ops.int_dynamic import SubsamplePad
from .order import Bands
from .pack import border_constants, required_bits
from .program import Program, program
from .row_bits import by_rows
from .run_time import run_time_config, whole_sums
from .stem_pack import accumulator_bits

__all__ = ["Shape", "derive", "general_purpose", "has_signed_sums", "on_machine"]

MIN_DEPTH = 16
# tiles of binary and dense weights, and groups of constants, that wait on chip when streamed, at
# least: blocks of memory are filled up
RING_TILES = (16, 32, 4)
STEP_RING = 512  # words of streamed steps that wait on chip: a block
# what a program needs -> the configuration's depth of it
DEPTHS = {
    "bits": "bit_depth", "image": "image_depth", "features": "feature_depth", "x": "x_depth",
    "psum": "psum_depth", "weights": "weight_depth", "dense_weights": "dense_weight_depth",
    "constants": "const_depth", "codebooks": "codebook_depth", "steps": "step_depth",
    "loads": "load_depth", "pool": "pool_depth", "logits": "logit_depth",
}
# the same of a threshold unit, and the least depth
UNIT_DEPTHS = {
    "features1": ("feature_depth", MIN_DEPTH), "unit_sums": ("sum_depth", MIN_DEPTH),
    "unit_hidden": ("hidden_depth", 2), "unit_planes": ("planes", 2),
    "unit_weights": ("weight_depth", MIN_DEPTH), "unit_constants": ("const_depth", MIN_DEPTH),
    "unit_steps": ("step_depth", MIN_DEPTH),
}
UNIT_INPUTS = 4  # products a cycle of a threshold unit, where they divide the lanes


@dataclasses.dataclass(frozen=True, order=True)
class Shape:
    """Array shape: S input channels, P lanes, T pixels, K dense inputs."""

    channels_in: int
    lanes: int
    pixels: int
    dense_inputs: int

    def __str__(self) -> str:
        return f"S={self.channels_in} P={self.lanes} T={self.pixels} K={self.dense_inputs}"


def derive(graph: Graph, shape: Shape, *, psum_depth: int = 512, const_words: int = 4,
           band: int = 0, halvings: int = 1, resident: int | None = None, deep: int = 0,
           logic_pairs: int = 0, stream: bool = False, overlap: int | None = None,
           batch=None, beside: int | None = None, ahead: bool = False,
           wide: bool = False, signed_sums: bool = False, off_chip: int = 0,
           off_rows: int = 0, off_again=None, row_bits: int = 0,
           stream_steps: bool = False, sdram_mb: int = 32) -> Program:
    """The smallest engine of ``shape`` that runs ``graph``, and its program.

    Where channel sums of maps are thresholds' beginnings, ``psum_depth`` grows to the largest map
    that a step must make whole.
    Widths come from the graph's ranges, depths from the program's placement. ``band`` rows at a
    time go depth-first through the leading layers (0: every map whole), until the map was halved
    ``halvings`` times; ``logic_pairs`` of the
    stem's multipliers are made of LUTs. With ``stream`` the weights of all layers but those come
    from off-chip memory, of those all but the first ``resident``, too, each time they run, ``deep``
    rows at a time. With ``overlap`` the layers from that one on run between the leading ones
    of the next frame. ``batch`` says from which layers on several images run at once
    (see `hwbnn.program.program`). With ``beside`` so many steps are the front of a frame, and a
    unit beside the array makes the bits (see `hwbnn.beside`). With ``ahead`` a first 3x3
    convolution has a unit of its own, with ``wide`` a pass takes two words a cycle. With
    ``signed_sums`` 1x1 layers of ±1 weights are computed by adders (see `has_signed_sums`). With
    ``off_chip`` maps of so many rows or more lie off chip (see `hwbnn.off_chip`). With
    ``row_bits`` bits for 1x1 convolutions lie by rows in maps of so many rows or more (see
    `hwbnn.row_bits`). With ``stream_steps`` the program comes with the weights.
    ``sdram_mb`` is the size of the off-chip memory.
    """
    layers = by_rows(extract(graph), row_bits, shape.channels_in)
    types = graph.types()
    if ahead:
        layers[0] = _ahead(layers[0], beside)
    stem = _stem(layers, shape, graph_input(graph).op, logic_pairs,
                 types[layers[0].conv.name].range.width)
    run_time = run_time_config(layers, moves=bool(off_chip))
    bands = Bands.of(layers, band, halvings, resident, deep)
    on_chip = bands.resident or OffChip(off_chip).resident(layers)
    if beside is not None:
        run_time = _with_unit(layers, run_time, shape, stream, 1 + wide)
    wide = EngineConfig(
        **dataclasses.asdict(shape),
        **_arithmetic(graph, layers, types),
        const_words=const_words,
        psum_depth=psum_depth,
        stem=stem,
        pointwise=any(layer.pointwise for layer in layers),
        centred=any(layer.centred for layer in layers),
        overlap=overlap is not None or beside is not None,
        batch=max((images for _layer, images in batch or ()), default=1),
        ring_words=tuple(n * shape.lanes for n in RING_TILES[:2])
        + (RING_TILES[2] * shape.lanes * const_words,) if stream else (),
        stream_weight_bits=_stream_weight_bits(layers, on_chip) if stream else 0,
        streamed_steps=stream_steps,
        sdram_mb=part_of(sdram_mb).megabytes,
        shared_x=_shared_x(layers, shape),
        sampled=_sampled(layers) and beside is None,
        signed_sums=signed_sums and _signed_sums(layers),
        clamps=_clamps(layers),
        max_pool=any(layer.max_pool for layer in layers),
        run_time=run_time,
        dense_maps=not ahead or any(layer.from_x and layer.in_shape[1:] != (1, 1)
                                    for layer in layers),
        pooled=run_time is None or any(isinstance(x.x_op, I.AvgPool2x2) for x in layers),
        **{f"{name}_depth": 1 << 16 for name in ("bit", "image", "feature", "x", "weight",
                                                 "dense_weight", "const", "codebook", "step",
                                                 "load", "logit")},
        pool_depth=1 << 10,
    )
    border = [border_constants(layer, wide) for layer in layers if layer.binary]
    lo = min((int(b.min()) for b in border), default=0)
    hi = max((int(b.max()) for b in border), default=0)
    wide = dataclasses.replace(wide, border_bits=ints.signed_width(lo, hi))
    if stem is not None:
        wide = dataclasses.replace(wide, acc_bits=max(wide.acc_bits, stem.result_bits))
    if stream_steps:
        wide = dataclasses.replace(wide, step_depth=STEP_RING)
    if run_time is not None:
        wide = dataclasses.replace(wide, psum_depth=max(psum_depth, whole_sums(layers, wide)))
    order = {"band": band, "halvings": halvings, "resident": resident, "deep": deep,
             "overlap": overlap, "batch": batch, "beside": beside, "off_chip": off_chip,
             "off_rows": off_rows, "off_again": off_again}
    fitted = _fit(layers, wide, graph_input(graph).op, order)
    if not stream:
        return fitted
    full = dataclasses.replace(wide, ring_words=_full_rings(fitted.config))
    return _fit(layers, full, graph_input(graph).op, order)


def _stream_weight_bits(layers: list[Layer], resident: int) -> int:
    """Width of the multi-bit weights that come from off-chip memory, where it is less than others'
    (0: it is not): a first convolution has wider ones."""
    dense = [(i, layer.conv.op.weight_bits) for i, layer in enumerate(layers)
             if not (layer.map_pass or layer.weightless or layer.binary or layer.stem)]
    bits = max((bits for i, bits in dense if i >= resident), default=0)
    return bits if bits < max(bits for _i, bits in dense) else 0


def _with_unit(layers, run_time: RunTimeConfig | None, shape: Shape, stream: bool,
               words: int) -> RunTimeConfig:
    """With a threshold unit, of memories of any depth."""
    if run_time is None:
        raise DoesNotFit("has no thresholds that are made for every image", where="plan",
                         hint="plan without 'beside'")
    if stream or layers[0].pool is not None:
        raise DoesNotFit("a threshold unit takes weights on chip and a first layer of windows",
                         where=layers[0].name, hint="plan without 'beside'")
    inputs = next(n for n in (UNIT_INPUTS, 2, 1) if shape.lanes % n == 0)
    depths = {field: 1 << 16 for field, _least in UNIT_DEPTHS.values()}
    return dataclasses.replace(run_time, unit=ThresholdConfig(inputs=inputs, words=words, **depths))


def _full_rings(config: EngineConfig) -> tuple[int, ...]:
    """Rings that use all of the blocks that their memories take anyway."""
    units = (config.lanes, config.lanes, config.lanes * config.const_words)
    result = []
    for kind, unit in zip(STREAM_KINDS, units, strict=True):
        width, depth = config.memories()[kind]
        more = 0
        while ebr_blocks(width, depth + more + unit) == ebr_blocks(width, depth):
            more += unit
        result.append(config.rings[kind] + more)
    return tuple(result)


def _shared_x(layers: list[Layer], shape: Shape) -> bool:
    """Whether dense inputs go to the feature memory: beside a stem, or if pooled maps are added."""
    divides = shape.lanes % shape.dense_inputs == 0
    late = next((layer for layer in layers if layer.map_pass or layer.weightless), None)
    if late is not None and not divides:
        raise DoesNotFit("run-time thresholds and gains need dense inputs that divide the "
                         f"{shape.lanes} lanes, not {shape.dense_inputs}", where=late.name)
    if late is not None:
        return True
    made = {layer.x for layer in layers if layer.x_op is not None}
    pooled = next((layer for layer in layers if layer.residual in made), None)
    if pooled is not None and not divides:
        raise DoesNotFit(f"a pooled residual needs dense inputs that divide the {shape.lanes} "
                         f"lanes, not {shape.dense_inputs}", where=pooled.name)
    return divides and (layers[0].pool is not None or pooled is not None)


def _sampled(layers: list[Layer]) -> bool:
    return any(isinstance(layer.x_op, EverySecond | SubsamplePad) for layer in layers)


def has_signed_sums(layers: list[Layer]) -> bool:
    """Whether there are multi-bit 1x1 layers on maps, and all of them have weights of ±1 alone."""
    found = [layer for layer in layers if not layer.map_pass and layer.from_x and not layer.flat
             and layer.in_shape[1:] != (1, 1)]
    return bool(found) and all(layer.plus_minus for layer in found)


def _signed_sums(layers: list[Layer]) -> bool:
    if not has_signed_sums(layers):
        raise DoesNotFit("has no 1x1 layers of ±1 weights alone", where="plan",
                         hint="plan without 'signed_sums'")
    return True


def _clamps(layers: list[Layer]) -> tuple[tuple[int, int], ...]:
    return tuple(sorted({(layer.clamp.lo, layer.clamp.hi) for layer in layers if layer.clamp}))


def _ahead(layer: Layer, beside: int | None) -> Layer:
    """The first layer, computed by a unit of its own."""
    if beside is None:
        raise DoesNotFit("a first layer ahead is for machines with two frames at once",
                         where=layer.name, hint="plan with 'beside', or without 'ahead'")
    if not layer.from_image or layer.conv.op.stride != 1:
        raise DoesNotFit("no 3x3 convolution of stride 1 on the image", where=layer.name,
                         hint="plan without 'ahead'")
    return dataclasses.replace(layer, ahead=True)


def _first(layer: Layer, shape: Shape, input_op, acc_bits: int) -> FirstConfig:
    """The unit for a first 3x3 convolution."""
    _c, height, width = input_op.shape
    channels = -(-layer.out_shape[0] // shape.lanes) * shape.lanes
    try:
        return FirstConfig(
            lanes=shape.lanes, pixels=shape.pixels, channels=channels, height=height, width=width,
            weight_bits=layer.conv.op.weight_bits, acc_bits=acc_bits, image_frac=input_op.frac,
            offset=tuple(int(v) for v in input_op.offset))
    except ValueError as error:
        raise DoesNotFit(str(error), where=layer.name) from error


def _stem(layers: list[Layer], shape: Shape, input_op, logic_pairs: int,
          acc_bits: int) -> StemConfig | FirstConfig | None:
    """The stem unit that the first layer needs, if it is a 7x7 convolution or has a unit of its
    own for 3x3; ``acc_bits`` are the width of its sums."""
    first = layers[0]
    if not first.stem:
        return None
    op = first.conv.op
    if first.ahead:
        return _first(first, shape, input_op, acc_bits)
    if shape.pixels != 1 or shape.lanes % 2:
        raise DoesNotFit(f"a stem works beside an even number of lanes of one pixel, not {shape}",
                         where=first.name)
    _c, height, width = input_op.shape
    groups = -(-len(op.weight) // shape.lanes)
    try:
        return StemConfig(
            lanes=shape.lanes, out_channels=groups * shape.lanes, height=height, width=width,
            weight_bits=op.weight_bits, image_frac=input_op.frac, logic_pairs=logic_pairs,
            acc_bits=accumulator_bits(op.weight, input_op.offset, input_op.frac), out_rows=1,
        )
    except ValueError as error:
        raise DoesNotFit(str(error), where=first.name) from error


def _fit(layers: list[Layer], wide: EngineConfig, input_op, order: dict) -> Program:
    """Shrink every depth to what the program uses."""
    needed = program(layers, wide, input_op, **order).needed
    depths = {DEPTHS[k]: max(MIN_DEPTH, v) for k, v in needed.items() if k in DEPTHS}
    config = dataclasses.replace(wide, **depths)
    if config.run_time is not None:
        depth, gains = max(MIN_DEPTH, needed["vectors"]), config.gains
        if gains is not None:
            waiting = max(MIN_DEPTH, needed["branch"])
            sums = max(MIN_DEPTH, needed["sums"]) if gains.sum_depth else 0
            gains = dataclasses.replace(gains, branch_depth=waiting, sum_depth=sums)
        run_time = dataclasses.replace(config.run_time, vector_depth=depth, gains=gains)
        if run_time.unit is not None:
            sizes = {field: max(least, needed[name])
                     for name, (field, least) in UNIT_DEPTHS.items()}
            run_time = dataclasses.replace(run_time,
                                           unit=dataclasses.replace(run_time.unit, **sizes))
        config = dataclasses.replace(config, run_time=run_time)
    # narrower addresses change no count except the step's own words
    steps = program(layers, config, input_op, **order).needed["steps"]
    config = dataclasses.replace(config, step_depth=max(MIN_DEPTH, steps))
    return program(layers, config, input_op, **order)


def _arithmetic(graph: Graph, layers: list[Layer], types) -> dict:
    """Widths and menus that the network's ranges ask for."""
    layers = [layer for layer in layers if not layer.map_pass]
    affines = [layer.affine for layer in layers]
    z = []
    for node in graph:
        if isinstance(node.op, I.Affine | I.Add | J.GainAffine | J.Mix):
            z.append(types[node.name].range.width)
    # negative terms of a scale by shifts leave their 1 to the bias
    digits = graph.meta.get("numeric", {}).get("scale_digits", 0)
    bias = max(
        ints.signed_width(int(a.bias.min()), int(a.bias.max()) + digits) for a in affines
    )
    bias = max([bias, *(_mixed_width(x, types) for x in layers if x.other)])
    weighted = [x for x in layers if not x.stem and not x.weightless]
    acc = max((types[x.conv.name].range.width for x in weighted), default=1)
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
        "weight_bits": max(x.conv.op.weight_bits for x in weighted if not x.binary),
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
        "scale_digits": digits,
        "image_frac": graph_input(graph).op.frac,
    }


def _mixed_width(layer: Layer, types) -> int:
    """Bits of the bias with the second of two vectors, times its gain, in it."""
    top = max(abs(types[layer.other].range.lo), types[layer.other].range.hi)
    most = int(np.abs(layer.second).max()) * top + int(np.abs(layer.affine.bias).max())
    return ints.signed_width(-most, most)


def _feature_bits(graph: Graph) -> int:
    return int(np.max([n.op.bits for n in graph if isinstance(n.op, I.Saturate)]))


def general_purpose(shape: Shape, *, id_bits: int = 9, rprelu: str = "multiplier",
                    mobile: bool = False, batch: int = 1, signed_sums: bool = False,
                    scale_digits: int = 0,
                    run_time: RunTimeConfig | None = None) -> EngineConfig:
    """An engine of ``shape`` for any small network: wide menus and memories, nothing derived.

    A ``mobile`` one computes 1x1 binary convolutions, adds pooled maps, and has shortcuts that
    read every second pixel. One with ``signed_sums`` has adders for 1x1 layers of ±1, one with
    ``scale_digits`` no multipliers for scales. One with ``run_time`` makes all bits at thresholds
    of the image and has max-pools, or multiplies maps by gains; it clamps to ±1 and to 0 and more.
    """
    top = ints.signed_range(16)[1]
    one = 1 << 14
    late = {"max_pool": run_time is not None and run_time.gains is None,
            "clamps": ((-one, one), (0, top)), "run_time": run_time}
    return EngineConfig(
        **(late if run_time else {}),
        **dataclasses.asdict(shape),
        id_bits=id_bits,
        rprelu=rprelu,
        batch=batch,
        signed_sums=signed_sums,
        scale_digits=scale_digits,
        pointwise=mobile,
        shared_x=mobile or run_time is not None,
        sampled=mobile or (run_time is not None and run_time.unit is None),
        overlap=run_time is not None and run_time.unit is not None,
        affine_shifts=(4, 6, 8, 10, 12, 14, 16, 18),
        prescales=(0, 4, 8, 12, 16),
        weight_bits=12,
        gsum_shifts=tuple(range(12)),
        weight_depth=2048,
        dense_weight_depth=2048,
        const_depth=4096,
        codebook_depth=4096,
        feature_depth=2048,
        x_depth=1024,
        bit_depth=512,
        image_depth=512,
        psum_depth=160,
        step_depth=512,
        load_depth=64,
        logit_depth=64,
    )


def _check_run_time(layers: list[Layer], config: EngineConfig, beside: int | None) -> None:
    """Clamps, max-pools and run-time thresholds that an engine lacks."""
    where = layers[0].name
    missing = set(_clamps(layers)) - set(config.clamps)
    if missing:
        raise DoesNotFit(f"needs clamps {sorted(missing)}, which the engine does not offer",
                         where=where)
    if any(layer.max_pool for layer in layers) and not config.max_pool:
        raise DoesNotFit("the engine has no max-pools", where=where)
    needs, has = run_time_config(layers), config.run_time
    if beside is not None and not config.beside:
        raise DoesNotFit("two frames at once need a threshold unit beside the array, which the "
                         "engine does not have", where=where)
    if beside is None and config.beside:
        raise DoesNotFit("the engine has a threshold unit beside the array, for two frames at "
                         "once", where=where)
    if needs is None and has is None:
        return
    if has is None:
        raise DoesNotFit("needs thresholds or gains of the image, which the engine does not offer",
                         where=where)
    if needs is None:
        raise DoesNotFit("the engine is for networks with thresholds or gains of the image",
                         where=where)
    if (needs.gains is None) != (has.gains is None):
        raise DoesNotFit("run-time thresholds and gains need engines of their own", where=where)
    if needs.gains is not None:
        missing = set(needs.gains.product_shifts) - set(has.gains.product_shifts)
        if missing or needs.gains.shift != has.gains.shift:
            raise DoesNotFit(f"needs products shifted by {sorted(missing)} and gains by "
                             f"{needs.gains.shift}, which the engine does not offer", where=where)
        missing = set(needs.gains.levels) - set(has.gains.levels)
        if missing:
            raise DoesNotFit(f"needs levels of {sorted(missing)} bits between values that each "
                             "image decides, which the engine does not offer", where=where)
    for name in ("tie", "entries", "shift"):
        if getattr(needs, name) != getattr(has, name):
            raise DoesNotFit(f"{name} of run-time thresholds must be {getattr(has, name)}, not "
                             f"{getattr(needs, name)}", where=where)
    if set(needs.fracs) - set(has.fracs):
        raise DoesNotFit(f"needs sigmoids at {needs.fracs}, the engine has {has.fracs}",
                         where=where)


def _available(config: EngineConfig, memory: str) -> int:
    """Words of one of the memories that programs need."""
    if memory in UNIT_DEPTHS:
        return getattr(config.run_time.unit, UNIT_DEPTHS[memory][0])
    if memory == "vectors":
        return config.run_time.vector_depth
    if memory == "sums":
        return config.sum_depth
    return config.gains.branch_depth if memory == "branch" else getattr(config, DEPTHS[memory])


def on_machine(graph: Graph, config: EngineConfig, batch=None, beside: int | None = None,
               row_bits: int = 0, **off_chip) -> Program:
    """The program of ``graph`` for an engine that exists already, with ``batch``, ``beside``,
    ``row_bits`` and ``off_chip``, ``off_rows`` and ``off_again`` as of `derive`.

    Raises DoesNotFit where a width, a menu or a memory of the engine is too small, by how much.
    """
    layers = by_rows(extract(graph), row_bits, config.channels_in)
    if layers[0].stem or config.stem is not None:
        raise DoesNotFit("a unit for the first convolution is built for one network and serves no "
                         "other", where=layers[0].name)
    _check_run_time(layers, config, beside)
    needs = _arithmetic(graph, layers, graph.types())
    for name in ("feature_bits", "slope_shift", "image_frac"):
        if needs[name] != getattr(config, name):
            raise DoesNotFit(f"{name} must be {getattr(config, name)}, not {needs[name]}")
    if needs["rprelu"] not in ("none", config.rprelu):
        raise DoesNotFit(f"the engine's RPReLU is '{config.rprelu}', not '{needs['rprelu']}'")
    if config.scale_digits and not 0 < needs["scale_digits"] <= config.scale_digits:
        raise DoesNotFit("scales need a multiplier" if not needs["scale_digits"] else
                         f"scales have {needs['scale_digits']} signed digits, the engine takes "
                         f"{config.scale_digits}")
    made = {layer.x for layer in layers if layer.x_op is not None}
    if any(layer.residual in made for layer in layers) and not config.shared_x:
        raise DoesNotFit("the engine cannot add pooled maps")
    if _sampled(layers) and not (config.sampled or config.beside):
        raise DoesNotFit("the engine has no 1x1 shortcuts of stride 2")
    if any(layer.pointwise for layer in layers) and not config.pointwise:
        raise DoesNotFit("the engine has no 1x1 binary convolutions")
    if row_bits and not config.centred:
        raise DoesNotFit("the engine reads bits for 1x1 convolutions by channel groups",
                         where="row_bits")
    for name in ("id_bits", "weight_bits", "acc_bits", "z_bits", "bias_bits"):
        if needs[name] > getattr(config, name):
            raise DoesNotFit(f"needs {name} {needs[name]}, the engine has {getattr(config, name)}")
    for name in ("affine_shifts", "prescales", "gsum_shifts"):
        missing = set(needs[name]) - set(getattr(config, name))
        if missing:
            raise DoesNotFit(f"needs {name} {sorted(missing)}, which the engine does not offer")
    if off_chip.get("off_chip") and not config.moves:
        raise DoesNotFit("the engine cannot move maps off chip", where=layers[0].name)
    result = program(layers, config, graph_input(graph).op, batch=batch, beside=beside, **off_chip)
    if result.batches.images > config.batch:
        raise DoesNotFit(f"a batch of {result.batches.images} images, the engine takes "
                         f"{config.batch}")
    for memory, words in result.needed.items():
        available = _available(config, memory)
        if words > available:
            raise DoesNotFit(
                f"{memory} needs {words} words, the engine has {available} ({words - available} "
                "short)"
            )
    return result
