"""Global placement: short wires against even density, by electrostatics.

The method is that of ePlace (Lu et al., ACM TODAES 20, 2015) and elfPlace (Li, Lin, Pan, ICCAD
2019): cells are charges, each kind in a field of its own whose negative charges are the sites of
that kind; a Poisson equation, solved by cosine transforms, gives the force that spreads them. The
weight of that force grows until little overlaps. Wires are as long as the half perimeter of their
pins, smoothed by log-sum-exp.
"""

from collections.abc import Callable

import numpy as np

from .graph import Problem
from .region import Region

__all__ = ["spread"]

BINS = (64, 48)
MOST_STEPS = 1200
ENOUGH = 0.15  # overlapping share of the logic with which it ends
GROWTH = 1.012  # of the spreading force, a step
FIRST_FORCE = 0.02  # of the wires' at the start
STEP = 0.8  # tiles that a cell moves, typically
SMOOTH = (8.0, 0.8)  # tiles over which the ends of a wire blur: at first, at least


def spread(what: Problem, region: Region, capacity: list[np.ndarray], seed: int,
           progress: Callable[[str], None]) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates x, y (tiles) of every node.

    ``capacity`` has for each kind what every bin (BINS) of ``region`` can hold, in any unit.
    """
    kinds = [_Kind(what, k, room, region) for k, room in enumerate(capacity)
             if (what.kind == k).any()]
    count = len(what.kind)
    degree = np.bincount(what.pins, minlength=count).astype(float)
    rng = np.random.default_rng(seed)
    z = np.stack([(lo + hi) / 2 + rng.normal(0, (hi - lo) / 20, count)
                  for lo, hi in ((region.x0, region.x1), (region.y0, region.y1))])
    low = np.array([[region.x0 + 0.5], [region.y0 + 0.5]])
    high = np.array([[region.x1 - 0.5], [region.y1 - 0.5]])
    wires = _Wires(what)
    smooth, mean, square = SMOOTH[0], np.zeros_like(z), np.zeros(count)
    for step in range(1, MOST_STEPS + 1):
        slopes, length = wires.gradient(z, smooth)
        overlaps = [kind.push(z, slopes, degree) for kind in kinds]
        slopes /= degree + 1
        # Adam (Kingma and Ba, 2015), one length for both coordinates
        mean = 0.9 * mean + 0.1 * slopes
        square = 0.99 * square + 0.01 * (slopes**2).sum(0)
        pace = STEP / np.sqrt(square / (1 - 0.99**step) + 1e-12)
        z = np.clip(z - pace * mean / (1 - 0.9**step), low, high)
        smooth = max(SMOOTH[1], SMOOTH[0] * max(overlaps))
        if step % 100 == 0:
            progress(f"floorplan, step {step}, wire length {length:.0f}, "
                     f"{overlaps[0]:.0%} overlap")
        if overlaps[0] < ENOUGH:
            break
    return z[0], z[1]


class _Wires:
    """Half perimeters of all nets, smoothed, and their slopes."""

    def __init__(self, what: Problem):
        self._pins, self._starts, self._count = what.pins, what.starts, len(what.kind)
        lengths = np.diff(np.append(what.starts, len(what.pins)))
        self._net = np.repeat(np.arange(len(lengths)), lengths)

    def gradient(self, z: np.ndarray, smooth: float) -> tuple[np.ndarray, float]:
        slopes, length = np.zeros_like(z), 0.0
        if not len(self._pins):
            return slopes, length
        for axis in range(2):
            at = z[axis, self._pins]
            high = np.maximum.reduceat(at, self._starts)
            low = np.minimum.reduceat(at, self._starts)
            up = np.exp((at - high[self._net]) / smooth)
            down = np.exp((low[self._net] - at) / smooth)
            pull = (up / np.add.reduceat(up, self._starts)[self._net]
                    - down / np.add.reduceat(down, self._starts)[self._net])
            slopes[axis] = np.bincount(self._pins, weights=pull, minlength=self._count)
            length += float((high - low).sum())
        return slopes, length


class _Kind:
    """The charges of one kind of cell, and the field between them and their sites."""

    def __init__(self, what: Problem, kind: int, room: np.ndarray, region: Region):
        self._members = np.flatnonzero(what.kind == kind)
        self._charge = what.area[self._members] if kind == 0 else np.ones(len(self._members))
        self._room = room * (self._charge.sum() / room.sum())
        self._origin = np.array([[region.x0], [region.y0]])
        self._scale = np.array([[BINS[0] / region.width], [BINS[1] / region.height]])
        waves = [np.pi * np.arange(n) / n for n in BINS]
        self._waves = waves[0][:, None] ** 2 + waves[1] ** 2
        self._waves[0, 0] = 1
        self._weight: float | None = None

    def push(self, z: np.ndarray, slopes: np.ndarray, degree: np.ndarray) -> float:
        """Add the spreading force to ``slopes``; the share of charge without room."""
        from scipy.fft import dctn, idctn

        members, charge = self._members, self._charge
        at = (z[:, members] - self._origin) * self._scale - 0.5
        at = np.clip(at, 0, np.array([[BINS[0] - 1.001], [BINS[1] - 1.001]]))
        corner = at.astype(int)
        part = at - corner
        shares = [(self._flat(corner, i, j), wx * wy)
                  for i, wx in enumerate((1 - part[0], part[0]))
                  for j, wy in enumerate((1 - part[1], part[1]))]
        density = sum(np.bincount(bins, weights=charge * share, minlength=BINS[0] * BINS[1])
                      for bins, share in shares).reshape(BINS) - self._room
        potential = dctn(density, type=2) / self._waves
        potential[0, 0] = 0
        field = np.gradient(idctn(potential, type=2))
        force = np.stack([sum(f.ravel()[bins] * share for bins, share in shares)
                          for f in field]) * charge * self._scale
        if self._weight is None:
            typical = np.abs(force).mean() * 2 or 1.0
            self._weight = FIRST_FORCE * max(1.0, degree[members].mean()) / typical
        slopes[:, members] += self._weight * force
        overlap = float(np.maximum(density, 0).sum() / charge.sum())
        if overlap > ENOUGH / 2:
            self._weight *= GROWTH
        return overlap

    @staticmethod
    def _flat(corner: np.ndarray, i: int, j: int) -> np.ndarray:
        return (corner[0] + i) * BINS[1] + corner[1] + j
