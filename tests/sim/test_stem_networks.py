"""Networks with an ImageNet stem (7x7, max-pool), by whole maps and depth-first, simulated."""

import numpy as np
import pytest

from boards import get_board
from hwbnn.errors import DoesNotFit, UnsupportedError
from hwbnn.passes import Numeric, lower_to_integers
from hwbnn.plan import plan
from hwbnn.shape import Shape, derive
from sim.random_network import random_network

SHAPE = Shape(16, 4, 1, 4)


def drawn(seed, band, size, channels=40, blocks=3, **recipe):
    rng = np.random.default_rng(seed)
    network = random_network(rng, imagenet=True, max_tau=5, size=size, max_channels=channels,
                             max_blocks=blocks)
    _c, h, w = network.graph["image"].op.shape
    images = rng.integers(0, 256, (3, h, w, 3), dtype=np.uint8)
    _folded, graph = lower_to_integers(network.graph, images[:1], Numeric(image_weight_bits=8))
    return graph, images, derive(graph, SHAPE, band=band, **recipe)


# the second network's maps between its first layers are rings that turn several times
@pytest.mark.parametrize(("seed", "band", "size"), [(1, 0, 32), (4, 2, 64)])
def test_frames_equal_the_integer_network_in_the_cycles_predicted(checked, seed, band, size):
    graph, images, program = drawn(seed, band, size)
    kept = program.placement.rows.features
    if band:
        whole = {layer.value: layer.out_shape[1] for layer in program.layers if layer.stored}
        assert any(kept[name] < rows for name, rows in whole.items()), "no ring to prove"
    checked(program, graph, images, f"seed {seed}")


def test_weights_from_sdram_and_two_frames_at_once(checked):
    """Every weight behind the first layers comes from the strict chip; ends overlap beginnings."""
    graph, images, program = drawn(32, 2, 48, channels=60, blocks=6, stream=True, overlap=6)
    assert any(step.lag for step in program.steps)
    assert any(step.n_og < step.of_og and not step.lag for step in program.steps)
    checked(program, graph, images, "seed 32")


def test_an_end_that_reads_what_the_beginning_makes_is_refused():
    with pytest.raises(DoesNotFit, match="the next frame overwrites"):
        drawn(34, 2, 48, channels=60, blocks=6, stream=True, overlap=6)


def test_a_plan_keeps_to_the_luts_it_was_given():
    graph, _images, _program = drawn(32, 2, 48, channels=60, blocks=6)
    board = get_board("ulx3s-85f")
    free = plan(graph, board).estimate.comb
    given = free - 4_000
    assert plan(graph, board, max_luts=given).estimate.comb <= given
    with pytest.raises(DoesNotFit, match="LUTs too many") as refused:
        plan(graph, board, max_luts=5_000)
    assert "--max-luts" in refused.value.hint


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "overlap"), [(32, 7), (33, 6), (33, 7), (34, 7), (7, None)])
def test_more_streaming_networks(checked, seed, overlap):
    graph, images, program = drawn(seed, 2, 48, channels=60, blocks=6, stream=True,
                                   overlap=overlap)
    checked(program, graph, images, f"seed {seed}")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 14))
@pytest.mark.parametrize("band", [2, 4])
def test_more_networks(checked, seed, band):
    try:
        graph, images, program = drawn(seed, band, None)
    except UnsupportedError as error:
        pytest.skip(str(error))
    checked(program, graph, images, f"seed {seed}")
