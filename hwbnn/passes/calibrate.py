"""Ranges of every float value, from calibration images or from the checkpoint's statistics."""

import dataclasses

import numpy as np

from ..execute import batch_size, walk
from ..images import input_shape, synthetic_images
from ..ir import Graph
from ..ops.float_dynamic import FHardtanh, FSubsamplePad
from ..ops.float_ops import FAffine, FAvgPool2d, FBatchNorm, FGlobalAvgPool

__all__ = ["Calibration", "calibrate"]

SIGMAS = 6.0  # range taken of a value known only by its mean and deviation
BATCH = 64
PIXELS = 1 << 18  # of made-up images, between 4 and 64 of them
HEAD_ROOM = 2.0  # on the ranges that they give


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Largest magnitude of each node's value.

    ``peak`` maps a node name to a per-channel array (float64). ``n_images`` counts the user's
    images; without any, ranges come from the checkpoint's own statistics, or from ``made_up``
    images where it has none.
    """

    peak: dict[str, np.ndarray]
    n_images: int
    made_up: int = 0

    @property
    def source(self) -> str:
        if self.n_images:
            return f"{self.n_images} calibration images"
        if self.made_up:
            return f"{self.made_up} made-up images, doubled (no normalisation tells; uncalibrated)"
        return f"checkpoint statistics (mean + {SIGMAS:g} sigma, uncalibrated)"


def calibrate(graph: Graph, images: np.ndarray | None) -> Calibration:
    """Run ``graph`` (float) on uint8 images (N,H,W,C).

    None propagates the statistics of its normalisations; a network without any runs on made-up
    images, because spreads that nothing renews say little after a few layers.
    """
    if images is None and not _normalised(graph):
        _c, h, w = input_shape(graph)
        count = max(4, min(64, PIXELS // (h * w)))
        found = calibrate(graph, synthetic_images(graph, count).x)
        peak = {name: HEAD_ROOM * top for name, top in found.peak.items()}
        return Calibration(peak, 0, count)
    if images is None:
        spreads: dict[str, tuple] = {}
        for node in graph:
            spreads[node.name] = node.op.spread(*(spreads[i] for i in node.inputs))
        limit = _limits(graph)
        peak = {k: np.minimum(np.abs(mean) + SIGMAS * std, limit[k])
                for k, (mean, std) in spreads.items()}
        return Calibration(peak, 0)
    peak = {}
    batch = batch_size(graph, BATCH)
    for start in range(0, len(images), batch):
        for node, _args, value in walk(graph, images[start : start + batch]):
            top = np.maximum(value.max(axis=(0, 2, 3)), -value.min(axis=(0, 2, 3)))
            peak[node.name] = np.maximum(peak[node.name], top) if node.name in peak else top
    return Calibration(peak, len(images))


def _normalised(graph: Graph) -> bool:
    return any(isinstance(n.op, FBatchNorm)
               or isinstance(n.op, FAffine) and n.op.spread_mean is not None for n in graph)


def _limits(graph: Graph) -> dict[str, float]:
    """Magnitude that a value cannot exceed by construction: 1 behind a hardtanh."""
    limit: dict[str, float] = {}
    for node in graph:
        limit[node.name] = np.inf
        if isinstance(node.op, FHardtanh):
            limit[node.name] = 1.0
        elif isinstance(node.op, FSubsamplePad | FAvgPool2d | FGlobalAvgPool):
            limit[node.name] = limit[node.inputs[0]]
    return limit


def run_float(graph: Graph, images: np.ndarray) -> dict[str, np.ndarray]:
    """Every node's float64 value for one batch of uint8 images."""
    values: dict[str, np.ndarray] = {}
    for node in graph:
        args = [values[i] for i in node.inputs] if node.inputs else [images]
        values[node.name] = node.op.run(*args)
    return values
