"""Measure training steps of SD-BNN's ResNet-20: eager, torch.compile, and models.sd.fused.

    python benchmarks/training/sd_step.py --threads 1 --batch 64
"""

import time

import click
import torch
from torch.nn import functional as F

from models.sd.fused import fused
from models.sd.net import Geometry
from models.sd.train import prepared

FORWARDS = {"eager": lambda net: net, "torch.compile": torch.compile, "fused": fused}


@click.command()
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--batch", type=click.IntRange(2), default=64, show_default=True)
@click.option("--steps", type=click.IntRange(1), default=30, show_default=True)
@click.option("--only", type=click.Choice(list(FORWARDS)), multiple=True)
def main(threads: int, batch: int, steps: int, only: tuple[str, ...]) -> None:
    """Milliseconds of a step (forward, backward, Adam) on made-up images, after three steps."""
    torch.set_num_threads(threads)
    x = torch.randn(batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    y = torch.randint(0, 10, (batch,))
    for name in only or FORWARDS:
        torch.manual_seed(1)
        net, t = prepared(Geometry("resnet20", (16, 32, 64), (3, 3, 3), 10), bf16=True)
        t.fill_(1.5)
        net.to(memory_format=torch.channels_last).train()
        forward = FORWARDS[name](net)
        optimiser = torch.optim.Adam(net.parameters(), 1e-3, fused=True)
        for step in range(3 + steps):
            if step == 3:
                start = time.perf_counter()
            optimiser.zero_grad()
            F.cross_entropy(forward(x), y).backward()
            optimiser.step()
        each = (time.perf_counter() - start) / steps
        click.echo(f"{name}: {1e3 * each:.0f} ms a step, {each / batch * 50_000 / 60:.2f} min "
                   f"for 50,000 images ({threads} threads, batch {batch})")


if __name__ == "__main__":
    main()
