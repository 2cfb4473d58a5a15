"""Signs of binary weights that no scale multiplies."""

import numpy as np

from hwbnn.errors import CheckpointError

from .snn.codebook import ZEROS

__all__ = ["signs"]


def signs(moved: np.ndarray, where: str) -> tuple[np.ndarray, int]:
    """Signs int8 of weights (O, I, k, k), 0 as +1, and how many were 0.

    No scale hides a filter of zeros here. Raises CheckpointError, naming the key ``where``, for
    one, or where more than 0.1 % of the layer is 0.
    """
    zero = moved == 0
    if zero.mean() > ZEROS or zero.all(axis=(1, 2, 3)).any():
        raise CheckpointError(
            f"{int(zero.sum())} of {moved.size} weights are exactly 0, which is no binary value",
            where=where, hint="was this network pruned, or never trained?")
    return np.where(moved < 0, -1, 1).astype(np.int8), int(zero.sum())
