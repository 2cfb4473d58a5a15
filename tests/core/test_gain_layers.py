"""Layers of networks with gains of the image: what is grouped, placed, scheduled and refused."""

import dataclasses

import numpy as np
import pytest

from hwbnn.errors import DoesNotFit, UnsupportedError, UserError
from hwbnn.extract import extract
from hwbnn.ir import Graph, Node
from hwbnn.ops import int_gain as J
from hwbnn.ops import int_ops as I
from hwbnn.ops.int_levels import MinMax
from hwbnn.passes import Numeric, lower_to_integers
from hwbnn.plan_beside import plan_beside
from hwbnn.program import program
from hwbnn.schedule import schedule
from hwbnn.shape import Shape, derive, general_purpose, on_machine
from rtl_gen.engine.gain_config import GainConfig
from rtl_gen.engine.run_time_config import RunTimeConfig
from sim.random_gains import Builder, random_gains


def drawn(*features, step=4, pointwise=True, levels=False):
    """The first random network with all of ``features``, lowered."""
    for seed in range(200):
        rng = np.random.default_rng(seed)
        network = random_gains(rng, pointwise=pointwise, step=step, levels=levels)
        if network.features >= set(features):
            _c, h, w = network.graph["image"].op.shape
            images = rng.integers(0, 256, (2, h, w, 3), dtype=np.uint8)
            return lower_to_integers(network.graph, images, Numeric(rprelu="multiplier"))[1]
    raise AssertionError(f"no network has {features}")


def test_a_map_made_in_parts_is_read_when_both_are_there():
    graph = drawn("two")
    layers = extract(graph)
    concat = next(n.name for n in graph if isinstance(n.op, J.Concat))
    parts = [layer for layer in layers if layer.of]
    assert [part.at for part in parts] == [0, parts[0].out_shape[0]]
    assert {part.joint for part in parts} == {2 * parts[0].out_shape[0]}
    last = layers.index(parts[1])
    names = {name for part in parts for name in part.made}
    assert all(set(layer.reads).isdisjoint(names) for layer in layers[: last + 1])
    assert any(set(layer.reads) & names for layer in layers[last + 1 :])
    # lanes that do not divide the first part would write into both
    wide = derive(graph, Shape(16, 4, 1, 4))
    halves = [s for s in wide.steps if s.layer.of]
    assert halves[1].fields["sum_write"] - halves[0].fields["sum_write"] == parts[1].at // 4
    with pytest.raises(DoesNotFit, match="lanes that divide"):
        derive(drawn("two", step=3, pointwise=False), Shape(16, 4, 1, 4))
    assert concat


def test_vectors_that_live_together_do_not_overlap():
    made = derive(drawn("product", "halved product", "two"), Shape(8, 4, 1, 4))
    last = {name: i for i, s in enumerate(made.steps) for name in s.layer.reads}
    vectors = []
    for i, step in enumerate(made.steps):
        layer, words = step.layer, -(-step.layer.joint // 4)
        for name in {layer.sums, layer.x if layer.vector else None} - {None}:
            vectors.append((made.placement.x[name], words, i, last[name], name))
    assert len(vectors) > 10
    for a, n, start, end, name in vectors:
        for b, k, first, stop, other in vectors:
            together = start <= stop and first <= end and name != other
            assert not (together and a < b + k and b < a + n), (name, other)


def test_weightless_steps_load_constants_alone():
    made = derive(drawn("real", "sum"), Shape(16, 4, 1, 4), stream=True)
    gain = [s for s in made.steps if s.kind == "gain"]
    assert gain and all(s.load is None and s.streamed for s in gain)
    planned = schedule(made)
    steps = {s.name: s for s in planned.steps}
    assert all(steps[s.name].macs == steps[s.name].capacity == 0 for s in gain)
    assert all(steps[s.name].bound == "barrier" for s in gain)


def test_no_two_frames_at_once():
    assert plan_beside(drawn("sum"), None, 0) == []


def test_an_engine_of_thresholds_has_no_gains():
    graph = drawn("product")
    gains = GainConfig(product_shifts=tuple(range(6, 18)), branch_depth=1024)
    run_time = RunTimeConfig(shift=5, fracs=(16,), vector_depth=256, gains=gains)
    shape = Shape(8, 4, 1, 4)
    assert on_machine(graph, general_purpose(shape, run_time=run_time, mobile=True)).steps
    for changed, text in (
        (None, "needs clamps"),
        (RunTimeConfig(shift=5, fracs=(16,)), "engines of their own"),
        (RunTimeConfig(shift=5, fracs=(16,), gains=GainConfig()), "products shifted by"),
        (RunTimeConfig(shift=5, fracs=(16,), vector_depth=2, gains=gains), "vectors needs"),
        (RunTimeConfig(shift=5, fracs=(16,), vector_depth=256, gains=GainConfig(
            product_shifts=gains.product_shifts, branch_depth=4)), "branch needs"),
    ):
        with pytest.raises(DoesNotFit, match=text):
            on_machine(graph, general_purpose(shape, run_time=changed,
                                              mobile=changed is None or changed.gains is not None))


def test_refused_by_name():
    graph = drawn("sum", "product")
    layers = extract(graph)
    config = derive(graph, Shape(8, 4, 1, 4)).config
    with pytest.raises((DoesNotFit, UserError), match="one image at a time"):
        program(layers, config, graph["image"].op, batch=[(1, 2)])

    def with_reader(name, op, *more):
        nodes = [*graph, Node("extra", op, (name, *more))]
        return Graph(nodes, graph.output)

    early = next(layer for layer in layers if layer.act and layer.bits)
    raw = graph[graph[early.value].inputs[0]].inputs[0]  # before the activation
    shape = graph.types()[raw].shape
    gain = I.Conv2d(np.ones((2, shape[0], 1, 1), np.int64), 1, 0, 8)
    with pytest.raises(UnsupportedError, match="before and behind its activation"):
        extract(with_reader(raw, gain))
    summed = next(layer for layer in layers if layer.sums)
    source = graph[summed.sums].inputs[0]
    with pytest.raises(UnsupportedError, match="summed once"):
        extract(with_reader(source, I.GlobalSum(3, 16)))
    mix = next(n for n in graph if isinstance(n.op, J.Mix))
    with pytest.raises(UnsupportedError, match=f"{mix.name}: must be followed by one Saturate"):
        extract(with_reader(mix.name, I.Saturate(16)))


def behind_7x7(kind):
    """A 7x7 first convolution with its max-pool, and one unit."""
    rng = np.random.default_rng(1)
    builder = Builder(rng, 8, False, 4, False)
    builder.imagenet_stem(8)
    builder.kinds = [kind]
    builder.unit()
    network = builder.head()
    images = rng.integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    return lower_to_integers(network.graph, images, Numeric(image_weight_bits=8))[1]


def test_sums_that_several_steps_make():
    made = derive(behind_7x7("sum"), Shape(8, 4, 1, 4))
    rows = [s for s in made.steps if s.layer.stem]
    height = rows[0].layer.out_shape[1]
    assert [(s.y0, s.y1) for s in rows] == [(y, y + 1) for y in range(height)]
    assert [s.fields["sum_begins"] for s in rows] == [1] + [0] * (height - 1)
    assert [s.fields["sum_ends"] for s in rows] == [0] * (height - 1) + [1]
    whole = [s for s in made.steps if s.layer.sums and not s.layer.stem]
    assert whole and all(s.fields["sum_begins"] == s.fields["sum_ends"] == 1 for s in whole)
    assert derive(drawn("sum"), Shape(8, 4, 1, 4)).config.sum_depth == 0  # nobody pays for it
    with pytest.raises(UnsupportedError, match="half the pixels behind the first max-pool"):
        derive(behind_7x7("halved sum"), Shape(8, 4, 1, 4))


LEVELS = ("levels of a map", "levels of a mix", "levels of hidden values", "levels of sums")


def test_levels_take_the_place_of_what_they_are_made_of():
    graph = drawn(*LEVELS, levels=True)
    made = derive(graph, Shape(8, 4, 1, 4))
    passes = [step for step in made.steps if step.kind == "levels"]
    found = [n for n in graph if isinstance(n.op, MinMax)]
    assert {s.name for s in passes} == {n.name for n in found} and len(passes) == len(found)
    for step in passes:
        layer, fields = step.layer, step.fields
        cut = graph[graph[layer.name].inputs[0]]
        assert (layer.source, layer.limit) == (cut.inputs[0], cut.op.hi) == (
            layer.reads[0], -cut.op.lo)
        assert fields["x_addr"] == made.placement.x[layer.source] == fields["x_write"]
        assert made.config.levels[fields["level_bits"]] == layer.levels.bits
        assert step.load is None and not step.streamed
    # somebody else reads it, later: the levels get a place of their own
    sums = next(s.layer for s in passes if isinstance(graph[s.layer.source].op, I.GlobalSum))
    source = graph[sums.source]
    more = [Node("again", I.Conv2d(np.ones((2, graph.types()[source.name].shape[0], 1, 1),
                                           np.int64), 1, 0, 8), (source.name,)),
            Node("again.affine", I.Affine(np.ones(2, np.int64), np.zeros(2, np.int64),
                                          made.config.affine_shifts[0], 0, 0), ("again",)),
            Node("again.out", I.Saturate(16), ("again.affine",))]
    both = derive(Graph([*graph, *more], graph.output), Shape(8, 4, 1, 4))
    step = next(s for s in both.steps if s.name == sums.name)
    assert step.fields["x_addr"] != step.fields["x_write"]


def test_levels_that_are_refused():
    graph = drawn(*LEVELS, levels=True)
    program = derive(graph, Shape(8, 4, 1, 4))
    run_time = program.config.run_time
    gains = dataclasses.replace(run_time.gains, levels=())
    without = dataclasses.replace(program.config,
                                  run_time=dataclasses.replace(run_time, gains=gains))
    with pytest.raises(DoesNotFit, match="needs levels of .* which the engine does not offer"):
        on_machine(graph, without)
    node = next(n for n in graph if isinstance(n.op, MinMax))

    def changed(*new):
        nodes = {n.name: n for n in graph} | {n.name: n for n in new}
        return Graph(list(nodes.values()), graph.output)

    with pytest.raises(UnsupportedError, match=f"{node.name}: .* a clamp to ± a limit before it"):
        extract(changed(dataclasses.replace(node, inputs=graph[node.inputs[0]].inputs)))
    with pytest.raises(UnsupportedError, match=f"{node.name}: values on levels .* may only go to"):
        extract(changed(Node("extra", I.GlobalSum(0, 16), (node.name,))))
