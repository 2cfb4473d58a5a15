"""From layers and a machine shape to a program: steps, memory placement, weight loads."""

import dataclasses

from rtl_gen.engine.config import IMAGE_TAPS, ROW_BANKS, EngineConfig
from rtl_gen.engine.xmap import XMode

from .allocate import Region, first_fit
from .errors import DoesNotFit
from .layers import Layer
from .ops import int_ops as I

__all__ = ["Geometry", "Placement", "Program", "Step", "geometry", "place", "program"]


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Loop counts of a layer on a machine shape.

    ``n_og`` output groups of P, ``n_ig`` input groups (S channels or K inputs), ``n_x`` issues a
    row (``n_x_map`` of them inside the map), ``words`` stored feature words.
    """

    n_og: int
    n_ig: int
    n_x: int
    n_x_map: int
    height: int

    @property
    def tiles(self) -> int:
        return self.n_og * self.n_ig

    @property
    def words(self) -> int:
        return self.n_og * self.height * self.n_x_map


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def geometry(layer: Layer, config: EngineConfig) -> Geometry:
    """Loop counts of ``layer``."""
    out_channels, height, width = layer.out_shape
    in_channels = layer.in_shape[0]
    if layer.binary:
        n_ig = ceil_div(in_channels, config.channels_in)
    elif layer.conv.op.weight.shape[2] == 3:
        n_ig = ceil_div(IMAGE_TAPS, config.dense_inputs)
    else:
        n_ig = ceil_div(in_channels, config.dense_inputs)
    inside = ceil_div(width, config.pixels)
    issued = inside
    # pooling and straddling writes work on pairs of groups
    if isinstance(layer.x_op, I.AvgPool2x2) or (
        layer.bits and (config.straddles or config.lanes > config.channels_in)
    ):
        issued += issued % 2
    return Geometry(ceil_div(out_channels, config.lanes), n_ig, issued, inside, height)


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where values lie: feature words, (buffer, word) of bit maps, words of the dense input
    memory, and how many words each memory needs."""

    features: dict[str, int]
    bits: dict[str, tuple[int, int]]
    x: dict[str, int]
    needed: dict[str, int]


def bit_words(shape, config: EngineConfig) -> tuple[int, int]:
    """(words a row, words a channel group) of one row bank."""
    c, h, w = shape
    row = ceil_div(w, 2 * config.pixels)
    return row, ceil_div(h, ROW_BANKS) * row


def x_words(layer: Layer, config: EngineConfig) -> tuple[int, int]:
    """(words a plane, planes) of what a layer leaves for the dense array."""
    _c, h, w = layer.out_shape
    planes = ceil_div(ceil_div(layer.out_shape[0], config.lanes), config.x_banks)
    if isinstance(layer.x_op, I.GlobalSum):
        return 1, planes
    if isinstance(layer.x_op, I.AvgPool2x2):
        h, w = h // 2, w // 2
    return h * ceil_div(w, config.pixels), planes


def place(layers: list[Layer], config: EngineConfig) -> Placement:
    """Assign addresses by lifetime; residual chains are updated in place."""
    last_use: dict[str, int] = {}
    for i, layer in enumerate(layers):
        for name in (layer.source, layer.residual):
            if name:
                last_use[name] = i
    shapes = {layer.value: layer.out_shape for layer in layers}

    regions = []
    for i, layer in enumerate(layers):
        if layer.stored:
            r = layer.residual
            in_place = r is not None and last_use[r] == i and shapes[r] == layer.out_shape
            end = max(last_use.get(layer.value, i), i)
            if layer.is_output:
                end = len(layers)
            size = geometry(layer, config).words
            regions.append(Region(layer.value, size, i, end, r if in_place else None))
    features, feature_words = first_fit(regions)

    regions = []
    for i, layer in enumerate(layers):
        if layer.x:
            plane, planes = x_words(layer, config)
            regions.append(Region(layer.x, plane * planes, i, last_use[layer.x]))
    x, x_needed = first_fit(regions)

    bits, bit_needed = _place_bits(layers, config, last_use)
    needed = {"features": feature_words, "x": x_needed, "bits": bit_needed}
    return Placement(features, bits, x, needed)


def _place_bits(layers, config, last_use):
    """Each bit map goes to the buffer that its layer does not read."""
    buffers: list[list[Region]] = [[], []]
    where: dict[str, int] = {}
    following = 0
    for i, layer in enumerate(layers):
        if not layer.bits:
            continue
        buffer = 1 - where[layer.source] if layer.binary else following
        where[layer.bits] = buffer
        following = 1 - buffer
        _row, plane = bit_words(layer.out_shape, config)
        groups = ceil_div(layer.out_shape[0], config.channels_in)
        buffers[buffer].append(Region(layer.bits, plane * groups, i, last_use[layer.bits]))
    result, needed = {}, 0
    for buffer, regions in enumerate(buffers):
        addresses, words = first_fit(regions)
        needed = max(needed, words)
        result |= {name: (buffer, address) for name, address in addresses.items()}
    return result, needed


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """One descriptor: a layer over the rows ``y0 <= y < y1``, ``batch`` images per weight load.

    Engines so far run one image per weight load; the packer refuses a program with another batch.
    ``fields`` fills `EngineConfig.step_layout`, ``load`` fills `load_layout`.
    """

    layer: Layer
    y0: int
    y1: int
    batch: int
    n_og: int
    n_ig: int
    groups: int
    fields: dict[str, int]
    load: dict[str, int]

    @property
    def name(self) -> str:
        rows = "" if self.y1 - self.y0 == self.layer.out_shape[1] else f"[{self.y0}:{self.y1}]"
        return self.layer.name + rows


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """Steps in order, with the placement they refer to and the words the tables take."""

    config: EngineConfig
    layers: list[Layer]
    placement: Placement
    steps: list[Step]
    needed: dict[str, int]


def program(layers: list[Layer], config: EngineConfig, input_op: I.QuantizeInput) -> Program:
    """Steps of all layers. Raises DoesNotFit where one cannot be cut to the machine's buffers."""
    placement = place(layers, config)
    tables = {"weights": 0, "dense_weights": 0, "constants": 0, "codebooks": 0}
    steps: list[Step] = []
    psum = 2
    for layer in layers:
        geo = geometry(layer, config)
        kind = "weights" if layer.binary else "dense_weights"
        addresses = dict(tables)
        tables[kind] += geo.tiles * config.lanes
        tables["constants"] += geo.n_og * config.lanes * config.const_words
        codebook = layer.binary and config.has_codebook
        if codebook:
            tables["codebooks"] += 1 << config.id_bits
        for y0, y1 in _bands(layer, geo, config):
            psum = max(psum, (y1 - y0) * geo.n_x if geo.n_ig > 1 else 2)
            fields = _fields(layer, geo, config, placement, input_op, y0, y1)
            fields["const_addr"] = addresses["constants"]
            load = {
                "dense": int(not layer.binary),
                "last": 0,
                "n_tiles": geo.tiles - 1,
                "address": addresses[kind],
                "codebook": int(codebook),
                "code_address": addresses["codebooks"] if codebook else 0,
            }
            steps.append(
                Step(layer, y0, y1, 1, geo.n_og, geo.n_ig, (y1 - y0) * geo.n_x, fields, load)
            )
    steps[-1].fields["last"] = steps[-1].load["last"] = 1
    readers = [s for s in steps if s.fields["dense"] and not s.fields["from_x"]]
    readers[-1].fields["frees_image"] = 1
    _c, height, width = input_op.shape
    image_row = ceil_div(width, 2 * config.pixels)
    needed = tables | placement.needed | {
        "psum": psum,
        "image": ceil_div(height, ROW_BANKS) * image_row,
        "steps": len(steps) * config.step_words,
        "loads": len(steps),
        "pool": max((geometry(x, config).n_x // 2 for x in layers
                     if isinstance(x.x_op, I.AvgPool2x2)), default=1),
        "logits": layers[-1].out_shape[0],
    }
    return Program(config, layers, placement, steps, needed)


def _bands(layer: Layer, geo: Geometry, config: EngineConfig):
    """Row ranges whose partial sums fit; whole maps where no partial sums are kept."""
    height = geo.height
    rows = height
    if geo.n_ig > 1 and height * geo.n_x > config.psum_depth:
        rows = config.psum_depth // geo.n_x
        if isinstance(layer.x_op, I.AvgPool2x2):
            rows -= rows % 2
        if rows < 1 or isinstance(layer.x_op, I.GlobalSum):
            raise DoesNotFit(
                f"partial sums of {height} rows x {geo.n_x} groups exceed "
                f"{config.psum_depth} words",
                where=layer.name,
                hint=f"plan with psum_depth {height * geo.n_x}",
            )
    for y0 in range(0, height, rows):
        yield y0, min(y0 + rows, height)


def _fields(layer, geo, config, placement, input_op, y0, y1) -> dict[str, int]:
    op = layer.conv.op
    _c, h_in, w_in = layer.in_shape
    from_image = not layer.binary and op.weight.shape[2] == 3
    from_x = not layer.binary and not from_image
    modulus = 1 << config.bit_addr_bits
    row0 = y0 * op.stride
    f = {
        "dense": int(not layer.binary),
        "from_x": int(from_x),
        "source": 0,
        "last": 0,
        "n_og": geo.n_og - 1,
        "n_ig": geo.n_ig - 1,
        "n_y": y1 - y0 - 1,
        "batch": 0,
        "n_x": geo.n_x - 1,
        "h_in": h_in,
        "w_in": w_in,
        "w_out": layer.out_shape[2],
        "stride2": int(op.stride == 2),
        "row0": row0,
        "top0": (row0 - 1) % ROW_BANKS,
        "prescale": config.prescales.index(layer.affine.pre) if not layer.binary else 0,
        "shift": config.affine_shifts.index(layer.affine.shift),
    }
    if layer.binary or from_image:
        row, plane = bit_words(layer.in_shape, config)
        base = 0
        if layer.binary:
            f["source"], base = placement.bits[layer.source]
        for window_row in range(row0 - 1, row0 + 2):
            slot = window_row // ROW_BANKS  # -1 for the row above the map: masked by the border
            f[f"row_addr{window_row % ROW_BANKS}"] = (base + slot * row) % modulus
        f["row_step"], f["cg_step"] = row, plane if layer.binary else 0
    if from_x:
        f["x_addr"] = placement.x[layer.source]
        # one plane of the layer that wrote it: the same map, laid out the same way
        f["x_step"] = layer.in_shape[1] * ceil_div(layer.in_shape[2], config.pixels)
        f["x_addr"] += y0 * ceil_div(layer.in_shape[2], config.pixels)
    if layer.residual:
        f["residual"] = 1
        f["f_read"] = placement.features[layer.residual] + y0 * geo.n_x_map
    f["f_step"] = geo.height * geo.n_x_map
    if layer.stored:
        f["f_store"] = 1
        f["f_write"] = placement.features[layer.value] + y0 * geo.n_x_map
    if layer.bits:
        row, plane = bit_words(layer.out_shape, config)
        buffer, address = placement.bits[layer.bits]
        f |= {
            "bits_store": 1,
            "bits_buffer": buffer,
            "bits_addr": address + (y0 // ROW_BANKS) * row,
            "bits_row_step": row,
            "bits_cg_step": plane,
            "bits_bank0": y0 % ROW_BANKS,
        }
    if layer.x:
        plane, _planes = x_words(layer, config)
        rows_before = y0
        mode = XMode.MAP
        per_row = geo.n_x_map
        if isinstance(layer.x_op, I.AvgPool2x2):
            mode, rows_before, per_row = XMode.POOL, y0 // 2, geo.n_x // 2
        elif isinstance(layer.x_op, I.GlobalSum):
            mode, rows_before = XMode.SUM, 0
            f["gsum"] = config.gsum_shifts.index(layer.x_op.shift)
        f |= {
            "x_mode": mode,
            "x_write": placement.x[layer.x] + rows_before * per_row,
            "x_write_step": plane,
        }
    if layer.is_output:
        f["n_classes"] = layer.out_shape[0] - 1
    if from_image:
        f |= {f"offset{c}": int(v) for c, v in enumerate(input_op.offset)}
    return f
