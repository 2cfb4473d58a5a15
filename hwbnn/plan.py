"""Choose the array shape for a network and a board, and say why nothing fits when nothing does."""

import dataclasses
import itertools
from collections.abc import Callable

from .errors import DoesNotFit, UserError
from .estimate import estimate
from .extract import extract
from .geometry import geometry, level_pass_cycles
from .ir import Graph
from .machine import Plan, excess, excess_text, make
from .plan_batch import fitting_levels
from .plan_beside import plan_beside
from .plan_signed import with_signed_sums
from .plan_streaming import plan_streaming
from .run_time import whole_sums
from .schedule import schedule
from .shape import Shape

__all__ = ["plan"]

DEFAULT_LUTS = 26_000  # places and routes in minutes; --max-luts raises it
STREAMING_LUTS = 45_000  # of machines with weights from SDRAM, which take half an hour
LUT_SHARE = 0.8  # of a device: fuller ones rarely route
CLOCK_MHZ = 100.0  # assumed before place and route
CHANNELS = (16, 32, 48, 64, 96, 128)
LANES = (4, 6, 8, 12, 16, 24, 32)
PIXELS = (1, 2, 4)
DENSE = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64)
CONST_WORDS = (2, 4)
FINALISTS = 6


def plan(
    graph: Graph,
    board,
    *,
    target_fps: float | None = None,
    max_luts: int | None = None,
    freq_mhz: float | None = None,
    batch: int = 1,
    progress: Callable[[str], None] = lambda line: None,
) -> Plan:
    """The best machine within the board's budget.

    With ``target_fps`` the smallest that reaches it, with ``max_luts`` the fastest within so many
    TRELLIS_COMB; with neither, the one with the least cycles times the root of its LUTs among
    those that place and route in minutes: twice the LUTs must buy 1.4 times the speed. Networks
    with thresholds of each image also try machines with two frames at once. 1x1 layers of ±1
    weights get adders of their own where there is room, but for ``target_fps``. With a
    ``batch`` layers whose weights come slowly run for several of so many images at once. Raises
    DoesNotFit, saying by how much, when no shape fits, and UnsupportedError for a layer without
    a step.
    """
    most = round(board.budget.comb * LUT_SHARE)
    clock = (freq_mhz or CLOCK_MHZ) * 1e6

    def streaming() -> Plan:
        luts = min(max_luts or STREAMING_LUTS, most)
        found = plan_streaming(graph, board, luts=luts, clock=clock, target_fps=target_fps,
                               batch=batch, progress=progress)
        return found if target_fps else with_signed_sums(graph, board, found, luts)

    if extract(graph)[0].stem:
        return streaming()
    luts = min(max_luts or DEFAULT_LUTS, most)
    base = make(graph, Shape(16, 4, 1, 4))
    candidates, nearest = [], None
    for shape in _shapes():
        plan_ = _quick(graph, base, shape)
        if plan_ is None:
            continue
        over = excess(plan_[1], board.budget, luts)
        if not over:
            candidates.append((plan_[0], plan_[1].comb, shape))
        elif nearest is None or sum(over.values()) < sum(nearest.values()):
            nearest = over
    if not candidates and set(nearest) == {"ebr"} and board.sdram_bytes:
        progress("weights do not fit in block RAM: they come from SDRAM")
        return streaming()
    if not candidates:
        raise DoesNotFit(*excess_text(nearest, board))
    candidates.sort()
    reach = [c for c in candidates if target_fps and clock / c[0] >= target_fps]
    if target_fps:
        if not reach:
            raise DoesNotFit(
                f"{target_fps:g} frames/s is out of reach: about {clock / candidates[0][0]:.0f} at "
                f"{clock / 1e6:g} MHz (estimate)",
                where=board.name,
                hint="raise --max-luts or lower --target-fps",
            )
        candidates = reach

    def score(cycles, comb):
        if target_fps:
            return comb if clock / cycles >= target_fps else float("inf")
        return cycles if max_luts else cycles * comb**0.5

    candidates.sort(key=lambda c: score(c[0], c[1]))
    best = _finals(graph, board, candidates[:FINALISTS], luts, score, progress)
    if batch == 1 and base.config.run_time is not None:
        best = _better(best, plan_beside(graph, board, luts, progress), score)
    if batch > 1:
        best = _batched(graph, board, best, luts, batch)
    return best if target_fps else with_signed_sums(graph, board, best, luts)


def _better(best: Plan, others: list[tuple[int, Plan]], score) -> Plan:
    """The best of the plans, as `_finals` ranks them."""
    ranked = [(schedule(best.program).interval, best), *others]
    _cycles, found = min(ranked, key=lambda r: (score(r[0], r[1].estimate.comb),
                                                r[1].estimate.comb))
    return dataclasses.replace(found, tried=best.tried)


def _batched(graph, board, one: Plan, luts: int, batch: int) -> Plan:
    """The same machine for a batch, with memories for it."""
    c = one.config
    shape = Shape(c.channels_in, c.lanes, c.pixels, c.dense_inputs)

    def made(each) -> Plan | None:
        try:
            return make(graph, shape, **one.recipe | {"batch": each})
        except (DoesNotFit, UserError):
            return None

    found = fitting_levels(extract(graph), one, batch, 1, made,
                           lambda plan_: excess(plan_.estimate, board.budget, luts))
    if found is None:
        raise DoesNotFit(f"no batch of {batch} works on {shape}", where=board.name)
    over = excess(found[1].estimate, board.budget, luts)
    if over:
        raise DoesNotFit(*excess_text(over, board), hint="try a smaller --batch")
    return dataclasses.replace(found[1], tried=one.tried)


def _finals(graph, board, candidates, luts, score, progress) -> Plan:
    """Exact schedules of the best candidates decide."""
    best, tried = None, []
    for _cycles, _comb, shape in candidates:
        for const_words in CONST_WORDS:
            try:
                made = make(graph, shape, const_words=const_words)
            except (DoesNotFit, UserError):
                continue
            if excess(made.estimate, board.budget, luts):
                continue
            interval = schedule(made.program).interval
            tried.append({"shape": str(shape), "const_words": const_words,
                          "interval": interval, **dataclasses.asdict(made.estimate)})
            progress(f"{shape}: {interval:,} cycles a frame, about {made.estimate.comb:,} LUTs")
            rank = (score(interval, made.estimate.comb), made.estimate.comb)
            if best is None or rank < best[0]:
                best = (rank, made)
    if best is None:
        raise DoesNotFit("no machine shape fits", where=board.name, hint="raise --max-luts")
    return dataclasses.replace(best[1], tried=tried)


def _shapes():
    for s, p, t, k in itertools.product(CHANNELS, LANES, PIXELS, DENSE):
        if p <= s and s % p == 0 and (k % p == 0 or p % k == 0):
            yield Shape(s, p, t, k)


def _quick(graph: Graph, base: Plan, shape: Shape):
    """(cycles, resources) of a shape from closed forms; None if it cannot be."""
    program = base.program
    try:
        config = dataclasses.replace(
            program.config,
            channels_in=shape.channels_in, lanes=shape.lanes, pixels=shape.pixels,
            dense_inputs=shape.dense_inputs,
        )
    except ValueError:  # this network needs lanes that divide, or are divided
        return None
    scale = program.config.lanes * program.config.pixels / (shape.lanes * shape.pixels)
    cycles = 0
    weights = dense_weights = constants = 0
    for layer in program.layers:
        try:
            geo = geometry(layer, config)
        except DoesNotFit:  # a dense layer on a map
            return None
        groups = geo.height * geo.n_x
        sweep = max(groups, shape.lanes + 1, 4)
        if layer.levels:
            cycles += level_pass_cycles(layer, config) + 4
            continue
        if layer.map_pass:
            cycles += geo.n_og * max(groups, 4) + 20
            continue
        cycles += max(geo.tiles * sweep, geo.n_og * (shape.lanes * 4 + 24)) + 60
        if layer.weightless:
            constants += geo.n_og * shape.lanes * 4
            continue
        if layer.binary:
            weights += geo.tiles * shape.lanes
        else:
            dense_weights += geo.tiles * shape.lanes
        constants += geo.n_og * shape.lanes * 4
        if geo.n_ig > 1 and geo.n_x > 512:
            return None
    c, run_time = program.config, program.config.run_time
    if c.gains is not None:
        depth = max(16, round(c.gains.branch_depth * scale))
        run_time = dataclasses.replace(
            run_time, gains=dataclasses.replace(c.gains, branch_depth=depth))
    config = dataclasses.replace(
        config,
        run_time=run_time,
        weight_depth=max(16, weights), dense_weight_depth=max(16, dense_weights),
        const_depth=max(16, constants),
        feature_depth=max(16, round(c.feature_depth * scale)),
        x_depth=max(16, round(c.x_depth * scale / config.x_banks * c.x_banks)),
        bit_depth=max(16, round(c.bit_depth * c.channels_in * c.pixels
                                / (shape.channels_in * shape.pixels))),
        image_depth=max(16, c.image_depth * c.pixels // shape.pixels),
        pool_depth=max(16, c.pool_depth * c.pixels // shape.pixels),
        psum_depth=max(512, whole_sums(program.layers, config) if c.run_time else 0),
    )
    return cycles, estimate(config)
