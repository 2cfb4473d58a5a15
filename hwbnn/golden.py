"""The reference executor of integer graphs: what every simulation is compared with."""

import dataclasses

import numpy as np

from . import ints
from .errors import UserError
from .execute import batch_size, walk
from .ir import Graph
from .ops.int_ops import QuantizeInput, Saturate

__all__ = ["GoldenResult", "joined", "run", "run_batch", "run_one"]


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


def run_one(graph: Graph, image: np.ndarray) -> tuple[dict[str, np.ndarray], GoldenResult]:
    """Every node's value (C,H,W) for one uint8 image (H,W,C), and its result."""
    _check_images(graph, image[None])
    values, tally = {}, _Tally(graph)
    for node, args, value in walk(graph, image[None]):
        tally.add(node, args, value)
        values[node.name] = value[0]
    return values, tally.result()


def joined(results: list[GoldenResult]) -> GoldenResult:
    """Results of images one after the other."""
    saturated: dict[str, int] = {}
    for result in results:
        for name, count in result.saturated.items():
            saturated[name] = saturated.get(name, 0) + count
    return GoldenResult(np.concatenate([r.logits for r in results]),
                        np.concatenate([r.classes for r in results]), saturated)


def run(graph: Graph, images: np.ndarray, *, batch: int = 100, progress=None) -> GoldenResult:
    """Logits of all images; ``progress(done, total)`` is called after each batch.

    ``batch`` is an upper limit: fewer large images are run at once.
    """
    _check_images(graph, images)
    batch = batch_size(graph, batch)
    tally = _Tally(graph)
    for start in range(0, len(images), batch):
        for node, args, value in walk(graph, images[start : start + batch]):
            tally.add(node, args, value)
        if progress:
            progress(min(start + batch, len(images)), len(images))
    return tally.result()


class _Tally:
    """Collects a GoldenResult from values in the order in which they are computed."""

    def __init__(self, graph: Graph):
        self._output = graph.output
        self._logits: list[np.ndarray] = []
        self._saturated: dict[str, int] = {}

    def add(self, node, args, value) -> None:
        if isinstance(node.op, Saturate):
            count = node.op.saturated(args[0])
            self._saturated[node.name] = self._saturated.get(node.name, 0) + count
        if node.name == self._output:
            self._logits.append(value[:, :, 0, 0])

    def result(self) -> GoldenResult:
        stacked = np.concatenate(self._logits)
        classes = np.array([ints.argmax(row) for row in stacked])
        return GoldenResult(stacked, classes, self._saturated)
