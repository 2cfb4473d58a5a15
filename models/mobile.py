"""The shape of ReActNet-A (MobileNet with a binary 3x3 and 1x1 pair), which two families share."""

import dataclasses
import re

from hwbnn.errors import CheckpointError

from .checkpoint import Checkpoint

__all__ = ["REACTNET_A", "MobileGeometry", "channels_of", "classes_of"]

REACTNET_A = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)


@dataclasses.dataclass(frozen=True)
class MobileGeometry:
    """``channels`` c0 (stem) to cn: each of the n blocks keeps or doubles them.

    A block that doubles has stride 2, but for the first one. ``stem`` is "imagenet" (stride 2) or
    "cifar" (stride 1), 3x3 in both.
    """

    stem: str
    channels: tuple[int, ...]
    num_classes: int

    def strides(self) -> tuple[int, ...]:
        """Of blocks 1 to n."""
        c = self.channels
        return tuple(2 if c[i] != c[i - 1] and i > 1 else 1 for i in range(1, len(c)))

    def reduction(self) -> int:
        """Pixels of the image along one side per pixel of the last map."""
        return 2 ** (self.strides().count(2) + (self.stem == "imagenet"))

    def describe(self) -> dict:
        """For a graph's meta."""
        return {"network": "reactnet-a", "stem": self.stem, "channels": list(self.channels),
                "classes": self.num_classes}


def channels_of(checkpoint: Checkpoint) -> tuple[int, ...]:
    """c0 to cn by the stem's width and the blocks that have two 1x1 convolutions."""
    tensors, origin = checkpoint.tensors, checkpoint.origin
    stem = tensors.get("feature.0.conv1.weight")
    if stem is None or stem.dim() != 4 or tuple(stem.shape[1:]) != (3, 3, 3):
        what = "missing" if stem is None else f"shape {tuple(stem.shape)}"
        raise CheckpointError(what, where=f"{origin}: feature.0.conv1.weight",
                              hint="expected a 3x3 convolution of 3 colours")
    found = {int(m[1]) for k in tensors if (m := re.match(r"feature\.(\d+)\.", k))}
    if found != set(range(len(found))) or len(found) < 2:
        raise CheckpointError(f"blocks {sorted(found)}", where=f"{origin}: feature.*",
                              hint="blocks count from feature.0 without gaps")
    channels = [int(stem.shape[0])]
    for i in range(1, len(found)):
        doubles = any(k.startswith(f"feature.{i}.binary_pw_down") for k in tensors)
        channels.append(channels[-1] * (2 if doubles else 1))
    return tuple(channels)


def classes_of(checkpoint: Checkpoint) -> int:
    """Outputs of the classifier."""
    weight = checkpoint.tensors.get("fc.weight")
    if weight is None or weight.dim() != 2:
        raise CheckpointError("missing or not a matrix", where=f"{checkpoint.origin}: fc.weight")
    return int(weight.shape[0])
