"""The reference executor of integer graphs: what every simulation is compared with."""

import dataclasses

import numpy as np

from . import ints
from .errors import UserError
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
    values: dict[str, np.ndarray] = {}
    for node in graph:
        if isinstance(node.op, QuantizeInput):
            c, h, w = node.op.shape
            if images.dtype != np.uint8 or images.shape[1:] != (h, w, c):
                raise UserError(
                    f"images are {images.dtype} {images.shape[1:]}, the network takes uint8 "
                    f"{(h, w, c)}",
                    hint="resize them, or compile with another --input-size",
                )
        args = [values[i] for i in node.inputs] if node.inputs else [images]
        values[node.name] = node.op.run(*args)
    return values


def run(graph: Graph, images: np.ndarray, *, batch: int = 100, progress=None) -> GoldenResult:
    """Logits of all images; ``progress(done, total)`` is called after each batch."""
    logits, saturated = [], {}
    for start in range(0, len(images), batch):
        values = run_batch(graph, images[start : start + batch])
        logits.append(values[graph.output][:, :, 0, 0])
        for node in graph:
            if isinstance(node.op, Saturate):
                count = node.op.saturated(values[node.inputs[0]])
                saturated[node.name] = saturated.get(node.name, 0) + count
        if progress:
            progress(min(start + batch, len(images)), len(images))
    stacked = np.concatenate(logits)
    classes = np.array([ints.argmax(row) for row in stacked])
    return GoldenResult(stacked, classes, saturated)
