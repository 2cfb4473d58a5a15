"""What scales of 1, 2, 3 signed digits cost in agreement with PyTorch, against 18-bit gains.

    python benchmarks/multipliers/agreement.py NET.pth IMAGES.npz [--count N] [--labels]

Prints a Markdown table; with --labels the images' classes (y) give top-1 too.
"""

import argparse
import dataclasses

import numpy as np

from hwbnn import golden
from hwbnn.images import load_images
from hwbnn.passes import Numeric, calibrate, fold_norm, quantize
from models.api import load_network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint")
    parser.add_argument("images")
    parser.add_argument("--calib", help="images that set the ranges; else the default")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--labels", action="store_true")
    given = parser.parse_args()
    network = load_network(given.checkpoint)
    real = network.graph()
    images = load_images(given.images, real, labelled=given.labels)
    calib = load_images(given.calib, real).x[:64] if given.calib else None
    x = images.x[: given.count]
    wanted = network.logits(x, batch=20).astype(np.float64)
    folded = fold_norm(real)
    calibration = calibrate(folded, calib)
    print(f"{len(x)} images\n")
    print("| scale | " + "top-1 | " * given.labels + "same class as torch-float | mean error of a "
          "logit, of their deviation | decision |")
    print("|---|" + "---:|" * (2 + given.labels) + "---|")

    def row(name, logits, classes, why=""):
        top = f"{100 * (classes == images.y[: len(x)]).mean():.2f} % | " if given.labels else ""
        same = 100 * (classes == wanted.argmax(1)).mean()
        error = np.abs(logits - wanted).mean() / wanted.std()
        print(f"| {name} | {top}{same:.2f} % | {error:.4f} | {why} |", flush=True)

    row("torch-float", wanted, wanted.argmax(1))
    for digits in (0, 3, 2, 1):
        numeric = dataclasses.replace(Numeric(), scale_digits=digits)
        graph = quantize(folded, calibration, numeric)
        result = golden.run(graph, x)
        logits = result.logits * 2.0 ** -graph.types()[graph.output].frac
        why = next((d.why for d in graph.decisions if d.where == "scale"), "")
        row(f"shift-add:{digits}" if digits else "multiplier", logits, result.classes, why)


if __name__ == "__main__":
    main()
