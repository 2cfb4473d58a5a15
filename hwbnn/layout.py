"""How tensors lie in the engine's memories: one home for word and bit order.

Each function gives {memory name: {address: (word, mask)}}: the bits of a word that the tensor
defines, and which those are. Columns beyond the map's width are not defined; unused channels are
(they are zero). Tensors are rows ``y0`` and on of a map of which ``kept`` rows are in memory.
"""

import numpy as np

from rtl_gen.engine.config import POINT_WORDS, ROW_BANKS, EngineConfig

from .entries import Entry
from .geometry import bit_plane, bit_slots, bit_words, ceil_div, geometry, x_rows
from .map_pass import EverySecond
from .ops.int_dynamic import SubsamplePad
from .placement import reads_stored
from .program import Program, Step

__all__ = ["Words", "entry_words_expected", "expected_words", "locate", "pass_step"]

Words = dict[str, dict[int, tuple[int, int]]]


def _pack_groups(array: np.ndarray, config: EngineConfig) -> tuple[np.ndarray, int]:
    """(C,H,W) -> object words (og, H, ceil(W/T)) of P*T values, and the width's tail in pixels."""
    c, h, w = array.shape
    p, t, f = config.lanes, config.pixels, config.feature_bits
    n_og, n_x = ceil_div(c, p), ceil_div(w, t)
    padded = np.zeros((n_og * p, h, n_x * t), dtype=object)
    padded[:c, :, :w] = array % (1 << f)
    grouped = padded.reshape(n_og, p, h, n_x, t).transpose(0, 2, 3, 1, 4)
    weights = np.array([1 << (f * i) for i in range(p * t)], dtype=object).reshape(p, t)
    return (grouped * weights).sum(axis=(-1, -2)), w - (n_x - 1) * t


def _pixel_mask(config: EngineConfig, pixels: int) -> int:
    p, t, f = config.lanes, config.pixels, config.feature_bits
    value = (1 << f) - 1
    return sum(value << (f * (lane * t + i)) for lane in range(p) for i in range(pixels))


def map_words(array: np.ndarray, base: int, config: EngineConfig, *, y0: int = 0,
              kept: int | None = None, banks: int = 1,
              groups: range | None = None) -> list[dict[int, tuple[int, int]]]:
    """A multi-bit map (C,H,W) by bank and address: output groups go round the banks.

    ``groups`` limits it to some output groups.
    """
    words, tail = _pack_groups(array, config)
    n_og, h, n_x = words.shape
    kept = h if kept is None else kept
    full, last = _pixel_mask(config, config.pixels), _pixel_mask(config, tail)
    result: list[dict[int, tuple[int, int]]] = [{} for _ in range(banks)]
    for og in range(n_og) if groups is None else groups:
        plane = base + og // banks * kept * n_x
        for y in range(h):
            start = plane + (y0 + y) % kept * n_x
            for i in range(n_x):
                mask = last if i == n_x - 1 else full
                result[og % banks][start + i] = (int(words[og, y, i]), mask)
    return result


def bit_memory_words(
    bits: np.ndarray, buffer: int, base: int, config: EngineConfig, *, y0: int = 0,
    kept: int | None = None, channels: range | None = None,
) -> Words:
    """Activation bits (C,H,W) of 0/1 from word ``base`` of bit buffer ``buffer`` on.

    ``channels`` limits what is defined; without it the unused channels of the last word are, too.
    """
    c, h, w = bits.shape
    s, columns = config.channels_in, 2 * config.pixels
    row, slots = bit_words(w, config), bit_slots(h if kept is None else kept)
    groups = ceil_div(c, s)
    padded = np.zeros((groups * s, h, row * columns), dtype=object)
    padded[:c, :, :w] = bits
    grouped = padded.reshape(groups, s, h, row, columns).transpose(0, 2, 3, 4, 1)
    weights = np.array([1 << i for i in range(s * columns)], dtype=object).reshape(columns, s)
    words = (grouped * weights).sum(axis=(-1, -2))  # (group, y, word)
    used = w - (row - 1) * columns
    full, last = (1 << (s * columns)) - 1, (1 << (s * used)) - 1
    ones = sum(1 << (s * column) for column in range(columns))
    letter = "ab"[buffer]
    result: Words = {f"bits_{letter}{b}": {} for b in range(ROW_BANKS)}
    for g in range(groups):
        defined = full
        if channels is not None:
            inside = [c for c in range(s) if g * s + c in channels]
            defined = sum(ones << c for c in inside)
        for y in range(h if defined else 0):
            bank = result[f"bits_{letter}{(y0 + y) % ROW_BANKS}"]
            start = base + g * slots * row + (y0 + y) // ROW_BANKS % slots * row
            for i in range(row):
                mask = last if i == row - 1 else full
                bank[start + i] = (int(words[g, y, i]), mask & defined)
    return result


def point_memory_words(
    bits: np.ndarray, buffer: int, base: int, config: EngineConfig, *, y0: int = 0,
    kept: int | None = None, channels: range | None = None,
) -> Words:
    """The same for a map by channel groups, as 1x1 convolutions read it (see BitMap)."""
    c, h, w = bits.shape
    s, t = config.channels_in, config.pixels
    row, slots = ceil_div(w, t), h if kept is None else kept
    words = ceil_div(c, s)
    padded = np.zeros((words * s, h, row * t), dtype=object)
    padded[:c, :, :w] = bits
    at = np.array([1 << i for i in range(s)], dtype=object)
    pixels = (padded.reshape(words, s, h, row * t) * at[:, None, None]).sum(axis=1)
    letter = "ab"[buffer]
    result: Words = {f"bits_{letter}{b}": {} for b in range(ROW_BANKS)}
    for g in range(words):
        plane, slot = divmod(g, POINT_WORDS)
        bank = result[f"bits_{letter}{slot // 2}"]
        defined = (1 << s) - 1
        if channels is not None:
            defined = sum(1 << i for i in range(s) if g * s + i in channels)
        for y in range(h if defined else 0):
            start = base + (plane * slots + (y0 + y) % slots) * row
            for i in range(row):
                word, mask = bank.get(start + i, (0, 0))
                for p in range(min(t, w - i * t)):
                    shift = s * (2 * p + slot % 2)
                    word |= int(pixels[g, y, i * t + p]) << shift
                    mask |= defined << shift
                bank[start + i] = (word, mask)
    return result


def expected_words(program: Program, step: Step, values: dict[str, np.ndarray],
                   image: int = 0) -> Words:
    """All memory words that ``step`` leaves behind of an ``image`` of a batch, from that image's
    golden values (C,H,W)."""
    config, place, layer = program.config, program.placement, step.layer
    y0, y1, kept = step.y0, step.y1, program.placement.rows
    if layer.moves:
        return _moved_words(program, step, values)

    def first(name: str) -> int:
        return kept.row(name, image, y0, layer.out_shape[1])

    groups = _groups(step, config)
    result: Words = {}
    if layer.in_branch:
        base, rows = _waiting(program, step)
        result["branch"] = map_words(values[layer.value][:, y0:y1], base, config, y0=y0, kept=rows,
                                     groups=groups)[0]
    if layer.sums and y1 == layer.out_shape[1]:  # its last step's
        result["vectors"] = _vector_words(values[layer.sums], place.x[layer.sums], config, step)
    if layer.stored:
        array, base = values[layer.value][:, y0:y1], place.features[layer.value]
        rows = kept.features[layer.value]
        result[place.features_of(layer.value)] = map_words(
            array, base, config, y0=first(layer.value), kept=rows, groups=groups)[0]
    if layer.bits:
        buffer, base = place.bits[layer.bits]
        words = point_memory_words if layer.grouped else bit_memory_words
        array, channels = values[layer.bits][:, y0:y1], _channels(step, config)
        if layer.bits_in:  # the other channels of the words are another map's
            before = np.zeros((layer.bits_at, *array.shape[1:]), array.dtype)
            channels = range(layer.bits_at, layer.bits_at + len(array))
            array = np.concatenate([before, array])
        result |= words(array, buffer, base, config, y0=first(layer.bits),
                        kept=kept.bits[layer.bits], channels=channels)
    if layer.x and not reads_stored(layer, config):
        _dense_input(result, program, step, _dense_value(layer, values), image)
    return _by_parity(result) if config.pass_words == 2 else result


def _waiting(program: Program, step: Step) -> tuple[int, int]:
    """First word and rows kept of a map that waits, where a step makes rows or groups of it."""
    layer, place = step.layer, program.placement
    base, kept = place.branch[layer.value], place.rows.features[layer.value]
    if not step.by_groups:
        return base, kept
    height = layer.out_shape[1]
    return base - step.g0 * height * geometry(layer, program.config).n_x_map, height


def _moved_words(program: Program, step: Step, values: dict[str, np.ndarray]) -> Words:
    """The rows on chip that a step moves: those that have come, or that are still there."""
    place, move = program.placement, step.layer
    name, part = move.source, move.part
    branch = name in place.branch
    base = place.branch[name] if branch else place.residual(name)
    feature = branch or name in place.features
    kept = place.rows.features[name] if feature else place.rows.x[name]
    if move.by_groups:
        kept = step.y1 - step.y0
        base -= part.first * kept * part.words
    words = map_words(values[name][:, step.y0:step.y1], base, program.config, y0=step.y0,
                      kept=kept, groups=range(part.first, part.first + part.groups))[0]
    return {"branch" if branch else "features": words}


def _by_parity(found: Words) -> Words:
    """Even and odd words of the feature memories apart."""
    result: Words = {}
    for memory, words in found.items():
        for address, word in words.items():
            name = memory
            if memory.startswith("features"):
                name, address = memory + "_odd" * (address % 2), address // 2
            result.setdefault(name, {})[address] = word
    return result


def _groups(step: Step, config: EngineConfig) -> range:
    """Groups of lanes that a step computes, of the map that its layer makes or makes a part of."""
    first = step.g0 + step.layer.at // config.lanes
    return range(first, first + step.n_og)


def _channels(step: Step, config: EngineConfig) -> range | None:
    """The channels that a step of some of its map's output groups computes."""
    layer, groups = step.layer, _groups(step, config)
    if len(groups) * config.lanes >= layer.joint:
        return None
    end = min(groups.stop * config.lanes, layer.at + layer.out_shape[0])
    return range(groups.start * config.lanes, end)


def _dense_value(layer, values) -> np.ndarray:
    if isinstance(layer.x_op, EverySecond):
        return values[layer.source if layer.map_pass else layer.value][:, ::2, ::2]
    if isinstance(layer.x_op, SubsamplePad):
        return values[layer.x][: layer.in_shape[0]]
    return values[layer.x]


def _dense_input(result: Words, program: Program, step: Step, array: np.ndarray,
                 image: int) -> None:
    config, layer = program.config, step.layer
    y0, y1, only = step.y0, step.y1, None
    if layer.halved:
        y0, y1 = y0 // 2, y1 // 2
    elif layer.vector:
        y0, y1 = 0, 1
        only = _pixel_mask(config, 1)  # a vector defines its first pixel only
        if config.run_time is not None:
            result.setdefault("vectors", {})
            made = _vector_words(array, program.placement.x[layer.x], config, step)
            result["vectors"] |= made
            return
    rows = program.placement.rows
    first = rows.row(layer.x, image, y0, x_rows(layer))
    banks = map_words(array[:, y0:y1], program.placement.x[layer.x], config, y0=first,
                      kept=rows.x[layer.x], banks=config.x_banks,
                      groups=_groups(step, config))
    for b, words in enumerate(banks):
        if only is not None:
            words = {a: (w, m & only) for a, (w, m) in words.items()}
        memory = program.placement.features_of(layer.x) if config.shared_x else f"x{b}"
        result.setdefault(memory, {}).update(words)


def pass_step(entry: Entry, config: EngineConfig) -> Step:
    """An entry's pass over its map as a step, for `expected_words` and `locate`."""
    over = entry.barrier.over
    geo = geometry(over, config)
    return Step(over, 0, geo.height, 1, geo.n_og, 1, entry.groups, {}, None, 0, geo.n_og)


def entry_words_expected(program: Program, entry: Entry, values: dict[str, np.ndarray]) -> Words:
    """All memory words that an entry of the threshold unit leaves behind: hidden values,
    thresholds, bits, and the map with every second row and column."""
    config, barrier = program.config, entry.barrier
    f = config.feature_bits
    result = expected_words(program, pass_step(entry, config), values)
    for memory, name, count in (("unit_hidden", barrier.hidden.x, config.run_time.unit.inputs),
                                ("unit_thresholds", barrier.out.x, config.lanes)):
        array = [int(v) % (1 << f) for v in values[name][:, 0, 0]]
        parts = [array[i : i + count] for i in range(0, len(array), count)]
        result[memory] = {
            address: (sum(v << (f * i) for i, v in enumerate(part)), (1 << (f * len(part))) - 1)
            for address, part in enumerate(parts)
        }
    return result


def _vector_words(array: np.ndarray, base: int, config: EngineConfig,
                  step: Step) -> dict[int, tuple[int, int]]:
    """A vector (C,1,1) in the vector memory: P channels a word."""
    p, f = config.lanes, config.run_time.vector_bits(config.feature_bits)
    words = {}
    for og in _groups(step, config):
        values = [int(v) for v in array[og * p : (og + 1) * p, 0, 0]]
        word = sum((v % (1 << f)) << (f * lane) for lane, v in enumerate(values))
        words[base + og] = (word, (1 << (f * len(values))) - 1)
    return words


def locate(program: Program, step: Step, memory: str, address: int, bit: int) -> str:
    """Which value of ``step`` the bit of a memory word belongs to, for messages.

    Rows of the images of a batch count on from those of the image before.
    """
    config, place, layer = program.config, program.placement, step.layer
    p, t, f = config.lanes, config.pixels, config.feature_bits
    _c, h, w = layer.out_shape
    if layer.moves:
        return f"{layer.name} word {address} of {memory}, bit {bit}"
    if memory.startswith("bits") and layer.grouped:
        row, slots, _planes = bit_plane(layer, place.rows.bits[layer.bits], config)
        plane, rest = divmod(address - place.bits[layer.bits][1], slots * row)
        slot, word = divmod(rest, row)
        column, channel = divmod(bit, config.channels_in)
        group = plane * POINT_WORDS + 2 * int(memory[-1]) + column % 2
        y, x = _latest(slot, slots, step.y0), word * t + column // 2
        return f"{layer.bits} channel {group * config.channels_in + channel} pixel ({y}, {x})"
    if memory.startswith("bits"):
        row, slots = bit_words(w, config), bit_slots(place.rows.bits[layer.bits])
        group, rest = divmod(address - place.bits[layer.bits][1], slots * row)
        slot, word = divmod(rest, row)
        column, channel = divmod(bit, config.channels_in)
        y = _latest(slot * ROW_BANKS + int(memory[-1]), slots * ROW_BANKS, step.y0)
        x, channel = word * 2 * t + column, channel - layer.bits_at
        return f"{layer.bits} channel {group * config.channels_in + channel} pixel ({y}, {x})"
    if memory == "vectors":
        return _vector_value(program, layer, address, bit)
    if memory == "branch":
        base, kept = _waiting(program, step)
        plane, rest = divmod(address - base, kept * ceil_div(w, t))
        lane, pixel = divmod(bit // f, t)
        y, j = divmod(rest, ceil_div(w, t))
        y = _latest(y, kept, step.y0)
        return f"{layer.value} channel {plane * p + lane} pixel ({y}, {j * t + pixel})"
    lane, pixel = divmod(bit // f, t)
    bank, banks, y0 = 0, 1, step.y0
    if config.pass_words == 2 and memory.startswith("features"):
        address = 2 * address + memory.endswith("_odd")
        memory = memory.removesuffix("_odd")
    if memory.startswith("unit"):
        return f"{layer.name} {memory.removeprefix('unit_')} word {address} bit {bit}"
    if memory.startswith("features") and layer.stored:
        name, kept = layer.value, place.rows.features[layer.value]
        base = place.features[name]
    else:
        name, base, kept = layer.x, place.x[layer.x], place.rows.x[layer.x]
        shared = memory.startswith("features")
        bank, banks = (0, 1) if shared else (int(memory[1:]), config.x_banks)
        if layer.halved:
            w, y0 = w // 2, y0 // 2
        elif layer.vector:
            w, y0 = 1, 0
    n_x = ceil_div(w, t)
    plane, rest = divmod(address - base, kept * n_x)
    y, j = divmod(rest, n_x)
    channel = (plane * banks + bank) * p + lane
    return f"{name} channel {channel} pixel ({_latest(y, kept, y0)}, {j * t + pixel})"


def _vector_value(program: Program, layer, address: int, bit: int) -> str:
    """A value of a vector that ``layer`` makes."""
    config, x = program.config, program.placement.x
    bits = config.run_time.vector_bits(config.feature_bits)
    sums = layer.sums and 0 <= address - x[layer.sums] < ceil_div(layer.joint, config.lanes)
    name = layer.sums if sums else layer.x
    return f"{name} channel {(address - x[name]) * config.lanes + bit // bits}"


def _latest(slot: int, kept: int, y0: int) -> int:
    """The row from ``y0`` on that lies in a ring's ``slot``."""
    return y0 + (slot - y0) % kept
