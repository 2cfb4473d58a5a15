"""Networks with a 3x3 first layer by bands of rows: the image is a ring, the weights may stream."""

import numpy as np
import pytest

from boards import get_board
from hwbnn.passes import Numeric, lower_to_integers
from hwbnn.plan import plan
from hwbnn.schedule import schedule
from hwbnn.shape import Shape, derive
from hwbnn.stages import compare_cycles
from sim.network import build_simulator, simulate
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


def check(seed, **recipe):
    network, graph, images = drawn(seed)
    program = derive(graph, SHAPE, **recipe)
    assert program.placement.rows.image < images.shape[1], "no ring to prove"
    try:
        run = simulate(program, graph, images, simulator=build_simulator(program.config))
        compare_cycles(schedule(program), run)
    except (Exception, SystemExit) as error:
        error.add_note(f"seed {seed}")
        raise
    return network.features


def test_ring_of_image_rows_and_streamed_weights():
    assert {"1x1", "repeated residual"} <= check(3, band=2, stream=True)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "recipe"), [
    (3, {"band": 4}), (4, {"band": 2, "halvings": 2}),
    (8, {"band": 2, "halvings": 2, "stream": True}), (10, {"band": 2}),
])
def test_more_rings(seed, recipe):
    check(seed, **recipe)


def test_weights_that_do_not_fit_come_from_sdram():
    """A network of few pixels and many channels: 1 Mbit of weights, nearly all of 1x1 layers."""
    _network, graph, _images = drawn(3, size=8, channels=900)
    made = plan(graph, get_board("ulx3s-85f"))
    assert made.config.streams and made.estimate.ebr <= 208
