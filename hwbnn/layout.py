"""How tensors lie in the engine's memories: one home for word and bit order.

Each function gives {memory name: {address: (word, mask)}}: the bits of a word that the tensor
defines, and which those are. Columns beyond the map's width are not defined; unused channels are
(they are zero).
"""

import numpy as np

from rtl_gen.engine.config import ROW_BANKS, EngineConfig

from .ops.int_ops import AvgPool2x2
from .program import Program, bit_words, ceil_div

__all__ = ["Words", "expected_words", "locate"]

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


def feature_words(array: np.ndarray, base: int, config: EngineConfig) -> Words:
    """A stored map (C,H,W) from feature word ``base`` on."""
    words, tail = _pack_groups(array, config)
    full, last = _pixel_mask(config, config.pixels), _pixel_mask(config, tail)
    n_x = words.shape[2]
    flat = words.ravel()
    return {
        "features": {
            base + i: (int(word), last if i % n_x == n_x - 1 else full)
            for i, word in enumerate(flat)
        }
    }


def x_memory_words(array: np.ndarray, base: int, config: EngineConfig) -> Words:
    """A dense input map (C,H,W) from word ``base`` of every bank on."""
    words, tail = _pack_groups(array, config)
    full, last = _pixel_mask(config, config.pixels), _pixel_mask(config, tail)
    n_og, h, n_x = words.shape
    result: Words = {f"x{b}": {} for b in range(config.x_banks)}
    for og in range(n_og):
        bank, plane = og % config.x_banks, og // config.x_banks
        start = base + plane * h * n_x
        for i, word in enumerate(words[og].ravel()):
            mask = last if i % n_x == n_x - 1 else full
            result[f"x{bank}"][start + i] = (int(word), mask)
    return result


def bit_memory_words(
    bits: np.ndarray, buffer: int, base: int, config: EngineConfig
) -> Words:
    """Activation bits (C,H,W) of 0/1 from word ``base`` of bit buffer ``buffer`` on."""
    c, h, w = bits.shape
    s, columns = config.channels_in, 2 * config.pixels
    row, plane = bit_words(bits.shape, config)
    groups = ceil_div(c, s)
    padded = np.zeros((groups * s, h, row * columns), dtype=object)
    padded[:c, :, :w] = bits
    grouped = padded.reshape(groups, s, h, row, columns).transpose(0, 2, 3, 4, 1)
    weights = np.array([1 << i for i in range(s * columns)], dtype=object).reshape(columns, s)
    words = (grouped * weights).sum(axis=(-1, -2))  # (group, y, word)
    used = w - (row - 1) * columns
    full, last = (1 << (s * columns)) - 1, (1 << (s * used)) - 1
    letter = "ab"[buffer]
    result: Words = {f"bits_{letter}{b}": {} for b in range(ROW_BANKS)}
    for g in range(groups):
        for y in range(h):
            bank = result[f"bits_{letter}{y % ROW_BANKS}"]
            start = base + g * plane + (y // ROW_BANKS) * row
            for i in range(row):
                bank[start + i] = (int(words[g, y, i]), last if i == row - 1 else full)
    return result


def expected_words(program: Program, layer, values: dict[str, np.ndarray]) -> Words:
    """All memory words that ``layer`` leaves behind, from golden values of one image (C,H,W)."""
    config, placement = program.config, program.placement
    result: Words = {}
    if layer.stored:
        base = placement.features[layer.value]
        result |= feature_words(values[layer.value], base, config)
    if layer.bits:
        buffer, base = placement.bits[layer.bits]
        result |= bit_memory_words(values[layer.bits], buffer, base, config)
    if layer.x:
        array = values[layer.x]
        words = x_memory_words(array, placement.x[layer.x], config)
        if array.shape[1:] == (1, 1):  # a channel sum defines its first pixel only
            only = _pixel_mask(config, 1)
            words = {k: {a: (w, m & only) for a, (w, m) in v.items()} for k, v in words.items()}
        result |= words
    return result


def locate(program: Program, layer, memory: str, address: int, bit: int) -> str:
    """Which value of ``layer`` the bit of a memory word belongs to, for messages."""
    config, placement = program.config, program.placement
    p, t, f = config.lanes, config.pixels, config.feature_bits
    _c, h, w = layer.out_shape
    if memory.startswith("bits"):
        row, plane = bit_words(layer.out_shape, config)
        offset = address - placement.bits[layer.bits][1]
        group, rest = divmod(offset, plane)
        slot, word = divmod(rest, row)
        column, channel = divmod(bit, config.channels_in)
        y = slot * ROW_BANKS + int(memory[-1])
        x = word * 2 * t + column
        return f"{layer.bits} channel {group * config.channels_in + channel} pixel ({y}, {x})"
    lane, pixel = divmod(bit // f, t)
    name, base = layer.value, placement.features.get(layer.value, 0)
    bank, banks = 0, 1
    if memory.startswith("x"):
        name, base, bank, banks = layer.x, placement.x[layer.x], int(memory[1:]), config.x_banks
        if isinstance(layer.x_op, AvgPool2x2):
            h, w = h // 2, w // 2
        elif layer.x_op is not None:
            h = w = 1
    n_x = ceil_div(w, t)
    plane, rest = divmod(address - base, h * n_x)
    y, j = divmod(rest, n_x)
    return f"{name} channel {(plane * banks + bank) * p + lane} pixel ({y}, {j * t + pixel})"
