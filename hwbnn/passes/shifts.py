"""Shifts of products with per-channel constants: how far a multiplier's width reaches."""

from .. import ints
from ..errors import UnsupportedError
from ..ops import int_ops as I

__all__ = ["half", "largest_shift"]


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
