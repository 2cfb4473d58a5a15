"""What a step has in its descriptor where maps get gains of the image."""

from rtl_gen.engine.config import EngineConfig

from .gain_layers import GainLayer
from .geometry import Geometry
from .level_pass import LevelPass
from .order import Piece
from .placement import Placement

__all__ = ["gain_fields", "level_fields"]


def gain_fields(layer: GainLayer, geo: Geometry, config: EngineConfig,
                placement: Placement, piece: Piece) -> dict[str, int]:
    """Fields of a step of ``layer`` beside those of any layer; maps of one image, whole or by
    rows."""
    f = {"x_early": int(layer.x_early)}
    waits = layer.source if layer.gains else layer.value
    kept = placement.rows.features.get(waits, geo.height)
    if piece.by_groups:
        kept = geo.height
    row = piece.y0 % kept * geo.n_x_map  # of a map that waits
    if layer.sums:
        f |= {"sum": 1, "sum_early": int(layer.sum_early),
              "sum_write": placement.x[layer.sums] + layer.at // config.lanes + piece.g0,
              "gsum": config.gsum_shifts.index(layer.sum_op.shift)}
        if config.sum_depth:
            f |= {"sum_begins": int(piece.y0 == 0), "sum_ends": int(piece.y1 == geo.height)}
    if layer.weightless:
        f["from_map"] = 1
    if layer.again:
        f["mix"] = 1  # of two vectors, whichever, with gains of 0
    if layer.other:
        f |= {"mix": 1, "x_addr": placement.x[layer.source], "x_step": placement.x[layer.other]}
    if layer.gains:
        f |= {"x_addr": placement.x[layer.gains],
              "b_addr": placement.branch[layer.source] + row}
    if layer.in_branch:
        f |= {"b_store": 1, "b_addr": placement.branch[layer.value] + row,
              "f_step": kept * geo.n_x_map}
    if layer.product:
        shift = config.gains.product_shifts.index(layer.product.shift)
        f |= {"residual": 0, "product": 1, "product_shift": shift}
    return f


def level_fields(layer: LevelPass, geo: Geometry, config: EngineConfig,
                 placement: Placement) -> dict[str, int]:
    """All fields of the step that brings a map or vector to its levels."""
    channels, height, width = layer.shape
    f = {"levels": 1, "level_bits": config.levels.index(layer.levels.bits),
         "level_limit": layer.limit, "x_addr": placement.x[layer.source],
         "x_write": placement.x[layer.x], "w_out": width}
    if layer.vector:  # all of its words are one row
        return f | {"x_vector": 1, "n_x": geo.n_og - 1,
                    "level_lanes": (channels - 1) % config.lanes}
    return f | {"n_og": geo.n_og - 1, "n_y": height - 1, "n_x": geo.n_x - 1}
