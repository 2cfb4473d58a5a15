"""`python -m models.train sd`: train an SD-BNN ResNet-20 on small images, as its authors do."""

from collections.abc import Callable
from pathlib import Path

import click
import torch
from torch import Tensor, nn

from hwbnn.errors import CheckpointError, UserError
from models.sd.fused import fused
from models.sd.net import REDUCTION, BinaryConv, Geometry, HeadedNet, build, shifted
from models.training import Recipe, begin, stages, train, warm_start

__all__ = ["command", "halved", "initialise", "prepared", "sharpness", "state_file"]

FIRST, LAST = 1e-3, 1e1  # t of sign's derivative in the authors' first and last step
MARGIN = 2.0**-10  # of a filter's largest weight: float16 keeps what is larger, and the shift


def sharpness(progress: float, first: float = FIRST, last: float = LAST) -> float:
    """t at `progress` in [0, 1] of the run: from `first` to `last`, its logarithm rising evenly."""
    return first * (last / first) ** progress


def _range(text: str) -> tuple[float, float]:
    """First and last t of an option's text."""
    try:
        first, last = (float(part) for part in text.split(","))
    except ValueError:
        first = last = 0.0
    if not 0 < first <= last < float("inf"):
        raise UserError(f"{text!r} is not two rising positive numbers", where="--sharpness",
                        hint="for example 0.001,10")
    return first, last


def initialise(net: nn.Module) -> None:
    """Draw the weights of convolutions and dense layers as the authors do (Kaiming, normal)."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | BinaryConv):
            nn.init.kaiming_normal_(module.weight)


def halved(net: nn.Module) -> dict[str, Tensor]:
    """The state_dict of `net` with its binary convolutions' weights as float16, the same network.

    Each filter is divided by its largest weight, which float16 then holds well; it has no scale, so
    that every sign of W' stays. Raises CheckpointError where one does not.
    """
    state = {key: value.detach().clone() for key, value in net.state_dict().items()}
    for name, conv in net.named_modules():
        if not isinstance(conv, BinaryConv):
            continue
        weight, alpha = conv.weight.detach().double(), conv.alpha.detach().double()
        bits = torch.sign(shifted(weight, alpha))
        large = weight / weight.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-30)
        # W' and W differ in sign only near 0, where W' is put on its side by a margin.
        near = shifted(large, alpha).abs() < 16 * MARGIN
        short = torch.where(near, bits * 16 * MARGIN, large).half()
        for dtype in (torch.float32, torch.float64):
            if not torch.equal(bits, torch.sign(shifted(short.to(dtype), alpha.to(dtype)))):
                raise CheckpointError("float16 does not keep the signs of its weights", where=name,
                                      hint="--store float32")
        state[f"{name}.weight"] = short
    return state


def state_file(store: str) -> Callable[[nn.Module, int, float], dict]:
    """What the authors' model.th holds: keys with `module.`, and an accuracy; `store` a dtype."""

    def content(net: nn.Module, _epoch: int, top1: float) -> dict:
        state = halved(net) if store == "float16" else net.state_dict()
        return {"state_dict": {f"module.{k}": v.detach().clone() for k, v in state.items()},
                "best_prec1": top1}

    return content


def _fits(widths: tuple[int, ...]) -> None:
    if min(widths) < REDUCTION["resnet20"]:
        raise UserError(f"{min(widths)} channels leave no hidden unit for beta", where="--widths",
                        hint=f"at least {REDUCTION['resnet20']} are needed")
    if len(widths) < 2:
        raise UserError("one stage tells no ResNet-20 from a ResNet-18", where="--widths",
                        hint="give two or more")
    if any(b != 2 * a for a, b in zip(widths, widths[1:], strict=False)):
        raise UserError("an option-A shortcut doubles channels", where="--widths",
                        hint="for example 16,32,64")


def prepared(geometry: Geometry, bf16: bool) -> tuple[HeadedNet, Tensor]:
    """A network to train, and t of its signs' derivative (float32, no dimensions), to be set."""
    net, t = build(geometry), torch.tensor(FIRST)
    initialise(net)
    for module in net.modules():
        if isinstance(module, BinaryConv):
            module.sharpness = t
            module.compute_dtype = torch.bfloat16 if bf16 else None
    return net, t


@click.command("sd", epilog="Example: python -m models.train sd --data train.npz --test test.npz "
               "-o sd.pth --epochs 40 --threads 1 --bf16 --compile")
@click.option("--data", required=True, type=Path, help=".npz with uint8 x (N,H,W,3) and y (N,).")
@click.option("--test", required=True, type=Path, help="The same, for evaluation.")
@click.option("-o", "--out", required=True, type=Path, help="Checkpoint to write.")
@click.option("--widths", default="16,32,64", show_default=True,
              help="Channels per stage, twice those of the stage before; at least 16.")
@click.option("--blocks", default="3,3,3", show_default=True, help="Blocks per stage.")
@click.option("--epochs", type=click.IntRange(1), default=500, show_default=True)
@click.option("--batch", type=click.IntRange(2), default=128, show_default=True)
@click.option("--optimiser", type=click.Choice(["sgd", "adam"]), default="sgd", show_default=True,
              help="sgd: momentum 0.9, as the authors'.")
@click.option("--lr", type=click.FloatRange(0, min_open=True), default=0.11, show_default=True,
              help="Highest learning rate; it rises over a twentieth of the run, then falls to 0.")
@click.option("--weight-decay", type=click.FloatRange(0), default=1e-4, show_default=True,
              help="Of sgd.")
@click.option("--minutes", type=click.FloatRange(0), default=0.0, show_default=True,
              help="Longest run; a longer one's schedule goes by the clock. 0 sets no limit.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--eval-every", type=click.IntRange(1), default=3, show_default=True,
              help="Epochs between evaluations, which also write OUT.")
@click.option("--threads", type=click.IntRange(1), default=None, help="CPU threads.")
@click.option("--bf16", is_flag=True, help="Binary convolutions of training in bfloat16.")
@click.option("--compile", "compile_", is_flag=True, help="Fuse the training step (needs g++).")
@click.option("--store", type=click.Choice(["float32", "float16"]), default="float32",
              show_default=True,
              help="How OUT holds binary weights; float16 halves it and keeps every sign.")
@click.option("--sharpness", "t_range", default=f"{FIRST:g},{LAST:g}", show_default=True,
              metavar="FIRST,LAST", help="t of sign's derivative, max(1, 1/t) * tanh(t*x), rises "
              "between these. Sharp ends need many epochs.")
@click.option("--init", type=Path, default=None,
              help="Start from the weights of this checkpoint, or of OUT.resume of another run.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted run, from OUT.resume.")
def command(data, test, out, widths, blocks, epochs, batch, optimiser, lr, weight_decay, minutes,
            seed, eval_every, threads, bf16, compile_, store, t_range, init, resume):
    """SD-BNN ResNet-20 (Xue et al., 2021): thresholds that each image decides are trained too."""
    widths, blocks = stages(widths, blocks)
    _fits(widths)
    first, last = _range(t_range)
    images, held_out, classes = begin(data, test, out, threads)
    torch.manual_seed(seed)
    net, t = prepared(Geometry("resnet20", widths, blocks, classes), bf16)
    if init:
        warm_start(net, init)
    recipe = Recipe(epochs=epochs, batch=batch, lr=lr, seed=seed, eval_every=eval_every,
                    compile=compile_, optimiser=optimiser, weight_decay=weight_decay,
                    minutes=minutes, family=f"sharpness {first:g},{last:g}")
    top1 = train(net, images, held_out, recipe, out, resume=resume, content=state_file(store),
                 fuse=fused, before_step=lambda step, total: t.fill_(
                     sharpness(step / total, first, last)),
                 log=lambda line: click.echo(line))
    click.echo(f"{out}: {top1:.2f} % of {len(held_out.x)} test images")
