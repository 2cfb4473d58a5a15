"""Maps that wait for gains, made by groups of channels: words on chip, weights, channel sums."""

import itertools

import numpy as np

from hwbnn.geometry import geometry
from hwbnn.group_pieces import group_pieces
from hwbnn.off_chip import OffChip
from hwbnn.passes import Numeric, lower_to_integers
from hwbnn.shape import Shape, derive
from hwbnn.stream_parts import step_words
from sim.random_gains import random_gains

SHAPE = Shape(8, 8, 1, 8)
OFF = {"off_chip": 4, "off_rows": 4}


def programs():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        network = random_gains(rng, size=8, pointwise=True, step=8, max_channels=24)
        _c, h, w = network.graph["image"].op.shape
        images = rng.integers(0, 256, (1, h, w, 3), dtype=np.uint8)
        graph = lower_to_integers(network.graph, images, Numeric())[1]
        program = derive(graph, SHAPE, stream=True, **OFF)
        if any(step.by_groups for step in program.steps):
            yield program


def test_each_group_is_made_once_within_the_words_of_a_band():
    seen = 0
    for program in programs():
        place, config = program.placement, program.config
        for layer in program.layers:
            steps = [s for s in program.steps if s.layer is layer and s.by_groups]
            if not steps:
                continue
            seen += len(steps) > 1
            assert [s.g0 for s in steps] == [0, *(s.g0 + s.n_og for s in steps[:-1])]
            assert steps[-1].g0 + steps[-1].n_og == steps[0].of_og
            height, wide = layer.out_shape[1:]
            band = place.rows.features[layer.value] * steps[0].of_og * wide
            for step in steps:
                f = step.fields
                assert (step.y0, step.y1) == (0, height)
                assert step.n_og * f["f_step"] <= band and f["f_step"] == height * wide
                assert f["b_addr"] == place.branch[layer.value]
                assert f["sum_begins"] and f["sum_ends"]
                assert f["sum_write"] == place.x[layer.sums] + step.g0
            tiles = sum(s.load["n_tiles"] + 1 for s in steps)
            assert tiles == steps[0].of_og * steps[0].n_ig
            assert all(step_words(s, config) for s in steps)
    assert seen > 5


def test_what_they_are_multiplied_by_comes_by_the_same_groups():
    seen = 0
    for program in programs():
        for before, step in itertools.pairwise(program.steps):
            if not step.by_groups or step.layer.moves or not step.layer.product:
                continue
            moved = before.layer
            if not moved.moves or moved.source != step.layer.residual:
                continue  # that map is on chip
            seen += 1
            assert moved.by_groups and not moved.to
            assert (moved.part.first, moved.part.groups) == (step.g0, step.n_og)
            assert before.fields["x_addr"] == step.fields["f_read"]
            assert before.fields["f_step"] == step.fields["f_step"]
    assert seen


def test_which_maps_are_made_so():
    for program in programs():
        config, rows = program.config, program.placement.rows
        ranges = group_pieces(program.layers, config, rows, OffChip(4, 4))
        made = [x for x in program.layers if x.in_branch and x.value in ranges]
        assert made
        for layer in made:
            geo, kept = geometry(layer, config), rows.features[layer.value]
            assert geo.n_ig == 1 or geo.height * geo.n_x <= config.psum_depth
            assert max(g1 - g0 for g0, g1 in ranges[layer.value]) * geo.height <= kept * geo.n_og
        assert group_pieces(program.layers, config, rows, OffChip()) == {}
