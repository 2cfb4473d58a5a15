"""Machines for large networks: weights off chip, the beginning of ImageNet ones depth-first."""

import dataclasses
import functools
import itertools
import json
from collections.abc import Callable

from .batches import stages_of
from .errors import DoesNotFit, UserError
from .extract import extract
from .ir import Graph
from .machine import RECIPE, Plan, excess, excess_text, make
from .order import depth_first
from .plan_batch import fitting_levels
from .plan_off_chip import off_chip_machines
from .schedule import schedule
from .shape import Shape

__all__ = ["plan_streaming"]

# S, P, K: multi-bit inputs must divide the lanes, as dense inputs lie in the feature memory
SHAPES = ((64, 8, 8), (64, 8, 4), (32, 8, 8), (32, 8, 4), (64, 4, 4), (32, 4, 4), (16, 4, 4))
WIDE = ((88, 8, 8),)  # for 1x1 layers, which take six channel words at once: 512 channels
BANDS = (4, 2)
DEEPER = 3  # halvings of maps that run depth-first where nothing else fits
FINALISTS = 6
BATCH_FINALISTS = 2  # by an estimate: the schedule of a batch is long


def plan_streaming(graph: Graph, board, *, luts: int, clock: float, target_fps: float | None,
                   batch: int = 1, progress: Callable[[str], None] = lambda line: None) -> Plan:
    """The fastest machine of ``luts``, or the smallest that reaches ``target_fps``.

    Weights stay on chip where they fit. Raises DoesNotFit, by how much.
    """
    found, nearest = [], None
    candidates = _candidates if batch == 1 else functools.partial(_batched, batch=batch)
    for candidate in candidates(graph, board, luts):
        over = excess(candidate.estimate, board.budget, luts)
        if not over:
            found.append(candidate)
            if len(found) == FINALISTS and not target_fps:
                break  # shapes come fastest first
        elif nearest is None or _size(over) < _size(nearest):
            nearest, closest = over, candidate
    if not found:
        if nearest is None:
            raise DoesNotFit("no machine shape works for this network", where=board.name)
        hint = "raise --max-luts" if "comb" in nearest else ""
        if "ebr" in nearest and candidate.config.feature_bits > 9:
            narrower = min(12, candidate.config.feature_bits - 1)
            hint = f"narrower maps need fewer block RAMs: try --feature-bits {narrower}"
        if closest.recipe["off_chip"]:
            hint = f"its cycles: --plan with {_shown(closest)}"
        raise DoesNotFit(*excess_text(nearest, board), hint=hint)
    best, tried = None, []
    for made in found:
        interval = schedule(made.program, frames=2 * batch).interval
        recipe = made.recipe
        extras = [f" {key} {recipe[key]}" for key in ("band", "overlap") if recipe[key]]
        name = f"{_shape(made)}{''.join(extras)}"
        if recipe["off_chip"]:
            name += f", maps of {recipe['off_chip']} rows or more in SDRAM"
        tried.append({"shape": name, "const_words": made.recipe["const_words"],
                      "interval": interval, **dataclasses.asdict(made.estimate)})
        if batch > 1:
            name += f" batch {made.recipe['batch']}"
            tried[-1]["shape"] = name
        what = "frame" if batch == 1 else f"batch of {batch}"
        progress(f"{name}: {interval:,} cycles a {what}, about {made.estimate.comb:,} LUTs")
        reaches = target_fps is not None and clock * batch / interval >= target_fps
        rank = (0, made.estimate.comb) if reaches else (1, interval)
        if best is None or rank < best[0]:
            best = (rank, made)
    if target_fps and best[0][0]:
        raise DoesNotFit(f"{target_fps:g} frames/s is out of reach: about "
                         f"{clock * batch / best[0][1]:.0f} "
                         f"at {clock / 1e6:g} MHz (estimate)", where=board.name)
    return dataclasses.replace(best[1], tried=tried)


def _candidates(graph: Graph, board, luts: int):
    layers = extract(graph)
    prefix = depth_first(layers)
    stem = layers[0].stem
    bands = BANDS if stem else (0, *BANDS)
    if not prefix:  # nothing runs depth-first
        bands = (0,)
    wide = WIDE if any(layer.pointwise for layer in layers) else ()
    fits = False
    for channels, lanes, dense in (*wide, *SHAPES):
        shape = Shape(channels, lanes, 1, dense)
        least = _fitting(graph, board, shape, band=min(BANDS), stream=True, overlap=None)
        if least is None:
            continue
        if excess(least.estimate, board.budget, luts):
            yield least  # whatever else is tried takes more
            continue
        for band in bands:
            for overlap in _overlaps(layers, prefix) if stem and prefix else (None,):
                for stream in (False, True):
                    made = _fitting(graph, board, shape, band=band, stream=stream,
                                    overlap=overlap)
                    if made is not None:
                        yield made
                        if not excess(made.estimate, board.budget, luts):
                            fits = True
                            break
    if not fits and not stem and prefix:
        yield from _deeper(graph, board, luts, layers)
    if not fits:
        yield from off_chip_machines(layers, board, functools.partial(_fitting, graph, board),
                                     lambda made: not excess(made.estimate, board.budget, luts))


def _deeper(graph: Graph, board, luts: int, layers):
    """With more stages depth-first, where no map fits whole: the weights of the last of these
    stages, or of the last two, come from SDRAM for every band of rows. The first way that fits of
    two sizes of array: more channels compute faster, fewer leave blocks for taller bands."""
    prefix = depth_first(layers, DEEPER)
    stages = [i for i in stages_of(layers[:prefix])[1:DEEPER] if i < prefix]
    fits: set[int] = set()
    for channels, lanes, dense in SHAPES:
        if channels in fits:
            continue
        for resident, deep in itertools.product(reversed(stages), BANDS):
            made = _fitting(graph, board, Shape(channels, lanes, 1, dense), band=min(BANDS),
                            halvings=DEEPER, resident=resident, deep=deep, stream=True)
            if made is None:
                continue
            yield made
            if not excess(made.estimate, board.budget, luts):
                fits.add(channels)
                break
        if len(fits) == 2:
            return


def _batched(graph: Graph, board, luts: int, batch: int) -> list[Plan]:
    """Machines for a batch, the fastest few by estimate."""
    layers = extract(graph)
    first = max(1, int(layers[0].stem) * depth_first(layers))
    found: list[tuple[int, Plan]] = []
    nearest: list[tuple[float, Plan]] = []

    def over(made: Plan) -> dict:
        return excess(made.estimate, board.budget, luts)

    wide = WIDE if any(layer.pointwise for layer in layers) else ()
    for channels, lanes, dense in (*wide, *SHAPES):
        shape = Shape(channels, lanes, 1, dense)
        for band in (min(BANDS),) if layers[0].stem else (0,):
            for stream in (False, True):
                recipe = {"band": band, "stream": stream}
                one = _fitting(graph, board, shape, **recipe, overlap=None)
                if one is None:
                    continue
                if over(one):
                    nearest.append((_size(over(one)), one))
                    continue
                best = fitting_levels(
                    layers, one, batch, first,
                    lambda each, shape=shape, recipe=recipe: _fitting(
                        graph, board, shape, **recipe, overlap=None, batch=each), over)
                if best is not None and over(best[1]):
                    nearest.append((_size(over(best[1])), best[1]))
                elif best is not None:
                    found.append(best)
    chosen = found or nearest
    chosen.sort(key=lambda pair: pair[0])
    return [made for _rank, made in chosen[:BATCH_FINALISTS]]


def _overlaps(layers, prefix: int):
    """The classifier alone, the last stage's inner layers, the last stage, or nothing."""
    last = len(layers) - 1
    sizes = [layer.out_shape[1] for layer in layers]
    stage = next(i for i in range(prefix, last) if sizes[i] == sizes[last - 1])
    inner = next((i for i in range(stage, last) if layers[i].in_shape[1] == sizes[i]
                  and layers[i].binary), last)
    yield from dict.fromkeys((stage, inner, last, None))


def _fitting(graph, board, shape: Shape, **recipe) -> Plan | None:
    """The plan with the board's SDRAM and as many stem multipliers in logic as the device lacks."""
    if recipe["stream"]:
        recipe["sdram_mb"] = board.sdram_bytes >> 20
    try:
        made = make(graph, shape, **recipe)
        lacking = made.estimate.dsp - board.budget.dsp
        if lacking > 0 and made.config.stem is not None:
            pairs = made.config.stem.pairs
            logic = -(-lacking // pairs) * pairs
            if logic <= made.config.stem.macs // 4:
                made = make(graph, shape, **recipe, logic_pairs=logic)
    except (DoesNotFit, UserError):
        return None
    return made


def _shown(made: Plan) -> str:
    """A plan's keys that are not what they are without."""
    return json.dumps({k: v for k, v in made.to_json().items() if k == "shape" or v != RECIPE[k]})


def _size(over: dict[str, int]) -> float:
    return over.get("ebr", 0) * 100 + over.get("dsp", 0) * 100 + over.get("comb", 0)


def _shape(made: Plan) -> Shape:
    c = made.config
    return Shape(c.channels_in, c.lanes, c.pixels, c.dense_inputs)
