"""From layers and a machine shape to a program: steps, memory placement, weight loads."""

import dataclasses
import itertools

from rtl_gen.engine.config import STREAM_KINDS, EngineConfig
from rtl_gen.engine.timing import Timing
from rtl_gen.sdram.timing import BURST

from .batches import Batches
from .beside import Halves, halves
from .entries import Entry, entries
from .errors import DoesNotFit, UnsupportedError
from .geometry import Geometry, bit_slots, bit_words, ceil_div, geometry
from .group_pieces import group_pieces
from .layers import Layer
from .moves import Move, OffChipMaps, move_fields
from .off_chip import OffChip
from .ops import int_ops as I
from .order import Bands, Piece, image_rows, kept_rows, pieces
from .overlap import interleave, split
from .place_beside import place_beside
from .placement import Phases, Placement, place
from .step_fields import step_fields
from .stream_parts import step_words

__all__ = ["Program", "Step", "program"]


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """One descriptor: a layer over the rows ``y0 <= y < y1``, ``batch`` images per weight load.

    The images are those of the program's batch from ``image`` on, and lie below each other.
    ``fields`` fills `EngineConfig.step_layout`, ``load`` fills `load_layout` (None where the step
    loads no weights). It computes ``n_og`` of
    the layer's ``of_og`` output groups from ``g0`` on; ``lag`` says how many frames it is behind
    the frame that begins in the same turn of the program.
    """

    layer: Layer
    y0: int
    y1: int
    batch: int
    n_og: int
    n_ig: int
    groups: int
    fields: dict[str, int]
    load: dict[str, int] | None
    g0: int = 0
    of_og: int = 0
    lag: int = 0
    image: int = 0
    of_images: int = 1
    by_groups: bool = False

    @property
    def streamed(self) -> bool:
        """Whether its weights and constants come from off-chip memory."""
        return bool(self.fields.get("const_streamed"))

    @property
    def kind(self) -> str:
        """Which unit computes it: binary, dense, its adders (signed), stem, or none of them."""
        if self.layer.moves:
            return "move"
        if self.layer.levels:
            return "levels"
        if self.layer.map_pass:
            return "pass"
        if self.layer.weightless:
            return "gain"
        if self.fields.get("signed_sums"):
            return "signed"
        return "stem" if self.layer.stem else "binary" if self.layer.binary else "dense"

    @property
    def name(self) -> str:
        rows = "" if self.y1 - self.y0 == self.layer.issued[0] else f"[{self.y0}:{self.y1}]"
        part = "" if self.n_og == self.of_og else f"[og {self.g0}:{self.g0 + self.n_og}]"
        images = ""
        if self.batch < self.of_images:
            last = self.image + self.batch - 1
            images = f"[image {self.image}" + (f" to {last}]" if self.batch > 1 else "]")
        again = " again" if self.layer.serves and not self.layer.moves else ""
        return self.layer.name + again + rows + part + images


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """Steps in order, with the placement they refer to and the words the tables take.

    A turn computes ``batches.images`` images. ``entries`` are the threshold unit's program.
    ``off_chip_words`` are the 16-bit words of off-chip memory that weights and maps take.
    """

    config: EngineConfig
    layers: list[Layer]
    input_op: I.QuantizeInput
    placement: Placement
    steps: list[Step]
    needed: dict[str, int]
    batches: Batches
    entries: list[Entry] = dataclasses.field(default_factory=list)
    off_chip_words: int = 0


def program(layers: list[Layer], config: EngineConfig, input_op: I.QuantizeInput, *,
            band: int = 0, halvings: int = 1, resident: int | None = None, deep: int = 0,
            overlap: int | None = None, batch=None, beside: int | None = None,
            off_chip: int = 0, off_rows: int = 0, off_again=None) -> Program:
    """Steps of all layers; with ``band`` the leading ones depth-first, so many rows at a time.

    ``halvings`` says how deep they go (see `depth_first`), ``resident`` how many of them keep their
    weights on chip, ``deep`` how many rows the others run at a time (see `Bands`).

    With ``overlap`` the layers from that one on run between the leading ones of the next frame.
    With ``batch``, pairs (layer number, images), layers run for several images at once from those
    on (see `Batches`). With ``beside`` the first so many steps are the front of a frame, that runs
    between the rest of the frame before (see `hwbnn.beside`). With ``off_chip`` maps of so many
    rows or more lie in off-chip memory, ``off_rows`` rows of each on chip at a time, but what
    waits for gains in maps of ``off_again`` rows, some numbers, is computed twice.
    Raises DoesNotFit where one cannot be cut to the machine's buffers.
    """
    bands = Bands.of(layers, band, halvings, resident, deep)
    prefix = bands.prefix
    if overlap is not None and not prefix <= overlap < len(layers):
        raise DoesNotFit(f"layers from {overlap} on cannot overlap the leading {prefix}",
                         hint=f"choose {prefix} to {len(layers) - 1}")
    if overlap is not None:
        _check_overlap(layers, prefix, overlap)
    batches = Batches.of(layers, batch, prefix)
    if overlap is not None and batches.images > 1:
        raise DoesNotFit("frames of a batch do not overlap", where="plan",
                         hint="choose a batch or overlap")
    off = OffChip.of(layers, off_chip, off_rows, off_again)
    layers = off.layers(layers)
    if off.height and (overlap is not None or beside is not None or batches.images > 1 or prefix):
        raise DoesNotFit("maps off chip are moved for one frame and one layer at a time",
                         where="plan, off_chip", hint="plan without bands, overlap and batch")
    rows = kept_rows(layers, bands, batches, off)
    phases = Phases(prefix, overlap, len(layers), batches)
    split_at = None
    if beside is not None:
        split_at = halves(layers, beside)
        placement = place_beside(layers, config, rows, split_at)
    else:
        placement = place(layers, config, rows, phases, off)
    if config.shared_x:
        _check_shared(layers, placement)
    _check_parts(layers, config)
    tables = {"weights": 0, "dense_weights": 0, "constants": 0, "codebooks": 0}
    # what runs depth-first, or in bands, reads its weights again and again: most stay on chip
    resident = bands.resident or off.resident(layers)
    streamed = [config.streams and i >= resident and not x.stem and not x.map_pass
                for i, x in enumerate(layers)]
    of_unit = set() if split_at is None else {
        id(x) for b in split_at.barriers for x in (b.hidden, b.out, b.over)}
    base = [_reserve(layer, there, config, tables) if id(layer) not in of_unit else {}
            for layer, there in zip(layers, streamed, strict=True)]
    for kind in STREAM_KINDS:
        tables[kind] += config.rings[kind]
    steps: list[Step] = []
    psum = 2
    groups_of = group_pieces(layers, config, rows, off)
    maps = OffChipMaps(layers, config, off, phases, groups_of)
    for piece in _ordered(layers, config, rows, bands, overlap, batches, split_at, groups_of):
        layer = layers[piece.layer]
        geo = geometry(layer, config)
        groups = piece.images * (piece.y1 - piece.y0) * geo.n_x
        psum = max(psum, groups if geo.n_ig > 1 else 2)
        addresses = base[piece.layer]
        fields = step_fields(layer, geo, config, placement, input_op, piece)
        if streamed[piece.layer]:
            fields["const_streamed"] = 1
        elif not layer.map_pass:
            per_group = config.lanes * config.const_words
            fields["const_addr"] = addresses["constants"] + piece.g0 * per_group
        load = _load(layer, geo, config, addresses, piece, streamed[piece.layer])
        steps += [_move(*move, config, placement) for move in maps.before(piece)]
        if layer.remakes:
            addresses = base[layers.index(layer.remakes.serves)]
            steps.append(_again(layer.remakes, piece, config, placement, input_op, addresses))
            psum = max(psum, steps[-1].groups if steps[-1].n_ig > 1 else 2)
        lag = phases.lag(piece.layer) if split_at is None else split_at.half(piece.layer)
        steps.append(Step(layer, piece.y0, piece.y1, piece.images, piece.g1 - piece.g0, geo.n_ig,
                          groups, fields, load, piece.g0, geo.n_og, lag,
                          piece.image, batches.images, piece.by_groups))
        steps += [_move(*move, config, placement) for move in maps.after(piece)]
    found, weights = [], ceil_div(sum(step_words(step, config) for step in steps), BURST)
    for step in steps:
        if step.layer.moves:
            step.fields["move_base"] += weights
    if split_at is not None:
        found, unit_needs = entries(layers, config, placement, split_at)
        tables |= unit_needs
        _mark(steps, split_at, layers, config)
    steps[-1].fields["last"] = 1
    [step for step in steps if step.load][-1].load["last"] = 1
    [step for step in steps if step.layer.is_output][-1].fields["result"] = 1
    if config.stem is None:
        for image in range(batches.images):
            _image_fields([step for step in steps if step.layer.from_image
                           and step.image == image], rows.image)
    image_row = bit_words(input_op.shape[2], config)
    needed = tables | placement.needed | {
        "psum": psum,
        "image": bit_slots(rows.image) * image_row,
        "steps": config.step_depth if config.streamed_steps else len(steps) * config.step_words,
        "loads": sum(step.load is not None for step in steps),
        "pool": max((geometry(x, config).n_x // 2 for x in layers
                     if x.halved or x.max_pool), default=1),
        "logits": batches.images * layers[-1].out_shape[0],
    }
    if config.sum_depth:
        needed["sums"] = max((ceil_div(x.out_shape[0], config.lanes) for x in layers if x.sums),
                             default=1)
    return Program(config, layers, input_op, placement, steps, needed, batches, found,
                   BURST * (weights + maps.bursts))


def _again(layer: Layer, piece: Piece, config: EngineConfig, placement: Placement, input_op,
           addresses: dict[str, int]) -> Step:
    """A step that computes rows of a convolution again, for the layer of ``piece``."""
    geo = geometry(layer, config)
    piece = dataclasses.replace(piece, g0=0, g1=geo.n_og)
    fields = step_fields(layer, geo, config, placement, input_op, piece) | {"const_streamed": 1}
    load = _load(layer, geo, config, addresses, piece, True)
    return Step(layer, piece.y0, piece.y1, 1, geo.n_og, geo.n_ig,
                (piece.y1 - piece.y0) * geo.n_x, fields, load, 0, geo.n_og)


def _move(move: Move, rows: Piece, config: EngineConfig, placement: Placement) -> Step:
    """A step that moves rows of a map off chip."""
    fields = move_fields(move, rows.y0, rows.y1, config, placement)
    groups = (rows.y1 - rows.y0) * move.part.words
    of_og = ceil_div(move.shape[0], config.lanes)
    return Step(move, rows.y0, rows.y1, 1, move.part.groups, 1, groups, fields, None,
                move.part.first, of_og)


def _mark(steps: list[Step], split_at: Halves, layers, config: EngineConfig) -> None:
    """Which steps leave a map for the threshold unit, which wait for its bits, which flow on."""
    for barrier in split_at.barriers:
        maker, consumer = layers[barrier.maker], layers[barrier.consumer]
        made = [step for step in steps if step.layer is maker]
        made[-1].fields["due"] = 1
        for step in made:
            step.fields["sums"] = 1
        next(step for step in steps if step.layer is consumer).fields["awaits"] = 1
    timing = Timing(config)
    for step, following in itertools.pairwise(steps):
        step.fields["flows"] = int(_flows(step, following, config, timing))


def _flows(step: Step, following: Step, config: EngineConfig, timing: Timing) -> bool:
    """Whether the next step may begin while this one's last results are on their way: both take
    the same way, constants are free again, and the fields have reached all stages."""
    if not (step.layer.binary and following.layer.binary) or config.max_pool:
        return False
    depends = step.layer.value in following.layer.reads and not following.fields.get("awaits")
    issues = step.groups * step.n_og * step.n_ig
    return not depends and step.groups >= timing.const_hold and issues > timing.late + 2


def _image_fields(steps: list[Step], kept: int) -> None:
    """Which rows of the image each step of the first layer waits for, and which it was the last to
    read."""
    gone = 0
    for step in steps:
        height, layer = step.layer.out_shape[1], step.layer
        end = step.g0 + step.n_og == step.of_og
        after = layer.in_shape[1] if step.y1 == height else image_rows(layer, step.y1, height)[0]
        released = after - gone if end and kept < layer.in_shape[1] else 0
        if step is steps[-1]:
            released = layer.in_shape[1] - gone
        step.fields.update({
            "image_slots": bit_slots(kept),
            "image_need": image_rows(layer, step.y0, step.y1)[1] - gone,
            "image_release": released,
        })
        gone += released


def _ordered(layers, config, rows, bands: Bands, overlap, batches, split_at,
             groups_of: dict) -> list[Piece]:
    """All pieces in the order of the program."""
    prefix = bands.prefix
    found = list(pieces(layers, config, rows, bands, batches, groups_of))
    if split_at is not None:
        return [piece for i in split_at.order for piece in found if piece.layer == i]
    if overlap is None:
        return found
    front = [q for p in found if p.layer < prefix for q in split(p, layers[p.layer], config)]
    back = [q for p in found if p.layer >= overlap for q in split(p, layers[p.layer], config)]
    middle = [p for p in found if prefix <= p.layer < overlap]
    return interleave(front, back, layers, config) + middle


def _check_overlap(layers: list[Layer], prefix: int, overlap: int) -> None:
    """What the leading layers make must be used before the next frame makes it again."""
    made = {n for x in layers[:prefix] for n in (x.value, x.bits, x.x) if n}
    for layer in layers[overlap:]:
        if made & {layer.source, layer.residual}:
            raise DoesNotFit(f"reads what the leading {prefix} layers make, which the next frame "
                             "overwrites meanwhile", where=layer.name, hint="overlap fewer layers")


def _check_shared(layers: list[Layer], placement: Placement) -> None:
    """The feature memory takes one word a cycle: a map and its pooled form cannot both go there."""
    for layer in layers:
        if layer.stored and layer.x and layer.x_op is not None and not layer.vector:
            raise UnsupportedError("a map that is both a residual and a pooled dense input needs "
                                   "a machine with a memory for dense inputs", where=layer.name)
        if layer.stored and layer.residual and (
                placement.rows.kept(layer.residual) != placement.rows.features[layer.value]):
            raise DoesNotFit("a map and its residual keep different numbers of rows",
                             where=layer.name)
        if layer.from_x and layer.residual:
            raise UnsupportedError("a 1x1 layer with a residual needs a machine with a memory for "
                                   "dense inputs", where=layer.name)


def _check_parts(layers: list[Layer], config: EngineConfig) -> None:
    """What several layers make a part of each begins with a group of lanes."""
    for layer in layers:
        if layer.at % config.lanes:
            raise DoesNotFit(f"channels from {layer.at} of a map on need lanes that divide that, "
                             f"not {config.lanes}", where=layer.name)


def _reserve(layer: Layer, streamed: bool, config: EngineConfig,
             tables: dict[str, int]) -> dict[str, int]:
    """Where the layer's tables on chip begin; moves their ends on."""
    geo = geometry(layer, config)
    start = dict(tables)
    if not streamed and not layer.map_pass:
        if not layer.stem and not layer.weightless:
            tables["weights" if layer.binary else "dense_weights"] += geo.tiles * config.lanes
        tables["constants"] += geo.n_og * config.lanes * config.const_words
    if layer.binary and config.has_codebook:
        tables["codebooks"] += 1 << config.id_bits
    return start


def _load(layer: Layer, geo: Geometry, config: EngineConfig, addresses, piece: Piece,
          streamed: bool) -> dict[str, int] | None:
    if layer.stem or layer.map_pass or layer.weightless:
        return None
    codebook = layer.binary and config.has_codebook
    address = addresses["weights" if layer.binary else "dense_weights"]
    return {
        "dense": int(not layer.binary),
        "last": 0,
        "n_tiles": (piece.g1 - piece.g0) * geo.n_ig - 1,
        "streamed": int(streamed),
        "address": 0 if streamed else address + piece.g0 * geo.n_ig * config.lanes,
        "codebook": int(codebook),
        "code_address": addresses["codebooks"] if codebook else 0,
    }
