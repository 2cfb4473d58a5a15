"""Machines without multipliers in shortcuts and lanes: 1x1 layers of ±1 weights by adders, scales
by shifts. Random networks, a reduced A&B network, the planner."""

import dataclasses

import numpy as np
import pytest
import torch

from boards import get_board
from hwbnn.errors import DoesNotFit
from hwbnn.extract import extract
from hwbnn.multipliers import multipliers
from hwbnn.passes import Numeric, lower_to_integers
from hwbnn.plan import plan
from hwbnn.schedule import schedule
from hwbnn.shape import Shape, derive, general_purpose, on_machine
from models import synth
from models.ab import synth as made
from models.ab.net import Geometry
from models.api import load_network
from models.checkpoint import Checkpoint
from sim.network import build_simulator
from sim.random_network import random_network

SHAPE = Shape(8, 4, 1, 4)
NETWORKS = 5


def drawn(seed, digits=0, **more):
    """A network with 1x1 shortcuts of ±1 whose channels do not fill groups of K."""
    rng = np.random.default_rng(seed)
    network = random_network(rng, multiple=1, max_channels=24, **more)
    _c, h, w = network.graph["image"].op.shape
    images = rng.integers(0, 256, (2, h, w, 3), dtype=np.uint8)
    _folded, graph = lower_to_integers(network.graph, images[:1], Numeric(scale_digits=digits))
    return graph, images


def signed_layers(graph):
    return [layer for layer in extract(graph) if layer.plus_minus and layer.in_shape[1:] != (1, 1)]


def test_random_networks(checked):
    """Scales of 3 digits; as many cycles as on multipliers."""
    config = general_purpose(SHAPE, mobile=True, signed_sums=True, scale_digits=3)
    plain = dataclasses.replace(config, signed_sums=False, scale_digits=0)
    simulator = build_simulator(config, quick=True)
    done, ragged = 0, 0
    for seed in range(4000, 4200):
        if done == NETWORKS:
            break
        graph, images = drawn(seed, digits=3)
        found = signed_layers(graph)
        if not found:
            continue
        try:
            program = on_machine(graph, config)
        except DoesNotFit:
            continue
        steps = [step for step in program.steps if step.kind == "signed"]
        assert {step.layer.name for step in steps} >= {layer.name for layer in found}
        assert schedule(program).starts == schedule(on_machine(graph, plain)).starts
        checked(program, graph, images, f"seed {seed}", simulator=simulator)
        done += 1
        ragged += any(layer.in_shape[0] % SHAPE.dense_inputs for layer in found)
    assert done == NETWORKS and ragged


def reduced_ab(kind, stem, size, digits):
    """An A&B network of three stages with made-up parameters, and images for it."""
    geometry = Geometry(kind, stem, (8, 12, 20), (1, 2, 1), 5)
    generator = torch.Generator().manual_seed(4)
    net = made.parameters(geometry, generator)
    synth.settle(net, synth.colour_scenes(8, size, 1), made.hooks(net), generator)
    checkpoint = Checkpoint.of(dict(made.wrap(net)), "net_step2.h5")
    network = load_network(checkpoint, options={"input_size": size})
    images = synth.colour_scenes(3, size, 3)
    numeric = Numeric(rprelu="shift", scale_digits=digits)
    return lower_to_integers(network.graph(), images, numeric)[1], images


STREAMED = {"band": 2, "stream": True}


@pytest.mark.parametrize(("kind", "stem", "size", "shape", "recipe", "digits"), [
    ("reactnet", "cifar", 16, Shape(8, 4, 1, 4), {}, 2),
    pytest.param("reactnet", "cifar", 16, Shape(16, 4, 1, 8), {}, 0, marks=pytest.mark.slow),
    pytest.param("xnornet", "cifar", 16, Shape(8, 4, 2, 4), {}, 1, marks=pytest.mark.slow),
    pytest.param("reactnet", "imagenet", 64, Shape(16, 4, 1, 4), STREAMED, 2,
                 marks=pytest.mark.slow),
])
def test_reduced_ab_networks(checked, kind, stem, size, shape, recipe, digits):
    """Only the first convolution, the classifier and scales that are not shifts are products."""
    graph, images = reduced_ab(kind, stem, size, digits)
    program = derive(graph, shape, **recipe, signed_sums=True)
    assert {step.layer.name for step in program.steps if step.kind == "signed"} == {
        layer.name for layer in signed_layers(graph)}
    assert len(signed_layers(graph)) == 2
    counted = multipliers(program.config)
    assert (counted["scale"] == 0) == bool(digits) and counted["rprelu"] == 0
    assert schedule(program).starts == schedule(derive(graph, shape, **recipe)).starts
    checked(program, graph, images, f"{kind} {stem} seed 4")


def test_the_planner_takes_adders_where_all_weights_are_plus_or_minus_one():
    graph, _images = next((graph, x) for graph, x in map(drawn, range(4000, 4100))
                          if signed_layers(graph))
    board = get_board("ulx3s-85f")
    chosen = plan(graph, board)
    assert chosen.config.signed_sums and chosen.recipe["signed_sums"]
    narrow = plan(graph, board, max_luts=chosen.estimate.comb - 1)
    assert narrow.estimate.comb < chosen.estimate.comb


def test_other_weights_and_gains_are_refused():
    rng = np.random.default_rng(7)
    network = random_network(rng, size=8, max_channels=16)
    _folded, graph = lower_to_integers(network.graph, np.zeros((1, 8, 8, 3), np.uint8), Numeric())
    with pytest.raises(DoesNotFit, match="no 1x1 layers of ±1 weights alone"):
        derive(graph, SHAPE, signed_sums=True)
    with pytest.raises(DoesNotFit, match="scales need a multiplier"):
        on_machine(graph, general_purpose(SHAPE, scale_digits=2))
