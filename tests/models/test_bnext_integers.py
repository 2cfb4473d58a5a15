"""BNext, float and quantised: the graph is PyTorch's, and integers follow it."""

import numpy as np
import pytest
import torch

from hwbnn import api, golden, show
from hwbnn.agreement import agreement
from hwbnn.bops import binary_layers
from hwbnn.counts import work
from hwbnn.errors import CheckpointError
from hwbnn.extract import extract
from hwbnn.ir import Graph
from hwbnn.ops import float_gain as G
from hwbnn.ops import int_dynamic as DI
from hwbnn.ops import int_gain as J
from hwbnn.ops import int_ops as I
from hwbnn.ops.int_levels import MinMax
from hwbnn.passes import lower_to_integers
from hwbnn.passes.calibrate import run_float
from hwbnn.schedule import schedule
from hwbnn.shape import Shape, derive
from models import synth
from models.api import load_network
from models.bnext import synth as made
from models.bnext.layers import Unit
from models.bnext.net import Geometry, Geometry18
from models.checkpoint import Checkpoint

# Blocks with and without product, that double, that halve, and two behind each other that do none.
SMALL = {
    "mobile-cifar": Geometry("cifar", (16, 32, 64, 64, 64), 7),
    "mobile-imagenet": Geometry("imagenet", (16, 32, 64, 64), 7),
    "18-cifar": Geometry18("cifar", (16, 24), (2, 1), 7),
    "18-imagenet": Geometry18("imagenet", (16, 24), (1, 2), 7),
    "mobile-cifar-4": Geometry("cifar", (16, 32, 64), 7, 4),
    "18-cifar-8": Geometry18("cifar", (16, 24), (1, 1), 7, 8),
    "18-imagenet-4": Geometry18("imagenet", (16, 24), (1, 1), 7, 4),
}
FLOAT = [name for name, geometry in SMALL.items() if geometry.se_bits is None]


def size_of(name):
    return 32 if "cifar" in name else 64


@pytest.fixture(scope="module")
def settled():
    """settled(name) -> network with made-up parameters, made once."""
    kept = {}

    def make(name):
        if name not in kept:
            generator = torch.Generator().manual_seed(6)
            net = made.parameters(SMALL[name], generator)
            images = synth.colour_scenes(24, size_of(name), 1)
            synth.settle(net, images, made.hooks(net), generator)
            kept[name] = net
        return kept[name]

    return make


def network_of(net, name, **changes):
    state = {k.removeprefix("module."): v for k, v in made.wrap(net)["state_dict"].items()}
    options = {"input_size": size_of(name)}
    if name.startswith("mobile"):
        options["stem"] = SMALL[name].stem
    if SMALL[name].se_bits is not None:
        options["se_bits"] = SMALL[name].se_bits
    return load_network(Checkpoint.of({**state, **changes}, "net.pth"), options=options)


@pytest.mark.parametrize("name", SMALL)
def test_the_graph_is_pytorchs(settled, name):
    net = settled(name)
    network = network_of(net, name)
    graph = network.graph()
    assert graph.meta["geometry"] == SMALL[name].describe() and graph.meta["warnings"] == []
    values = run_float(graph, synth.colour_scenes(4, size_of(name), 9))
    with torch.no_grad():
        expected = network.module().double()(torch.from_numpy(values["input"])).numpy()
    assert expected.std() > 0.3
    assert np.abs(values[graph.output][:, :, 0, 0] - expected).max() < 1e-10
    gains = [values[n.name] for n in graph if n.name.endswith(".se.se.4")]
    units = [m for m in net.modules() if isinstance(m, Unit)]
    assert len(gains) == len(units) == len(binary_layers(graph))
    assert min(g.std(axis=0).max() for g in gains) > 0.02  # they differ from image to image
    products = [n for n in graph if isinstance(n.op, G.FProduct)]
    assert len(products) == sum(m.product for m in units) >= 1
    # no mix is of maps: it would have a size
    types = graph.types()
    assert {types[n.name].shape[1:] for n in graph if isinstance(n.op, G.FMix)} == {(1, 1)}


@pytest.mark.parametrize("name", FLOAT)
def test_only_some_units_cut_their_scale(settled, name):
    graph = network_of(settled(name), name).graph()
    scales = {n.name: n.op.scale for n in graph if isinstance(n.op, G.FMix)}
    cut = np.concatenate([v for k, v in scales.items() if ".FFN" in k])
    free = np.concatenate([v for k, v in scales.items() if ".Attention" in k])
    assert cut.min() == 0 and cut.max() == 1 and free.min() < 0 and free.max() > 1


@pytest.mark.parametrize("name", SMALL)
def test_integers_agree_with_pytorch(settled, name, tmp_path):
    network = network_of(settled(name), name)
    real, size = network.graph(), size_of(name)
    images = synth.colour_scenes(16, size, 3)
    for calibration in (synth.colour_scenes(24, size, 2), None):
        folded, integer = lower_to_integers(real, calibration)
        found = agreement(folded, integer, images, network.logits(images))
        # float32 may flip a bit or two, which ones depends on the processor's kernels
        assert found.graph_error < 0.01 * found.spread
        assert found.mean_error < 0.03 * found.spread and found.same_class >= 14
        assert len(found.layers) == len(binary_layers(integer))
        assert min(layer.percent for layer in found.layers) > 98.5
        values, types = golden.run_batch(integer, images[:2]), integer.types()
        for key, value in values.items():
            if types[key].kind != "pixel":
                assert types[key].shape == value.shape[1:], key
                assert types[key].range.lo <= value.min(), key
                assert value.max() <= types[key].range.hi, key
        # a hidden channel of an SE layer has a value an image: few to find its range by
        assert sum(golden.run(integer, images).saturated.values()) <= 2
    assert work(integer) == work(real)
    integer.save(tmp_path)
    assert Graph.load(tmp_path).digest() == integer.digest()


def test_what_is_multiplied_fits_a_multiplier(settled):
    _folded, integer = lower_to_integers(network_of(settled("18-cifar"), "18-cifar").graph())
    types = integer.types()
    checked = 0
    for node in integer:
        if isinstance(node.op, J.Product | J.GainAffine | J.Mix | J.ScaledGain):
            checked += 1
            assert all(types[i].range.width <= 18 for i in node.inputs)
        if isinstance(node.op, I.Affine) and node.op.pre == 0:
            assert types[node.inputs[0]].range.width <= 18
    assert checked == 6 * 3 + 3  # six units, three of them with a product
    sigmoids = [n for n in integer if isinstance(n.op, DI.Sigmoid)]
    assert len(sigmoids) == 6 and len({n.op.table.tobytes() for n in sigmoids}) == 1
    chose = {d.chose for d in integer.decisions if d.where == sigmoids[0].name}
    assert chose == {"table of 1024 entries, error at most 0.00098"}


@pytest.mark.parametrize(("name", "bits", "count"), [
    ("mobile-cifar-4", {4, 8}, 2 * 6 + 1), ("18-cifar-8", {8}, 1 + 1), ("18-imagenet-4", {8}, 10)])
def test_quantisers_of_inputs(settled, name, bits, count):
    """18 gives the inputs of the SE layers 16 bits where it gives the weights 8: no step here."""
    _folded, integer = lower_to_integers(network_of(settled(name), name).graph())
    levels = [n for n in integer if isinstance(n.op, MinMax)]
    assert {n.op.bits for n in levels} == bits and len(levels) == count
    types = integer.types()
    maps = [n.name for n in levels if types[n.name].shape[1:] != (1, 1)]
    assert maps == (["layer1.0.Attention.downsample.1.levels"] if name.startswith("18") else [])
    cut = integer["fc.levels.cut"].op
    unit = 2.0 ** -types["fc.levels"].frac / np.prod(types["prelu"].shape[1:])
    assert cut.hi == min(round(25 / unit), (1 << 15) - 1)


def test_a_map_is_summed_once_for_both_units_that_read_it(settled):
    integer = lower_to_integers(network_of(settled("mobile-cifar"), "mobile-cifar").graph())[1]
    readers = integer.consumers()["feature.1.Attention.add.mean"]
    assert [n.name for n in readers] == ["feature.1.FFN_1.se.mix.sum",
                                         "feature.1.FFN_2.se.mix.sum"]
    concat = integer["feature.1.concat"]
    assert concat.inputs == ("feature.1.FFN_1.add", "feature.1.FFN_2.add")


@pytest.mark.parametrize("name", ["18-cifar", "mobile-cifar", "mobile-imagenet", "18-cifar-8",
                                  "mobile-cifar-4"])
def test_networks_become_steps(settled, name):
    """Every unit is a convolution, a mix, two dense layers and a step that applies the gains;
    every quantiser whose range each image decides is a pass."""
    network = network_of(settled(name), name)
    _folded, integer = lower_to_integers(network.graph(), synth.colour_scenes(8, size_of(name), 1))
    layers = extract(integer)
    units = len(binary_layers(integer))
    assert sum(layer.other is not None for layer in layers) == units
    assert sum(layer.gains is not None for layer in layers) == units
    assert sum(isinstance(layer.x_op, DI.Sigmoid) for layer in layers) == units
    twice = [n for n in integer if isinstance(n.op, J.Concat)]
    assert sum(layer.again for layer in layers) == len(twice)
    program = derive(integer, Shape(16, 8, 1, 8))
    levels = [n.name for n in integer if isinstance(n.op, MinMax)]
    passes = [step for step in program.steps if step.layer.levels]
    assert sorted(step.name for step in passes) == sorted(levels)
    assert program.config.levels == tuple(sorted({s.layer.levels.bits for s in passes}))
    for step in passes:  # nobody else reads what it reads: the levels take its place
        assert step.fields["x_addr"] == step.fields["x_write"]
    kinds = {"binary", "dense", "gain"} | ({"levels"} if levels else set())
    assert {step.kind for step in program.steps} == kinds
    planned = schedule(program)
    barrier = sum(s.cycles for s in planned.steps if s.bound == "barrier")
    assert 0.05 < barrier / planned.interval < 0.6


def test_check_shows_quantisers(settled, tmp_path):
    """`api.check` has a row for each, before a machine is planned; images are classified."""
    path = tmp_path / "net.pth"
    torch.save(made.wrap(settled("18-cifar-8")), path)
    options = api.Options(checkpoint=str(path), board="ulx3s", model={"input_size": "32"})
    found = show.checked(api.check(options))
    assert "levels of 8 bits in the range of each channel" in found
    assert "levels of 8 bits in the range of the image" in found
    images = tmp_path / "images.npz"
    np.savez(images, x=synth.colour_scenes(2, 32, 5))
    assert len(api.infer(str(path), images, "int-model", options).classes) == 2


def test_weights_of_zero(settled):
    key = "layer0.0.FFN.binary_conv.weight"
    weight = dict(settled("18-cifar").state_dict())[key].clone()
    weight[0, 0, 0, 0] = 0
    with torch.no_grad():
        (warning,) = network_of(settled("18-cifar"), "18-cifar",
                                **{key: weight}).graph().meta["warnings"]
    assert warning.startswith(f"{key}: 1 zero weights as +1")
    weight[1] = 0
    with pytest.raises(CheckpointError, match=rf"{key}: 145 of 2304 weights are exactly 0"):
        network_of(settled("18-cifar"), "18-cifar", **{key: weight}).graph()
