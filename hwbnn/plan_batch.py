"""Which layers run for how many images at once: the fastest nesting of a batch that fits."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator

from rtl_gen.engine.config import EngineConfig

from .batches import Batches, stages_of
from .errors import DoesNotFit
from .estimate import estimate
from .geometry import geometry
from .layers import Layer
from .machine import Plan
from .order import Bands, kept_rows
from .placement import Phases, place
from .shape import DEPTHS

__all__ = ["fitting_levels", "levels", "turn_cycles"]

Levels = tuple[tuple[int, int], ...]


def levels(layers: list[Layer], images: int, prefix: int) -> Iterator[Levels]:
    """Every way to nest a batch: from each size of maps on, or from the first layer on that keeps
    a map's shape, more images at once, and at the end all."""
    starts = [i for i in _starts(layers) if i >= max(1, prefix)]
    counts = [n for n in range(1, images + 1) if images % n == 0]
    for chosen in itertools.combinations_with_replacement(counts, len(starts) - 1):
        each = (*chosen, images)
        if all(b % a == 0 for a, b in itertools.pairwise(each)):
            pairs = zip(starts, each, (1, *each), strict=False)
            yield tuple((start, n) for start, n, before in pairs if n != before)


def _starts(layers: list[Layer]) -> list[int]:
    keeps = [layer.in_shape == layer.out_shape for layer in layers]
    return sorted({*stages_of(layers), *(i for i in range(1, len(layers))
                                         if keeps[i] and not keeps[i - 1])})


def turn_cycles(layers: list[Layer], config: EngineConfig, chosen: Levels, prefix: int) -> int:
    """About the cycles of a turn of the program: each layer's work, or its weights' arrival."""
    total = 0
    images = chosen[-1][1] if chosen else 1
    parts = config.stream_parts if config.streams else {}
    each = _each(chosen, len(layers))
    for i, (layer, at_once) in enumerate(zip(layers, each, strict=True)):
        geo = geometry(layer, config)
        work = geo.tiles * max(at_once * geo.height * geo.n_x, config.lanes + 1)
        words = 0
        if parts and i >= prefix and not layer.stem:
            tile = config.lanes * parts["weights" if layer.binary else "dense_weights"]
            words = geo.n_og * config.lanes * config.const_words * parts["constants"]
            words += geo.tiles * tile
        total += images // at_once * max(work, words)
    return total


def fitting_levels(layers: list[Layer], one: Plan, images: int, prefix: int,
                   make: Callable[[Levels], Plan | None],
                   over: Callable[[Plan], dict]) -> tuple[int, Plan] | None:
    """The fastest nesting that fits, about its cycles first; else the one that comes nearest.

    ``one`` is the machine for one image at a time. More images at once of any layer take more
    memory, so that what exceeds a nesting that did not fit is not tried.
    """
    ranked = sorted((turn_cycles(layers, one.config, found, prefix), _each(found, len(layers)),
                     found) for found in levels(layers, images, prefix))
    failed: list[tuple[int, ...]] = []
    nearest: tuple[int, int, Levels] | None = None
    for cycles, each, found in ranked:
        if any(all(a >= b for a, b in zip(each, small, strict=True)) for small in failed):
            continue
        quick = _with_maps(layers, one, found)
        if quick is not None and not over(quick):
            made = make(found)
            if made is not None and not over(made):
                return cycles, made
        failed.append(each)
        if quick is not None and (nearest is None or quick.estimate.ebr < nearest[0]):
            nearest = quick.estimate.ebr, cycles, found
    made = make(nearest[2]) if nearest else None
    return (nearest[1], made) if made is not None else None


def _with_maps(layers: list[Layer], one: Plan, chosen: Levels) -> Plan | None:
    """The machine for one image with the memories that the maps of a batch take, at least."""
    program = one.program
    bands = Bands.of(layers, *(one.recipe[key] for key in
                               ("band", "halvings", "resident", "deep")))
    try:
        batches = Batches.of(layers, chosen, bands.prefix)
        rows = kept_rows(layers, bands, batches)
        phases = Phases(bands.prefix, None, len(layers), batches)
        found = place(layers, one.config, rows, phases).needed
    except DoesNotFit:
        return None
    depths = {DEPTHS[name]: max(getattr(one.config, DEPTHS[name]), words)
              for name, words in found.items()}
    config = dataclasses.replace(one.config, **depths)
    return dataclasses.replace(one, program=dataclasses.replace(program, config=config),
                               estimate=estimate(config))


def _each(chosen: Levels, count: int) -> tuple[int, ...]:
    known, at_once, each = dict(chosen), 1, []
    for i in range(count):
        at_once = known.get(i, at_once)
        each.append(at_once)
    return tuple(each)
