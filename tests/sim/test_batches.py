"""Several images a load of weights: every word and logit of each, and cycles, as predicted."""

import numpy as np
import pytest

from hwbnn.batches import stages_of
from hwbnn.errors import DoesNotFit
from hwbnn.layers import extract_layers
from hwbnn.order import depth_first
from hwbnn.passes import Numeric, lower_to_integers
from hwbnn.plan_batch import levels
from hwbnn.shape import Shape, derive, general_purpose, on_machine
from sim.random_network import random_network

SHAPE = Shape(16, 4, 1, 4)
TURNS = 2  # batches back to back


def compare(checked, program, graph, seed):
    _c, h, w = graph["image"].op.shape
    images = np.random.default_rng(seed).integers(
        0, 256, (TURNS * program.batches.images, h, w, 3), dtype=np.uint8)
    checked(program, graph, images, f"seed {seed}")


def drawn(seed, size=16):
    network = random_network(np.random.default_rng(seed), pointwise=True, multiple=SHAPE.lanes,
                             size=size, max_channels=60, max_blocks=5)
    return lower_to_integers(network.graph, None, Numeric())[1]


def check(checked, seed, **recipe):
    graph = drawn(seed)
    compare(checked, derive(graph, SHAPE, **recipe), graph, seed)


def test_weights_from_sdram_serve_a_batch(checked):
    check(checked, 8, stream=True, batch=[[1, 2], [3, 6]])


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "recipe"), [
    (8, {"stream": True, "batch": [[1, 2]]}),
    (8, {"stream": True, "batch": [[3, 3]]}),
    (4, {"stream": True, "batch": [[2, 2], [4, 6]]}),
    (10, {"band": 2, "batch": [[3, 3], [5, 6], [7, 12]]}),
    (3, {"band": 2, "stream": True, "batch": [[3, 4]]}),
])
def test_more_batches(checked, seed, recipe):
    check(checked, seed, **recipe)


@pytest.mark.slow
def test_batches_behind_a_stem(checked):
    rng = np.random.default_rng(32)
    network = random_network(rng, imagenet=True, max_tau=5, size=48, max_channels=60, max_blocks=6)
    graph = lower_to_integers(network.graph, None, Numeric(image_weight_bits=8))[1]
    layers = extract_layers(graph)
    batch = [[depth_first(layers), 2], [len(layers) - 1, 4]]
    compare(checked, derive(graph, SHAPE, band=2, stream=True, batch=batch), graph, 32)


# two banks of dense inputs and lanes that straddle channel words; 1x1 layers and two pixels
@pytest.mark.parametrize(("shape", "mobile", "count"), [
    pytest.param(Shape(16, 6, 1, 12), False, 12, marks=pytest.mark.slow),
    (Shape(8, 4, 2, 4), True, 12),
])
def test_random_networks_and_nestings(checked, shape, mobile, count):
    config = general_purpose(shape, rprelu="shift", mobile=mobile, batch=4)
    done, nested = 0, 0
    for seed in range(9000, 9200):
        rng = np.random.default_rng(seed)
        more = {"pointwise": True, "multiple": shape.lanes, "max_channels": 60} if mobile else {}
        network = random_network(rng, **more)
        _folded, graph = lower_to_integers(network.graph, None, Numeric(rprelu="shift"))
        layers = extract_layers(graph)
        found = list(levels(layers, int(rng.integers(2, 5)), 0))
        early = [each for each in found if each[0][0] < stages_of(layers)[-1]]
        chosen = (early or found)[int(rng.integers(len(early or found)))]
        try:
            program = on_machine(graph, config, batch=chosen)
        except DoesNotFit:
            continue
        compare(checked, program, graph, seed)
        nested += bool(early)
        done += 1
        if done == count:
            break
    assert done == count and nested >= 2 * count // 3
