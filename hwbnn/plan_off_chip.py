"""Machines whose maps lie in off-chip memory: which maps, and which convolutions run twice."""

import dataclasses
from collections.abc import Callable, Iterator

from rtl_gen.engine.config import EngineConfig
from rtl_gen.sdram.timing import BURST, PARTS

from .batches import Batches
from .errors import DoesNotFit
from .estimate import estimate
from .external import too_small
from .geometry import bit_slots, bit_words, ceil_div, geometry
from .layers import Layer
from .machine import Plan
from .off_chip import OffChip
from .order import Bands, kept_rows
from .placement import Phases, place
from .program import Program
from .row_bits import by_rows
from .shape import Shape

__all__ = ["Twice", "compared", "off_chip_machines", "off_chip_text"]

SHAPES = ((64, 8, 8), (32, 8, 8), (16, 8, 8))  # S, P, K
ROWS = (8, 4, 2)  # of a band
SDRAM_MB = sorted(2 * part.n_words >> 20 for part in PARTS.values())


@dataclasses.dataclass(frozen=True)
class Twice:
    """What maps of ``height`` rows that wait for their gains cost (path: estimate): SDRAM words of
    storing and loading them, with what they are multiplied by loaded once more and weights for
    every band of rows, or once where groups of channels are made (`group_pieces`); cycles of
    computing their convolutions a second time, with SDRAM words of the weights."""

    height: int
    stored: int
    twice: int


def compared(layers: list[Layer], config: EngineConfig, rows: int) -> list[Twice]:
    """For every height of maps that wait, the largest first; ``layers`` as extracted."""
    found: dict[int, list[int]] = {}
    for layer in layers:
        if not (layer.in_branch and layer.binary and layer.sums):
            continue
        geo = geometry(layer, config)
        words = geo.height * geo.n_x_map * geo.n_og * config.lanes * config.pixels
        pixels = geo.height * geo.n_x
        pieces = ceil_div(pixels, config.psum_depth) if geo.n_ig > 1 else 1
        weights = geo.tiles * config.lanes * config.stream_parts["weights"]
        groups = rows * geo.n_og >= geo.height and (geo.n_ig == 1 or pixels <= config.psum_depth)
        bands = 1 if groups else ceil_div(geo.height, rows)
        stored = (2 + bool(layer.product)) * words + bands * weights
        twice = (pieces + ceil_div(geo.height, rows)) * weights + pixels * geo.tiles
        sums = found.setdefault(geo.height, [0, 0])
        sums[0] += stored
        sums[1] += twice
    return [Twice(height, *found[height]) for height in sorted(found, reverse=True)]


def off_chip_machines(layers: list[Layer], board, fitting: Callable[..., Plan | None],
                      fits: Callable[[Plan], bool]) -> Iterator[Plan]:
    """For each size of array the machine with the fewest maps off chip that fits, or one that is
    near. ``fitting`` makes a plan of a shape and a recipe. Raises SdramTooSmall, having yielded
    machines that are near, where that alone keeps a machine from fitting."""
    if not board.sdram_bytes or not any(layer.gains for layer in layers):
        return
    heights = sorted({layer.out_shape[1] for layer in layers if layer.in_branch}, reverse=True)
    short: list[int] = []  # words off chip of machines that the SDRAM alone is too small for
    fit = False

    def made(size, recipe: dict) -> Plan | None:
        channels, lanes, dense = size
        return fitting(Shape(channels, lanes, 1, dense), stream=True, stream_steps=True, **recipe)

    def first_of(size, recipes, good: Callable[[Plan], bool]) -> Plan | None:
        """The first good plan that the SDRAM holds; more rows of a map at a time take less."""
        beyond: set[int] = set()
        for recipe in recipes:
            plan = made(size, recipe) if recipe["off_rows"] not in beyond else None
            if plan is not None and 2 * plan.program.off_chip_words > board.sdram_bytes:
                beyond.add(recipe["off_rows"])
                if fits(plan):
                    short.append(plan.program.off_chip_words)
            elif plan is not None and good(plan):
                return plan
        return None

    for size in SHAPES:
        first = made(size, {"off_chip": heights[-1], "off_rows": ROWS[-1], "off_again": []})
        if first is None:
            continue
        choices = [(recipe, _with_maps(layers, first, recipe))
                   for recipe in _recipes(layers, first.config, heights)]
        choices = [(recipe, quick) for recipe, quick in choices if quick is not None]
        found = first_of(size, [recipe for recipe, quick in choices if fits(quick)], fits)
        if found is None:
            choices.sort(key=lambda choice: choice[1].estimate.ebr)
            found = first_of(size, [recipe for recipe, _quick in choices], lambda plan: True)
        if found is not None:
            fit = fit or fits(found)
            yield found
    if short and not fit:
        raise too_small(min(short), board)


def _recipes(layers, config: EngineConfig, heights: list[int]) -> Iterator[dict]:
    """Which maps lie off chip, how many rows of each on chip, what is computed twice and which bits
    lie by rows: first the fewest maps, the most rows, what is cheapest, and bits as they are."""
    pointwise = sorted({layer.in_shape[1] for layer in layers if layer.pointwise}, reverse=True)
    for height in heights:
        for rows in ROWS:
            for again in _choices(layers, config, height, rows):
                for row_bits in (0, *pointwise):
                    yield {"off_chip": height, "off_rows": rows, "off_again": again,
                           "row_bits": row_bits}


def _choices(layers, config: EngineConfig, height: int, rows: int) -> Iterator[list[int]]:
    """Heights of maps whose convolutions run twice: those where that is cheaper, then fewer, since
    more bits are on chip."""
    again = [c.height for c in compared(layers, config, rows)
             if c.height >= height and c.twice < c.stored]
    while again:
        yield again
        again = again[1:]
    yield again


def _with_maps(layers: list[Layer], one: Plan, recipe: dict) -> Plan | None:
    """The machine ``one`` with the memories that maps and bits take by another recipe."""
    config = one.config
    try:
        off = OffChip.of(layers, recipe["off_chip"], recipe["off_rows"], recipe["off_again"])
        layers = off.layers(by_rows(layers, recipe["row_bits"], config.channels_in))
        bands, batches = Bands.of(layers), Batches.of(layers, None, 0)
        rows = kept_rows(layers, bands, batches, off)
        found = place(layers, config, rows, Phases(0, None, len(layers), batches), off).needed
    except DoesNotFit:
        return None
    gains = dataclasses.replace(config.gains, branch_depth=max(16, found["branch"]))
    image = bit_slots(rows.image) * bit_words(one.program.input_op.shape[2], config)
    config = dataclasses.replace(
        config, feature_depth=max(16, found["features"]), bit_depth=max(16, found["bits"]),
        image_depth=max(16, image),
        run_time=dataclasses.replace(config.run_time, gains=gains))
    program = dataclasses.replace(one.program, config=config)
    return dataclasses.replace(one, program=program, estimate=estimate(config))


def off_chip_text(program: Program, recipe: dict, layers: list[Layer]) -> str:
    """What of a program lies off chip, what was compared and which was taken."""
    if not recipe["off_chip"]:
        return ""
    rows, again = recipe["off_rows"], recipe["off_again"] or ()
    moved = sum(BURST * step.fields["move_bursts"] for step in program.steps if step.layer.moves)
    parts = []
    for cost in compared(layers, program.config, rows):
        if cost.height >= recipe["off_chip"]:
            taken = "computed twice" if cost.height in again else "stored"
            parts.append(f"{cost.height} rows {taken} (stored {cost.stored:,}, twice "
                         f"{cost.twice:,})")
    needed = next((f"fits {size} MB" for size in SDRAM_MB
                   if 2 * program.off_chip_words <= size << 20), "exceeds them all")
    more = (f" Bits for 1x1 convolutions lie by rows in maps of {recipe['row_bits']} rows or more."
            if recipe["row_bits"] else "")
    more += " The program comes with the weights." * recipe["stream_steps"]
    megabytes = f"{2 * program.off_chip_words / 2**20:.1f} MB"
    return (f" Maps of {recipe['off_chip']} rows or more lie in SDRAM, {rows} rows of each on "
            f"chip: {moved:,} words are moved a frame. Maps and weights take {megabytes}, which "
            f"{needed}. What waits for gains, in SDRAM words or cycles a frame (estimate): "
            f"{'; '.join(parts)}.{more}")
