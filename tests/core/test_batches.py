"""Batches: the order in which images and layers go, what is kept, and what is refused."""

import numpy as np
import pytest

from hwbnn.batches import Batches, Run, stages_of
from hwbnn.errors import DoesNotFit, UserError
from hwbnn.geometry import bit_plane
from hwbnn.layers import extract_layers
from hwbnn.passes import Numeric, lower_to_integers
from hwbnn.plan_batch import levels
from hwbnn.shape import Shape, derive
from sim.random_network import random_network


@pytest.fixture(scope="module")
def graph():
    rng = np.random.default_rng(8)
    network = random_network(rng, pointwise=True, multiple=4, size=16, max_channels=60,
                             max_blocks=5)
    return lower_to_integers(network.graph, None, Numeric())[1]


@pytest.fixture(scope="module")
def layers(graph):
    return extract_layers(graph)


def test_one_image_by_default(layers):
    batches = Batches.of(layers, None)
    assert batches.images == 1
    assert list(batches.runs()) == [Run(0, len(layers), 0, 1)]
    assert set(batches.tall(layers).values()) == {1}


def test_loops_nest(layers):
    n = len(layers)
    batches = Batches.of(layers, [[1, 2], [3, 4]])
    assert list(batches.runs()) == [
        Run(0, 1, 0, 1), Run(0, 1, 1, 1), Run(1, 3, 0, 2),
        Run(0, 1, 2, 1), Run(0, 1, 3, 1), Run(1, 3, 2, 2),
        Run(3, n, 0, 4),
    ]
    kept = batches.tall(layers)
    assert kept[layers[1].bits] == kept[layers[1].source] == 2
    assert kept[layers[3].source] == kept[layers[-1].value] == 4


def test_what_waits_for_other_images_stays_until_it_is_read(layers):
    batches = Batches.of(layers, [[1, 2], [3, 4]])
    assert batches.crosses(0, 1) and batches.crosses(2, 3) and not batches.crosses(1, 2)


def test_every_image_runs_through_every_layer_once(graph, layers):
    steps = derive(graph, Shape(16, 4, 1, 4), batch=[[1, 2], [3, 6]]).steps
    for layer in layers:
        images = [i for s in steps if s.layer.name == layer.name
                  for i in range(s.image, s.image + s.batch)]
        # a residual that is used twice cuts its layer in two steps
        assert images == sorted(images) or layer.repeats > 1, layer.name
        assert sorted(images) == sorted(list(range(6)) * layer.repeats), layer.name
    assert [s.name for s in steps if s.layer is steps[0].layer] == [
        f"{layers[0].name}[image {i}]" for i in range(6)]
    assert len({step.name for step in steps}) == len(steps)


def test_nestings_of_a_batch(layers):
    found = list(levels(layers, 4, 0))
    assert len(found) == len(set(found)) > len(stages_of(layers))
    for chosen in found:
        assert Batches.of(layers, chosen).images == 4
    for start in stages_of(layers)[1:]:
        assert ((start, 4),) in found


@pytest.mark.parametrize(("given", "error", "text"), [
    ([[1, 2], [3, 3]], UserError, "3 images at once behind 2"),
    ([[1, 2], [3, 1]], UserError, "1 images at once behind 2"),
    ([[99, 2]], UserError, "are not different numbers below"),
    ([[1, 2], [1, 4]], UserError, "are not different numbers below"),
    ([[0, 2]], DoesNotFit, "one image at a time"),
])
def test_what_is_refused(layers, given, error, text):
    with pytest.raises(error, match=text):
        Batches.of(layers, given)


def test_layers_by_bands_take_one_image(layers):
    with pytest.raises(DoesNotFit, match="one image at a time"):
        Batches.of(layers, [[1, 2]], prefix=3)


def test_partial_sums_hold_all_images(graph):
    with pytest.raises(DoesNotFit, match=r"partial sums of 4 images x") as refused:
        derive(graph, Shape(16, 4, 1, 4), batch=[[1, 4]], psum_depth=48)
    assert "psum_depth" in refused.value.hint


def test_lanes_behind_the_last_channel_overwrite_nothing():
    """32 channels in groups of 6 lanes: the last one writes a third word of 16 channels."""
    shape = Shape(16, 6, 1, 12)
    rng = np.random.default_rng(9007)
    graph = lower_to_integers(random_network(rng).graph, None, Numeric())[1]
    layers = extract_layers(graph)
    made = derive(graph, shape, batch=[[len(layers) - 2, 2]])
    first = layers[0]
    assert first.out_shape[0] == 32
    row, slots, planes = bit_plane(first, made.placement.rows.bits[first.bits], made.config)
    assert planes == 3
    for name, (buffer, address) in made.placement.bits.items():  # none is read before image 1 ends
        if name == layers[-3].bits and buffer == made.placement.bits[first.bits][0]:
            assert address >= row * slots * planes
            return
    raise AssertionError("no map lies behind that of the first layer")


def test_frames_of_a_batch_do_not_overlap(graph, layers):
    with pytest.raises(ValueError, match="frames that overlap"):
        derive(graph, Shape(16, 4, 1, 4), batch=[[1, 4]], overlap=len(layers) - 1)
