"""The part of a device that a design is spread over."""

import dataclasses

import numpy as np

from .device import Sites
from .graph import BLOCKS, Problem

__all__ = ["Region", "choose_region"]

MOST_LOGIC = 0.6  # of the logic tiles: fuller regions have too few wires
MOST_BLOCKS = 0.95
BLOCK_ROW = 0.5  # logic of the rows that hold blocks


@dataclasses.dataclass(frozen=True)
class Region:
    """Columns ``x0 <= x < x1`` and rows ``y0 <= y < y1``, in tiles."""

    x0: int
    x1: int
    y0: int
    y1: int

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        return self.y1 - self.y0

    def holds(self, xy: np.ndarray) -> np.ndarray:
        """Which of the sites (n, 2) lie inside."""
        x, y = xy[:, 0], xy[:, 1]
        return (x >= self.x0) & (x < self.x1) & (y >= self.y0) & (y < self.y1)


def choose_region(what: Problem, sites: Sites) -> Region:
    """The smallest part that holds the blocks and, loosely, the logic; near the device's middle."""
    every = np.concatenate([xy for _names, xy in sites.values()])
    # the margin beyond the outermost blocks is as wide at either side
    right, top = every.max(0) + every.min(0) + 1
    used = [int((what.kind == 1 + k).sum()) for k in range(len(BLOCKS))]
    logic = what.area.sum()
    rows = np.unique(every[:, 1])
    best = None
    for y0, y1 in _spans(int(top), rows):
        shares = np.where(np.isin(np.arange(y0, y1), rows), BLOCK_ROW, 1).sum()
        for x0, x1 in _spans(int(right), np.arange(0, right, 9)):
            region = Region(x0, x1, y0, y1)
            if logic > MOST_LOGIC * shares * region.width:
                continue
            room = [region.holds(xy).sum() for _names, xy in sites.values()]
            if any(u > MOST_BLOCKS * r for u, r in zip(used, room, strict=True)):
                continue
            off = abs(x0 + x1 - right) + abs(y0 + y1 - top)
            rank = (region.width + region.height, off)
            if best is None or rank < best[0]:
                best = rank, region
    return best[1] if best else Region(0, int(right), 0, int(top))


def _spans(length: int, cuts: np.ndarray):
    """Ranges of tiles that begin at 0 or a cut and end at a cut or the end."""
    edges = sorted({0, length, *(int(c) for c in cuts)})
    for i, first in enumerate(edges):
        for last in edges[i + 1 :]:
            yield first, last
