"""Machines with two frames at once, for networks with thresholds of each image."""

from collections.abc import Callable

from .beside import halves
from .errors import DoesNotFit, UserError
from .gain_layers import has_gains
from .ir import Graph
from .layers import extract_layers
from .machine import Plan, excess, make
from .schedule import schedule
from .shape import Shape

__all__ = ["plan_beside"]

CHANNELS = (16, 32, 64)
LANES = (4, 8, 16, 32)
PIXELS = (1, 2, 4)
DENSE = (16, 8, 4, 2, 1)
CONST_WORDS = 1  # constants are what small layers wait for
FINALISTS = 3


def plan_beside(graph: Graph, board, luts: int,
                progress: Callable[[str], None] = lambda line: None) -> list[tuple[int, Plan]]:
    """(cycles, plan) of the fastest machines within the budget; none where there is no such order.

    The first convolution has a unit of its own where it is one of 3x3 and stride 1.
    """
    if has_gains(graph):  # maps wait for gains, not for bits
        return []
    layers = extract_layers(graph)
    cuts = _cuts(layers)
    if not cuts:
        return []
    first = layers[0]
    ahead = first.from_image and first.conv.op.stride == 1
    found = []
    for shape in _shapes():
        for dense in DENSE:  # the most that fit
            wanted = Shape(*shape, dense)
            made = _make(graph, wanted, beside=cuts[len(cuts) // 2], ahead=ahead)
            if made is not None and not excess(made.estimate, board.budget, luts):
                found.append((schedule(made.program).interval, wanted))
                break
    result = []
    for _cycles, shape in sorted(found)[:FINALISTS]:
        for cut in cuts:
            for wide in (True, False):
                made = _make(graph, shape, beside=cut, ahead=ahead, wide=wide)
                if made is not None and not excess(made.estimate, board.budget, luts):
                    break
            else:
                continue
            interval = schedule(made.program).interval
            progress(f"{shape}, two frames at once: {interval:,} cycles a frame, about "
                     f"{made.estimate.comb:,} LUTs")
            result.append((interval, made))
    return result


def _cuts(layers) -> list[int]:
    """Sizes of the front that work, around the middle."""
    steps = sum(not layer.map_pass for layer in layers)
    steps -= 2 * sum(layer.map_pass for layer in layers)
    found = []
    for cut in range(2, steps):
        try:
            halves(layers, cut)
        except DoesNotFit:
            continue
        if abs(2 * cut - steps) <= 3:
            found.append(cut)
    return found


def _shapes():
    for s in CHANNELS:
        for p in LANES:
            for t in PIXELS:
                if p <= s:
                    yield s, p, t


def _make(graph: Graph, shape: Shape, **recipe) -> Plan | None:
    if shape.lanes % shape.dense_inputs:
        return None
    try:
        return make(graph, shape, const_words=CONST_WORDS, **recipe)
    except (DoesNotFit, UserError):
        return None
