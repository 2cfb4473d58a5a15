"""SD-BNN: the paper's semantics, the float graph, recognition, refusals, the integers."""

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from hwbnn import golden
from hwbnn.agreement import agreement
from hwbnn.bops import binary_layers
from hwbnn.errors import CheckpointError, DoesNotFit, UnsupportedError, UserError
from hwbnn.ir import Graph
from hwbnn.layers import extract_layers
from hwbnn.ops import int_dynamic as J
from hwbnn.passes import lower_to_integers
from hwbnn.passes.calibrate import run_float
from hwbnn.run_time import run_time_config
from hwbnn.shape import Shape, derive
from models import synth
from models.api import load_network
from models.checkpoint import Checkpoint
from models.registry import families, recognise, resolve_options
from models.sd import synth as made
from models.sd.family import decode
from models.sd.net import BinaryConv, Geometry, build
from models.signs import signs

SMALL = {
    "resnet20": Geometry("resnet20", (16, 32), (2, 1), 7),
    "resnet18": Geometry("resnet18", (16, 32), (1, 2), 7),
    "vgg": Geometry("vgg", (16, 16, 32, 32), (), 7, 2),
    "birealnet": Geometry("birealnet", (16, 24), (2, 2), 7),
}
SIZE = {"resnet20": 16, "resnet18": 16, "vgg": 8, "birealnet": 64}
PUBLISHED = ("sd-resnet-20", "sd-vgg-small", "sd-resnet-18-c10", "sd-resnet-18-in")


@pytest.fixture(scope="module")
def paper():
    path = Path(__file__).parent / "restated_sd.py"
    spec = importlib.util.spec_from_file_location("restated_sd", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def settled():
    """settled(kind) -> small network with made-up parameters, made once."""
    kept = {}

    def make(kind):
        if kind not in kept:
            generator = torch.Generator().manual_seed(5)
            net = made.parameters(SMALL[kind], generator)
            synth.settle(net, synth.colour_scenes(32, SIZE[kind], 1), made.hooks(net), generator)
            kept[kind] = net
        return kept[kind]

    return make


def saved(net, origin="net.th", **changes):
    state = dict(made.wrap(net)["state_dict"])
    for key, value in changes.items():
        key = "module." + key.replace("__", ".")
        state[key] = value
        if value is None:
            del state[key]
    return Checkpoint.of(state, origin)


def network_of(net, **options):
    kind = net.geometry.kind
    return load_network(saved(net), options={"input_size": SIZE[kind], **options})


@pytest.mark.parametrize("kind", SMALL)
def test_pytorch_and_graph_are_what_the_paper_says(paper, settled, kind):
    network = network_of(settled(kind))
    assert network.family.name == "sd"
    graph = network.graph()
    assert graph.meta["geometry"] == SMALL[kind].describe()
    images = synth.colour_scenes(4, SIZE[kind], 9)
    values = run_float(graph, images)
    x = torch.from_numpy(values["input"])
    net = network.module().double()
    blocks = SMALL[kind].blocks
    with torch.no_grad():
        found = net(x).numpy()
        state = net.state_dict()
        expected = {
            "resnet20": lambda: paper.cifar(state, True, x, blocks),
            "resnet18": lambda: paper.cifar(state, False, x, blocks),
            "vgg": lambda: paper.vgg(state, len(SMALL["vgg"].widths), x),
            "birealnet": lambda: paper.imagenet(state, x, blocks),
        }[kind]().numpy()
    assert expected.std() > 0.3
    assert np.abs(found - expected).max() < 1e-10
    assert np.abs(values[graph.output][:, :, 0, 0] - expected).max() < 1e-10
    # thresholds differ from image to image and from channel to channel
    betas = [v[:, :, 0, 0] for name, v in values.items() if name.endswith("fc.3")]
    assert min(b.std(axis=0).max() for b in betas) > 1e-3
    assert min(b.std(axis=1).max() for b in betas) > 1e-2


@pytest.mark.parametrize("kind", SMALL)
def test_integers_agree_with_pytorch(settled, kind, tmp_path):
    network = network_of(settled(kind))
    size = SIZE[kind]
    folded, integer = lower_to_integers(network.graph(), synth.colour_scenes(32, size, 2))
    images = synth.colour_scenes(20, size, 3)
    found = agreement(folded, integer, images, network.logits(images))
    assert found.graph_error < 0.1 * found.spread  # float32 may flip a bit, no more
    assert found.mean_error < 0.15 * found.spread
    assert found.same_class >= 15
    convs = len([m for m in settled(kind).modules() if isinstance(m, BinaryConv)])
    assert len(found.layers) == convs == len(binary_layers(integer))
    assert min(layer.percent for layer in found.layers) > 90
    values, types = golden.run_batch(integer, images[:3]), integer.types()
    for name, value in values.items():
        if types[name].kind != "pixel":
            assert types[name].shape == value.shape[1:], name
            assert types[name].range.lo <= value.min() and value.max() <= types[name].range.hi
    shares = [values[n.name].mean() for n in integer if isinstance(n.op, J.DynamicThreshold)]
    assert 0.1 < min(shares) and max(shares) < 0.9
    integer.save(tmp_path)
    assert Graph.load(tmp_path).digest() == integer.digest()
    # without images, too
    _folded, rough = lower_to_integers(network.graph())
    assert (golden.run(rough, images).classes == network.logits(images).argmax(1)).sum() >= 14


def test_hardtanh_maps_are_plus_minus_one_exactly(settled):
    _folded, integer = lower_to_integers(network_of(settled("resnet20")).graph())
    clamps = [n for n in integer if isinstance(n.op, J.Clamp) and "hardtanh" in n.name]
    types = integer.types()
    assert {(n.op.lo, n.op.hi, types[n.name].frac) for n in clamps} == {(-16384, 16384, 14)}
    values = golden.run_batch(integer, synth.colour_scenes(2, 16, 3))
    assert max(values[n.name].max() for n in clamps) == 16384
    # nothing is lost before a hardtanh, so nothing is counted there
    result = golden.run(integer, synth.colour_scenes(2, 16, 3))
    assert all(result.saturated[n.inputs[0]] == 0 for n in clamps)


def test_sigmoid_tables_are_shared_and_their_error_is_stated(settled):
    _folded, integer = lower_to_integers(network_of(settled("vgg")).graph())
    tables = [n for n in integer if isinstance(n.op, J.Sigmoid)]
    assert len({n.op.table.tobytes() for n in tables}) == 1
    for node in tables:
        chose = next(d.chose for d in integer.decisions if d.where == node.name)
        assert chose == "table of 1024 entries, error at most 0.001"


def test_sums_are_pooled_before_gains_of_either_sign(settled):
    graph = network_of(settled("vgg")).graph()
    folded, integer = lower_to_integers(graph, synth.colour_scenes(8, 8, 2))
    gains = integer["bn1.affine"].op.gain
    assert (gains < 0).any() and (gains > 0).any()
    assert integer["bn1.affine"].inputs == ("pool1",) and integer["pool1"].inputs == ("conv1",)
    values = golden.run_batch(integer, synth.colour_scenes(2, 8, 3))
    p = values["conv1"]
    n, c, h, w = p.shape
    assert np.array_equal(values["pool1"], p.reshape(n, c, h // 2, 2, w // 2, 2).max(axis=(3, 5)))
    assert any(d.where == "pool1" and f"{int((gains < 0).sum())} channels" in d.why
               for d in integer.decisions)


def test_normalisation_before_the_classifier_is_folded(settled):
    folded, integer = lower_to_integers(network_of(settled("resnet20")).graph())
    assert "bn2" not in folded.nodes and "bn2" not in integer.nodes
    assert any(d.where == "bn2" and d.chose == "folded into linear" for d in folded.decisions)


@pytest.mark.parametrize("kind", SMALL)
def test_the_engine_has_a_pass_for_every_binary_convolution(settled, kind):
    _folded, integer = lower_to_integers(network_of(settled(kind)).graph())
    layers = extract_layers(integer)
    binary = [layer for layer in layers if layer.binary]
    passes = [layer for layer in layers if layer.map_pass and layer.thresholds]
    assert [layer.source for layer in binary] == [layer.bits for layer in passes]
    assert all(layer.bits is None for layer in layers if not layer.map_pass)
    sigmoids = {layer.x for layer in layers if isinstance(layer.x_op, J.Sigmoid)}
    assert {layer.thresholds for layer in passes} == sigmoids
    halved = [type(layer.x_op).__name__ for layer in passes if layer.halved]
    stages = len(SMALL[kind].blocks) - 1
    assert halved == {"resnet20": ["SubsamplePad"] * stages, "resnet18": ["EverySecond"] * stages,
                      "vgg": [], "birealnet": ["AvgPool2x2"] * stages}[kind]
    # a stem makes its map row by row: its channel sums are a pass of their own
    assert sum(layer.map_pass and layer.vector for layer in layers) == (kind == "birealnet")
    pooled = [layer.name for layer in layers if layer.max_pool]
    assert pooled == (["conv1", "conv3"] if kind == "vgg" else [])


def test_what_has_no_step_is_refused_by_name(settled):
    graph = network_of(settled("resnet20")).graph()
    _folded, integer = lower_to_integers(graph)
    nodes = {n.name: n for n in integer}

    def changed(name, op):
        return Graph([dataclasses.replace(n, op=op) if n.name == name else n
                      for n in nodes.values()], integer.output)

    pad = next(n for n in nodes.values() if isinstance(n.op, J.SubsamplePad))
    total = pad.op.before + pad.op.after
    with pytest.raises(UnsupportedError, match=f"{pad.name}: .*zero channels before the others"):
        extract_layers(changed(pad.name, J.SubsamplePad(1, total - 1)))
    for name, node in nodes.items():
        if isinstance(node.op, J.DynamicThreshold):
            odd = changed(name, J.DynamicThreshold(1 - node.op.tie))
            break
    with pytest.raises(UnsupportedError, match="two rules for a tie"):
        run_time_config(extract_layers(odd))
    with pytest.raises(DoesNotFit, match="need dense inputs that divide the 4 lanes, not 8"):
        derive(integer, Shape(16, 4, 1, 8))
    with pytest.raises(DoesNotFit, match="take one image at a time"):
        derive(integer, Shape(16, 4, 1, 4), batch=((1, 2),))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_tensors(published, name):
    checkpoint, listed = published(name)
    family = recognise(checkpoint)
    assert family.name == "sd"
    geometry = family.geometry(checkpoint, resolve_options(family))
    network = synth.networks()[name]
    content = network.wrap(network.build(torch.Generator().manual_seed(0)))
    assert listed["wrapper"].startswith(f"{{{','.join(map(repr, content))}}}")
    mine = [[k.removeprefix("module."), list(v.shape), str(v.dtype).removeprefix("torch.")]
            for k, v in content["state_dict"].items()]
    assert mine == listed["tensors"]
    with torch.device("meta"):
        net = build(geometry)
    convs = [[n, m.shape[1], m.shape[0], m.shape[2], m.stride]
             for n, m in net.named_modules() if isinstance(m, BinaryConv)]
    assert convs == [row[:5] for row in listed["binary_convs"]]


# Binary and small-network multiplications of one image, counted from the authors' definitions.
WORK = {"sd-resnet-20": (40_108_032, 3_552), "sd-vgg-small": (603_979_776, 53_248),
        "sd-resnet-18-c10": (547_356_672, 141_824), "sd-resnet-18-in": (1_676_279_808, 283_648)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_work(published, name):
    checkpoint, listed = published(name)
    graph = load_network(checkpoint).graph()
    sizes = {layer.name: layer.pixels for layer in binary_layers(graph)}
    assert sizes == {row[0]: row[6] ** 2 for row in listed["binary_convs"]}
    small = sum(n.op.weight.size for n in graph if ".fc." in n.name and hasattr(n.op, "weight"))
    assert (sum(layer.macs for layer in binary_layers(graph)), small) == WORK[name]


def test_full_size_file(tmp_path):
    network = load_network(synth.write("sd-resnet-20", tmp_path / "checkpoint.th"))
    assert network.family.name == "sd" and len(network.checkpoint.tensors) == 175
    folded, integer = lower_to_integers(network.graph(), synth.colour_scenes(8, 32, 2))
    images = synth.colour_scenes(10, 32, 3)
    found = agreement(folded, integer, images, network.logits(images))
    assert found.same_class >= 8 and found.mean_error < 0.1 * found.spread
    assert found.graph_error < 0.2 and min(layer.percent for layer in found.layers) > 95


@pytest.mark.parametrize("name", ["ab-biresnet-18-c10", "bnext-t", "reactnet-18", "snn-r18-tau4",
                                  "reactnet-a"])
def test_other_families_are_not_taken(published, name):
    match = families()["sd"].recognise(published(name)[0])
    assert match.score == 0 and match.reasons[0]


REFUSED = [
    ("resnet20", {"layer1__0__conv1__alpha": None}, "layer1.0.conv1.alpha: missing"),
    ("resnet20", {"layer2__0__conv1__dybeta__fc__0__weight": torch.zeros(3, 16)},
     "layer2.0.conv1.dybeta.fc.0.weight: shape (3, 16), expected (1, 16)"),
    ("resnet20", {"layer1__0__conv1__weight": torch.zeros(16, 16, 3, 3)},
     "layer1.0.conv1.weight: 2304 of 2304 weights are exactly 0"),
    ("resnet20", {"conv1__weight": torch.zeros(16, 3, 7, 7)}, "conv1.weight: a kernel of 7"),
    ("resnet20", {"linear__weight": None}, "linear.weight: missing"),
    ("resnet20", {"extra": torch.zeros(2)}, "extra: not a tensor of this family"),
    ("resnet20", {"layer4__0__bn1__weight": torch.zeros(2)}, "layer*: numbers [1, 2, 4]"),
    ("vgg", {"fc__weight": torch.zeros(7, 100)}, "fc.weight: 100 inputs are no square map of 32"),
    ("birealnet", {"layer1__0__binary_conv__weights": torch.zeros(5, 1)},
     "layer1.0.binary_conv.weights: shape (5, 1), expected (2304, 1)"),
]


@pytest.mark.parametrize(("kind", "changes", "text"), REFUSED)
def test_refused(settled, kind, changes, text):
    with pytest.raises(CheckpointError) as caught:
        load_network(saved(settled(kind), **changes), "sd", {"input_size": SIZE[kind]}).graph()
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_stage_one_is_refused_by_name_and_warned_of(settled):
    checkpoint = saved(settled("birealnet"), "stage1_best.pth.tar")
    with pytest.raises(CheckpointError, match="training stage 1.*weights=binary"):
        load_network(checkpoint, options={"input_size": 64})
    insisted = load_network(checkpoint, options={"input_size": 64, "weights": "binary"}).graph()
    assert insisted.meta["warnings"] == []
    warned = network_of(settled("birealnet")).graph().meta["warnings"]
    assert len(warned) == 1 and "does not run as it is" in warned[0]
    assert network_of(settled("resnet20")).graph().meta["warnings"] == []


def test_sizes(settled):
    assert load_network(saved(settled("vgg"))).graph().meta["input_size"] == 8
    with pytest.raises(UserError, match="32 is not the size .* reads 2x2 maps: 8"):
        load_network(saved(settled("vgg")), options={"input_size": 32})
    assert load_network(saved(settled("resnet20"))).graph().meta["input_size"] == 32
    with pytest.raises(UserError, match="15 does not divide by 2"):
        load_network(saved(settled("resnet20")), options={"input_size": 15})
    end = [str(d) for d in load_network(saved(settled("vgg"), "model.th")).graph().decisions]
    assert any("last epoch" in d for d in end)


def test_the_mean_moves_signs():
    latent = np.full((2, 1, 3, 3), 1.0)
    latent[:, 0, 0, 0] = -0.004  # the mean is 0.888: +0.0089 at alpha large, 0 at alpha low
    moved, near = decode(latent, np.array([50.0, -50.0]))
    assert moved[0].min() > 0 and moved[1, 0, 0, 0] < 0 and near == 0
    _moved, near = decode(np.array([1e-9, 1.0, -1.0]).reshape(1, 3, 1, 1), np.zeros(1))
    assert near == 1


def test_zero_weights():
    moved = np.ones((200, 2, 3, 3))
    moved[0, 0, 0, :2] = 0, -1
    weight, zeros = signs(moved, "x.weight")
    assert zeros == 1 and weight[0, 0, 0].tolist() == [1, -1, 1] and weight.dtype == np.int8
    moved[7] = 0  # PyTorch's sums of it are 0; no scale would make ours 0
    with pytest.raises(CheckpointError, match=r"x.weight: 19 of 3600 weights are exactly 0"):
        signs(moved, "x.weight")
    moved = np.ones((2000, 2, 3, 3))
    moved[7] = 0
    with pytest.raises(CheckpointError, match=r"x.weight: 18 of 36000 weights"):
        signs(moved, "x.weight")
