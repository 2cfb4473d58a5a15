"""Synthetic checkpoints: random parameters in trained ranges, in the authors' file format.

Trained weights of the published networks are large and not always at hand. A file made here has
their tensors, names, shapes and types, and a network whose layers neither saturate nor die, so
that everything but accuracy can be tried at full size.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from hwbnn.errors import UserError
from hwbnn.folder import plain_errors

from .checkpoint import Checkpoint
from .registry import families
from .training import normalise

__all__ = ["Hook", "SyntheticNetwork", "balance", "centre_logits", "colour_scenes", "hollow",
           "networks", "settle", "shortcut_and_branch", "statistics", "synthesise", "write"]

# Sets a module's parameters from the input it is about to read.
Hook = Callable[[nn.Module, Tensor, torch.Generator], None]
Progress = Callable[[int, int], None]

IMAGES = 16  # enough at 224x224: the smallest maps give 16 * 7 * 7 samples a channel
SAMPLES = 4096  # of a channel, to find its quantiles


@dataclasses.dataclass(frozen=True)
class SyntheticNetwork:
    """A published network that a family can make up.

    Parameters
    ----------
    name : what `hwbnn models synth` calls it.
    describe : one line.
    build : generator -> the network in evaluation mode with every parameter drawn.
    hooks : network -> the hook of each module whose parameters follow from its input. Batch
        normalisation has one without being listed.
    wrap : network -> what the authors' torch.save was given.
    input_size : height and width of an image.
    images : how many scenes settle it: the smallest maps shall give some hundred samples.
    shapes : the network without values, made on the meta device; None where its values decide
        what is computed (codebooks).
    """

    name: str
    describe: str
    build: Callable[[torch.Generator], nn.Module]
    hooks: Callable[[nn.Module], dict[nn.Module, Hook]]
    wrap: Callable[[nn.Module], dict]
    input_size: int = 224
    images: int = IMAGES
    shapes: Callable[[], nn.Module] | None = None


def networks() -> dict[str, SyntheticNetwork]:
    """Every synthetic network by name, of all families (their attribute ``synthetic``)."""
    found = [n for family in families().values() for n in getattr(family, "synthetic", ())]
    return {n.name: n for n in found}


def synthesise(name: str, seed: int = 1, progress: Progress = lambda done, total: None) -> dict:
    """The content of a synthetic checkpoint: the same for a seed on one machine.

    ``progress(done, total)`` counts layers. Raises UserError for an unknown name.
    """
    known = networks()
    if name not in known:
        raise UserError(f"no synthetic network is named {name!r}",
                        hint=f"known: {', '.join(known)}")
    network = known[name]
    generator = torch.Generator().manual_seed(seed)
    net = network.build(generator)
    images = colour_scenes(network.images, network.input_size, seed)
    settle(net, images, network.hooks(net), generator, progress)
    return network.wrap(net)


def hollow(name: str) -> Checkpoint:
    """A published network's tensors for counting: every value 1, and temperatures 0.

    Nothing is drawn and no file is made, so that the largest network takes seconds. Raises
    UserError for an unknown name, or a network that sizes alone do not tell.
    """
    known = {n.name: n for n in networks().values() if n.shapes is not None}
    if name not in known:
        raise UserError(f"no network is known by its sizes as {name!r}",
                        hint=f"known: {', '.join(known)}; or give a checkpoint")
    with torch.device("meta"):
        state = known[name].shapes().state_dict()
    tensors = {}
    for key, value in state.items():
        full = torch.zeros if key.endswith("temperature") else torch.ones
        tensors[key] = full((), dtype=value.dtype).expand(value.shape)
    return Checkpoint(tensors, name)


def write(name: str, out: str | Path, seed: int = 1, *, force: bool = False,
          progress: Progress = lambda done, total: None) -> Path:
    """Make a synthetic checkpoint file; nothing is left of one that did not get finished.

    Raises
    ------
    UserError
        Unknown name, a file that is there already (without ``force``), a folder that is not.
    """
    out = Path(out)
    if out.is_dir():
        raise UserError("is a folder", where=str(out), hint="give a file name, such as x.pth")
    if out.exists() and not force:
        raise UserError("exists already", where=str(out), hint="give another -o, or --force")
    if not out.parent.is_dir():
        raise UserError("no such folder", where=str(out.parent), hint="create it first")
    part = out.with_name(f".{out.name}.part")
    with plain_errors(out):
        try:
            part.touch()  # a folder that cannot be written to is found now, not in a minute
            content = synthesise(name, seed, progress)
            with part.open("wb") as file:
                torch.save(content, file)
            part.replace(out)
        finally:
            part.unlink(missing_ok=True)
    return out


@torch.no_grad()
def settle(net: nn.Module, images: np.ndarray, hooks: dict[nn.Module, Hook],
           generator: torch.Generator, progress: Progress = lambda done, total: None) -> None:
    """Give every normalisation the statistics of its input, and run ``hooks``, in one pass.

    Each module is set just before it runs, so that it reads what the settled modules before it
    make of ``images``, uint8 (N, H, W, 3).
    """
    every = {m: statistics for m in net.modules() if isinstance(m, nn.BatchNorm2d)} | hooks
    done: set[nn.Module] = set()

    def before(module: nn.Module, args: tuple) -> None:
        every[module](module, args[0], generator)
        done.add(module)
        progress(len(done), len(every))

    handles = [module.register_forward_pre_hook(before) for module in every]
    try:
        net(normalise(images))
    finally:
        for handle in handles:
            handle.remove()
    if len(done) < len(every):
        missed = next(name for name, m in net.named_modules() if m in every and m not in done)
        raise ValueError(f"{missed} did not run")


def statistics(module: nn.BatchNorm2d, x: Tensor, _generator: torch.Generator) -> None:
    """Give a normalisation the mean and variance of ``x``, (N, C, H, W)."""
    module.running_mean.copy_(x.mean(dim=(0, 2, 3)))
    module.running_var.copy_(x.var(dim=(0, 2, 3)))


def balance(module: nn.Module, x: Tensor, generator: torch.Generator) -> None:
    """Set ``module.bias`` so that a share of 0.3 to 0.7, drawn per channel, of ``x`` is positive.

    That share of a channel's bits is 1, or of its values left alone by a PReLU.
    """
    values = x.transpose(0, 1).flatten(1)
    values = values[:, :: max(1, values.shape[1] // SAMPLES)].sort(dim=1).values
    share = 0.3 + 0.4 * torch.rand(len(values), 1, generator=generator)
    at = ((1 - share) * (values.shape[1] - 1)).long()
    module.bias.copy_(-values.gather(1, at).view_as(module.bias))


def centre_logits(module: nn.Linear, x: Tensor, generator: torch.Generator) -> None:
    """Scale a classifier to logits of deviation 2.5 over images, about small biases.

    Without it the mean feature would choose the same class for every image.
    """
    mean = x.mean(dim=0)
    spread = ((x - mean) @ module.weight.T).std()
    module.weight.mul_(2.5 / spread)
    bias = 0.2 * torch.randn(module.bias.shape, generator=generator)
    module.bias.copy_(bias - module.weight @ mean)


def colour_scenes(count: int, size: int, seed: int = 1) -> np.ndarray:
    """Images with a photograph's statistics: uint8 (count, size, size, 3), the same for a seed.

    Noise of every scale from 2 pixels to the whole image, its deviation growing with the scale,
    rectangles of other brightness for edges, and a contrast of its own for each image.
    """
    rng = np.random.default_rng(seed)
    scenes = np.zeros((count, size, size, 3))
    step = 2
    while step <= size:
        cells = -(-size // step) + 2
        grey = rng.normal(0, 1, (count, cells, cells, 1))
        grid = 0.9 * grey + 0.4 * rng.normal(0, 1, (count, cells, cells, 3))
        scenes += _enlarge(grid, size, step) * (10 + 60 * step / size)
        step *= 2
    for scene in scenes:
        for _ in range(12):
            top, left = rng.integers(0, size, 2)
            high, wide = rng.integers(size // 20 + 1, size // 2 + 2, 2)
            scene[top : top + high, left : left + wide] += rng.normal(0, 30, 3)
    level = rng.normal(115, 25, (count, 1, 1, 3))
    scenes *= rng.uniform(0.3, 1.7, (count, 1, 1, 1))
    return np.clip(np.rint(scenes + level), 0, 255).astype(np.uint8)


def _enlarge(grid: np.ndarray, size: int, step: int) -> np.ndarray:
    """Bilinear: one grid cell becomes ``step`` pixels."""
    at = np.arange(size) / step
    low, part = at.astype(int), at % 1
    for axis in (1, 2):
        shape = [1] * 4
        shape[axis] = size
        weight = part.reshape(shape)
        grid = np.take(grid, low, axis) * (1 - weight) + np.take(grid, low + 1, axis) * weight
    return grid


def shortcut_and_branch(share: float, renewed: bool = False) -> tuple[Hook, Hook]:
    """Hooks of the bias that reads a shortcut and of the normalisation that ends its branch, which
    becomes ``share`` of the shortcut. One that is ``renewed``, normalised, has deviation 1."""
    stream = {"std": 1.0}

    def shortcut(module: nn.Module, x: Tensor, generator: torch.Generator) -> None:
        if not renewed:
            stream["std"] = float(x.std())
        balance(module, x, generator)

    def branch(module: nn.BatchNorm2d, x: Tensor, generator: torch.Generator) -> None:
        statistics(module, x, generator)
        module.weight.mul_(share * stream["std"])
        module.bias.mul_(share * stream["std"])

    return shortcut, branch
