"""Entry points of models/: a file in, a float graph or PyTorch logits out."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hwbnn.errors import UserError
from hwbnn.ir import Graph

from .checkpoint import Checkpoint, load_checkpoint
from .registry import Family, recognise, resolve_options, select
from .training import normalise

__all__ = ["Network", "load_network", "torch_logits"]

PIXELS = 1 << 19  # of all images that run at once: 0.6 GB in a ResNet-18 at 224x224


@dataclasses.dataclass(frozen=True)
class Network:
    """A checkpoint, the family it belongs to, and the resolved options."""

    checkpoint: Checkpoint
    family: Family
    options: dict[str, Any]

    def graph(self) -> Graph:
        """The float graph, with decisions; ``meta["warnings"]`` lists what to show the user."""
        return self.family.lower(self.checkpoint, self.options)

    def module(self) -> torch.nn.Module:
        """The PyTorch network in evaluation mode, float32."""
        return self.family.to_torch(self.checkpoint, self.options)

    def logits(self, images: np.ndarray, batch: int = 100) -> np.ndarray:
        """PyTorch's logits, float32 (N, classes), of uint8 images (N, H, W, 3) in RGB.

        ``batch`` is an upper limit: fewer large images are run at once.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise UserError(f"images are {images.dtype} {images.shape}",
                            hint="give uint8 (N, H, W, 3)")
        module = self.module()
        batch = max(1, min(batch, PIXELS // (images.shape[1] * images.shape[2])))
        parts = []
        with torch.inference_mode():
            for start in range(0, len(images), batch):
                x = normalise(images[start : start + batch], self.options["mean"],
                              self.options["std"])
                parts.append(module(x).numpy())
        return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)


def load_network(
    checkpoint: str | Path | Checkpoint,
    family: str | None = None,
    options: dict[str, Any] | None = None,
) -> Network:
    """Read a checkpoint and find its family.

    Parameters
    ----------
    checkpoint : path, or tensors already read
    family : name of a family, or path of a Python file that registers one; None recognises it
    options : values or texts by option name; the rest takes the family's defaults

    Raises
    ------
    CheckpointError, UserError
        One line: what is wrong, where, and what to do.
    """
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = load_checkpoint(checkpoint)
    chosen = select(family) if family else recognise(checkpoint)
    network = Network(checkpoint, chosen, resolve_options(chosen, options))
    chosen.geometry(checkpoint, network.options)  # refuse a file that does not fit now, not later
    return network


def torch_logits(
    checkpoint: str | Path | Checkpoint,
    images: np.ndarray,
    batch: int = 100,
    family: str | None = None,
    options: dict[str, Any] | None = None,
) -> np.ndarray:
    """PyTorch's float32 logits (N, classes) of uint8 images (N, H, W, 3) in RGB."""
    return load_network(checkpoint, family, options).logits(images, batch)
