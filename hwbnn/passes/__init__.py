"""Passes: Graph -> Graph, one idea each, in the order of PIPELINE."""

from .align import align_channels
from .calibrate import Calibration, calibrate
from .fold import fold_norm
from .numeric import Numeric
from .quantize import quantize

__all__ = ["Calibration", "Numeric", "align_channels", "calibrate", "fold_norm",
           "lower_to_integers", "quantize"]


def lower_to_integers(graph, images=None, numeric=None):
    """Float graph -> (folded float graph, integer graph).

    ``images`` uint8 (N,H,W,C) calibrate ranges; None uses the checkpoint's statistics.
    """
    folded = align_channels(fold_norm(graph))
    return folded, quantize(folded, calibrate(folded, images), numeric or Numeric())
