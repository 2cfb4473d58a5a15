"""Maps that wait for gains off chip, made by groups of output channels instead of by rows.

A step that makes some rows needs all of its layer's weights, so that a map in n bands reads them n
times. The words of a band hold some groups of lanes of the whole map as well, each made with its
own weights: these come once. Off chip such a map lies in parts, which both ways to cut it can move.
"""

from rtl_gen.engine.config import EngineConfig

from .geometry import ceil_div, geometry
from .layers import Layer
from .off_chip import OffChip
from .order import Rows

__all__ = ["group_pieces"]

Ranges = tuple[tuple[int, int], ...]


def group_pieces(layers: list[Layer], config: EngineConfig, rows: Rows,
                 off: OffChip) -> dict[str, Ranges]:
    """Ranges of groups of lanes, by the name of a map: of maps that are made so, and of those off
    chip that they are multiplied by."""
    moved = {name for layer in layers for name in off.names(layer)}
    found: dict[str, Ranges] = {}
    for layer in layers:
        residual = layer.residual if layer.residual in moved else None
        if layer.value not in moved or not _fits(layer, config, rows):
            continue
        starts = sorted(other.at // config.lanes for other in layers
                        if residual and residual in (other.value, other.x))
        ranges = _ranges(layer, config, rows, starts or [0])
        names = [layer.value, residual] if residual else [layer.value]
        if ranges and all(found.get(name, ranges) == ranges for name in names):
            found |= dict.fromkeys(names, ranges)
    return found


def _fits(layer: Layer, config: EngineConfig, rows: Rows) -> bool:
    """Whether steps can make some groups of the whole map."""
    geo = geometry(layer, config)
    kept, height = rows.features[layer.value], layer.out_shape[1]
    if not (layer.in_branch and layer.binary) or layer.bits or layer.x or kept >= height:
        return False
    if layer.residual and (layer.repeats > 1 or layer.residual_channels < layer.out_shape[0]):
        return False
    return layer.at == 0 and (geo.n_ig == 1 or height * geo.n_x <= config.psum_depth)


def _ranges(layer: Layer, config: EngineConfig, rows: Rows, starts: list[int]) -> Ranges:
    """As few ranges as the words of a band allow, none across ``starts``; empty where a band holds
    no group."""
    geo = geometry(layer, config)
    most = rows.features[layer.value] * geo.n_og // layer.out_shape[1]
    if not most:
        return ()
    found = []
    for start, end in zip(starts, [*starts[1:], geo.n_og], strict=True):
        each = ceil_div(end - start, ceil_div(end - start, most))
        found += [(first, min(first + each, end)) for first in range(start, end, each)]
    return tuple(found)
