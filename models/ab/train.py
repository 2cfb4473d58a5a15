"""`python -m models.train ab`: train an A&B ReActNet on small images, in the authors' two steps."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import click
import torch
from torch import Tensor, nn

from hwbnn.errors import CheckpointError, UserError
from models.ab.layers import BinaryStdConv2d, standardised
from models.ab.net import AbNet, Geometry, set_binary_weights
from models.checkpoint import load_checkpoint
from models.training import Recipe, begin, numbers, stages, train

__all__ = ["clip_gradients", "command", "halved", "state_file", "step1_path"]

SMALLEST_NORM = 1e-3  # of a parameter, for the clipping of its gradient
MARGIN = 2.0**-10  # of a deviation: no float16 weight is nearer to its channel's mean


def clip_gradients(net: nn.Module, factor: float) -> None:
    """From now on shorten each gradient to `factor` times the norm of its parameter, per output.

    The adaptive gradient clipping of networks without normalisation (Brock et al., 2021); tensors
    of one output (biases, slopes) count as a whole, and the classifier is left alone.
    """

    def norm(x: Tensor) -> Tensor:
        if x.ndim < 2:
            return x.norm()
        return torch.linalg.vector_norm(x, dim=tuple(range(1, x.ndim)), keepdim=True)

    @torch.no_grad()
    def shorten(p: Tensor) -> None:
        limit = norm(p).clamp_min(SMALLEST_NORM) * factor
        p.grad.mul_((limit / norm(p.grad).clamp_min(1e-12)).clamp_max(1.0))

    for name, parameter in net.named_parameters():
        if not name.startswith("fc."):
            parameter.register_post_accumulate_grad_hook(shorten)


def _bits(weight: Tensor) -> Tensor:
    return torch.sign(weight - weight.mean(dim=(1, 2, 3), keepdim=True))


def halved(net: nn.Module) -> dict[str, Tensor]:
    """The state_dict of `net` with its binary convolutions' weights as float16, the same network.

    Each channel is brought to mean 0 and deviation 1, which float16 holds well, and its gain makes
    up for it: every bit sign(W - mean) is kept and gain * m to a few float32 roundings.
    """
    state = {key: value.detach().clone() for key, value in net.state_dict().items()}
    for name, conv in net.named_modules():
        if not isinstance(conv, BinaryStdConv2d):
            continue
        weight = conv.weight.detach().contiguous()
        bits = _bits(weight)
        wide = weight.double()
        mean = wide.mean(dim=(1, 2, 3), keepdim=True)
        std = wide.std(dim=(1, 2, 3), keepdim=True, unbiased=False)
        short = (bits * ((wide - mean) / std).abs().clamp_min(MARGIN)).half()
        if not all(torch.equal(bits, _bits(short.to(t)).float()) for t in (torch.float32,
                                                                            torch.float64)):
            raise CheckpointError("float16 does not keep the signs of its weights", where=name,
                                  hint="--store float32")
        m, m_short = (standardised(w.double()).abs().mean(dim=(1, 2, 3), keepdim=True)
                      for w in (weight, short))
        state[f"{name}.weight"] = short
        state[f"{name}.gain"] = (conv.gain.detach().double() * m / m_short).float()
    return state


def state_file(store: str) -> Callable[[nn.Module, int, float], OrderedDict]:
    """What the authors' files hold: a bare state_dict, keys with `module.`; `store` a dtype."""

    def content(net: nn.Module, _epoch: int, _top1: float) -> OrderedDict:
        state = halved(net) if store == "float16" else net.state_dict()
        return OrderedDict((f"module.{k}", v.detach().clone()) for k, v in state.items())

    return content


def step1_path(out: Path) -> Path:
    """Where the weights of step 1 lie beside those of step 2."""
    return out.with_name(f"{out.stem}_step1{out.suffix}")


def _start_from(net: nn.Module, path: Path) -> None:
    state = load_checkpoint(path).tensors
    for key, value in net.state_dict().items():
        if key not in state or state[key].shape != value.shape:
            raise CheckpointError(f"has no {key} of shape {tuple(value.shape)}", where=str(path),
                                  hint="start from a network of the same widths and blocks")
        value.copy_(state[key])


def _prepared(geometry: Geometry, binary: bool, clip: float, bf16: bool) -> AbNet:
    net = AbNet(geometry)
    set_binary_weights(net, binary)
    if clip:
        clip_gradients(net, clip)
    for module in net.modules():
        # A shortcut's 1x1 reads real numbers, which bfloat16 would round.
        if bf16 and isinstance(module, BinaryStdConv2d) and module.weight.shape[2] > 1:
            module.compute_dtype = torch.bfloat16
    return net


@click.command("ab", epilog="Example: python -m models.train ab --data train.npz --test test.npz "
               "-o ab.h5 --epochs 8,16 --threads 1 --bf16 --compile")
@click.option("--data", required=True, type=Path, help=".npz with uint8 x (N,H,W,3) and y (N,).")
@click.option("--test", required=True, type=Path, help="The same, for evaluation.")
@click.option("-o", "--out", required=True, type=Path,
              help="Checkpoint to write; that of step 1 gets _step1 before the ending.")
@click.option("--widths", default="32,64,128,256", show_default=True, help="Channels per stage.")
@click.option("--blocks", default="2,2,2,2", show_default=True, help="Blocks per stage.")
@click.option("--epochs", default="8,16", show_default=True, help="Epochs of step 1 and step 2.")
@click.option("--batch", type=click.IntRange(2), default=64, show_default=True)
@click.option("--lr", type=click.FloatRange(0, min_open=True), default=1e-3, show_default=True,
              help="Highest rate of Adam, in both steps; it rises at first, then falls to 0.")
@click.option("--clip", type=click.FloatRange(0), default=0.001, show_default=True,
              help="Longest gradient as a part of its parameter's norm; 0 clips nothing.")
@click.option("--label-smoothing", type=click.FloatRange(0, 1, max_open=True), default=0.0,
              show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--eval-every", type=click.IntRange(1), default=3, show_default=True,
              help="Epochs between evaluations, which also write OUT.")
@click.option("--threads", type=click.IntRange(1), default=None, help="CPU threads.")
@click.option("--bf16", is_flag=True, help="3x3 binary convolutions of training in bfloat16.")
@click.option("--compile", "compile_", is_flag=True, help="Fuse the training step (needs g++).")
@click.option("--store", type=click.Choice(["float32", "float16"]), default="float32",
              show_default=True,
              help="How OUT holds binary weights; float16 halves it and keeps every sign.")
@click.option("--step1", type=Path, default=None,
              help="Weights of a finished step 1; only step 2 runs.")
@click.option("--resume", is_flag=True, help="Go on with the interrupted step, from OUT.resume.")
def command(data, test, out, widths, blocks, epochs, batch, lr, clip, label_smoothing, seed,
            eval_every, threads, bf16, compile_, store, step1, resume):
    """A&B ReActNet with a 3x3 stem (A&B BNN, CVPR 2024), in two steps.

    Step 1 trains real weights under binary activations. Step 2 starts from them, makes the weights
    binary and trains on. Both hold the same tensors; only the file of step 2 is the network.
    """
    widths, blocks = stages(widths, blocks)
    spans = numbers(epochs, "--epochs")
    if len(spans) != 2:
        raise UserError(f"{epochs!r} is not two numbers", where="--epochs",
                        hint="epochs of step 1 and of step 2, for example 8,16")
    images, held_out, classes = begin(data, test, out, threads)
    geometry = Geometry("reactnet", "cifar", widths, blocks, classes)
    second = out.with_name(out.name + ".resume")
    if not resume:
        second.unlink(missing_ok=True)  # of an older run: it would hide that step 1 goes on

    def run(step: int, path: Path, start: Path | None, go_on: bool) -> float:
        torch.manual_seed(seed)
        net = _prepared(geometry, step == 2, clip, bf16)
        if start:
            _start_from(net, start)
        recipe = Recipe(epochs=spans[step - 1], batch=batch, lr=lr, seed=seed + step - 1,
                        label_smoothing=label_smoothing, eval_every=eval_every, compile=compile_)
        # Step 1's weights are real numbers: float16 would round them.
        content = state_file(store if step == 2 else "float32")
        return train(net, images, held_out, recipe, path, resume=go_on, content=content,
                     log=lambda line: click.echo(f"step {step}: {line}"))

    in_second = resume and (second.is_file() or step1 is not None)
    if not in_second and step1 is None:
        run(1, step1_path(out), None, resume)
    top1 = run(2, out, None if in_second else step1 or step1_path(out), in_second)
    click.echo(f"{out}: {top1:.2f} % of {len(held_out.x)} test images")
