"""In which order layers are computed, in which row ranges, and how many rows each map must keep.

Layers run whole, one after another, except for a depth-first prefix: there every layer advances as
far as its inputs reach whenever the first one has made some rows, so that maps between them are
rings of a few rows and never exist whole.
"""

import dataclasses
from collections.abc import Iterator

from rtl_gen.engine.config import ROW_BANKS, EngineConfig

from .batches import Batches
from .errors import DoesNotFit, UserError
from .geometry import ceil_div, geometry, x_rows
from .layers import Layer
from .off_chip import OffChip
from .ops import int_ops as I

__all__ = ["Bands", "Piece", "Rows", "depth_first", "image_rows", "kept_rows", "pieces"]


@dataclasses.dataclass(frozen=True)
class Piece:
    """Rows ``y0 <= y < y1`` of layer number ``layer``, output groups ``g0 <= og < g1``, of
    ``images`` images of a batch from ``image`` on. With ``by_groups`` these groups of the whole map
    lie where a band of its rows does else (see group_pieces)."""

    layer: int
    y0: int
    y1: int
    g0: int = 0
    g1: int = 0
    image: int = 0
    images: int = 1
    by_groups: bool = False


@dataclasses.dataclass(frozen=True)
class Bands:
    """The leading ``prefix`` layers run depth-first, the first one ``rows`` rows at a time.

    Those from ``resident`` on do not keep their weights on chip; they run ``deep`` rows at a time,
    since all of their weights come again each time. With ``waits`` layers wait for so many rows,
    which takes fewer steps; else each goes on as soon as it can.
    """

    prefix: int
    rows: int
    resident: int
    deep: int
    waits: bool

    @classmethod
    def of(cls, layers: list[Layer], band: int = 0, halvings: int = 1,
           resident: int | None = None, deep: int = 0) -> "Bands":
        """From a plan's keys. UserError for those that make no sense."""
        for name, rows in (("band", band), ("deep", deep)):
            if rows % 2:
                raise DoesNotFit(f"bands of {rows} rows", where=f"plan, {name}",
                                 hint="rows are pooled in pairs: choose an even number")
        prefix = depth_first(layers, halvings) if band else 0
        if resident is None and deep:
            raise UserError(f"bands of {deep} rows for no layer", where="plan, deep",
                            hint="say with resident which layers do not keep their weights")
        if resident is None:
            return cls(prefix, band, prefix, band, False)
        if not 0 < resident <= prefix:
            raise UserError(f"{resident} layers that keep their weights on chip", where="plan",
                            hint=f"resident may be 1 to {prefix}, or null for all that run "
                                 "depth-first")
        return cls(prefix, band, resident, max(band, deep), True)

    def rows_of(self, i: int) -> int:
        """Rows that layer ``i`` advances at a time."""
        return self.deep if i >= self.resident else self.rows

    def most(self, i: int, done: int) -> int:
        """Most rows that layer ``i`` advances behind the ``done`` first ones."""
        if not self.waits:
            return self.rows if i == 0 else max(self.rows, 2)
        if i == 0:
            return self.rows + (done == 0)
        return self.rows_of(i) + 1

    def least(self, layer: Layer, i: int, progress: "_Progress") -> int:
        """Fewest rows that layer ``i`` advances at a time, but at the map's end.

        A layer that waits does so for a whole band, if the one before it has other ones; at first
        for one more row, which the window of the next layer reads ahead (not where rows are pooled
        in pairs).
        """
        source = progress.maker.get(layer.source, -1)
        if not self.waits or source < 0:
            return 1
        if self.rows_of(source) == self.rows_of(i) and layer.conv.op.stride == 1:
            return 1
        return self.rows_of(i) + (progress.done[i] == 0 and not layer.halved)


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows kept of the image, and by name of stored maps, bit maps and dense inputs.

    ``images`` of a map lie below each other, where that is more than one.
    """

    features: dict[str, int]
    bits: dict[str, int]
    x: dict[str, int]
    image: int = 0  # of the image, where a window layer reads it
    images: dict[str, int] = dataclasses.field(default_factory=dict)

    def kept(self, residual: str) -> int:
        """Of a residual: a stored map, or one pooled for it."""
        return self.features[residual] if residual in self.features else self.x[residual]

    def row(self, name: str, image: int, y: int, height: int) -> int:
        """Row ``y`` of an ``image`` of a batch among those of the map ``name`` of ``height``."""
        return image % self.images.get(name, 1) * height + y


def depth_first(layers: list[Layer], halvings: int = 1) -> int:
    """How many leading layers may run by bands: up to the stage of the stride-2 convolution that
    halves the first map for the ``halvings``-th time.

    Their weights must stay on chip, so the prefix ends with the first layers of that map.
    """
    # bits or gains wait for whole maps
    if any(layer.map_pass or layer.weightless for layer in layers):
        return 0
    height = -(-layers[0].out_shape[1] >> (halvings - 1))
    count = 0
    for layer in layers:
        if layer.is_output or isinstance(layer.x_op, I.GlobalSum):
            break
        rows = layer.out_shape[1] if count == 0 else layer.in_shape[1]
        if rows < height and not _from_pool(layer, layers, height):
            break
        count += 1
    return count


def _from_pool(layer: Layer, layers: list[Layer], height: int) -> bool:
    """Whether a 1x1 layer reads the 2x2 mean of a map of ``height`` rows or more."""
    return any(other.x == layer.source and other.out_shape[1] >= height for other in layers)


class _Progress:
    """How many rows of every layer exist."""

    def __init__(self, layers: list[Layer]):
        self.layers = layers
        self.done = [0] * len(layers)
        self.maker = {}
        for i, layer in enumerate(layers):
            for name in (layer.value, layer.bits, layer.x):
                if name:
                    self.maker[name] = i

    def rows(self, name: str, kind: str) -> int:
        """Rows of a value that exist, in its own rows."""
        i = self.maker[name]
        layer, done = self.layers[i], self.done[i]
        if kind != "bits" and layer.x == name and layer.x_op is not None:
            if isinstance(layer.x_op, I.GlobalSum):
                return int(done == layer.out_shape[1])
            return done // 2
        return done

    def possible(self, layer: Layer) -> int:
        """Rows that ``layer`` can have computed from what exists."""
        height = layer.out_shape[1]
        rows = height
        if layer.binary:
            have, full = self.rows(layer.source, "bits"), layer.in_shape[1]
            stride = layer.conv.op.stride
            rows = have
            if not layer.pointwise and have < full:
                rows = max(0, (have - 2) // stride + 1 if have > 1 else 0)
            elif have == full:
                rows = height
        elif layer.from_x:
            rows = self.rows(layer.source, "x")
        if layer.residual:
            rows = min(rows, self.rows(layer.residual, "features"))
        if layer.halved and rows < height:
            rows -= rows % 2
        return min(rows, height)

    def oldest(self, name: str) -> int:
        """First row of a value that some layer still needs (its height when none does)."""
        need = None
        for i, layer in enumerate(self.layers):
            done = self.done[i]
            for read in {layer.source, layer.residual} & {name}:
                if done == layer.out_shape[1]:
                    row = 1 << 30
                elif read == layer.source and layer.binary and not layer.pointwise:
                    row = max(0, done * layer.conv.op.stride - 1)
                else:
                    row = done
                need = row if need is None else min(need, row)
        return 1 << 30 if need is None else need


def _coarse(layers: list[Layer], bands: Bands) -> Iterator[Piece]:
    """Row ranges before they are cut to what memories allow."""
    prefix = bands.prefix
    if prefix:
        progress = _Progress(layers)
        while progress.done[prefix - 1] < layers[prefix - 1].out_shape[1]:
            for i, layer in enumerate(layers[:prefix]):
                height = layer.out_shape[1]
                target = progress.possible(layer) if i else height
                # no jumps, not even at the map's end: rings stay as short as in its middle
                target = min(target, progress.done[i] + bands.most(i, progress.done[i]))
                target -= target % 2 if layer.halved and target < height else 0
                if target >= min(height, progress.done[i] + bands.least(layer, i, progress)):
                    yield Piece(i, progress.done[i], target)
                    progress.done[i] = target
    for i in range(prefix, len(layers)):
        yield Piece(i, 0, layers[i].issued[0])


def kept_rows(layers: list[Layer], bands: Bands, batches: Batches,
              off: OffChip | None = None) -> Rows:
    """The fewest rows of every map with which the order works; of those off chip, a band."""
    rows = _image_rows_kept(layers, bands)
    if off is not None and off.height:
        off.kept(layers, rows.features, rows.x)
        first = layers[0]
        if first.from_image and first.value in off.names(first):
            rows = dataclasses.replace(rows, image=_band_image(first, off.rows, rows.image))
    rows.images.update(batches.tall(layers))
    for layer in layers:
        height = layer.out_shape[1]
        for name, where, whole in ((layer.value, rows.features, height),
                                   (layer.bits, rows.bits, height),
                                   (layer.x, rows.x, x_rows(layer))):
            if name and rows.images[name] > 1:
                where[name] = rows.images[name] * whole
    return rows


def _image_rows_kept(layers: list[Layer], bands: Bands) -> Rows:
    """Of one image."""
    first, prefix = layers[0], bands.prefix
    height = first.in_shape[1] if first.from_image else 0
    image = ceil_div(height, ROW_BANKS) * ROW_BANKS
    if prefix and first.from_image:
        # what a band's windows read, and the rows of the next band meanwhile
        spans = [need - old for p in _coarse(layers, bands) if p.layer == 0
                 for old, need in [image_rows(first, p.y0, p.y1)]]
        span = max(spans) + bands.rows * first.conv.op.stride
        image = min(image, ceil_div(span, ROW_BANKS) * ROW_BANKS)
    rows = Rows({}, {}, {}, image)
    for layer in layers:
        if layer.value:
            rows.features[layer.value] = layer.out_shape[1]
        if layer.bits:
            rows.bits[layer.bits] = layer.out_shape[1]
        if layer.x:
            rows.x[layer.x] = x_rows(layer)
        if layer.sums:
            rows.x[layer.sums] = 1
    if not prefix:
        return rows
    chain = _chains(layers[:prefix])
    features = dict.fromkeys(chain.values(), 0)
    bits = {layer.bits: 0 for layer in layers[:prefix] if layer.bits}
    x = {layer.x: 0 for layer in layers[:prefix] if layer.x}
    progress = _Progress(layers)
    for piece in _coarse(layers, bands):
        if piece.layer >= prefix:
            break
        layer = layers[piece.layer]
        if layer.stored:
            root = chain[layer.value]
            oldest = min(progress.oldest(n) for n, r in chain.items() if r == root)
            features[root] = max(features[root], piece.y1 - min(oldest, piece.y0))
        if layer.bits:
            oldest = min(progress.oldest(layer.bits), piece.y0)
            bits[layer.bits] = max(bits[layer.bits], piece.y1 - oldest)
        if layer.x:
            ratio = 2 if layer.halved else 1
            oldest = min(progress.oldest(layer.x), piece.y0 // ratio)
            x[layer.x] = max(x[layer.x], piece.y1 // ratio - oldest)
        progress.done[piece.layer] = piece.y1
    outside = {n for layer in layers[prefix:] for n in (layer.source, layer.residual)}
    for name, root in chain.items():
        if not any(n in outside for n, r in chain.items() if r == root):
            # pairs of rows that are pooled together do not lie across a ring's end
            rows.features[name] = min(rows.features[name], ceil_div(features[root], 2) * 2)
    pairs = {x.bits for x in layers if x.halved}
    grouped = {x.bits for x in layers if x.grouped}
    again = grouped & {x.bits for x in layers[bands.resident : prefix]}
    for name, need in bits.items():
        if name not in outside:
            # rows that are pooled are written in pairs; rings of even numbers of rows end together,
            # which cuts steps less often: that counts where each has all weights come again
            turn = (1 if name in grouped else ROW_BANKS) * (2 if name in pairs else 1)
            turn = max(turn, 2 * (name in again))
            rows.bits[name] = min(rows.bits[name], ceil_div(need, turn) * turn)
    for name, need in x.items():
        if name not in outside:
            rows.x[name] = min(rows.x[name], need)
    _align(layers, rows, chain)
    return rows


def _band_image(first: Layer, band: int, whole: int) -> int:
    """Rows of the image kept where the first layer makes so many rows at a time: what they read,
    and what comes for the next ones meanwhile."""
    stride, height = first.conv.op.stride, first.out_shape[1]
    spans = [need - old for y in range(0, height, band)
             for old, need in [image_rows(first, y, min(height, y + band))]]
    span = max(spans) + band * stride
    return min(whole, ceil_div(span, ROW_BANKS) * ROW_BANKS)


def image_rows(layer: Layer, y0: int, y1: int) -> tuple[int, int]:
    """First row of the image that rows ``y0`` to ``y1`` of ``layer`` read, and the one after the
    last."""
    stride, height = layer.conv.op.stride, layer.in_shape[1]
    end = height if y1 == layer.out_shape[1] else min(height, (y1 - 1) * stride + 2)
    return max(0, y0 * stride - 1), end


def _align(layers: list[Layer], rows: Rows, chain: dict[str, str]) -> None:
    """As many rows of a map as of its residual: a step has one distance between planes for both."""
    pairs = {layer.residual for layer in layers if layer.halved}
    changed = True
    while changed:
        changed = False
        for layer in layers:
            if not (layer.stored and layer.residual):
                continue
            names = {layer.value, layer.residual}
            roots = {chain[n] for n in names if n in chain}
            names |= {n for n, root in chain.items() if root in roots}
            most = max(rows.kept(n) for n in names)
            if names & pairs:  # that are pooled together
                most = min(layer.out_shape[1], ceil_div(most, 2) * 2)
            for name in names:
                where = rows.features if name in rows.features else rows.x
                changed |= where[name] != most
                where[name] = most


def _chains(layers: list[Layer]) -> dict[str, str]:
    """For every stored value the first one of the maps that take its place one after another."""
    shapes = {layer.value: layer.out_shape for layer in layers}
    chain: dict[str, str] = {}
    for layer in layers:
        if not layer.stored:
            continue
        r = layer.residual
        in_place = r in chain and layer.takes_place_of(shapes[r])
        chain[layer.value] = chain[r] if in_place else layer.value
    return chain


def pieces(layers: list[Layer], config: EngineConfig, rows: Rows, bands: Bands,
           batches: Batches, groups: dict | None = None) -> Iterator[Piece]:
    """The order in pieces that no ring's end and no partial sum memory cuts through.

    Of a batch the layers run as `Batches` says, whole maps where for several images. ``groups``
    has the ranges of groups of lanes in which some maps that wait for gains are made, by name.

    Raises DoesNotFit where a layer cannot be cut that small.
    """
    groups = groups or {}
    order = [part for piece in _coarse(layers, bands) for part in
             (_by_groups(piece, groups[layers[piece.layer].value])
              if layers[piece.layer].in_branch and layers[piece.layer].value in groups else
              _cut(piece, layers[piece.layer], config, rows, batches.each[piece.layer]))]
    for run in batches.runs():
        for piece in order:
            if run.start <= piece.layer < run.end:
                yield dataclasses.replace(piece, image=run.first)


def _by_groups(piece: Piece, ranges) -> Iterator[Piece]:
    """A whole map in ranges of groups."""
    for g0, g1 in ranges:
        yield dataclasses.replace(piece, g0=g0, g1=g1, by_groups=True)


def _cut(piece: Piece, layer: Layer, config: EngineConfig, rows: Rows,
         images: int) -> Iterator[Piece]:
    """The parts of a piece that are allowed."""
    y0 = piece.y0
    while y0 < piece.y1:
        y1 = next((y for y in range(piece.y1, y0 if images == 1 else piece.y1 - 1, -1)
                   if _allowed(layer, y0, y, config, rows, images)), None)
        if y1 is None:
            geo = geometry(layer, config)
            least = 2 if layer.halved else 1
            if images > 1 or _whole(layer, config):
                least = geo.height
            count = f"{images} images x " if images > 1 else ""
            raise DoesNotFit(
                f"partial sums of {count}{least} rows x {geo.n_x} groups exceed "
                f"{config.psum_depth} words",
                where=layer.name,
                hint=f"plan with psum_depth {images * least * geo.n_x}",
            )
        for groups in _group_ranges(layer, config):
            yield Piece(piece.layer, y0, y1, *groups, 0, images)
        y0 = y1


def _group_ranges(layer: Layer, config: EngineConfig) -> list[tuple[int, int]]:
    """Output groups computed in one step: those of one copy of a residual, or that have one."""
    n_og = geometry(layer, config).n_og
    if layer.residual and layer.residual_channels < layer.out_shape[0]:
        held = ceil_div(layer.residual_channels, config.lanes)
        return [(0, held), (held, n_og)] if held < n_og else [(0, n_og)]
    each = _groups_a_copy(layer, config)
    return [(copy * each, (copy + 1) * each) for copy in range(layer.repeats)]


def _groups_a_copy(layer: Layer, config: EngineConfig) -> int:
    """Output groups that one copy of the residual serves."""
    n_og = geometry(layer, config).n_og
    channels = layer.out_shape[0] // layer.repeats
    if layer.repeats > 1 and channels % config.lanes:
        raise DoesNotFit(f"a residual of {channels} channels, used {layer.repeats} times, needs "
                         f"lanes that divide them, not {config.lanes}", where=layer.name)
    return n_og // layer.repeats


def _allowed(layer: Layer, y0: int, y1: int, config: EngineConfig, rows: Rows,
             images: int) -> bool:
    geo = geometry(layer, config)
    if layer.pool is not None and y1 - y0 > 1:  # a 7x7 stem hands over row by row
        return False
    if geo.n_ig > 1 and images * (y1 - y0) * geo.n_x > config.psum_depth:
        return False
    if _whole(layer, config) and (y0, y1) != (0, geo.height):
        return False
    if layer.max_pool:
        return True
    if layer.halved:
        if y0 % 2 or (y1 % 2 and y1 != geo.height):
            return False
        if not _one_turn(y0 // 2, y1 // 2, rows.x[layer.x]):
            return False
    elif layer.x and layer.x_op is None and not _one_turn(y0, y1, rows.x[layer.x]):
        return False
    if layer.stored and not _one_turn(y0, y1, rows.features[layer.value]):
        return False
    if layer.in_branch and not _one_turn(y0, y1, rows.features[layer.value]):
        return False
    if layer.remakes and not _allowed(layer.remakes, y0, y1, config, rows, images):
        return False
    if layer.gains and not _one_turn(y0, y1, rows.features[layer.source]):
        return False
    if layer.residual and not _one_turn(y0, y1, rows.kept(layer.residual)):
        return False
    if layer.bits and not _one_turn(y0, y1, _turn(layer, rows.bits[layer.bits])):
        return False
    if layer.from_x and not _one_turn(y0, y1, rows.x[layer.source]):
        return False
    return True


def _whole(layer: Layer, config: EngineConfig) -> bool:
    """Whether one step makes all of the layer's map."""
    if layer.max_pool or isinstance(layer.x_op, I.GlobalSum):
        return True
    return (layer.summed or layer.in_branch) and not config.sum_depth


def _turn(layer: Layer, kept: int) -> int:
    """Rows after which the ring of a layer's bits starts again."""
    return kept if layer.grouped else ceil_div(kept, ROW_BANKS) * ROW_BANKS


def _one_turn(y0: int, y1: int, kept: int) -> bool:
    return y0 // kept == (y1 - 1) // kept
