"""Small-scale training that every family shares: data, augmentation, the loop, files, resuming."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwbnn.errors import CheckpointError, UserError

from .checkpoint import read_file

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MOMENTUM = 0.9  # of "sgd"


@dataclass(frozen=True)
class Recipe:
    """How to train: linear warm-up over `warmup` of all steps, then cosine decay to zero.

    `optimiser` is "adam", or "sgd" with momentum 0.9; `weight_decay` is that of "sgd". `family` has
    the family's own options as text, which a resumed run must share. With
    `minutes` > 0 a run that would take longer ends after so many: its schedule goes by the clock.
    """

    epochs: int = 30
    batch: int = 64
    lr: float = 2e-3
    warmup: float = 0.05
    label_smoothing: float = 0.0
    seed: int = 1
    eval_every: int = 3
    compile: bool = False
    optimiser: str = "adam"
    weight_decay: float = 0.0
    minutes: float = 0.0
    family: str = ""

    def rate(self, progress: float) -> float:
        """Learning rate at `progress` in [0, 1] of the run."""
        rising = min(1.0, progress / self.warmup) if self.warmup else 1.0
        return self.lr * rising * 0.5 * (1 + math.cos(math.pi * progress))

    def optimise(self, net: nn.Module) -> torch.optim.Optimizer:
        """The optimiser of every parameter of `net`."""
        if self.optimiser == "adam":
            return torch.optim.Adam(net.parameters(), self.lr, fused=True)
        return torch.optim.SGD(net.parameters(), self.lr, MOMENTUM,
                               weight_decay=self.weight_decay, fused=True)


@dataclass(frozen=True)
class Images:
    """uint8 images x (N, H, W, 3) in RGB and int64 labels y (N,)."""

    x: np.ndarray
    y: np.ndarray

    @classmethod
    def load(cls, path: Path) -> "Images":
        """Read an .npz with arrays x and y; raises UserError that names what is wrong."""
        where = str(path)
        if not Path(path).is_file():
            raise UserError("no such file", where=where, hint="give an .npz with arrays x and y")
        try:
            with np.load(path) as archive:
                missing = {"x", "y"} - set(archive.files)
                if missing:
                    raise UserError(f"has no array {sorted(missing)[0]!r}", where=where,
                                    hint=f"it holds {', '.join(archive.files)}")
                x, y = archive["x"], archive["y"]
        except (ValueError, OSError, EOFError) as error:
            raise UserError(f"cannot be read as .npz ({error})", where=where) from error
        if x.dtype != np.uint8 or x.ndim != 4 or x.shape[3] != 3:
            raise UserError(f"x is {x.dtype} {x.shape}", where=where,
                            hint="images must be uint8 (N, H, W, 3)")
        if y.shape != x.shape[:1] or not np.issubdtype(y.dtype, np.integer):
            raise UserError(f"y is {y.dtype} {y.shape} for {len(x)} images", where=where,
                            hint="labels must be integers (N,)")
        return cls(x, y.astype(np.int64))


def normalise(x: np.ndarray, mean=MEAN, std=STD) -> Tensor:
    """uint8 (N, H, W, 3) -> float32 (N, 3, H, W) in channels_last order: (x/255 - mean) / std."""
    scaled = torch.from_numpy(np.ascontiguousarray(x)).float().div_(255)
    scaled = scaled.sub_(torch.tensor(mean)).div_(torch.tensor(std))
    return scaled.permute(0, 3, 1, 2)


def augmented(images: Images, batch: int, seed: int, pad: int = 4) -> Iterator[tuple]:
    """One epoch of (x float32, y) in random order, flipped at random and cropped from a border.

    The border is the mean colour, which is 0 after normalisation. An incomplete batch is dropped.
    """
    rng = np.random.default_rng(seed)
    n, h, w, _ = images.x.shape
    colour = np.round(255 * np.array(MEAN)).astype(np.uint8)
    padded = np.empty((n, h + 2 * pad, w + 2 * pad, 3), np.uint8)
    padded[:] = colour
    padded[:, pad : pad + h, pad : pad + w] = images.x
    windows = np.lib.stride_tricks.sliding_window_view(padded, (h, w), axis=(1, 2))
    order = rng.permutation(n)
    for start in range(0, n - batch + 1, batch):
        index = order[start : start + batch]
        dy, dx = rng.integers(0, 2 * pad + 1, (2, batch))
        x = windows[index, dy, dx].transpose(0, 2, 3, 1)  # advanced indexing copies: (B, 3, h, w)
        flip = rng.random(batch) < 0.5
        x[flip] = x[flip][:, :, ::-1]
        yield normalise(x), torch.from_numpy(images.y[index])


@torch.no_grad()
def accuracy(net: nn.Module, images: Images, batch: int = 250) -> float:
    """Top-1 in per cent of the network in eval mode, float32."""
    was_training = net.training
    net.eval()
    hits = 0
    for start in range(0, len(images.x), batch):
        logits = net(normalise(images.x[start : start + batch]))
        hits += int((logits.argmax(1).numpy() == images.y[start : start + batch]).sum())
    net.train(was_training)
    return 100 * hits / len(images.x)


def deployable(net: nn.Module, epoch: int, top1: float) -> dict:
    """The authors' wrapper without optimiser state."""
    state = {f"module.{k}": v.detach().clone() for k, v in net.state_dict().items()}
    return {"epoch": epoch, "state_dict": state, "best_top1_acc": top1, "optimizer": {}}


def numbers(text: str, option: str) -> tuple[int, ...]:
    """Positive integers of a comma-separated list; UserError names the option."""
    try:
        values = tuple(int(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or min(values) < 1:
        raise UserError(f"{text!r} is not a list of positive integers", where=option,
                        hint="for example 32,64,128")
    return values


def stages(widths: str, blocks: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Channels and blocks of each stage, of comma-separated lists; UserError names the option."""
    found = numbers(widths, "--widths"), numbers(blocks, "--blocks")
    if len(found[0]) != len(found[1]):
        raise UserError(f"{len(found[0])} widths but {len(found[1])} stages of blocks",
                        where="--blocks", hint="give one number per stage in both")
    return found


def begin(data: Path, test: Path, out: Path, threads: int | None) -> tuple[Images, Images, int]:
    """Images to train on, images held out, and classes; UserError where `out` cannot be written."""
    if not out.parent.is_dir():
        raise UserError("no such folder", where=str(out.parent), hint="create it first")
    if threads:
        torch.set_num_threads(threads)
    images, held_out = Images.load(data), Images.load(test)
    return images, held_out, int(max(images.y.max(), held_out.y.max())) + 1


def _write(content: dict, path: Path) -> None:
    # Written beside and renamed: an interrupted run never leaves half a file.
    beside = path.with_name(path.name + ".part")
    torch.save(content, beside)
    beside.replace(path)


@torch.no_grad()
def warm_start(net: nn.Module, path: Path, but: str = "") -> None:
    """Copy every tensor of a trained file, or of a run's state, into `net`; not those of keys that
    end in `but`, if given. UserError names a tensor that is missing or has another shape."""
    held = read_file(path)
    held = held.get("state_dict", held) if isinstance(held, dict) else {}
    state = {key.removeprefix("module."): value for key, value in held.items()}
    for key, value in net.state_dict().items():
        if but and key.endswith(but):
            continue
        found = state.get(key)
        if not isinstance(found, Tensor) or found.shape != value.shape:
            raise UserError(f"has no {key} of shape {tuple(value.shape)}", where=str(path),
                            hint="start from a network of the same widths and blocks")
        value.copy_(found)


def _resume(path: Path, net: nn.Module, optimiser, recipe: Recipe) -> tuple[int, float]:
    if not path.is_file():
        raise UserError("nothing to resume", where=str(path), hint="run without --resume")
    held = read_file(path)
    if not isinstance(held, dict) or "recipe" not in held:
        raise CheckpointError("is not the state of a training run", where=str(path))
    differs = [k for k, v in asdict(recipe).items()
               if k not in ("compile", "eval_every") and held["recipe"].get(k, "") != v]
    if differs:
        k = differs[0]
        raise UserError(f"was started with {k} = {held['recipe'].get(k)}", where=str(path),
                        hint=f"now {getattr(recipe, k)}; resume with the same options")
    try:
        net.load_state_dict(held["state_dict"])
        optimiser.load_state_dict(held["optimizer"])
    except (RuntimeError, ValueError) as error:
        first = str(error).splitlines()[-1].strip()
        raise CheckpointError("belongs to another network", where=str(path), hint=first) from error
    return held["epoch"], held["best_top1_acc"]


def train(
    net: nn.Module,
    data: Images,
    test: Images,
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    before_step: Callable[[int, int], None] = lambda step, total: None,
    before_save: Callable[[], None] = lambda: None,
    content: Callable[[nn.Module, int, float], Any] = deployable,
    fuse: Callable[[nn.Module], Callable[[Tensor], Tensor]] = torch.compile,
    log: Callable[[str], None] = print,
) -> float:
    """Train `net`; write `out` at every evaluation and at the end. Return the last top-1 in %.

    `<out>.resume` holds network, optimiser and epoch after each epoch; with `resume` the run goes
    on from it, to the same weights as an unbroken run would reach on the same machine.
    `before_step(step, total)` and `before_save()` let a family tend its own state;
    `content(net, epoch, top1)` is what `out` holds; `fuse(net)` is the forward pass of a compiled
    recipe. Where the schedule goes by the clock
    (`recipe.minutes`, of this call), `step` is where in the schedule it is, and no two runs agree.
    """
    progress_file = out.with_name(out.name + ".resume")
    optimiser = recipe.optimise(net)
    first, best = _resume(progress_file, net, optimiser, recipe) if resume else (0, 0.0)
    net.to(memory_format=torch.channels_last).train()
    forward = fuse(net) if recipe.compile else net
    per_epoch = len(data.x) // recipe.batch
    if per_epoch == 0:
        raise UserError(f"{len(data.x)} images make no batch of {recipe.batch}",
                        hint="give a smaller --batch")
    total, start = per_epoch * recipe.epochs, per_epoch * first
    step, top1, began = start, best, time.monotonic()
    for epoch in range(first, recipe.epochs):
        loss_sum, hits, steps = 0.0, 0, 0
        for i, (x, y) in enumerate(augmented(data, recipe.batch, recipe.seed * 10_000 + epoch)):
            step = epoch * per_epoch + i
            if recipe.minutes:
                spent = (time.monotonic() - began) / 60 / recipe.minutes
                step = max(step, int(start + spent * (total - start)))
                if step >= total:
                    break
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate(step / total)
            before_step(step, total)
            optimiser.zero_grad()
            logits = forward(x)
            loss = F.cross_entropy(logits, y, label_smoothing=recipe.label_smoothing)
            if not torch.isfinite(loss):
                raise UserError(f"loss is {loss.item()} at step {step}", hint="lower --lr")
            loss.backward()
            optimiser.step()
            loss_sum, steps = loss_sum + loss.item(), steps + 1
            hits += int((logits.argmax(1) == y).sum())
            if i % 100 == 99:
                done = step + 1 - start
                left = (total - step - 1) * (time.monotonic() - began) / done
                log(f"epoch {epoch + 1}/{recipe.epochs} step {i + 1}/{per_epoch} "
                    f"loss {loss_sum / (i + 1):.4f} "
                    f"train {100 * hits / ((i + 1) * recipe.batch):.2f} % "
                    f"ETA {left / 60:.0f} min")
        before_save()
        last = step + 1 >= total
        if (epoch + 1) % recipe.eval_every == 0 or last:
            top1 = accuracy(net, test)
            best = max(best, top1)
            _write(content(net, epoch + 1, top1), out)
            log(f"epoch {epoch + 1}/{recipe.epochs} loss {loss_sum / max(1, steps):.4f} "
                f"test {top1:.2f} % after {(time.monotonic() - began) / 60:.1f} min -> {out}")
        state = {"epoch": epoch + 1, "state_dict": net.state_dict(), "best_top1_acc": best,
                 "optimizer": optimiser.state_dict(), "recipe": asdict(recipe)}
        _write(state, progress_file)
        if last:
            break
    return top1
