"""Machines whose maps lie in off-chip memory: which maps, and which convolutions run twice."""

import dataclasses
from collections.abc import Callable, Iterator

from rtl_gen.engine.config import EngineConfig
from rtl_gen.sdram.timing import BURST, PARTS

from .geometry import ceil_div, geometry
from .layers import Layer
from .machine import Plan
from .program import Program
from .shape import Shape

__all__ = ["Twice", "compared", "off_chip_machines", "off_chip_text"]

SHAPES = ((64, 8, 8), (32, 8, 8), (16, 8, 8))  # S, P, K
ROWS = (8, 4, 2)  # of a band
SDRAM_MB = sorted(2 * part.n_words >> 20 for part in PARTS.values())


@dataclasses.dataclass(frozen=True)
class Twice:
    """What maps of ``height`` rows that wait for their gains cost (path: estimate): SDRAM words of
    storing and loading them, with what they are multiplied by loaded once more; cycles of
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
        stored = (2 + bool(layer.product)) * words + ceil_div(geo.height, rows) * weights
        twice = (pieces + ceil_div(geo.height, rows)) * weights + pixels * geo.tiles
        sums = found.setdefault(geo.height, [0, 0])
        sums[0] += stored
        sums[1] += twice
    return [Twice(height, *found[height]) for height in sorted(found, reverse=True)]


def off_chip_machines(layers: list[Layer], board, fitting: Callable[..., Plan | None],
                      fits: Callable[[Plan], bool]) -> Iterator[Plan]:
    """For each size of array the machine with the fewest maps off chip that fits, or one that is
    near. ``fitting`` makes a plan of a shape and a recipe."""
    if not board.sdram_bytes or not any(layer.gains for layer in layers):
        return
    heights = sorted({layer.out_shape[1] for layer in layers if layer.in_branch}, reverse=True)

    def made(size, height: int, rows: int, again: list[int]) -> Plan | None:
        channels, lanes, dense = size
        plan = fitting(Shape(channels, lanes, 1, dense), stream=True, off_chip=height,
                       off_rows=rows, off_again=again)
        beyond = plan is not None and 2 * plan.program.off_chip_words > board.sdram_bytes
        return None if beyond else plan

    for size in SHAPES:
        least = [plan for rows in ROWS[1:] if (plan := made(size, heights[-1], rows, []))]
        if least:  # what is computed twice has fewer steps and more bits
            rows = least[0].recipe["off_rows"]
            again = next(_choices(layers, least[0].config, heights[-1], rows))
            least += [plan for plan in [made(size, heights[-1], rows, again)] if plan]
        if not any(map(fits, least)):
            yield from least
            continue
        yield next((plan for height in heights for rows in ROWS
                    for again in _choices(layers, least[0].config, height, rows)
                    if (plan := made(size, height, rows, again)) and fits(plan)), least[0])


def _choices(layers, config: EngineConfig, height: int, rows: int) -> Iterator[list[int]]:
    """Heights of maps whose convolutions run twice: those where that is cheaper, then fewer, since
    more bits are on chip."""
    again = [c.height for c in compared(layers, config, rows)
             if c.height >= height and c.twice < c.stored]
    while again:
        yield again
        again = again[1:]
    yield again


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
    megabytes = f"{2 * program.off_chip_words / 2**20:.1f} MB"
    return (f" Maps of {recipe['off_chip']} rows or more lie in SDRAM, {rows} rows of each on "
            f"chip: {moved:,} words are moved a frame. Maps and weights take {megabytes}, which "
            f"{needed}. What waits for gains, in SDRAM words or cycles a frame (estimate): "
            f"{'; '.join(parts)}.")
