"""Networks with a 3x3 first layer by bands of rows: the image is a ring, the weights may stream."""

import itertools

import numpy as np
import pytest

from boards import get_board
from hwbnn.errors import DoesNotFit, UserError
from hwbnn.passes import Numeric, lower_to_integers
from hwbnn.plan import plan
from hwbnn.shape import Shape, derive
from sim.random_network import random_network

SHAPE = Shape(16, 4, 1, 4)


def drawn(seed, size=24, channels=60):
    rng = np.random.default_rng(seed)
    network = random_network(rng, pointwise=True, multiple=SHAPE.lanes, size=size,
                             max_channels=channels, max_blocks=5)
    _c, h, w = network.graph["image"].op.shape
    images = rng.integers(0, 256, (3, h, w, 3), dtype=np.uint8)
    _folded, graph = lower_to_integers(network.graph, images[:1], Numeric())
    return network, graph, images


def check(checked, seed, **recipe):
    network, graph, images = drawn(seed)
    program = derive(graph, SHAPE, **recipe)
    assert program.placement.rows.image < images.shape[1], "no ring to prove"
    checked(program, graph, images, f"seed {seed}")
    return network.features


def test_ring_of_image_rows_and_streamed_weights(checked):
    assert {"1x1", "repeated residual"} <= check(checked, 3, band=2, stream=True)


KINDS = ("3x3", "double", *("half", "double", "3x3", "1x1") * 3, "half", "double")
AGAIN = {"band": 2, "halvings": 3, "resident": 7, "deep": 4, "stream": True}


def mobile(recipe, size=32):
    """The order of blocks of ReActNet-A, few channels."""
    rng = np.random.default_rng(1)
    network = random_network(rng, multiple=8, max_channels=8, size=size, kinds=KINDS, classes=10)
    _c, h, w = network.graph["image"].op.shape
    images = rng.integers(0, 256, (3, h, w, 3), dtype=np.uint8)
    _folded, graph = lower_to_integers(network.graph, images[:1], Numeric())
    return graph, images, derive(graph, SHAPE, **recipe)


def test_weights_of_bands_come_from_sdram_again(checked):
    """Layers 7 to 11 run by 4 rows, each time with their weights from SDRAM."""
    graph, images, program = mobile(AGAIN)
    again = [step for step in program.steps if step.streamed and program.layers[9] is step.layer]
    assert len(again) > 1 and again[0].y1 < program.layers[9].out_shape[1]
    checked(program, graph, images, "seed 1")


def test_residuals_used_twice_and_pooled_maps_take_no_place_of_their_own():
    _graph, _images, program = mobile(AGAIN)
    places, layers = program.placement, program.layers
    doubles = [x for x in layers if x.repeats == 2 and x.stored]
    assert doubles
    for layer in doubles:
        kept = places.rows.features[layer.value]
        words = layer.out_shape[0] // SHAPE.lanes * kept * layer.out_shape[2]
        assert places.residual(layer.residual) == places.features[layer.value] + words // 2
    pooled = layers[14]
    assert pooled.halved and places.x[pooled.x] == places.features[pooled.residual]


def test_keys_of_bands_that_make_no_sense_are_refused():
    with pytest.raises(UserError, match="99 layers that keep their weights on chip"):
        mobile({"band": 2, "resident": 99, "stream": True})
    with pytest.raises(UserError, match="bands of 4 rows for no layer"):
        mobile({"band": 2, "deep": 4})
    with pytest.raises(DoesNotFit, match="bands of 3 rows"):
        mobile({"band": 2, "resident": 1, "deep": 3, "stream": True})


@pytest.mark.parametrize("resident", range(1, 12))
@pytest.mark.parametrize("deep", [0, 4, 6])
def test_every_layer_runs_once_over_all_rows(resident, deep):
    """Whatever keeps its weights: the pieces of a layer follow each other and end with its map."""
    network = random_network(np.random.default_rng(1), multiple=8, max_channels=8, size=32,
                             kinds=KINDS, classes=10)
    _folded, graph = lower_to_integers(network.graph, np.zeros((1, 32, 32, 3), np.uint8), Numeric())
    program = derive(graph, SHAPE, **AGAIN | {"resident": resident, "deep": deep})
    for layer in program.layers:
        steps = [s for s in program.steps if s.layer is layer and s.g0 == 0]
        assert steps[0].y0 == 0 and steps[-1].y1 == layer.out_shape[1]
        assert all(a.y1 == b.y0 for a, b in itertools.pairwise(steps))
        assert {s.streamed for s in steps} == {program.layers.index(layer) >= resident}


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "recipe"), [
    (3, {"band": 4}), (4, {"band": 2, "halvings": 2}),
    (8, {"band": 2, "halvings": 2, "stream": True}), (10, {"band": 2}),
])
def test_more_rings(checked, seed, recipe):
    check(checked, seed, **recipe)


def test_weights_that_do_not_fit_come_from_sdram():
    """A network of few pixels and many channels: 1 Mbit of weights, nearly all of 1x1 layers."""
    _network, graph, _images = drawn(3, size=8, channels=900)
    made = plan(graph, get_board("ulx3s-85f"))
    assert made.config.streams and made.estimate.ebr <= 208
