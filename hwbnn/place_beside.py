"""Where maps lie when two frames are in the machine: a feature memory and a bit buffer a half."""

import dataclasses

from rtl_gen.engine.config import EngineConfig

from .allocate import Region, first_fit
from .beside import Halves
from .errors import DoesNotFit
from .geometry import bit_plane, ceil_div, geometry, x_planes, x_row_words
from .order import Rows
from .placement import Placement, reads_stored

__all__ = ["place_beside"]

BEFORE = -1  # what the front hands over is made before the back's first step


def place_beside(layers, config: EngineConfig, rows: Rows, halves: Halves) -> Placement:
    """Assign addresses by lifetime within each half; vectors share nothing."""
    lives = _Lives(layers, halves)
    maps: list[list[Region]] = [[], []]
    bits: list[list[Region]] = [[], []]
    x, vectors = {}, 0
    for i in sorted((*halves.front, *halves.back)):
        layer = layers[i]
        if layer.stored:
            size = geometry(layer, config).n_og * rows.features[layer.value]
            size *= geometry(layer, config).n_x_map
            maps[halves.memory[layer.value]].append(
                Region(layer.value, size, lives.of(layer.value, i), lives.in_place(i, rows)))
        if layer.vector:
            x[layer.x] = vectors
            vectors += ceil_div(layer.out_shape[0], config.lanes)
        elif layer.x and not reads_stored(layer, config):
            raise DoesNotFit("a smaller map that no pass makes has no place beside the array",
                             where=layer.name, hint="plan without 'beside'")
    for barrier in halves.barriers:
        over, times = barrier.over, lives.from_barrier(barrier)
        row, slots, planes = bit_plane(over, rows.bits[over.bits], config)
        bits[barrier.half].append(Region(over.bits, row * slots * planes, times[over.bits]))
        if over.x:
            size = rows.x[over.x] * x_row_words(over, config) * x_planes(over, config)
            alias = over.source if lives.last(over.source) == lives.reading(barrier) else None
            maps[barrier.half].append(Region(f"x:{over.x}", size, times[over.x], alias))
    features, words = {}, []
    if config.pass_words == 2:  # pairs of words begin at even ones
        maps = [[dataclasses.replace(r, size=r.size + r.size % 2) for r in regions]
                for regions in maps]
    for regions in maps:
        places, needed = first_fit(regions)
        words.append(needed)
        features |= places
    x |= {name.removeprefix("x:"): a for name, a in features.items() if name.startswith("x:")}
    features = {name: a for name, a in features.items() if not name.startswith("x:")}
    for i in (*halves.front, *halves.back):
        if reads_stored(layers[i], config):
            x[layers[i].x] = features[layers[i].value]
    found = [first_fit(regions) for regions in bits]
    places = {name: (half, a) for half, (where, _words) in enumerate(found)
              for name, a in where.items()}
    needed = {"features": words[0], "features1": words[1], "x": 0, "vectors": vectors,
              "bits": max(n for _where, n in found)}
    return Placement(features, places, x, rows, needed, memory=halves.memory)


class _Lives:
    """Times at which values are needed, as places of steps in their half."""

    def __init__(self, layers, halves: Halves):
        self.layers, self.halves = layers, halves
        self.uses: dict[str, int] = {}
        for i in (*halves.front, *halves.back):
            for name in layers[i].reads:
                self.uses[name] = max(self.uses.get(name, BEFORE), halves.time(i))
        for barrier in halves.barriers:
            source = barrier.over.source
            self.uses[source] = max(self.uses.get(source, BEFORE), self.reading(barrier))

    def last(self, name: str) -> int:
        return self.uses[name]

    def reading(self, barrier) -> int:
        """The time until which the unit reads the map: the step that takes the bits has not begun.
        """
        return self.halves.time(barrier.consumer) - 1

    def of(self, name: str, maker: int) -> frozenset[int]:
        halves = self.halves
        if self.layers[maker].is_output:
            return frozenset(range(BEFORE, len(halves.back)))
        here = halves.memory[name] == halves.half(maker)
        first = halves.time(maker) if here else BEFORE
        return frozenset(range(first, self.uses.get(name, first) + 1))

    def from_barrier(self, barrier) -> dict[str, frozenset[int]]:
        """Of what the pass makes, from the step before the one that takes it on."""
        first = self.reading(barrier)
        return {name: frozenset(range(first, self.uses[name] + 1))
                for name in {barrier.over.bits, barrier.over.x} - {None}}

    def in_place(self, maker: int, rows: Rows) -> str | None:
        """The residual that a step's map may lie over."""
        layer, halves = self.layers[maker], self.halves
        r = layer.residual
        if r is None or r not in rows.features:
            return None
        shape = next(x.out_shape for x in self.layers if x.value == r)
        over = (shape == layer.out_shape and halves.memory[r] == halves.memory[layer.value]
                and self.uses[r] == halves.time(maker))
        return r if over else None
