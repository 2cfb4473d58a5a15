"""How far the integer network is from the float one: bits of every layer, logits, classes."""

import dataclasses
from collections.abc import Callable

import numpy as np

from .execute import batch_size, walk
from .ir import Graph
from .ops.float_dynamic import FDynamicThreshold
from .ops.float_ops import FThreshold

__all__ = ["Agreement", "LayerBits", "agreement", "accuracy", "real_logits"]


@dataclasses.dataclass(frozen=True)
class LayerBits:
    """Activation bits of one layer: how many were compared and how many differ."""

    name: str
    bits: int
    differ: int

    @property
    def percent(self) -> float:
        return 100 * (1 - self.differ / self.bits)


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Integer network against PyTorch on the same images.

    ``layers`` compares bits with the float graph, whose own distance from PyTorch is
    ``graph_error``: the largest difference of a logit. ``max_error`` and ``mean_error`` are of the
    integer network's logits, in real units; ``spread`` is the deviation of PyTorch's logits, which
    they compare with. ``same_class`` counts images with the same top-1.
    """

    n_images: int
    layers: tuple[LayerBits, ...]
    graph_error: float
    max_error: float
    mean_error: float
    spread: float
    same_class: int


def real_logits(graph: Graph, logits: np.ndarray) -> np.ndarray:
    """Integer logits (N, classes) as real numbers, float64."""
    return logits * 2.0 ** -graph.types()[graph.output].frac


def agreement(
    folded: Graph,
    graph: Graph,
    images: np.ndarray,
    torch_logits: np.ndarray,
    *,
    batch: int = 50,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Agreement:
    """Compare on uint8 images (N,H,W,C); ``torch_logits`` are PyTorch's for them.

    ``folded`` and ``graph`` are what ``passes.lower_to_integers`` gives.
    """
    names = [n.name for n in folded
             if isinstance(n.op, FThreshold | FDynamicThreshold) and n.name in graph.nodes]
    bits, differ = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    ours, floats = [], []
    batch = min(batch_size(folded, batch), batch_size(graph, batch))
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        positive = {}
        for node, _args, value in walk(folded, part):
            if node.name in bits:
                positive[node.name] = value > 0
            if node.name == folded.output:
                floats.append(value[:, :, 0, 0])
        for node, _args, value in walk(graph, part):
            if node.name in bits:
                bits[node.name] += value.size
                differ[node.name] += int((positive[node.name] != (value > 0)).sum())
            if node.name == graph.output:
                ours.append(value[:, :, 0, 0])
        progress(min(start + batch, len(images)), len(images))
    logits = real_logits(graph, np.concatenate(ours))
    wanted = torch_logits.astype(np.float64)
    error = np.abs(logits - wanted)
    return Agreement(
        n_images=len(images),
        layers=tuple(LayerBits(name, bits[name], differ[name]) for name in names),
        graph_error=float(np.abs(np.concatenate(floats) - wanted).max()),
        max_error=float(error.max()),
        mean_error=float(error.mean()),
        spread=float(wanted.std()),
        same_class=int((logits.argmax(1) == wanted.argmax(1)).sum()),
    )


def accuracy(logits: np.ndarray, y: np.ndarray) -> float:
    """Top-1 in per cent; ties go to the lowest class."""
    return 100 * float((logits.argmax(1) == y).mean())
