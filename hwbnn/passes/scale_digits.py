"""Gains of affines as sums of a few signed powers of two: S_c by shifts and additions. Lossy."""

import dataclasses

import numpy as np

from .. import ints
from ..errors import UnsupportedError
from ..ir import Decision, Node
from ..ops import int_dynamic as D
from ..ops import int_gain as J
from ..ops import int_ops as I

__all__ = ["HEADROOM", "of_digits"]

# rounding to the nearest power of two makes a gain larger by a third at most
HEADROOM = 4 / 3


def of_digits(nodes: list[Node], count: int) -> tuple[list[Node], Decision]:
    """Every affine's gain rounded to ``count`` signed digits (`ints.signed_digits`).

    Raises UnsupportedError, naming the layer, in networks with thresholds or gains of each image:
    those machines multiply.
    """
    result, worst = [], 0.0
    for node in nodes:
        if isinstance(node.op, J.GainAffine | J.Mix | D.DynamicThreshold):
            raise UnsupportedError("scales by shifts are for networks without thresholds or gains "
                                   "of each image", where=node.source or node.name,
                                   hint="use --scale multiplier")
        if isinstance(node.op, I.Affine):
            gain = np.array([rounded(g, count) for g in node.op.gain], dtype=np.int64)
            error = np.abs(gain - node.op.gain) / np.maximum(np.abs(node.op.gain), 1)
            worst = max(worst, float(error.max()))
            node = dataclasses.replace(node, op=dataclasses.replace(node.op, gain=gain))
        result.append(node)
    digits = f"{count} signed digit" + "s" * (count > 1)
    return result, Decision("scale", f"gains rounded to {digits}",
                            f"shifts and additions; largest error {100 * worst:.1f} % of a gain")


def rounded(gain: int, count: int) -> int:
    """The sum of the first ``count`` signed digits."""
    return sum(sign << exponent for sign, exponent in ints.signed_digits(gain, count))
