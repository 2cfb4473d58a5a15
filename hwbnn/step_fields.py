"""The fields of a step's descriptor, from its layer, the machine and where maps lie."""

from rtl_gen.engine.config import COORDINATE_BITS, POINT_WORDS, ROW_BANKS
from rtl_gen.engine.xmap import XMode

from .errors import DoesNotFit
from .gain_fields import gain_fields, level_fields
from .geometry import bit_plane, bit_slots, bit_words, ceil_div, x_row_words, x_rows
from .ops import int_dynamic as J
from .ops import int_ops as I
from .order import Piece
from .placement import reads_stored

__all__ = ["step_fields"]

NO_BORDER = (1 << COORDINATE_BITS) - 1  # sides of a map that no window reaches the end of


def step_fields(layer, geo, config, placement, input_op, piece: Piece) -> dict[str, int]:
    """Field of the step layout -> value, of the step that makes ``piece`` of ``layer``."""
    if layer.levels:
        return level_fields(layer, geo, config, placement)
    if layer.map_pass:
        return _pass_fields(layer, geo, config, placement, piece)
    op = layer.conv.op
    y0, y1 = piece.y0, piece.y1
    _c, h_in, w_in = layer.in_shape
    f = {
        "dense": int(not layer.binary),
        "from_x": int(layer.from_x),
        "stem": int(layer.stem),
        "n_og": piece.g1 - piece.g0 - 1,
        "n_ig": geo.n_ig - 1,
        "n_y": y1 - y0 - 1,
        "batch": piece.images - 1,
        "n_x": geo.n_x - 1,
        "w_out": layer.issued[1],
        "prescale": config.prescales.index(layer.affine.pre) if not layer.binary else 0,
        "shift": config.affine_shifts.index(layer.affine.shift),
    }
    if not layer.stem and not layer.weightless:
        f |= {"h_in": h_in, "w_in": w_in, "stride2": int(op.stride == 2 and not layer.from_x)}
        f |= {"row0": y0 * op.stride, "top0": (y0 * op.stride - 1) % ROW_BANKS}
    rows = placement.rows
    source = rows.row(layer.source, piece.image, y0, h_in)
    if layer.by_groups:
        f |= _point_rows(layer, config, placement, source)
    elif layer.binary or layer.from_image:
        centre = rows.row(layer.source, piece.image, y0 * op.stride, h_in)
        f |= _window_rows(layer, config, placement, centre)
    if layer.from_x:
        f |= _dense_rows(layer, config, placement, source)
        if config.signed_sums:
            f["signed_sums"] = int(layer.plus_minus)
    if layer.centred:
        f |= {"centre": 1, "centre_from": layer.reads_at // config.lanes}
    if layer.max_pool:
        f["max_pool"] = 1
    if layer.clamp:
        f["clamp"] = 1 + config.clamps.index((layer.clamp.lo, layer.clamp.hi))
    if layer.residual and piece.g0 * config.lanes < layer.residual_channels * layer.repeats:
        f["residual"] = 1
        kept, first = rows.kept(layer.residual), piece.g0 % (geo.n_og // layer.repeats)
        row = rows.row(layer.residual, piece.image, y0, layer.out_shape[1])
        if piece.by_groups and kept < layer.out_shape[1]:  # these groups lie there alone
            kept, first = layer.out_shape[1], 0
        f["f_step"] = kept * geo.n_x_map
        f["f_read"] = placement.residual(layer.residual) + row % kept * geo.n_x_map
        f["f_read"] += first * f["f_step"]
    if layer.stored:
        kept = rows.features[layer.value]
        f["f_store"] = 1
        f["f_step"] = kept * geo.n_x_map
        row = rows.row(layer.value, piece.image, y0, layer.out_shape[1])
        f["f_write"] = placement.features[layer.value] + row % kept * geo.n_x_map
        f["f_write"] += _first_group(layer, piece, config) * f["f_step"]
    if layer.bits:
        f |= _bit_rows(layer, config, placement, piece)
    if layer.x and not reads_stored(layer, config):
        f |= _x_write(layer, config, placement, piece)
    if config.run_time is not None:
        f["x_vector"] = int(layer.in_shape[1:] == (1, 1))
    if config.gains is not None:
        f |= gain_fields(layer, geo, config, placement, piece)
    if config.beside:
        f["f_to"] = placement.memory[layer.value]
        read = layer.residual if "residual" in f else layer.source if layer.from_x else layer.value
        f["f_from"] = placement.memory.get(read, 0)
    if layer.is_output:
        # the scan of the logits starts where an output layer has no residual to read
        f |= {"n_classes": layer.out_shape[0] - 1, "f_read": placement.features[layer.value]}
    if layer.from_image:
        f |= {f"offset{c}": int(v) for c, v in enumerate(input_op.offset)}
    return f


def _first_group(layer, piece: Piece, config) -> int:
    """Number of the first group of lanes in what the layer makes a part of."""
    return piece.g0 + layer.at // config.lanes


def _pass_fields(layer, geo, config, placement, piece: Piece) -> dict[str, int]:
    """A pass over a whole map: where it lies, its thresholds, and what is made of it."""
    step = placement.rows.features[layer.source] * geo.n_x_map
    f = {
        "map_pass": 1,
        "n_og": geo.n_og - 1,
        "n_y": geo.height - 1,
        "n_x": geo.n_x - 1,
        "w_out": layer.out_shape[2],
        "f_read": placement.features[layer.source],
        "f_step": step,
        "x_vector": 1,
        "pass_lanes": (layer.out_shape[0] - 1) % config.lanes,
    }
    if layer.thresholds:
        f["x_addr"] = placement.x[layer.thresholds]
        f |= _bit_rows(layer, config, placement, piece)
    return f | _x_write(layer, config, placement, piece) if layer.x else f


def _window_rows(layer, config, placement, row0: int) -> dict[str, int]:
    """Where each row bank starts to read for windows around ``row0``."""
    _c, height, width = layer.in_shape
    row = bit_words(width, config)
    source, base, slots = 0, 0, bit_slots(placement.rows.image or height)
    if layer.binary:
        source, base = placement.bits[layer.source]
        slots = bit_slots(placement.rows.bits[layer.source])
    f = {"top0": (row0 - 1) % ROW_BANKS,
         "source": source, "plane": base, "row_step": row, "row_last": (slots - 1) * row,
         "cg_step": slots * row if layer.binary else 0}
    for window_row in range(row0 - 1, row0 + 2):
        # above the map, where the border masks what is read: the row before a bank's first one
        slot = window_row // ROW_BANKS % slots
        f[f"row{window_row % ROW_BANKS}_off"] = slot * row
    return f


def _point_rows(layer, config, placement, y0: int) -> dict[str, int]:
    """A 1x1 convolution reads a pixel's channel words as a stride-2 window inside a large map."""
    kept = placement.rows.bits[layer.source]
    source, base = placement.bits[layer.source]
    row = ceil_div(layer.in_shape[2], config.pixels)
    words = ceil_div(layer.in_shape[0], config.channels_in)
    if 2 * max(layer.in_shape[1:]) >= NO_BORDER:
        raise DoesNotFit(f"a 1x1 convolution of a map of {layer.in_shape[1:]}", where=layer.name,
                         hint=f"sides may have {NO_BORDER // 2} pixels")
    held = words - (ceil_div(words, POINT_WORDS) - 1) * POINT_WORDS
    f = {"point": 1, "point_words": (1 << held) - 1, "stride2": 1, "source": source,
         "plane": base, "row_step": row, "row_last": (kept - 1) * row, "cg_step": kept * row,
         "row0": 1, "top0": 0, "h_in": NO_BORDER, "w_in": NO_BORDER}
    return f | {f"row{bank}_off": y0 % kept * row for bank in range(ROW_BANKS)}


def _dense_rows(layer, config, placement, y0: int) -> dict[str, int]:
    row = ceil_div(layer.in_shape[2], config.pixels)
    kept = placement.rows.x[layer.source]
    step = 1 if layer.flat else kept * row  # all pixels are inputs, one after another
    return {"x_addr": placement.x[layer.source] + y0 % kept * row, "x_step": step}


def _bit_rows(layer, config, placement, piece: Piece) -> dict[str, int]:
    y0 = placement.rows.row(layer.bits, piece.image, piece.y0, layer.out_shape[1])
    row, slots, _planes = bit_plane(layer, placement.rows.bits[layer.bits], config)
    buffer, address = placement.bits[layer.bits]
    first = _first_group(layer, piece, config) * config.lanes + layer.bits_at
    word, start = divmod(first, config.channels_in)
    if layer.grouped:
        plane, slot = word // POINT_WORDS, y0 % slots
        bank, half = divmod(word % POINT_WORDS, 2)
        more = {"bits_point": 1, "bits_half": half}
    else:
        plane, slot, bank, more = word, y0 // ROW_BANKS % slots, y0 % ROW_BANKS, {}
    return more | {
        "bits_start": start,
        "bits_store": 1,
        "bits_buffer": buffer,
        "bits_addr": address + (plane * slots + slot) * row,
        "bits_row_step": row,
        "bits_cg_step": slots * row,
        "bits_bank0": bank,
    }


def _x_write(layer, config, placement, piece: Piece) -> dict[str, int]:
    row, kept = x_row_words(layer, config), placement.rows.x[layer.x]
    group = _first_group(layer, piece, config)
    address = placement.x[layer.x] + group // config.x_banks * kept * row
    f = {"x_write_step": kept * row, "x_mode": XMode.MAP}
    first = piece.y0
    if layer.halved:
        pooled = isinstance(layer.x_op, I.AvgPool2x2)
        f["x_mode"], first = XMode.POOL if pooled else XMode.SAMPLE, piece.y0 // 2
    elif isinstance(layer.x_op, J.Sigmoid):
        f |= {"x_mode": XMode.SIGMOID, "sigmoid": config.run_time.fracs.index(layer.x_op.frac)}
    elif isinstance(layer.x_op, I.GlobalSum):
        f |= {"x_mode": XMode.SUM, "gsum": config.gsum_shifts.index(layer.x_op.shift)}
        first = 0
    first = placement.rows.row(layer.x, piece.image, first, x_rows(layer))
    return f | {"x_write": address + first % kept * row}
