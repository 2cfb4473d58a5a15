"""Which layers run for how many images at once: the fastest nesting of a batch that fits."""

import itertools
from collections.abc import Callable, Iterator

from rtl_gen.engine.config import EngineConfig

from .batches import stages_of
from .geometry import geometry
from .layers import Layer
from .machine import Plan

__all__ = ["fitting_levels", "levels", "turn_cycles"]

Levels = tuple[tuple[int, int], ...]


def levels(layers: list[Layer], images: int, prefix: int) -> Iterator[Levels]:
    """Every way to nest a batch: from each size of maps on more images at once, at the end all."""
    starts = [i for i in stages_of(layers) if i >= max(1, prefix)]
    counts = [n for n in range(1, images + 1) if images % n == 0]
    for chosen in itertools.combinations_with_replacement(counts, len(starts) - 1):
        each = (*chosen, images)
        if all(b % a == 0 for a, b in itertools.pairwise(each)):
            pairs = zip(starts, each, (1, *each), strict=False)
            yield tuple((start, n) for start, n, before in pairs if n != before)


def turn_cycles(layers: list[Layer], config: EngineConfig, chosen: Levels, prefix: int) -> int:
    """About the cycles of a turn of the program: each layer's work, or its weights' arrival."""
    known, at_once, total = dict(chosen), 1, 0
    images = chosen[-1][1] if chosen else 1
    parts = config.stream_parts if config.streams else {}
    for i, layer in enumerate(layers):
        at_once = known.get(i, at_once)
        geo = geometry(layer, config)
        work = geo.tiles * max(at_once * geo.height * geo.n_x, config.lanes + 1)
        words = 0
        if parts and i >= prefix and not layer.stem:
            tile = config.lanes * parts["weights" if layer.binary else "dense_weights"]
            words = geo.n_og * config.lanes * config.const_words * parts["constants"]
            words += geo.tiles * tile
        total += images // at_once * max(work, words)
    return total


def fitting_levels(layers: list[Layer], config: EngineConfig, images: int, prefix: int,
                   make: Callable[[Levels], Plan | None],
                   over: Callable[[Plan], dict]) -> Iterator[tuple[int, Plan]]:
    """The fastest nesting that fits, about its cycles first; before it those that do not fit.

    More images at once of any layer take more memory, so that what exceeds a nesting that did not
    fit is not tried.
    """
    ranked = sorted((turn_cycles(layers, config, found, prefix), _each(found, len(layers)), found)
                    for found in levels(layers, images, prefix))
    failed: list[tuple[int, ...]] = []
    for cycles, each, found in ranked:
        if any(all(a >= b for a, b in zip(each, small, strict=True)) for small in failed):
            continue
        made = make(found)
        if made is not None:
            yield cycles, made
            if not over(made):
                return
        failed.append(each)


def _each(chosen: Levels, count: int) -> tuple[int, ...]:
    known, at_once, each = dict(chosen), 1, []
    for i in range(count):
        at_once = known.get(i, at_once)
        each.append(at_once)
    return tuple(each)
