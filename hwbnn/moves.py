"""Steps that move rows of maps between the chip and off-chip memory, and where maps lie there."""

import dataclasses

from rtl_gen.engine.config import EngineConfig
from rtl_gen.sdram.timing import BURST, BURST_ADDRESS_BITS, MOVE_BITS

from .allocate import Region, first_fit
from .errors import DoesNotFit
from .geometry import ceil_div, x_row_words
from .layers import Layer
from .map_pass import MapPass
from .off_chip import OffChip
from .order import Piece
from .placement import Phases, Placement

__all__ = ["Move", "OffChipMaps", "move_fields"]


@dataclasses.dataclass(frozen=True, eq=False)
class Move(MapPass):
    """Rows of the map ``source`` on their way to off-chip memory (``to``) or from it, for the layer
    ``serves``; ``part`` is what of the map's groups of lanes lies together there. With
    ``by_groups`` it is all rows of the part, which lies alone in the words of a band."""

    serves: Layer | None = None
    to: bool = False
    branch: bool = False
    part: "Part | None" = None
    by_groups: bool = False

    moves = True
    halved = vector = False

    @property
    def name(self) -> str:
        return f"{self.source}.{'store' if self.to else 'load'}"


@dataclasses.dataclass(frozen=True)
class Part:
    """Groups of lanes ``first`` to ``first + groups - 1`` of a map, from burst ``base`` on: row by
    row, a row by groups, each ``words`` words."""

    first: int
    groups: int
    words: int
    base: int = 0

    def cut(self, ranges) -> list["Part"]:
        """The parts of it in ranges of groups, each of which lies in it or beside it."""
        end = self.first + self.groups
        return [dataclasses.replace(self, first=first, groups=stop - first)
                for first, stop in ranges if self.first <= first < end] or [self]

    def bursts(self, rows: int, config: EngineConfig) -> int:
        return rows * self.groups * self.words * config.lanes * config.pixels // BURST


class OffChipMaps:
    """The maps off chip: where each lies, by lifetime, and which steps move their rows.

    ``bursts`` is how many bursts of 8 words they take.
    """

    def __init__(self, layers: list[Layer], config: EngineConfig, off: OffChip, phases: Phases,
                 groups: dict | None = None):
        self._layers, self._config, self._off = layers, config, off
        self._shapes: dict[str, tuple[int, int, int]] = {}
        self._parts: dict[str, list[Part]] = {}
        self._branches = {layer.value for layer in layers if layer.in_branch}
        last_use = {name: i for i, layer in enumerate(layers) for name in layer.reads}
        regions, found = [], []
        for i, layer in enumerate(layers):
            for name in off.names(layer):
                for part in self._part(layer, name).cut((groups or {}).get(name, ())):
                    regions.append(Region(f"{name}@{part.first}",
                                          part.bursts(self._shapes[name][1], config),
                                          phases.live(i, max(i, last_use.get(name, i)))))
                    found.append((name, part))
        places, self.bursts = first_fit(regions) if regions else ({}, 0)
        for region, (name, part) in zip(regions, found, strict=True):
            self._parts.setdefault(name, []).append(
                dataclasses.replace(part, base=places[region.name]))

    def _part(self, layer: Layer, name: str) -> Part:
        config = self._config
        _c, height, width = layer.out_shape
        words = ceil_div(width, config.pixels)
        if name == layer.x and layer.x_op is not None:
            words = x_row_words(layer, config)
            height //= 2 if layer.halved else 1
        self._shapes[name] = (layer.joint, height, width)
        return Part(layer.at // config.lanes, ceil_div(layer.out_shape[0], config.lanes), words)

    def before(self, piece: Piece) -> list[tuple[Move, Piece]]:
        """What is loaded for a piece of a layer."""
        layer = self._layers[piece.layer]
        names = [layer.source] if layer.gains or layer.from_x else []
        names += [x.residual for x in (layer, layer.remakes) if x and x.residual]
        return [(self._move(layer, name, part, False, piece), piece)
                for name in dict.fromkeys(names) for part in self._parts.get(name, ())
                if not piece.by_groups or part.first == piece.g0]

    def after(self, piece: Piece) -> list[tuple[Move, Piece]]:
        """What is stored behind it."""
        layer = self._layers[piece.layer]
        moves = []
        for name in self._off.names(layer):
            first = layer.at // self._config.lanes
            made = range(first + piece.g0, first + piece.g1)
            rows = piece
            if name == layer.x and layer.halved:
                rows = dataclasses.replace(piece, y0=piece.y0 // 2, y1=piece.y1 // 2)
            moves += [(self._move(layer, name, part, True, piece), rows)
                      for part in self._parts[name] if part.first in made]
        return moves

    def _move(self, layer: Layer, name: str, part: Part, to: bool, piece: Piece) -> Move:
        return Move(layer.conv, name, None, None, None, self._shapes[name], serves=layer, to=to,
                    branch=name in self._branches, part=part, by_groups=piece.by_groups)


def move_fields(move: Move, y0: int, y1: int, config: EngineConfig,
                placement: Placement) -> dict[str, int]:
    """Fields of the step that moves rows ``y0 <= y < y1``; bursts count from the first one of the
    maps. Raises DoesNotFit for a map beyond the largest memory."""
    part, name, rows = move.part, move.source, placement.rows
    bursts = part.bursts(y1 - y0, config)
    base = part.base + part.bursts(y0, config)
    if bursts >> MOVE_BITS or base >> BURST_ADDRESS_BITS:
        raise DoesNotFit(f"{bursts} bursts at {base} off chip", where=move.name,
                         hint="choose fewer rows a band")
    feature = name in placement.features or name in placement.branch
    kept = rows.features[name] if feature else rows.x[name]
    f = {"move": 1, "move_write": int(move.to), "move_branch": int(move.branch),
         "move_base": base, "move_bursts": bursts, "n_og": part.groups - 1, "n_x": part.words - 1,
         "n_y": y1 - y0 - 1, "f_step": kept * part.words}
    at = part.first * f["f_step"] + y0 % kept * part.words
    if move.by_groups:
        f["f_step"], at = (y1 - y0) * part.words, 0
    if move.branch:
        return f | {"b_addr": placement.branch[name] + at}
    return f | {"x_addr": placement.residual(name) + at}
