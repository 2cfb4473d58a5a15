"""Recognition, geometry, refusals, decisions, and the float graph against PyTorch."""

import numpy as np
import pytest
import torch

from hwbnn.errors import CheckpointError, UserError
from hwbnn.ir import Graph
from hwbnn.passes import lower_to_integers
from models.api import load_network, torch_logits
from models.checkpoint import Checkpoint
from models.registry import families, recognise, resolve_options
from models.snn.net import Geometry, SnnNet


def run(graph, images):
    values = {}
    for node in graph:
        values[node.name] = node.op.run(*([values[i] for i in node.inputs] or [images]))
    return values[graph.output][:, :, 0, 0]


def normalised(network, images):
    mean, std = (np.array(network.options[k])[:, None, None] for k in ("mean", "std"))
    return torch.from_numpy((images.transpose(0, 3, 1, 2) / 255.0 - mean) / std)


CASES = [
    pytest.param(5, {}, {"input_size": 16}, id="tau5"),
    pytest.param(1, {}, {"input_size": 16}, id="tau1"),
    pytest.param(4, {"widths": (8,), "blocks": (3,)}, {"input_size": 9}, id="one-stage-odd-size"),
    pytest.param(6, {"stem": "imagenet"}, {"input_size": 32}, id="imagenet-stem"),
    pytest.param(9, {}, {"input_size": 16}, id="tau9-patterns"),
    pytest.param(None, {}, {"input_size": 16}, id="plain"),
    pytest.param(3, {"widths": (4, 8, 8, 6, 10), "blocks": (1, 1, 2, 1, 1)},
                 {"input_size": 32, "bn_eps": 1e-3, "mean": (0.1, 0.2, 0.3)}, id="five-stages"),
]


@pytest.mark.parametrize(("tau", "geometry", "options"), CASES)
def test_graph_equals_torch_in_double(make_net, save, tau, geometry, options):
    net = make_net(tau, seed=7, **geometry)
    network = load_network(save(net), options=options)
    size = options["input_size"]
    images = np.random.default_rng(3).integers(0, 256, (6, size, size, 3), dtype=np.uint8)
    graph = network.graph()
    with torch.no_grad():
        expected = network.module().double()(normalised(network, images)).numpy()
    assert np.abs(expected).max() > 0.1 and len(np.unique(expected.round(6))) > 10
    assert np.abs(run(graph, images) - expected).max() < 1e-9
    logits = network.logits(images, batch=4)
    assert logits.dtype == np.float32 and logits.shape == expected.shape
    codebooks = [n.op.codebook for n in graph if type(n.op).__name__ == "FBinaryConv2d"]
    assert all((c is None) == (tau in (None, 9)) for c in codebooks)


def test_evaluation_weights_are_alpha_times_nearest_codeword(make_net, save):
    net = make_net(4, seed=2)
    conv = net.layer2[0].binary_conv
    w, c = conv.weight.detach().double(), torch.sign(conv.binarize.patterns.detach()).double()
    kernels = w.reshape(-1, 9)
    index = torch.cdist(kernels, c).argmin(1)
    expected = c[index].view_as(w) * w.abs().mean((1, 2, 3), keepdim=True)
    alpha = conv.alpha()[:, None, None, None]
    assert torch.allclose((conv.binary_weight() * alpha).double(), expected, rtol=1e-6)
    node = load_network(save(net), options={"input_size": 16}).graph()["layer2.0.binary_conv"]
    assert np.array_equal(node.op.weight, c[index].view_as(w).numpy())


def test_graph_survives_the_passes_and_a_round_trip(make_net, save, tmp_path):
    graph = load_network(save(make_net(5)), options={"input_size": 16}).graph()
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    _folded, integer = lower_to_integers(graph, images)
    assert integer.types()[integer.output].kind == "int"
    graph.save(tmp_path)
    assert Graph.load(tmp_path).digest() == graph.digest()
    assert graph.meta["geometry"]["tau"] == [5, 5, 5]
    assert graph.meta["checkpoint"] == {"file": "net.pth", "epoch": 3, "best_top1_acc": 12.5}


PUBLISHED = {
    "snn-r18-tau4": (4, (4, 4, 4, 4)),
    "snn-r18-tau5": (5, (4, 4, 4, 4)),
    "snn-r18-tau6": (6, (4, 4, 4, 4)),
    "reactnet-18": (None, (4, 4, 4, 4)),
    "reactnet-34": (None, (6, 8, 12, 6)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_keys_and_shapes(published, name):
    checkpoint, listed = published(name)
    tau, blocks = PUBLISHED[name]
    family = recognise(checkpoint)
    assert family.name == "snn"
    geometry = family.geometry(checkpoint, resolve_options(family))
    assert geometry.stem == "imagenet" and geometry.blocks == blocks
    assert set(geometry.tau) == {tau} and geometry.widths == (64, 128, 256, 512)
    with torch.device("meta"):
        net = SnnNet(geometry)
    mine = [[k, list(v.shape), str(v.dtype).removeprefix("torch.")]
            for k, v in net.state_dict().items()]
    assert sorted(mine) == sorted(listed["tensors"])
    strides = {f"{n}": m.stride for n, m in net.named_modules() if n.endswith(".binary_conv")}
    assert strides == {row[0]: row[4] for row in listed["binary_convs"]}


def test_published_network_lowers_at_full_size(published):
    checkpoint, listed = published("snn-r18-tau4")
    types = load_network(checkpoint).graph().types()
    for name, c_in, c_out, _k, stride, h_in, h_out in listed["binary_convs"]:
        block = name.removesuffix(".binary_conv")
        assert types[f"{block}.sign"].shape == (c_in, h_in, h_in)
        assert types[name].shape == (c_out, h_out, h_out) and h_in == stride * h_out


@pytest.mark.parametrize("name", ["ab-reactnet-18-in", "ab-biresnet-18-in", "sd-resnet-18-in",
                                  "bnext-18", "reactnet-a", "sd-resnet-20", "sd-vgg-small"])
def test_other_families_are_not_taken_for_snn(published, name):
    match = families()["snn"].recognise(published(name)[0])
    assert match.score == 0 and match.reasons[0]


def edited(net, **changes):
    """Checkpoint of `net` with tensors replaced (keys with __ for dots) or removed (None)."""
    state = dict(net.state_dict())
    for key, value in changes.items():
        key = key.replace("__", ".")
        state[key] = value
        if value is None:
            del state[key]
    return Checkpoint.of(state, "net.pth")


REFUSED = [
    ({"conv1__weight": torch.zeros(8, 3, 5, 5)}, "conv1.weight: shape (8, 3, 5, 5); a 7x7"),
    ({"layer1__0__bn1__weight": torch.zeros(3)}, "layer1.0.bn1.weight: shape (3,), expected (8,)"),
    ({"layer2__1__move2__bias": None}, "layer2.1.move2.bias: missing; expected shape (1, 12"),
    ({"extra__weight": torch.zeros(3)}, "extra.weight: not a tensor of this family"),
    ({"fc__weight": torch.zeros(5)}, "fc.weight: missing or not a matrix"),
    ({"layer2__1__binary_conv__weight": None}, "layer2.1.binary_conv.weight: missing"),
    ({"layer2__1__binary_conv__weight": torch.zeros(12, 12, 1, 1)},
     "(12, 12, 1, 1); expected (out"),
    ({"layer2__1__binary_conv__binarize__patterns": torch.ones(24, 9)},
     "shape (24, 9); expected (2^tau, 9)"),
    ({"layer2__1__binary_conv__binarize__patterns": None},
     "1 of 3 binary convolutions have no codebook; the file is incomplete"),
    ({"layer4__0__move0__bias": torch.zeros(1)}, "stages [1, 2, 4]; stages count from layer1"),
    ({"layer2__3__move0__bias": torch.zeros(1)}, "layer2: blocks [0, 1, 3]; blocks count from 0"),
    ({"layer2__1__binary_conv__binarize__patterns": torch.full((32, 9), 1e-20)},
     "codebook lost: 288 of 288 pattern elements are below 0.001"),
]


@pytest.mark.parametrize(("changes", "text"), REFUSED)
def test_refusals_name_the_tensor(make_net, changes, text):
    checkpoint = edited(make_net(5), **changes)
    with pytest.raises(CheckpointError) as caught:
        network = load_network(checkpoint, family="snn", options={"input_size": 16})
        network.graph()
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_lost_codebook_is_refused_by_the_torch_path_too(make_net):
    lost = {"layer1__0__binary_conv__binarize__patterns": torch.full((32, 9), -1e-9)}
    network = load_network(edited(make_net(5), **lost), options={"input_size": 16})
    with pytest.raises(CheckpointError, match="codebook lost"):
        network.module()


def test_foreign_state_dict_is_refused_with_reasons():
    with pytest.raises(CheckpointError, match=r"no family recognises its 1 tensors \(.*snn: no "):
        recognise(Checkpoint.of({"encoder.weight": torch.zeros(3)}, "vit.pth"))


def test_step_one_files(make_net, save):
    plain = make_net(None)
    named = save(plain, "checkpoint_ba.pth.tar")
    with pytest.raises(CheckpointError, match="step-1 files, whose convolutions have real weights"):
        load_network(named)
    with pytest.raises(CheckpointError, match=r"has no codebooks \(binarize.patterns\)"):
        load_network(save(plain), options={"weights": "sub-bit"})
    forced = load_network(named, options={"weights": "binary", "input_size": 16}).graph()
    quiet = load_network(save(plain), options={"input_size": 16}).graph()
    for graph in (forced, quiet):
        assert any("would be binarised" in w for w in graph.meta["warnings"])
    with pytest.raises(CheckpointError, match="has codebooks of 32 codewords, so it is sub-bit"):
        load_network(save(make_net(5)), options={"weights": "binary"})


def test_decisions_of_the_codebook_loader(make_net):
    net = make_net(3, seed=5)
    conv = net.layer1[0].binary_conv
    with torch.no_grad():
        patterns = conv.binarize.patterns
        patterns[4] = patterns[1]  # repeated
        patterns[2, 7] = -5e-4  # below the hysteresis
        conv.weight[2, 3] = 0  # every codeword ties: the first wins
    key = "layer1.0.binary_conv"
    graph = load_network(edited(net), options={"input_size": 16}).graph()
    texts = [str(d) for d in graph.decisions if d.where.startswith(key)]
    assert any("1 elements by the sign that is stored" in t and "[2, 7]" in t for t in texts)
    assert any("1 repeated codewords dropped" in t for t in texts)
    assert len(graph.meta["warnings"]) == 1
    op = graph[key].op
    assert op.codebook.shape == (7, 9) and op.codebook[2, 7] == -1
    assert op.ids[2, 3] == 0


def test_near_ties_and_zeros_are_reported(make_net):
    net = make_net(2, seed=1)
    conv = net.layer1[0].binary_conv
    with torch.no_grad():
        conv.binarize.patterns.copy_(torch.ones(4, 9))
        conv.binarize.patterns[1, 0] = -1
        conv.binarize.patterns[2, :5] = -1
        conv.binarize.patterns[3, 4:] = -1
        conv.weight[3, 1] = 1.0
        conv.weight[3, 1, 0, 0] = 1e-6  # codewords 0 and 1 differ by 2e-6 of a norm near 2.8
    graph = load_network(edited(net), options={"input_size": 16}).graph()
    texts = [str(d) for d in graph.decisions if d.where == "layer1.0.binary_conv.weight"]
    assert len(texts) == 1 and "[3, 1]" in texts[0]
    assert graph["layer1.0.binary_conv"].op.ids[3, 1] == 0

    plain = make_net(None, widths=(40,), blocks=(1,))
    with torch.no_grad():
        plain.layer1[0].binary_conv.weight[0, 0, 0, 0] = 0
        plain.layer1[0].binary_conv.weight[1] = 0  # a dead channel: its scale is 0
    with pytest.raises(CheckpointError, match="codebook lost|exactly 0"):
        many = dict(plain.state_dict())
        many["layer1.0.binary_conv.weight"] = many["layer1.0.binary_conv.weight"].round()
        load_network(Checkpoint.of(many, "n"), options={"input_size": 16}).graph()
    graph = load_network(edited(plain), options={"input_size": 16}).graph()
    assert any("1 zero weights as +1" in w for w in graph.meta["warnings"])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"size": 3}, "family snn has no option 'size'; it has input_size"),
        ({"input_size": "7x7"}, "option input_size: '7x7' is not valid"),
        ({"input_size": "0"}, "must be positive"),
        ({"mean": "0.5,0.5"}, "needs 3 numbers"),
        ({"weights": "real"}, "one of auto, binary, sub-bit"),
    ],
)
def test_bad_options(make_net, options, text):
    with pytest.raises(UserError) as caught:
        load_network(edited(make_net(5)), options=options)
    assert text in str(caught.value)


def test_input_size_must_fit_the_strides(make_net):
    network = load_network(edited(make_net(5)), options={"input_size": "15"})
    with pytest.raises(UserError, match="15 does not divide by 2; the maps are halved 1 times"):
        network.graph()


def test_images_must_be_pixels(make_net, save):
    with pytest.raises(UserError, match="images are float64"):
        torch_logits(save(make_net(5)), np.zeros((1, 16, 16, 3)))


def test_geometry_without_shortcut_keeps_the_map():
    geometry = Geometry("cifar", (6, 6), (1, 1), (False, False), 4, (2, 2))
    checkpoint = Checkpoint.of(SnnNet(geometry).state_dict(), "n")
    family = families()["snn"]
    assert family.geometry(checkpoint, resolve_options(family)) == geometry
    types = load_network(checkpoint, options={"input_size": 8}).graph().types()
    assert types["layer2.0.binary_conv"].shape == (6, 8, 8)
