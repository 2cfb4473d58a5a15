"""Ranges of every float value, from calibration images or from the checkpoint's statistics."""

import dataclasses

import numpy as np

from ..execute import batch_size, walk
from ..ir import Graph

__all__ = ["Calibration", "calibrate"]

SIGMAS = 6.0  # range taken of a value known only by its mean and deviation
BATCH = 64


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Largest magnitude of each node's value.

    ``peak`` maps a node name to a per-channel array (float64). ``n_images`` is 0 when the ranges
    come from the checkpoint's own statistics.
    """

    peak: dict[str, np.ndarray]
    n_images: int

    @property
    def source(self) -> str:
        if self.n_images:
            return f"{self.n_images} calibration images"
        return f"checkpoint statistics (mean + {SIGMAS:g} sigma, uncalibrated)"


def calibrate(graph: Graph, images: np.ndarray | None) -> Calibration:
    """Run ``graph`` (float) on uint8 images (N,H,W,C), or propagate statistics when None."""
    if images is None:
        spreads: dict[str, tuple] = {}
        for node in graph:
            spreads[node.name] = node.op.spread(*(spreads[i] for i in node.inputs))
        peak = {k: np.abs(mean) + SIGMAS * std for k, (mean, std) in spreads.items()}
        return Calibration(peak, 0)
    peak = {}
    batch = batch_size(graph, BATCH)
    for start in range(0, len(images), batch):
        for node, _args, value in walk(graph, images[start : start + batch]):
            top = np.maximum(value.max(axis=(0, 2, 3)), -value.min(axis=(0, 2, 3)))
            peak[node.name] = np.maximum(peak[node.name], top) if node.name in peak else top
    return Calibration(peak, len(images))


def run_float(graph: Graph, images: np.ndarray) -> dict[str, np.ndarray]:
    """Every node's float64 value for one batch of uint8 images."""
    values: dict[str, np.ndarray] = {}
    for node in graph:
        args = [values[i] for i in node.inputs] if node.inputs else [images]
        values[node.name] = node.op.run(*args)
    return values
