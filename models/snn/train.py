"""`python -m models.train snn`: train a sub-bit network on small images."""

from pathlib import Path

import click
import torch

from models.snn.binarise import BinaryConv, Codebook
from models.snn.net import Geometry, SnnNet
from models.training import Recipe, begin, stages, train, warm_start

COMPENSATE_EVERY = 25  # steps between searches for duplicate codewords, as in the authors' code
FROZEN_TAIL = 0.1  # of all steps: the codebooks rest while the network settles on them


@click.command("snn")
@click.option("--tau", type=click.IntRange(1, 9), default=5, show_default=True,
              help="A kernel is one of 2^tau codewords; 9 is a plain binary kernel.")
@click.option("--data", required=True, type=Path, help=".npz with uint8 x (N,H,W,3) and y (N,).")
@click.option("--test", required=True, type=Path, help="The same, for evaluation.")
@click.option("-o", "--out", required=True, type=Path, help="Checkpoint to write.")
@click.option("--widths", default="32,64,128,192", show_default=True, help="Channels per stage.")
@click.option("--blocks", default="2,2,2,1", show_default=True, help="Blocks per stage.")
@click.option("--epochs", type=click.IntRange(1), default=30, show_default=True)
@click.option("--batch", type=click.IntRange(2), default=64, show_default=True)
@click.option("--lr", type=click.FloatRange(0, min_open=True), default=2e-3, show_default=True)
@click.option("--label-smoothing", type=click.FloatRange(0, 1, max_open=True), default=0.0,
              show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--eval-every", type=click.IntRange(1), default=3, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=None, help="CPU threads.")
@click.option("--bf16", is_flag=True, help="Binary convolutions of training in bfloat16.")
@click.option("--compile", "compile_", is_flag=True, help="Fuse the training step (needs g++).")
@click.option("--init", type=Path, default=None, help="Start from this checkpoint's weights.")
@click.option("--resume", is_flag=True, help="Go on from OUT.resume.")
def command(tau, data, test, out, widths, blocks, epochs, batch, lr, label_smoothing, seed,
            eval_every, threads, bf16, compile_, init, resume):
    """Sub-bit residual network with a 3x3 stem (SNN, ICCV 2021)."""
    widths, blocks = stages(widths, blocks)
    images, held_out, classes = begin(data, test, out, threads)
    torch.manual_seed(seed)
    geometry = Geometry.uniform(tau if tau < 9 else None, widths=widths, blocks=blocks,
                                num_classes=classes)
    net = SnnNet(geometry)
    if init:
        warm_start(net, init, but=".patterns")
    for module in net.modules():
        if bf16 and isinstance(module, BinaryConv):
            module.compute_dtype = torch.bfloat16
    codebooks = [m for m in net.modules() if isinstance(m, Codebook)]

    def before_step(step: int, total: int) -> None:
        frozen = step > (1 - FROZEN_TAIL) * total
        # Seeded by the step, so that a resumed run draws what an unbroken one would.
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        for codebook in codebooks:
            codebook.remember()
            if step and step % COMPENSATE_EVERY == 0 and not frozen:
                codebook.replace_duplicates(generator)
            codebook.patterns.requires_grad_(not frozen)

    def before_save() -> None:
        for codebook in codebooks:
            codebook.remember()
            codebook.settle()

    recipe = Recipe(epochs=epochs, batch=batch, lr=lr, label_smoothing=label_smoothing, seed=seed,
                    eval_every=eval_every, compile=compile_)
    top1 = train(net, images, held_out, recipe, out, resume=resume, before_step=before_step,
                 before_save=before_save, log=lambda line: click.echo(line))
    click.echo(f"{out}: {top1:.2f} % of {len(held_out.x)} test images")
