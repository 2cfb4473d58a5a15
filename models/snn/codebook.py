"""What the weights of one binary convolution in a file mean: codebook, kernel IDs, doubts.

The rules for patterns whose `memory` was never saved are stated in docs/families.md.
"""

import dataclasses

import numpy as np

from hwbnn.errors import CheckpointError

from .binarise import BLOCK, CLOSE, HYSTERESIS, KERNEL

__all__ = ["NEAR_TIE", "BinaryWeights", "decode", "plain_signs", "read_patterns"]

NEAR_TIE = 1e-4  # of the kernel's norm; float32 norms and the exact product may disagree below it
LOST = 0.5  # share of elements below HYSTERESIS from which a codebook counts as lost
ZEROS = 1e-3  # share of latent weights that may be exactly 0 in a layer of plain signs


@dataclasses.dataclass(frozen=True)
class BinaryWeights:
    """One layer's weights: alpha[c] * weight.

    Members
    -------
    weight : int8 (O, I, k, k) of ±1
    alpha : float64 (O,), mean |latent|
    codebook, ids : int8 (n, 9) distinct codewords and int64 (O, I), or None for plain signs
    duplicates : codewords of the file that repeat an earlier one
    near_ties : (out, in) of kernels whose two best codewords differ by < 1e-4 of the kernel's norm
    held : (codeword, tap) whose sign the file does not settle (|pattern| < 1e-3)
    zeros : latent weights that are exactly 0 in a channel that is not, read as +1
    """

    weight: np.ndarray
    alpha: np.ndarray
    codebook: np.ndarray | None = None
    ids: np.ndarray | None = None
    duplicates: int = 0
    near_ties: tuple[tuple[int, int], ...] = ()
    held: tuple[tuple[int, int], ...] = ()
    zeros: int = 0


def read_patterns(patterns: np.ndarray, where: str) -> tuple[np.ndarray, tuple]:
    """Latent patterns (n, 9) -> signs int8 (n, 9) and the (codeword, tap) that are in doubt.

    Raises CheckpointError where most elements are below 1e-3: the codebook is lost.
    """
    if (doubtful := np.abs(patterns) < HYSTERESIS).mean() >= LOST or (patterns == 0).any():
        zero = " or exactly 0" if (patterns == 0).any() else ""
        raise CheckpointError(
            f"codebook lost: {int(doubtful.sum())} of {patterns.size} pattern elements are below "
            f"{HYSTERESIS}{zero}", where=where,
            hint="their signs lived in an attribute that was not saved; train without weight decay "
                 "on patterns and on one device",
        )
    held = tuple((int(j), int(k)) for j, k in np.argwhere(doubtful))
    return np.where(patterns < 0, -1, 1).astype(np.int8), held


def _nearest(kernels: np.ndarray, codewords: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of each kernel's best codeword (M, 9), and its lead over the second; inf for one."""
    if len(codewords) == 1:
        return np.zeros(len(kernels), np.int64), np.full(len(kernels), np.inf)
    score = kernels @ codewords.T
    best = score.argmax(axis=1)
    at = np.arange(len(kernels))
    top = score[at, best]
    score[at, best] = -np.inf
    lead = top - score.max(axis=1)
    close = lead <= CLOSE * np.linalg.norm(kernels, axis=1)
    # Tap by tap in float64, the order in which the PyTorch model sums: equal to the last bit.
    doubt = kernels[close]
    score = doubt[:, :1] * codewords[:, 0]
    for tap in range(1, KERNEL):
        score += doubt[:, tap : tap + 1] * codewords[:, tap]
    best[close] = score.argmax(axis=1)
    return best, lead


def decode(latent: np.ndarray, patterns: np.ndarray | None, where: str) -> BinaryWeights:
    """Binary weights of a layer from its latent float64 (O, I, 3, 3) and patterns (n, 9) or None.

    Each kernel takes the codeword with the largest dot product; ties take the lowest index.
    """
    if patterns is None:
        return plain_signs(latent, where + ".weight")
    alpha = np.abs(latent).mean(axis=(1, 2, 3))
    signs, held = read_patterns(patterns, where + ".binarize.patterns")
    # np.unique sorts; the file's order decides ties, so keep first appearances in order.
    _, first = np.unique(signs, axis=0, return_index=True)
    codebook = signs[np.sort(first)]
    kernels = latent.reshape(-1, KERNEL)
    best, lead = np.empty(len(kernels), np.int64), np.empty(len(kernels))
    rows = BLOCK // len(codebook)
    for start in range(0, len(kernels), rows):
        part = slice(start, start + rows)
        best[part], lead[part] = _nearest(kernels[part], codebook.astype(np.float64))
    near = np.flatnonzero(lead < NEAR_TIE * np.linalg.norm(kernels, axis=1)).tolist()
    ids = best.reshape(latent.shape[:2])
    weight = codebook[ids].reshape(latent.shape)
    n_in = latent.shape[1]
    ties = tuple((k // n_in, k % n_in) for k in near)
    plain = len(codebook) > 2 ** (KERNEL - 1)  # nine bits a kernel: the kernel itself is shorter
    return BinaryWeights(
        weight, alpha, None if plain else codebook, None if plain else ids,
        len(signs) - len(codebook), ties, held,
    )


def plain_signs(latent: np.ndarray, where: str) -> BinaryWeights:
    """Signs and mean magnitudes of latent weights float64 (O, I, k, k) without a codebook.

    Raises CheckpointError, naming the key ``where``, where too many are exactly 0.
    """
    alpha = np.abs(latent).mean(axis=(1, 2, 3))
    zero = (latent == 0) & (alpha > 0)[:, None, None, None]
    if zero.mean() > ZEROS:
        raise CheckpointError(
            f"{int(zero.sum())} of {latent.size} weights are exactly 0, which is no binary value",
            where=where, hint="was this network pruned, or never trained?",
        )
    weight = np.where(latent < 0, -1, 1).astype(np.int8)
    return BinaryWeights(weight, alpha, zeros=int(zero.sum()))
