"""Machine shapes and the random networks drawn for each: the same ones in every run."""

import dataclasses

import numpy as np

from hwbnn.errors import DoesNotFit
from hwbnn.ir import Graph
from hwbnn.passes import Numeric, lower_to_integers
from hwbnn.program import Program
from hwbnn.shape import Shape, general_purpose, on_machine
from rtl_gen.engine.config import POINT_WORDS
from sim.random_network import random_network

NETWORKS = 27  # a machine; eight machines make more than 200
FRAMES = 2

# name: (shape, kernel ID bits, RPReLU, widest map); S, P, T powers of two and not, lanes that
# straddle channel words, lanes of two words, dense inputs wider and narrower than the lanes
MACHINES = {
    "S16-P8-T1-K8-id8": (Shape(16, 8, 1, 8), 8, "multiplier"),
    "S16-P4-T2-K8-id6": (Shape(16, 4, 2, 8), 6, "multiplier"),
    "S16-P4-T4-K2-id9": (Shape(16, 4, 4, 2), 9, "multiplier"),
    "S48-P4-T1-K4-id9": (Shape(48, 4, 1, 4), 9, "multiplier"),
    "S16-P6-T1-K12-id5": (Shape(16, 6, 1, 12), 5, "multiplier"),
    "S64-P4-T1-K8-id7": (Shape(64, 4, 1, 8), 7, "multiplier"),
    "S8-P16-T1-K8-id9": (Shape(8, 16, 1, 8), 9, "multiplier"),
    "S16-P4-T1-K4-id9-shift": (Shape(16, 4, 1, 4), 9, "shift"),
    "S8-P4-T2-K4-id9-mobile": (Shape(8, 4, 2, 4), 9, "shift"),
}
MOBILE = "S8-P4-T2-K4-id9-mobile"  # with 1x1 binary convolutions, pooled and repeated residuals


@dataclasses.dataclass
class Drawn:
    """One network, lowered for a machine, with images for it."""

    seed: int
    graph: Graph
    program: Program
    images: np.ndarray
    features: set[str]


def machine(name: str):
    """The engine configuration of a machine."""
    shape, id_bits, rprelu = MACHINES[name]
    return general_purpose(shape, id_bits=id_bits, rprelu=rprelu, mobile=name == MOBILE)


def networks(name: str):
    """The machine's random networks; ones that exceed its memories are drawn again."""
    shape, id_bits, rprelu = MACHINES[name]
    config = machine(name)
    base = 1000 * list(MACHINES).index(name)
    drawn = 0
    for seed in range(base, base + 1000):
        if drawn == NETWORKS:
            return
        rng = np.random.default_rng(seed)
        more = {}
        if name == MOBILE:
            more = {"pointwise": True, "multiple": shape.lanes, "max_channels": 100}
        network = random_network(rng, max_tau=id_bits, **more)
        _c, h, w = network.graph["image"].op.shape
        images = rng.integers(0, 256, (FRAMES, h, w, 3), dtype=np.uint8)
        calibration = images if seed % 2 else None
        _folded, graph = lower_to_integers(
            network.graph, calibration, Numeric(rprelu=rprelu, tie=seed % 3 > 0)
        )
        try:
            program = on_machine(graph, config)
        except DoesNotFit:
            continue
        features = set(network.features)
        if any(layer.pointwise and layer.in_shape[0] > POINT_WORDS * shape.channels_in
               for layer in program.layers):
            features.add("1x1 in several sweeps")
        if any(
            n % shape.channels_in
            for layer in program.layers if layer.binary
            for n in (layer.in_shape[0], layer.out_shape[0])
        ):
            features.add("channels not a multiple of S")
        drawn += 1
        yield Drawn(seed, graph, program, images, features)
