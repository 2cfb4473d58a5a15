"""Maps off chip: where they lie, what is moved, what runs twice, the planner, and refusals."""

import dataclasses
import json

import numpy as np
import pytest

from boards import get_board
from hwbnn.errors import DoesNotFit, UserError
from hwbnn.external import stream_length
from hwbnn.extract import extract
from hwbnn.machine import Plan, make
from hwbnn.passes import Numeric, lower_to_integers
from hwbnn.plan_off_chip import compared, off_chip_text
from hwbnn.plan_streaming import plan_streaming
from hwbnn.schedule import schedule
from hwbnn.shape import Shape, derive, on_machine
from sim.random_gains import random_gains
from sim.random_network import random_network

SHAPE = Shape(8, 8, 1, 8)


def drawn(*features, size=8, levels=False, channels=16, first=0):
    for seed in range(first, 300):
        rng = np.random.default_rng(seed)
        network = random_gains(rng, size=size, step=8, max_channels=channels, levels=levels)
        _c, h, w = network.graph["image"].op.shape
        if network.features >= set(features) and h == size:
            images = rng.integers(0, 256, (1, h, w, 3), dtype=np.uint8)
            return lower_to_integers(network.graph, images, Numeric())[1]
    raise AssertionError(f"no network has {features}")


def made(graph, **recipe):
    return derive(graph, SHAPE, stream=True, **recipe)


@pytest.mark.parametrize("again", [[], [8, 4]])
def test_every_row_goes_out_once_and_comes_back_where_it_is_read(again):
    program = made(drawn("product", "two", "halved product"), off_chip=4, off_rows=2,
                   off_again=again)
    moves = [step for step in program.steps if step.layer.moves]
    assert {step.layer.to for step in moves} == {True, False}
    stored = {}
    for step in moves:
        move, f = step.layer, step.fields
        per_row = move.part.groups * move.part.words
        assert f["move_bursts"] == (step.y1 - step.y0) * per_row
        for y in range(step.y0, step.y1):
            place = f["move_base"] + (y - step.y0) * per_row
            key = (move.source, move.part.first, y)
            if move.to:
                assert key not in stored
                stored[key] = place
            else:
                assert stored[key] == place
    waits = {layer.value for layer in program.layers if layer.in_branch}
    names = {name for name, _first, _y in stored}
    assert bool(names & waits) == (not again)
    twice = [step for step in program.steps if " again" in step.name]
    assert bool(twice) == bool(again)
    assert all(s.layer.macs == 0 and s.layer.serves in program.layers for s in twice)
    # behind the weights, and within what the program says it takes
    first = min(s.fields["move_base"] for s in moves)
    last = max(s.fields["move_base"] + s.fields["move_bursts"] for s in moves)
    assert 8 * first >= stream_length(program) and 8 * last == program.off_chip_words


def test_maps_that_live_together_lie_apart():
    program = made(drawn("product", "two"), off_chip=8, off_rows=4)
    contents = {}
    assert {step.layer.to for step in program.steps if step.layer.moves} == {True, False}
    for step in program.steps:
        if step.layer.moves:
            f = step.fields
            for at in range(f["move_bursts"]):
                key = (step.layer.source, step.layer.part.first, step.y0, at)
                if step.layer.to:
                    contents[f["move_base"] + at] = key
                else:
                    found = contents[f["move_base"] + at]
                    assert found[:2] == key[:2], "another map was stored over it"


def words(step) -> set[int]:
    """Words on chip that a step moves."""
    f = step.fields
    first = f["b_addr" if f["move_branch"] else "x_addr"]
    return {first + group * f["f_step"] + word for group in range(f["n_og"] + 1)
            for word in range((f["n_y"] + 1) * (f["n_x"] + 1))}


@pytest.mark.parametrize("rows", [2, 4, 8])
def test_rows_share_words_but_for_those_of_one_step(rows):
    graph = drawn("product", "two", "halved product", size=16)
    program = made(graph, off_chip=4, off_rows=rows)
    pieces, owners = {}, {}
    for step in program.steps:
        if step.layer.moves:
            branch = bool(step.fields["move_branch"])
            for word in words(step):
                owners.setdefault((branch, word), set()).add(step.layer.source)
            if not step.layer.to:
                group = step.g0 if step.layer.by_groups else None
                pieces.setdefault((step.layer.serves, step.y0, branch, group), []).append(step)
    for loads in pieces.values():
        assert sum(len(words(step)) for step in loads) == len(set().union(*map(words, loads)))
    assert any(len(loads) > 1 for loads in pieces.values())
    assert max(map(len, owners.values())) > 2
    whole = made(graph, off_chip=4, off_rows=16)
    assert program.needed["features"] < whole.needed["features"]


def test_a_smaller_map_stays_behind_what_it_is_made_of():
    graph = drawn("product", "halved product", size=16, first=35)
    program = made(graph, off_chip=4, off_rows=8)
    place, kept = program.placement, program.placement.rows
    found = [layer for layer in program.layers if layer.halved and layer.residual]
    assert any(place.x[layer.x] < place.residual(layer.residual) for layer in found)
    for layer in found:
        wide, base, smaller = layer.out_shape[2], place.residual(layer.residual), place.x[layer.x]
        read = {}
        for y in range(layer.out_shape[1]):
            for x in range(wide):
                word = base + y % kept.kept(layer.residual) * wide + x
                read[y, x] = word
        for y in range(1, layer.out_shape[1], 2):
            unread = {read[row, x] for row in range(y + 1, y - y % 8 + 8) for x in range(wide)}
            made_here = {smaller + y // 2 % kept.x[layer.x] * (wide // 2) + x
                         for x in range(wide // 2)}
            assert not made_here & unread


def test_more_rows_a_move_take_fewer_cycles():
    graph = drawn("product")
    few, many = (schedule(made(graph, off_chip=8, off_rows=rows)).interval for rows in (2, 8))
    assert many < few


def test_refused_by_name():
    graph = drawn("sum")
    for recipe, error, text in (
        ({"off_rows": 4}, UserError, "of no map"),
        ({"off_chip": 4, "off_rows": 3}, DoesNotFit, "bands of 3 rows"),
    ):
        with pytest.raises(error, match=text):
            made(graph, **recipe)
    with pytest.raises(UserError, match="maps in off-chip memory need weights from there"):
        make(graph, SHAPE, off_chip=4, off_rows=2)
    with pytest.raises(UserError, match="8 lanes"):
        make(graph, Shape(8, 4, 1, 4), off_chip=4, off_rows=2, stream=True)
    with pytest.raises(DoesNotFit, match="reads a whole map"):
        made(drawn("levels of a map", levels=True), off_chip=4, off_rows=2)
    with pytest.raises(DoesNotFit, match="the engine cannot move maps off chip"):
        on_machine(graph, made(graph).config, off_chip=4, off_rows=2)
    rng = np.random.default_rng(1)
    plain = random_network(rng, imagenet=True, max_tau=5, size=32)
    images = rng.integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    other = lower_to_integers(plain.graph, images, Numeric(image_weight_bits=8))[1]
    with pytest.raises(DoesNotFit, match="networks with gains of each image"):
        made(other, off_chip=4, off_rows=2)


def test_the_planner_puts_maps_off_chip_where_they_do_not_fit(monkeypatch):
    graph = drawn("product", size=16, channels=24)
    layers, board = extract(graph), get_board("ulx3s-85f")
    monkeypatch.setattr("hwbnn.plan_off_chip.SHAPES", ((8, 8, 8),))
    monkeypatch.setattr("hwbnn.plan_streaming.SHAPES", ((8, 8, 8),))
    whole = make(graph, SHAPE, stream=True)
    off = make(graph, SHAPE, stream=True, off_chip=16, off_rows=4)
    assert off.estimate.ebr < whole.estimate.ebr
    small = dataclasses.replace(board, budget=dataclasses.replace(
        board.budget, ebr=whole.estimate.ebr - 1))
    found = plan_streaming(graph, small, luts=60_000, clock=1e8, target_fps=None)
    assert found.recipe["off_chip"] and found.estimate.ebr < whole.estimate.ebr
    again = found.recipe["off_again"]
    costs = {c.height: c for c in compared(layers, found.config, found.recipe["off_rows"])}
    assert again and all(costs[height].twice < costs[height].stored for height in again)
    text = off_chip_text(found.program, found.recipe, layers)
    cost = costs[again[0]]
    assert f"{again[0]} rows computed twice (stored {cost.stored:,}, twice {cost.twice:,})" in text
    assert "fits 32 MB" in text and text.endswith("The program comes with the weights.")
    assert Plan.from_json(found.to_json(), graph).estimate == found.estimate
    tiny = dataclasses.replace(board, budget=dataclasses.replace(board.budget, ebr=8))
    with pytest.raises(DoesNotFit, match="block RAMs too many") as refused:
        plan_streaming(graph, tiny, luts=60_000, clock=1e8, target_fps=None)
    shown = json.loads(refused.value.hint.removeprefix("its cycles: --plan with "))
    assert Plan.from_json(shown, graph).recipe["off_chip"]
