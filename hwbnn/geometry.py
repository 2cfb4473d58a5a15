"""Loop counts of a layer on a machine, and how many words its maps take."""

import dataclasses

from rtl_gen.engine.config import IMAGE_TAPS, POINT_WORDS, ROW_BANKS, EngineConfig
from rtl_gen.engine.levels import levels_cycles

from .errors import DoesNotFit
from .layers import Layer
from .level_pass import LevelPass

__all__ = ["Geometry", "bit_plane", "bit_words", "ceil_div", "geometry", "level_pass_cycles",
           "x_row_words", "x_rows"]


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Loop counts of a layer on a machine shape.

    ``n_og`` output groups of P, ``n_ig`` input groups (S channels or K inputs), ``n_x`` issues a
    row, ``height`` rows; ``n_x_map`` words a row of the stored map.
    """

    n_og: int
    n_ig: int
    n_x: int
    n_x_map: int
    height: int

    @property
    def tiles(self) -> int:
        return self.n_og * self.n_ig


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def geometry(layer: Layer, config: EngineConfig) -> Geometry:
    """Loop counts of ``layer``."""
    out_channels, (height, width) = layer.out_shape[0], layer.issued
    in_channels = layer.in_shape[0]
    if layer.stem or layer.map_pass or layer.weightless:
        n_ig = 1
    elif layer.by_groups:
        n_ig = ceil_div(ceil_div(in_channels, config.channels_in), POINT_WORDS)
    elif layer.binary:
        n_ig = ceil_div(in_channels, config.channels_in)
    elif layer.from_image:
        n_ig = ceil_div(IMAGE_TAPS, config.dense_inputs)
    elif layer.flat:
        _check_flat(layer, config)
        pixels = layer.in_shape[1] * layer.in_shape[2]
        n_ig = ceil_div(in_channels, config.lanes) * pixels * config.x_slices
    else:
        n_ig = ceil_div(in_channels, config.dense_inputs)
    inside = ceil_div(width, config.pixels)
    issued = inside
    if layer.max_pool:
        inside = ceil_div(width // 2, config.pixels)
    # pooling and straddling writes work on pairs of groups
    if layer.halved or layer.max_pool or (
        layer.bits and (config.straddles or config.lanes > config.channels_in)
    ):
        issued += issued % 2
    return Geometry(ceil_div(out_channels, config.lanes), n_ig, issued, inside, height)


def level_pass_cycles(layer: LevelPass, config: EngineConfig) -> int:
    """Cycles of the unit that brings a map or vector to its levels."""
    geo = geometry(layer, config)
    planes, words = (1, geo.n_og) if layer.vector else (geo.n_og, geo.height * geo.n_x)
    return levels_cycles(lanes=config.lanes, pixels=config.pixels, planes=planes, words=words,
                         vector=layer.vector)


def _check_flat(layer: Layer, config: EngineConfig) -> None:
    """Its inputs are read word by word: of one pixel, from one bank."""
    if config.pixels != 1 or config.x_banks != 1:
        raise DoesNotFit(f"a dense layer on a map of {layer.in_shape} needs one pixel a word and "
                         "dense inputs that divide the lanes", where=layer.name,
                         hint="choose T=1 and K that divides P")


def bit_plane(layer: Layer, kept: int, config: EngineConfig) -> tuple[int, int, int]:
    """How the bits that a layer leaves lie in each row bank: (words a row, slots of rows, planes).

    Planes are channel words, or sixes of them where the map is stored by channel groups. The last
    output group writes all its lanes, also into a word that has no channel.
    """
    c, width = layer.joint, layer.out_shape[2]
    words = ceil_div(ceil_div(c, config.lanes) * config.lanes, config.channels_in)
    if layer.grouped:
        return ceil_div(width, config.pixels), kept, ceil_div(words, POINT_WORDS)
    return bit_words(width, config), bit_slots(kept), words


def bit_words(width: int, config: EngineConfig) -> int:
    """Words that a row of a bit map takes in its row bank."""
    return ceil_div(width, 2 * config.pixels)


def bit_slots(rows: int) -> int:
    """Rows that each row bank holds of a map of ``rows``."""
    return ceil_div(rows, ROW_BANKS)


def x_rows(layer: Layer) -> int:
    """Rows of what a layer leaves for the dense array."""
    if layer.vector:
        return 1
    return layer.out_shape[1] // (2 if layer.halved else 1)


def x_row_words(layer: Layer, config: EngineConfig) -> int:
    """Words of a row of what a layer leaves for the dense array."""
    if layer.vector:
        return 1
    width = layer.out_shape[2] // (2 if layer.halved else 1)
    return ceil_div(width, config.pixels)


def x_planes(layer: Layer, config: EngineConfig) -> int:
    """Planes of what a layer leaves for the dense array, in each bank."""
    return ceil_div(ceil_div(layer.joint, config.lanes), config.x_banks)
