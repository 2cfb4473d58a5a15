"""What each width of the integer network costs in agreement with PyTorch, on your own photos."""

import argparse
import dataclasses
import json
import time
from pathlib import Path

import numpy as np

from hwbnn.execute import batch_size, walk
from hwbnn.images import load_images
from hwbnn.ir import Graph
from hwbnn.ops.float_ops import FThreshold
from hwbnn.ops.int_ops import Saturate
from hwbnn.passes import Numeric, calibrate, fold_norm, quantize
from models.api import load_network

VARIANTS = (
    {},
    *({"image_weight_bits": b} for b in (16, 12, 10, 8, 7, 6, 5)),
    *({"feature_bits": b} for b in (18, 14, 12, 10)),
    *({"weight_bits": b, "classifier_weight_bits": 8} for b in (12, 6)),
    *({"classifier_weight_bits": b} for b in (12, 6, 5, 4)),
    {"prescale_step": 1}, {"input_frac": 8}, {"input_frac": 4},
)
PARTS = {
    "image_weight_bits": "first convolution's weights {} bits",
    "feature_bits": "maps {} bits",
    "weight_bits": "1x1 weights {} bits",
    "classifier_weight_bits": "classifier's weights {} bits",
    "prescale_step": "accumulators shifted by any multiple of {}",
    "input_frac": "mean colour to 2^-{} of a level",
}
HEAD = ("| {} | same class | in top 5 | mean error | max error | bits off, first | last "
        "| clamped |")


@dataclasses.dataclass(frozen=True)
class Row:
    """One integer network against PyTorch; errors in deviations of PyTorch's logits."""

    what: str
    same_class: int
    in_top5: int
    mean_error: float
    max_error: float
    first_bits: float | None = None
    last_bits: float | None = None
    clamped: int | None = None

    @classmethod
    def of(cls, what: str, logits: np.ndarray, wanted: np.ndarray, **more) -> "Row":
        error, spread = np.abs(logits - wanted), wanted.std()
        ours = logits.argmax(1)
        top5 = np.argsort(-wanted, axis=1)[:, :5]
        return cls(what, int((ours == wanted.argmax(1)).sum()),
                   int((ours[:, None] == top5).any(1).sum()),
                   float(error.mean() / spread), float(error.max() / spread), **more)

    def cells(self) -> str:
        def percent(v):
            return "" if v is None else f"{v:.3g} %"

        clamped = "" if self.clamped is None else str(self.clamped)
        return (f"| {self.what} | {self.same_class} | {self.in_top5} | {self.mean_error:.3f} "
                f"| {self.max_error:.2f} | {percent(self.first_bits)} | {percent(self.last_bits)} "
                f"| {clamped} |")


def reference(folded: Graph, images: np.ndarray):
    """The float graph's logits (float64), and every layer's activation bits, packed per batch."""
    logits, bits = [], []
    step = batch_size(folded, 32)
    for start in range(0, len(images), step):
        packed = {}
        for node, _args, value in walk(folded, images[start : start + step]):
            if isinstance(node.op, FThreshold):
                packed[node.name] = np.packbits(value > 0)
            if node.name == folded.output:
                logits.append(value[:, :, 0, 0])
        bits.append(packed)
    return np.concatenate(logits), bits, step


def measure(graph: Graph, images: np.ndarray, bits: list[dict], step: int):
    """The integer graph's real logits, the share of bits that differ by layer, clamped values."""
    logits, clamped = [], 0
    names = list(bits[0])
    off, total = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for start, packed in zip(range(0, len(images), step), bits, strict=True):
        for node, args, value in walk(graph, images[start : start + step]):
            if node.name in packed:
                differ = np.packbits(value > 0) ^ packed[node.name]
                off[node.name] += int(np.unpackbits(differ).sum())
                total[node.name] += value.size
            if isinstance(node.op, Saturate):
                clamped += node.op.saturated(args[0])
            if node.name == graph.output:
                logits.append(value[:, :, 0, 0])
    real = np.concatenate(logits) * 2.0 ** -graph.types()[graph.output].frac
    return real, [100 * off[n] / total[n] for n in names], clamped


def describe(variant: dict, numeric: Numeric) -> str:
    """The part that a variant changes, and its width."""
    if not variant:
        return "defaults"
    name = next(iter(variant))
    return PARTS[name].format(getattr(numeric, name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("images", help="an .npz with x (uint8 N,H,W,3), or a folder of pictures")
    parser.add_argument("--calib", required=True, help="other images, which set the ranges")
    parser.add_argument("--count", type=int, default=100, help="images to compare on")
    parser.add_argument("--json", type=Path, help="also write the rows there")
    given = parser.parse_args()
    began = time.monotonic()
    network = load_network(given.checkpoint)
    real = network.graph()
    images = load_images(given.images, real).x[: given.count]
    calib = load_images(given.calib, real).x[:64]
    wanted = network.logits(images, batch=10).astype(np.float64)
    folded = fold_norm(real)
    calibration = calibrate(folded, calib)
    exact, bits, step = reference(folded, images)
    print(f"{len(images)} images; logits of deviation {wanted.std():.3g}, "
          f"{len(set(wanted.argmax(1)))} classes chosen\n")
    print(HEAD.format("network") + "\n|" + "---|" * 8, flush=True)
    rows = [Row.of("the same in float64, no integers", exact, wanted)]
    print(rows[0].cells(), flush=True)
    for variant in VARIANTS:
        numeric = dataclasses.replace(Numeric(), **variant)
        graph = quantize(folded, calibration, numeric)
        logits, off, clamped = measure(graph, images, bits, step)
        rows.append(Row.of(describe(variant, numeric), logits, wanted, first_bits=off[0],
                           last_bits=off[-1], clamped=clamped))
        print(rows[-1].cells(), flush=True)
    print(f"\n{time.monotonic() - began:.0f} s")
    if given.json:
        given.json.write_text(json.dumps([dataclasses.asdict(r) for r in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
