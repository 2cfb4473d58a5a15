"""What a file leaves open about its images, and whether its tensors are those of a network."""

from collections.abc import Mapping

import torch

from hwbnn.errors import CheckpointError, UserError

from .builder import GraphBuilder
from .checkpoint import Checkpoint
from .registry import Option

__all__ = ["STEM", "check_tensors", "choose_stem", "input_size", "load_checked", "record_size"]

DATA = {1000: "imagenet", 10: "cifar", 100: "cifar"}  # by the number of classes
SIZE = {"imagenet": 224, "cifar": 32}
CIFAR_LARGEST = 96  # STL-10's; beyond it a stem of stride 1 makes no sense


def _stem(text: str) -> str:
    if text not in ("auto", *SIZE):
        raise ValueError("auto, imagenet or cifar")
    return text


STEM = Option("stem", "auto", "imagenet (stride 2) or cifar (stride 1); auto: by the kernel of the "
              "first convolution where it differs, else by the classes", _stem)


def choose_stem(checkpoint: Checkpoint, kernel: str | None, classes: int, options: dict) -> str:
    """"imagenet" or "cifar".

    Parameters
    ----------
    kernel : what the first convolution's kernel says; None where both stems have the same.
    classes : outputs of the classifier.
    options : "stem" and "input_size".

    Raises
    ------
    CheckpointError
        Neither kernel nor classes nor options tell.
    """
    asked, size = options["stem"], options["input_size"]
    if kernel is not None:
        if asked not in ("auto", kernel):
            raise CheckpointError(f"has the kernel of the {kernel} stem, not of {asked}",
                                  where=checkpoint.origin, hint=f"leave out stem={asked}")
        if size is None and DATA.get(classes, kernel) != kernel:
            raise _question(checkpoint, f"has {classes} classes behind the {kernel} stem")
        return kernel
    if asked != "auto":
        return asked
    if classes in DATA:
        return DATA[classes]
    if size is None:
        raise _question(checkpoint, f"has {classes} classes, neither ImageNet's 1000 nor CIFAR's "
                        "10 or 100")
    return "cifar" if size <= CIFAR_LARGEST else "imagenet"


def _question(checkpoint: Checkpoint, what: str) -> CheckpointError:
    return CheckpointError(f"{what}: how large are its images?", where=checkpoint.origin,
                           hint="say --input-size 224, --input-size 32 or what it was trained with")


def input_size(stem: str, reduction: int, classes: int, options: dict) -> int:
    """Height and width of an image; UserError where the one asked for does not suit."""
    size = options["input_size"] or SIZE[stem]
    if stem == "cifar" and size > CIFAR_LARGEST:
        raise UserError(f"{size} does not suit this network of {classes} classes, whose first "
                        "convolution has stride 1 as for CIFAR's 32x32 images",
                        where="option input_size",
                        hint=f"leave it out, or give at most {CIFAR_LARGEST}")
    if size % reduction:
        times = reduction.bit_length() - 1
        raise UserError(f"{size} does not divide by {reduction}", where="option input_size",
                        hint=f"the maps are halved {times} times; "
                             f"try {max(reduction, round(size / reduction) * reduction)}")
    return size


def record_size(build: GraphBuilder, stem: str, size: int, classes: int, options: dict,
                told: bool, warn: bool = False) -> None:
    """The decisions behind stem and size; ``told`` says that the kernel settled the stem.

    ``warn`` shows the user a stem that was guessed.
    """
    if not told:
        why = ("given" if options["stem"] != "auto" else
               f"{classes} classes" if classes in DATA else f"images of {size}x{size}")
        build.decide("stem", f"{stem}, stride {2 if stem == 'imagenet' else 1}",
                     f"{why}; no tensor tells the stride", warn and options["stem"] == "auto")
    build.decide("input_size", f"{size}x{size}",
                 "given" if options["input_size"] else f"default of the {stem} stem")
    build.decide("normalisation", f"mean {options['mean']}, std {options['std']}",
                 "not stored in a checkpoint")


def check_tensors(checkpoint: Checkpoint, net: torch.nn.Module) -> None:
    """Every tensor that ``net`` has, no other, in its shape; else a CheckpointError names it.

    ``net`` may be on the meta device. Counters of batches may be missing.
    """
    expected: Mapping = {k: tuple(v.shape) for k, v in net.state_dict().items()}
    for key, shape in expected.items():
        if key not in checkpoint.tensors:
            if key.endswith("num_batches_tracked"):
                continue
            raise CheckpointError("missing", where=f"{checkpoint.origin}: {key}",
                                  hint=f"expected shape {shape}")
        found = tuple(checkpoint.tensors[key].shape)
        if found != shape:
            raise CheckpointError(f"shape {found}, expected {shape}",
                                  where=f"{checkpoint.origin}: {key}",
                                  hint="the layers around it do not fit together")
    extra = sorted(set(checkpoint.tensors) - set(expected))
    if extra:
        raise CheckpointError("not a tensor of this family",
                              where=f"{checkpoint.origin}: {extra[0]}",
                              hint=f"{len(extra)} such tensors; --family may name another")


def load_checked(net: torch.nn.Module, checkpoint: Checkpoint) -> torch.nn.Module:
    """``net`` with a checkpoint that `check_tensors` accepted, float32, in evaluation mode."""
    state = {k: v.float() if v.is_floating_point() else v for k, v in checkpoint.tensors.items()}
    net.load_state_dict(state, strict=False)  # every key but the counters was checked
    return net.eval()
