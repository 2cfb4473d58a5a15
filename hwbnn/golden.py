"""The reference executor of integer graphs: what every simulation is compared with."""

import dataclasses

import numpy as np

from . import ints
from .errors import UserError
from .execute import batch_size, walk
from .ir import Graph
from .ops.int_ops import QuantizeInput, Saturate

__all__ = ["GoldenResult", "run", "run_batch"]


@dataclasses.dataclass
class GoldenResult:
    """Logits (N, classes) int64, classes (N,), and how often each Saturate clamped (rule 9)."""

    logits: np.ndarray
    classes: np.ndarray
    saturated: dict[str, int]


def run_batch(graph: Graph, images: np.ndarray) -> dict[str, np.ndarray]:
    """Every node's value for one batch of uint8 images (N,H,W,C)."""
    _check_images(graph, images)
    return {node.name: value for node, _args, value in walk(graph, images)}


def _check_images(graph: Graph, images: np.ndarray) -> None:
    for node in graph:
        if isinstance(node.op, QuantizeInput):
            c, h, w = node.op.shape
            if images.dtype != np.uint8 or images.shape[1:] != (h, w, c):
                raise UserError(
                    f"images are {images.dtype} {images.shape[1:]}, the network takes uint8 "
                    f"{(h, w, c)}",
                    hint="resize them, or compile with another --input-size",
                )


def run(graph: Graph, images: np.ndarray, *, batch: int = 100, progress=None) -> GoldenResult:
    """Logits of all images; ``progress(done, total)`` is called after each batch.

    ``batch`` is an upper limit: fewer large images are run at once.
    """
    _check_images(graph, images)
    batch = batch_size(graph, batch)
    logits, saturated = [], {}
    for start in range(0, len(images), batch):
        for node, args, value in walk(graph, images[start : start + batch]):
            if isinstance(node.op, Saturate):
                count = node.op.saturated(args[0])
                saturated[node.name] = saturated.get(node.name, 0) + count
            if node.name == graph.output:
                logits.append(value[:, :, 0, 0])
        if progress:
            progress(min(start + batch, len(images)), len(images))
    stacked = np.concatenate(logits)
    classes = np.array([ints.argmax(row) for row in stacked])
    return GoldenResult(stacked, classes, saturated)
