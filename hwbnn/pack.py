"""Weights, constants and programs -> memory images (unsigned words by memory name)."""

import dataclasses

import numpy as np

from rtl_gen.engine.config import (
    BORDER_CLASSES,
    POINT_WORDS,
    STREAM_BITS,
    EngineConfig,
)
from rtl_gen.engine.first_config import PAIR, TAPS
from rtl_gen.units.shift_add import NO_TERM, term_layout

from . import ints
from .entries import entry_images
from .errors import DoesNotFit
from .geometry import ceil_div, geometry
from .layers import Layer
from .program import Program, Step
from .run_time import sigmoid_words
from .stem_pack import pack_stem
from .stream_parts import step_segments

__all__ = ["Segment", "border_constants", "in_memory", "in_stream", "layer_constants", "pack",
           "program_text", "segment_sizes", "segments", "stream_words"]

CENTRE = 4  # tap in the middle of a 3x3 kernel
NO_EXPONENT = 7  # a slope of 1 in the shift form: 7 - exponent 0


def pack(program: Program) -> dict[str, list[int]]:
    """Words of every memory that has contents; all others start as zeros."""
    config = program.config
    images: dict[str, list[int]] = {
        name: [] for name in ("weights", "dense_weights", "constants", "codebooks")
    }
    first = {step.layer.name: step for step in reversed(program.steps)}
    for layer in program.layers:  # in the order in which their places were reserved
        step = first.get(layer.name)
        if layer.map_pass or step is None:  # the threshold unit has its own memories
            continue
        if layer.stem:
            unit_images = first_images if layer.ahead else stem_images
            images |= unit_images(layer, program.input_op, config)
        elif layer.binary and config.has_codebook:
            images["codebooks"] += kernel_ids(layer, config)[1]
        if not step.streamed:
            if not layer.stem and not layer.weightless:
                images["weights" if layer.binary else "dense_weights"] += _tile_words(step, config)
            images["constants"] += _constant_words(layer, config)
    if config.run_time is not None:
        images["sigmoid"] = sigmoid_words(program.layers, config)
    if config.beside:
        images |= entry_images(program.entries, config)
    if not config.streamed_steps:
        images["steps"] = [w for s in program.steps for w in _step_words(s.fields, config)]
    images["loads"] = [
        config.load_layout.const(s.load).as_bits() for s in program.steps if s.load is not None
    ]
    return {name: words for name, words in images.items() if words}


def _tile_words(step: Step, config: EngineConfig) -> list[int]:
    """Words of all tiles of a step's layer, P a tile."""
    if step.layer.binary:
        return _weight_words(kernel_ids(step.layer, config)[0], step, config)
    return _dense_words(step.layer, config)


@dataclasses.dataclass(frozen=True)
class Segment:
    """Part of the weight stream: ``words`` words of the memory ``kind`` (see WeightStream)."""

    kind: str
    words: list[int]


def segment_sizes(program: Program) -> list[tuple[Step, str, int]]:
    """(step, kind, words) of every segment of the weight stream."""
    return [(step, *segment) for step in program.steps
            for segment in step_segments(step, program.config)]


def segments(program: Program) -> list[Segment]:
    """The weight stream of a frame, with its contents."""
    made: dict[tuple[str, str], list[int]] = {}
    result, at, last = [], {}, None
    for step, kind, count in segment_sizes(program):
        if step is not last:
            at, last = {}, step
        if kind == "steps":
            result.append(Segment(kind, _step_words(step.fields, program.config)))
            continue
        key = step.layer.name, kind
        if key not in made:
            made[key] = (_constant_words(step.layer, program.config) if kind == "constants"
                         else _tile_words(step, program.config))
        first = at.get(kind, step.g0 * count)
        at[kind] = first + count
        result.append(Segment(kind, made[key][first : first + count]))
    return result


def stream_words(program: Program) -> np.ndarray:
    """The weight stream of a frame as uint16 words, headers included; empty if all is on chip."""
    config = program.config
    limit = 1 << (STREAM_BITS - 2)
    parts = config.stream_parts if config.streams else {}
    data = bytearray()
    for segment in segments(program):
        if len(segment.words) > limit:
            raise ValueError(f"a segment of {len(segment.words)} words exceeds {limit}")
        header = config.stream_kinds.index(segment.kind) | (len(segment.words) - 1) << 2
        data += header.to_bytes(2, "little")
        size = parts[segment.kind] * STREAM_BITS // 8
        for word in segment.words:
            data += in_stream(segment.kind, word, config).to_bytes(size, "little")
    return np.frombuffer(bytes(data), dtype="<u2")


def in_stream(kind: str, word: int, config: EngineConfig) -> int:
    """A memory word of ``kind`` as the weight stream has it: multi-bit weights may be narrower.

    Raises ValueError where they do not fit.
    """
    if kind == "dense_weights" and config.stream_weight_bits:
        narrow = _resized(word, config.dense_inputs, config.weight_bits, config.stream_weight_bits)
        if in_memory(kind, narrow, config) != word:
            raise ValueError(f"weights {word:#x} are wider than {config.stream_weight_bits} bits")
        return narrow
    return word


def in_memory(kind: str, word: int, config: EngineConfig) -> int:
    """A word of the weight stream as its memory holds it; the inverse of `in_stream`."""
    if kind == "dense_weights" and config.stream_weight_bits:
        return _resized(word, config.dense_inputs, config.stream_weight_bits, config.weight_bits)
    return word


def _resized(word: int, count: int, bits: int, to: int) -> int:
    """``count`` signed fields of ``bits`` in ``to`` bits."""
    fields = [word >> bits * i & (1 << bits) - 1 for i in range(count)]
    signed = [value - (value >> bits - 1 << bits) for value in fields]
    return sum((value & (1 << to) - 1) << to * i for i, value in enumerate(signed))


def stem_images(layer: Layer, input_op, config: EngineConfig) -> dict[str, list[int]]:
    """Memories of the stem unit; unused channels of its last group have zero weights."""
    weight = layer.conv.op.weight
    padded = np.zeros((config.stem.out_channels, *weight.shape[1:]), dtype=np.int64)
    padded[: len(weight)] = weight
    return pack_stem(config.stem, padded, input_op.offset)


def first_images(layer: Layer, input_op, config: EngineConfig) -> dict[str, list[int]]:
    """Weights of the unit for a first 3x3 convolution, all of a pair of channels a word; unused
    channels have zero weights."""
    first, bits = config.stem, config.stem.weight_bits
    weight = layer.conv.op.weight.transpose(0, 2, 3, 1).reshape(-1, TAPS)
    padded = np.zeros((first.channels, TAPS), dtype=object)
    padded[: len(weight)] = weight % (1 << bits)
    at = np.array([1 << (bits * i) for i in range(PAIR * TAPS)], dtype=object)
    return {"first_weights": [int(w) for w in (padded.reshape(-1, PAIR * TAPS) * at).sum(axis=-1)]}


def kernel_ids(layer: Layer, config: EngineConfig) -> tuple[np.ndarray, list[int]]:
    """IDs (O, I) of a binary layer's kernels on this machine, and its codebook's words."""
    op = layer.conv.op
    if layer.pointwise:
        weight = op.weight[:, :, 0, 0]
        return _point_kernels(weight, layer.centred, layer.reads_at, config), []
    kernels = _kernel_bits(op.weight.reshape(*op.weight.shape[:2], 9))
    if not config.has_codebook:
        return kernels, []
    if op.codebook is not None:
        codes = _kernel_bits(op.codebook)
        ids = np.asarray(op.ids)
    else:
        codes, ids = np.unique(kernels, return_inverse=True)
        ids = ids.reshape(kernels.shape)
    table = [int(c) for c in codes] + [0] * ((1 << config.id_bits) - len(codes))
    return ids, table


def _point_kernels(weight: np.ndarray, centred: bool, first: int,
                   config: EngineConfig) -> np.ndarray:
    """±1 (O, I) of a 1x1 convolution as 3x3 kernels of words of a pixel (O, groups of S).

    Channel word g is tap (g % 6 // 2, 1 + g % 2), or each the tap in the middle where ``centred``,
    from channel ``first`` on; other taps are +1, which an activation bit of 0 does not count.
    """
    o, i = weight.shape
    s = config.channels_in
    words = ceil_div(first + i, s)
    at_once = 1 if centred else POINT_WORDS
    kernels = np.full((o, ceil_div(words, at_once) * s), (1 << 9) - 1, dtype=np.int64)
    channel = first + np.arange(i)
    group, slot = divmod(channel // s, at_once)
    tap = np.full(i, CENTRE) if centred else 3 * (slot // 2) + 1 + slot % 2
    for c in range(i):
        at = group[c] * s + channel[c] % s
        kernels[weight[:, c] < 0, at] &= ~(1 << int(tap[c]))
    return kernels


def _kernel_bits(kernels: np.ndarray) -> np.ndarray:
    """±1 (..., 9) -> integers whose bit ``tap`` is set for +1."""
    return ((kernels > 0).astype(np.int64) << np.arange(9)).sum(axis=-1)


def _weight_words(ids: np.ndarray, step, config: EngineConfig) -> list[int]:
    """A word a lane, S IDs each; lanes in reverse, since each load pushes the others on."""
    s, p, bits = config.channels_in, config.lanes, config.id_bits
    padded = np.zeros((step.of_og * p, step.n_ig * s), dtype=object)
    padded[: ids.shape[0], : ids.shape[1]] = ids
    shifts = [1 << (bits * c) for c in range(s)]
    grouped = padded.reshape(step.of_og, p, step.n_ig, s)[:, ::-1]
    words = (grouped * np.array(shifts, dtype=object)).sum(axis=-1)  # (og, lane, ig)
    return [int(w) for w in words.transpose(0, 2, 1).ravel()]


def _dense_words(layer: Layer, config: EngineConfig) -> list[int]:
    k, p, bits = config.dense_inputs, config.lanes, config.weight_bits
    weight = layer.conv.op.weight
    geo = geometry(layer, config)
    if layer.flat:  # as words lie: lane groups of channels, pixels, channels of the group
        o, c, h, w = weight.shape
        planes = ceil_div(c, p)
        spread = np.zeros((o, planes * p, h * w), dtype=weight.dtype)
        spread[:, :c] = weight.reshape(o, c, -1)
        flat = spread.reshape(o, planes, p, -1).transpose(0, 1, 3, 2).reshape(o, -1)
    else:
        # image taps go window position by window position, colours innermost
        flat = weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)
    padded = np.zeros((geo.n_og * p, geo.n_ig * k), dtype=object)
    padded[: flat.shape[0], : flat.shape[1]] = flat % (1 << bits)
    shifts = [1 << (bits * i) for i in range(k)]
    grouped = padded.reshape(geo.n_og, p, geo.n_ig, k)[:, ::-1]
    words = (grouped * np.array(shifts, dtype=object)).sum(axis=-1)
    return [int(w) for w in words.transpose(0, 2, 1).ravel()]


def border_constants(layer: Layer, config: EngineConfig) -> np.ndarray:
    """What a popcount is owed by border class: (O, 9), class = 3*row + column (rule 3).

    With counts over all S*n_ig*9 bits, p = 2*count + constant: minus the number of bits, plus the
    taps outside the image, whose activation bits are 0 (-1) but should count ``pad_value``, plus
    the unused channels, whose bits are 0 and whose weights are those of kernel ID 0.
    """
    op = layer.conv.op
    o, i = op.weight.shape[:2]
    if layer.pointwise:  # neither borders nor unused channels count
        return np.full((o, BORDER_CLASSES), -i, dtype=np.int64)
    geo = geometry(layer, config)
    taps = op.weight.astype(np.int64).sum(axis=1)  # (O, 3, 3)
    unused = geo.n_ig * config.channels_in - i
    _ids, codes = kernel_ids(layer, config)
    first = codes[0] if config.has_codebook else 0
    spare = unused * (2 * first.bit_count() - 9)
    result = np.empty((o, BORDER_CLASSES), dtype=np.int64)
    for row in range(3):
        for col in range(3):
            outside = np.zeros((3, 3), dtype=bool)
            if row:
                outside[0 if row == 1 else 2, :] = True
            if col:
                outside[:, 0 if col == 1 else 2] = True
            owed = (1 + op.pad_value) * taps[:, outside].sum(axis=1)
            result[:, 3 * row + col] = owed + spare - 9 * geo.n_ig * config.channels_in
    return result


def layer_constants(layer: Layer, config: EngineConfig) -> list[dict[str, int]]:
    """One record a channel, as signed integers, lanes beyond the last channel included."""
    o = layer.out_shape[0]
    geo = geometry(layer, config)
    never = ints.signed_range(config.feature_bits)[1] + 1
    border = border_constants(layer, config) if layer.binary else None
    records = []
    for c in range(geo.n_og * config.lanes):
        record = {"gain": 0, "bias": 0, "threshold": never, "falls": 0}
        record |= {f"border{i}": 0 for i in range(BORDER_CLASSES)}
        used = c < o
        if config.rprelu != "none":
            record |= {"slope": _slope(layer, c if used else None, config), "act_bias": 0}
        if config.gains is not None:
            record.setdefault(config.second_field, 0)
            if used and layer.second is not None:
                record[config.second_field] = int(layer.second[c])
        if config.scale_digits:
            record["gain"] = _terms([], config)
        if used:
            record |= {"gain": int(layer.affine.gain[c]), "bias": int(layer.affine.bias[c])}
            record["falls"] = int(layer.affine.gain[c] < 0)
            if layer.act is not None:
                record["act_bias"] = int(layer.act.bias[c])
            if layer.threshold is not None:
                record["threshold"] = int(layer.threshold.thr[c])
            if border is not None:
                record |= {f"border{i}": int(v) for i, v in enumerate(border[c])}
            if config.scale_digits:
                record |= _by_shifts(layer, record, config)
        records.append(record)
    return records


def _by_shifts(layer: Layer, record: dict[str, int], config: EngineConfig) -> dict[str, int]:
    """Gain and bias where shifts and adders make the product (see ShiftAddScale)."""
    digits = ints.signed_digits(record["gain"], config.scale_digits)
    if sum(sign << exponent for sign, exponent in digits) != record["gain"]:
        raise DoesNotFit(f"a gain of {record['gain']} is no sum of {config.scale_digits} powers of "
                         "two", where=layer.name)
    owed = sum(sign < 0 for sign, _exponent in digits)
    return {"gain": _terms(digits, config), "bias": record["bias"] + owed}


def _terms(digits: list[tuple[int, int]], config: EngineConfig) -> int:
    """Encoded terms of a gain, the ones that are not there included."""
    layout, value = term_layout(), 0
    for n in range(config.scale_digits):
        sign, exponent = digits[n] if n < len(digits) else (1, NO_TERM)
        term = layout.const({"negative": int(sign < 0), "exponent": exponent})
        value |= term.as_bits() << n * layout.size
    return value


def _slope(layer: Layer, channel: int | None, config: EngineConfig) -> int:
    """Encoded slope; 1 where a layer has no activation."""
    act = layer.act if channel is not None else None
    if config.rprelu == "shift":
        if act is None:
            return NO_EXPONENT << 1
        negative = int(act.sign[channel] < 0)
        return negative | (NO_EXPONENT - int(act.exponent[channel])) << 1
    return 1 << config.slope_shift if act is None else int(act.slope[channel])


def _constant_words(layer: Layer, config: EngineConfig) -> list[int]:
    layout, width, n_words = config.const_layout, config.const_width, config.const_words
    words: list[int] = []
    records = layer_constants(layer, config)
    for start in range(0, len(records), config.lanes):
        for record in reversed(records[start : start + config.lanes]):
            value = 0
            for name, field in layout:
                bits = field.width
                number = record[name]
                if not -(1 << (bits - 1)) <= number < (1 << bits):
                    raise ValueError(f"{layer.name}: {name} = {number} exceeds {bits} bits")
                value |= (number % (1 << bits)) << field.offset
            words += [(value >> (width * i)) % (1 << width) for i in range(n_words)]
    return words


def _step_words(fields: dict[str, int], config: EngineConfig) -> list[int]:
    bits = config.step_word_bits
    for name, field in config.step_layout:
        if name.endswith("_step") and fields.get(name) == 1 << field.width:
            fields = fields | {name: 0}  # one group fills the memory: there is no next one
        if not 0 <= fields.get(name, 0) < 1 << field.width:
            raise DoesNotFit(f"{name} = {fields[name]} exceeds {field.width} bits of a step")
    value = config.step_layout.const(fields).as_bits()
    return [(value >> (bits * i)) % (1 << bits) for i in range(config.step_words)]


def program_text(program: Program) -> str:
    """The program for people: a step a paragraph, every field by name."""
    config = program.config
    shape = (config.channels_in, config.lanes, config.pixels, config.dense_inputs)
    lines = [
        "engine S={} P={} T={} K={}".format(*shape) + f" id_bits={config.id_bits}",
        f"{len(program.steps)} steps of {config.step_words} words",
    ]
    for number, step in enumerate(program.steps):
        kind = step.kind
        lines.append(
            f"\nstep {number}: {step.name} ({kind}), rows {step.y0}..{step.y1 - 1}, "
            f"batch {step.batch}, {step.n_og} output groups x {step.n_ig} input groups x "
            f"{step.groups} pixel groups"
        )
        shown = {k: v for k, v in step.fields.items() if v}
        lines.append("  " + " ".join(f"{k}={v}" for k, v in shown.items()))
        if step.load is not None:
            lines.append("  load " + " ".join(f"{k}={v}" for k, v in step.load.items()))
    for number, entry in enumerate(program.entries):
        lines.append(f"\nentry {number} of the threshold unit: {entry.name}, {entry.cycles} cycles")
        lines.append("  " + " ".join(f"{k}={v}" for k, v in entry.fields.items() if v))
    return "\n".join(lines) + "\n"


def required_bits(layers: list[Layer]) -> int:
    """Kernel ID width that serves all binary layers: 9 stores kernels themselves."""
    widest = 1
    for layer in layers:
        if layer.binary:
            if layer.conv.op.codebook is None:
                return 9
            widest = max(widest, (len(layer.conv.op.codebook) - 1).bit_length())
    return widest
