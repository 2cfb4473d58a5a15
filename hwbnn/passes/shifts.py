"""Shifts of products with per-channel constants: how far a multiplier's width reaches, and how
many different ones hardware chooses from."""

import dataclasses
import itertools

from .. import ints
from ..errors import UnsupportedError
from ..ir import Node
from ..ops import int_gain as J
from ..ops import int_ops as I

__all__ = ["half", "largest_shift", "limit_shifts"]


def largest_shift(top: float, step: int, where: str = "") -> int:
    """Largest multiple of ``step`` in 0..30 for which ``top * 2**shift`` fits a multiplier.

    Raises UnsupportedError, naming the layer ``where``, if there is none.
    """
    limit = ints.signed_range(I.MULTIPLIER_BITS)[1]
    if top > limit:
        raise UnsupportedError(
            f"a folded gain of {top:.3g} exceeds {I.MULTIPLIER_BITS} bits", where=where,
            hint="its normalisation divides by almost nothing",
        )
    return max(s for s in range(0, 31, step) if s == 0 or top * 2.0**s <= limit)


def half(shift: int) -> int:
    """What rounds to nearest when added before ``>> shift``."""
    return (1 << (shift - 1)) if shift else 0


def limit_shifts(nodes: list[Node], most: int) -> list[Node]:
    """Lower the shifts of affines, of run-time gains and of mixes until each kind has at most
    ``most`` different ones, for which hardware has a multiplexer."""
    kept = {kind: _menu({n.op.shift for n in nodes if isinstance(n.op, kind)}, most)
            for kind in (I.Affine, J.GainAffine, J.Mix)}
    down = {n.name: n.op.shift - max(k for k in kept[type(n.op)] if k <= n.op.shift)
            for n in nodes if type(n.op) in kept}
    # a run-time gain is a node of its own, before the one that shifts
    down |= {n.inputs[1]: down[n.name] for n in nodes if isinstance(n.op, J.GainAffine)}
    return [dataclasses.replace(n, op=_lowered(n.op, down[n.name])) if down.get(n.name) else n
            for n in nodes]


def _menu(shifts: set[int], most: int) -> list[int]:
    kept = sorted(shifts)
    while len(kept) > most:
        _gap, i = min((b - a, i) for i, (a, b) in enumerate(itertools.pairwise(kept)))
        del kept[i + 1]
    return kept


def _lowered(op, down: int):
    """An op with ``down`` bits fewer of gain and shift."""
    def less(gain):
        return ints.round_shift(gain, down)

    if isinstance(op, J.Mix):
        return J.Mix(less(op.gain_a), less(op.gain_b), op.shift - down, op.frac)
    if isinstance(op, J.ScaledGain):
        return J.ScaledGain(less(op.gain), op.shift, op.frac - down)
    shift = op.shift - down
    bias = less(op.bias - half(op.shift)) + half(shift)
    if isinstance(op, J.GainAffine):
        return J.GainAffine(bias, shift)
    return I.Affine(less(op.gain), bias, shift, op.frac, op.pre)
