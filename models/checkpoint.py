"""Read a checkpoint file as data: never run code from it, and name what is wrong with it."""

from pathlib import Path

import torch
from torch import Tensor


def load_state_dict(path: Path) -> dict[str, Tensor]:
    """Tensors of a checkpoint by key, without `module.` prefix."""
    held = torch.load(path, map_location="cpu", weights_only=True)
    state = held.get("state_dict", held)
    return {k.removeprefix("module."): v for k, v in state.items()}
