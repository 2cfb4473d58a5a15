"""Where maps lie in the engine's memories, by lifetime."""

import dataclasses

from rtl_gen.engine.config import ROW_BANKS, EngineConfig

from .allocate import Region, first_fit
from .batches import Batches
from .geometry import bit_plane, geometry, x_planes, x_row_words, x_rows
from .layers import Layer
from .off_chip import OffChip
from .order import Rows

__all__ = ["Phases", "Placement", "place", "reads_stored"]


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where values lie: feature words, (buffer, word) of bit maps, words of the dense input
    memory, words of maps that wait for gains; how many rows of each are kept; and how many words
    each memory needs.

    Row ``y`` of a map of which ``R`` rows are kept lies where row ``y % R`` of a whole map would
    (bit maps: R rounded up to the row banks). Images of a batch lie below each other. Where there
    are two feature memories, ``memory`` says in which of them a map lies.
    """

    features: dict[str, int]
    bits: dict[str, tuple[int, int]]
    x: dict[str, int]
    rows: Rows
    needed: dict[str, int]
    branch: dict[str, int] = dataclasses.field(default_factory=dict)
    memory: dict[str, int] = dataclasses.field(default_factory=dict)

    def features_of(self, name: str) -> str:
        """The feature memory that holds a map."""
        return f"features{self.memory.get(name) or ''}"

    def residual(self, name: str) -> int:
        """First feature word of a residual: a stored map, or one pooled for it."""
        return self.features[name] if name in self.features else self.x[name]


@dataclasses.dataclass(frozen=True)
class Phases:
    """Which layers run when, as times: the leading ``prefix`` layers run interleaved, at one time.

    With ``overlap`` the layers from that one on run at the same time as the leading ones, of the
    frame after theirs: a value made late and read early lives over the turn of the loop. What a
    layer makes for one that waits for more images of a batch lives while all before that one run.
    """

    prefix: int
    overlap: int | None
    count: int
    batches: Batches

    def time(self, i: int) -> int:
        """When layer ``i`` runs; with ``overlap`` the leading ones from the start of the end on."""
        if self.overlap is None:
            return max(0, i - max(0, self.prefix - 1))
        return self.overlap - self.prefix if i < self.prefix else i - self.prefix

    def lag(self, i: int) -> int:
        """Frames that layer ``i`` is behind the leading ones in a turn of the loop."""
        return int(self.overlap is not None and i >= self.overlap)

    def live(self, first: int, last: int) -> frozenset[int]:
        """Times from layer ``first`` to the layer ``last`` that reads what it made."""
        start, end = self.time(first), self.time(last)
        if self.batches.crosses(first, last):
            return frozenset(range(end + 1))
        if self.overlap is None or first >= self.prefix:
            return frozenset(range(start, end + 1))
        # the leading layers run beside all of the end; what they hand on lives over the turn
        beside = frozenset(range(start, self.count - self.prefix))
        return beside if last < self.prefix else beside | frozenset(range(end + 1))


class _Lives:
    """When values are needed: from the layer that makes one to the last that reads it. Of a map off
    chip there is nothing on chip but between moves, while one of these layers runs."""

    def __init__(self, layers: list[Layer], phases: Phases, off: OffChip):
        self._phases = phases
        self.last_use: dict[str, int] = {}
        self._uses: dict[str, list[int]] = {}
        for i, layer in enumerate(layers):
            for name in layer.reads:
                self.last_use[name] = i
            for name in {*layer.reads, layer.value, layer.x} - {None}:
                self._uses.setdefault(name, []).append(i)
        self._moved = {name for layer in layers for name in off.names(layer)}

    def moved(self, *names: str | None) -> bool:
        """Whether all of these are maps off chip."""
        return self._moved.issuperset(names)

    def of(self, name: str, first: int, last: int | None = None) -> frozenset[int]:
        """Times of a value that layer ``first`` makes; ``last`` reads it if no later one does."""
        if name in self._moved:
            return frozenset().union(*(self._phases.live(i, i) for i in self._uses[name]))
        return self._phases.live(first, self.last_use[name] if last is None else last)


def place(layers: list[Layer], config: EngineConfig, rows: Rows, phases: Phases,
          off: OffChip | None = None) -> Placement:
    """Assign addresses by lifetime; residual chains are updated in place."""
    lives = _Lives(layers, phases, off or OffChip())
    last_use = lives.last_use
    feature_regions = _features(layers, config, rows, lives)
    x_regions = _x(layers, config, rows, phases, lives)
    if config.run_time is not None:
        vectors = {f"x:{layer.x}" for layer in layers if layer.vector}
        vectors |= {f"x:{layer.sums}" for layer in layers if layer.sums}
        x, words = first_fit([r for r in x_regions if r.name in vectors])
        smaller = [r for r in x_regions if r.name not in vectors]
        alone = [dataclasses.replace(r, alias=None, before=0)
                 if lives.moved(r.name.removeprefix("x:")) else r for r in smaller]
        places, map_words = min((first_fit(feature_regions + _over(each, layers, last_use))
                                 for each in (smaller, alone)), key=lambda fit: fit[1])
        features = {r.name: places[r.name] for r in feature_regions}
        x |= {name: a for name, a in places.items() if name.startswith("x:")}
        x = {name.removeprefix("x:"): address for name, address in x.items()}
        needed = {"features": map_words, "x": 0, "vectors": words}
    elif config.shared_x:
        alone = [dataclasses.replace(r, alias=None) for r in x_regions]
        places, words = min((first_fit(regions + feature_regions)
                             for regions in (x_regions, alone)), key=lambda fit: fit[1])
        features = {r.name: places[r.name] for r in feature_regions}
        x = {r.name.removeprefix("x:"): places[r.name] for r in x_regions}
        needed = {"features": words, "x": 0}
    else:
        features, words = first_fit(feature_regions)
        found, x_words = first_fit(x_regions)
        x = {name.removeprefix("x:"): address for name, address in found.items()}
        needed = {"features": words, "x": x_words}
    for layer in layers:  # a stored map that the dense array reads as it is
        if reads_stored(layer, config):
            x[layer.x] = features[layer.value]
    bits, needed["bits"] = _bits(layers, config, rows, phases, last_use)
    branch = {}
    if config.gains is not None:
        branch, needed["branch"] = _branch(layers, config, rows, lives)
    return Placement(features, bits, x, rows, needed, branch=branch)


def reads_stored(layer: Layer, config: EngineConfig) -> bool:
    """Whether the dense array reads the stored map itself."""
    return bool(config.shared_x and layer.stored and layer.x == layer.value
                and not (layer.vector and config.run_time))


def _features(layers, config, rows, lives: _Lives) -> list[Region]:
    shapes = {layer.x: _x_shape(layer) for layer in layers if layer.x}
    shapes |= {layer.value: (layer.joint, *layer.out_shape[1:]) for layer in layers}
    stored = {layer.value for layer in layers if layer.stored}
    regions, last_use = [], lives.last_use
    for i, layer in enumerate(layers):
        if not layer.stored or layer.at:  # what else makes the map follows
            continue
        r = layer.residual
        # a residual off chip is there again for whoever else reads it
        in_place = (r is not None and (last_use[r] == i or lives.moved(r, layer.value))
                    and layer.takes_place_of(shapes[r])
                    and rows.kept(r) == rows.features[layer.value])
        if in_place and r not in stored:
            r, in_place = f"x:{r}", config.shared_x
        end = max(last_use.get(layer.value, i), i)
        if layer.is_output:
            end = len(layers) - 1
        geo = geometry(layer, config)
        size = -(-layer.joint // config.lanes) * rows.features[layer.value] * geo.n_x_map
        # a residual used several times lies under the last copy, which is computed last
        before = size - size // layer.repeats if in_place else 0
        regions.append(Region(layer.value, size, lives.of(layer.value, i, end),
                              r if in_place else None, before))
    return regions


def _branch(layers, config, rows, lives: _Lives) -> tuple[dict[str, int], int]:
    """Maps that wait for gains."""
    regions = []
    for i, layer in enumerate(layers):
        maker = layer if layer.in_branch else layer.remakes
        if maker:
            geo, name = geometry(maker, config), maker.value
            regions.append(Region(name, geo.n_og * rows.features[name] * geo.n_x_map,
                                  lives.of(name, i)))
    return first_fit(regions)


def _x_shape(layer: Layer) -> tuple[int, int, int]:
    """Shape of what a layer leaves for the dense array, or as a residual."""
    (h, w), c = layer.out_shape[1:], layer.joint
    return (c, h // 2, w // 2) if layer.halved else (c, h, w)


def _x(layers, config, rows, phases, lives: _Lives) -> list[Region]:
    stored = {layer.value for layer in layers if layer.stored}
    regions, last_use = [], lives.last_use
    for i, layer in enumerate(layers):
        if layer.sums and not layer.at:
            regions.append(Region(f"x:{layer.sums}", -(-layer.joint // config.lanes),
                                  lives.of(layer.sums, i)))
        if layer.x and not layer.at and not reads_stored(layer, config):
            size = rows.x[layer.x] * x_row_words(layer, config) * x_planes(layer, config)
            over, before = None, 0
            if (config.shared_x and config.run_time is None and layer.residual in stored
                    and last_use[layer.residual] == i and i >= phases.prefix
                    and _shrinks_in_place(layer, config, rows)):
                over = layer.residual
            if (layer.halved and layer.joint == layer.out_shape[0]
                    and lives.moved(layer.x, layer.residual)):
                over = layer.residual if layer.residual in stored else f"x:{layer.residual}"
                before = _ahead(layer, config, rows)
            if layer.levels and last_use[layer.source] == i:  # nobody else reads what it reads
                over = next((r.name for r in regions if r.name == f"x:{layer.source}"), None)
            regions.append(Region(f"x:{layer.x}", size, lives.of(layer.x, i), over, before))
    return regions


def _shrinks_in_place(layer: Layer, config: EngineConfig, rows: Rows) -> bool:
    """Whether a pooled map may lie over the layer's residual: both are gone through in one order,
    and the smaller one is always behind. So it is where one step computes the whole map, of one
    image."""
    geo = geometry(layer, config)
    height = layer.out_shape[1]
    one = rows.kept(layer.residual) == height and rows.x[layer.x] == x_rows(layer)
    whole = geo.n_ig == 1 or geo.height * geo.n_x <= config.psum_depth
    return layer.halved and layer.repeats == 1 and one and whole


def _ahead(layer: Layer, config: EngineConfig, rows: Rows) -> int:
    """By how many words rows of a smaller map must begin before those of the layer's residual that
    they are made of, both off chip, so that none is written where one will still be read."""
    from_row, to_row = geometry(layer, config).n_x_map, x_row_words(layer, config)
    kept, made = rows.kept(layer.residual), rows.x[layer.x]
    # a row comes with the second one that it is made of; the planes of the smaller map are shorter
    return max(0, *(y // 2 % made * to_row - (y + 1) % kept * from_row
                    for y in range(0, layer.out_shape[1] - 1, 2)))


def _over(regions: list[Region], layers, last_use) -> list[Region]:
    """What a pass makes of a map lies over the map, if nobody else reads that: a smaller map is
    written behind where the larger one is read."""
    over = {f"x:{layer.x}": layer.source for i, layer in enumerate(layers)
            if layer.map_pass and layer.halved and last_use[layer.source] == i}
    return [dataclasses.replace(r, alias=over.get(r.name, r.alias)) for r in regions]


def _bits(layers, config, rows, phases, last_use):
    """Each bit map goes to the buffer that its layer does not read. Where several layers make a map
    in whole planes, each part lives from its own layer on."""
    buffers: list[list[Region]] = [[], []]
    where: dict[str, int] = {}
    following = 0
    over = _bits_in_place(layers, config, rows, last_use)
    for i, layer in enumerate(layers):
        if not layer.bits or (layer.at and not _of_planes(layer, config)):
            continue
        buffer = 1 - where[layer.source] if layer.binary else following
        if config.run_time is not None:
            buffer = 0
        where[layer.bits] = buffer
        following = 1 - buffer
        row, slots, planes = bit_plane(layer, rows.bits[layer.bits], config)
        live, name, alias, before = phases.live(i, last_use[layer.bits]), layer.bits, None, 0
        if _of_planes(layer, config):
            planes = layer.out_shape[0] // config.channels_in
            if layer.at:
                name, alias = _part(layer), layer.bits
                before = -(layer.at // config.channels_in * row * slots)
        alias, before = over.get(name, (alias, before))
        buffers[buffer].append(Region(name, row * slots * planes, live, alias, before))
    result, needed = {}, 0
    for buffer, regions in enumerate(buffers):
        addresses, words = first_fit(regions)
        needed = max(needed, words)
        result |= {name: (buffer, address) for name, address in addresses.items()}
    return result, needed


def _of_planes(layer: Layer, config: EngineConfig) -> bool:
    """Whether the bits that a layer makes of its part of a map are whole planes of them."""
    s = config.channels_in
    return (layer.joint > layer.out_shape[0] and not layer.grouped
            and layer.at % s == 0 and layer.out_shape[0] % s == 0)


def _part(layer: Layer) -> str:
    """What the bits that a layer makes of its part of a map are called here."""
    return f"{layer.bits}@{layer.at}" if layer.at else layer.bits


def _bits_in_place(layers, config: EngineConfig, rows: Rows,
                   last_use) -> dict[str, tuple[str, int]]:
    """Bits that lie under those made as they are read for the last time, rows after rows, by a
    convolution computed again for the layer that makes the others; and by how many words they begin
    before these."""
    makers = {layer.bits: layer for layer in layers if layer.bits}
    over = {layer.bits: (layer.bits_in, 0) for layer in layers if layer.bits_in}
    for i, layer in enumerate(layers):
        again = layer.remakes
        if not (again and layer.bits and last_use[again.source] == i):
            continue
        maker, part = makers[again.source], layer.joint > layer.out_shape[0]
        if again.source in over or (part and not _of_planes(layer, config) and layer.at) or (
                maker.joint > maker.out_shape[0] and _of_planes(maker, config)):
            continue
        read, made = (bit_plane(x, rows.bits[x.bits], config) for x in (maker, layer))
        if part and _of_planes(layer, config):
            made = (*made[:2], layer.out_shape[0] // config.channels_in)
        if again.pointwise and read[:2] == made[:2] and read[2] <= made[2]:
            over[again.source] = _part(layer), 0
        elif not again.pointwise and read[2] == made[2] == 1 and not layer.grouped:
            over[again.source] = _part(layer), -_rows_ahead(again, read[0], made[0])
    return over


def _rows_ahead(layer: Layer, read: int, made: int) -> int:
    """By how many words bits, ``made`` words a row, begin before those, ``read`` words a row, that
    a 3x3 convolution makes them of, so that no row is written which the next one still reads."""
    stride, height = layer.conv.op.stride, layer.in_shape[1]
    found = [0]
    for y in range(layer.out_shape[1]):
        needed = (y + 1) * stride - 1  # first row for what follows
        needed += (y - needed) % ROW_BANKS  # in the same bank
        if needed < height:
            found.append((y // ROW_BANKS + 1) * made - needed // ROW_BANKS * read)
    return max(found)
