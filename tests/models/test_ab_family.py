"""A&B BNN: the float graph, recognition, stem and size, refusals, integers, made-up files."""

import zipfile

import numpy as np
import pytest
import torch

from hwbnn import golden
from hwbnn.bops import binary_layers
from hwbnn.errors import CheckpointError, UserError
from hwbnn.ops import float_ops as F
from hwbnn.ops import int_ops as I
from hwbnn.passes import lower_to_integers
from hwbnn.passes.calibrate import run_float
from models import synth
from models.ab import synth as made
from models.ab.layers import BinaryStdConv2d
from models.ab.net import KINDS, REACTNET_A, Geometry, MobileGeometry, build
from models.api import load_network
from models.checkpoint import Checkpoint
from models.registry import families, recognise, resolve_options

RESIDUAL = [Geometry(kind, stem, (16, 24), (2, 2), 7) for kind in KINDS
            for stem in ("cifar", "imagenet")]
MOBILE = [MobileGeometry(stem, (8, 16, 32, 32), 7) for stem in ("cifar", "imagenet")]
GEOMETRIES = {f"{g.describe()['network']}-{g.stem}": g for g in (*RESIDUAL, *MOBILE)}


@pytest.fixture(scope="module")
def settled():
    """settled(name) -> (network with made-up parameters, size of its images), made once."""
    kept = {}

    def make(name):
        if name not in kept:
            geometry = GEOMETRIES[name]
            size = 32 if geometry.stem == "cifar" else 64
            generator = torch.Generator().manual_seed(4)
            net = made.parameters(geometry, generator)
            synth.settle(net, synth.colour_scenes(24, size, 1), made.hooks(net), generator)
            kept[name] = net, size
        return kept[name]

    return make


def saved(net, origin="net_step2.h5", **changes):
    """Checkpoint with tensors replaced (keys with __ for dots) or removed (None)."""
    state = dict(made.wrap(net))
    for key, value in changes.items():
        key = "module." + key.replace("__", ".")
        state[key] = value
        if value is None:
            del state[key]
    return Checkpoint.of(state, origin)


def loaded(net, size, geometry):
    options = {"input_size": size}
    if isinstance(geometry, MobileGeometry):
        options["stem"] = geometry.stem
    return load_network(saved(net), options=options)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_graph_equals_torch_in_double(settled, name):
    net, size = settled(name)
    network = loaded(net, size, GEOMETRIES[name])
    assert network.family.name == "ab"
    graph = network.graph()
    images = synth.colour_scenes(4, size, 7)
    values = run_float(graph, images)
    with torch.no_grad():
        expected = network.module().double()(torch.from_numpy(values["input"])).numpy()
    assert expected.std() > 0.3
    assert np.abs(values[graph.output][:, :, 0, 0] - expected).max() < 1e-10
    assert graph.meta["geometry"] == GEOMETRIES[name].describe()
    assert not any(isinstance(n.op, F.FBatchNorm) for n in graph)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_integers_agree_with_pytorch(settled, name):
    net, size = settled(name)
    network = loaded(net, size, GEOMETRIES[name])
    folded, integer = lower_to_integers(network.graph(), synth.colour_scenes(16, size, 2))
    images = synth.colour_scenes(12, size, 3)
    result, exact = golden.run(integer, images), network.logits(images)
    real = result.logits * 2.0 ** -integer.types()[integer.output].frac
    assert np.abs(real - exact).mean() < 0.2 * exact.std()
    assert (result.classes == exact.argmax(1)).mean() >= 0.75
    assert sum(result.saturated.values()) <= 20
    ops = [n.op for n in integer]
    full = name.startswith("reactnet")
    assert integer.meta["numeric"]["rprelu"] == ("shift" if full else "multiplier")
    assert any(isinstance(op, I.ShiftRPReLU) for op in ops) == full
    # what is left of multi-bit weights: stem, classifier, and BiResNet's shortcut
    wide = [op.weight.shape[2] for op in ops if isinstance(op, I.Conv2d) and op.weight_bits > 2]
    assert len(wide) == (3 if name.startswith("biresnet") else 2)
    ones = [n for n in integer if isinstance(n.op, I.Conv2d) and n.op.weight_bits == 2]
    assert len(ones) == (name.split("-")[0] in ("reactnet", "xnornet") and "-a-" not in name)
    assert all(set(np.unique(n.op.weight)) == {-1, 1} for n in ones)
    if name in ("biresnet-imagenet", "xnornet-imagenet"):
        assert folded["prelu1"].inputs == ("maxpool",)


PUBLISHED = {f"ab-{kind}-18-{tag}": Geometry(kind, stem, (64, 128, 256, 512), (4,) * 4, classes)
             for kind in KINDS for tag, stem, classes in
             (("in", "imagenet", 1000), ("c10", "cifar", 10), ("c100", "cifar", 100))}
PUBLISHED |= {f"ab-reactnet-a-{tag}": MobileGeometry(stem, REACTNET_A, classes)
              for tag, stem, classes in
              (("in", "imagenet", 1000), ("c10", "cifar", 10), ("c100", "cifar", 100))}
PUBLISHED["ab-reactnet-34-in"] = Geometry("reactnet", "imagenet", (64, 128, 256, 512),
                                          (6, 8, 12, 6), 1000)


def test_every_published_network_can_be_made_up():
    assert {n.name for n in made.NETWORKS} == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_tensors(published, name):
    checkpoint, listed = published(name)
    for key in checkpoint.tensors:
        if key.endswith("L_alpha"):
            checkpoint.tensors[key].clamp_(-19, 7)
    family = recognise(checkpoint)
    assert family.name == "ab"
    options = resolve_options(family)
    geometry = family.geometry(checkpoint, options)
    assert geometry == PUBLISHED[name]
    with torch.device("meta"):
        net = build(geometry)
    mine = [[k, list(v.shape), str(v.dtype).removeprefix("torch.")]
            for k, v in net.state_dict().items()]
    assert mine == listed["tensors"]
    convs = {n: (m.weight.shape[1], m.weight.shape[0], m.weight.shape[2], m.stride)
             for n, m in net.named_modules() if isinstance(m, BinaryStdConv2d)}
    assert convs == {row[0]: tuple(row[1:5]) for row in listed["binary_convs"]}
    assert synth.networks()[name].input_size == listed["input"][-1]
    assert list(made.wrap(net))[0] == listed["prefix"] + mine[0][0]


SIZES_C10 = {  # binary weights, MAC of bits, MAC of ±1 weights on integers, as counted by hooks
    "ab-reactnet-a-c10": (28_253_184, 393_216_000, 0),
    "ab-xnornet-18-c10": (11_157_504, 547_356_672, 6_291_456),
}


def test_published_sizes_at_full_size(published):
    for name, counts in SIZES_C10.items():
        checkpoint, listed = published(name)
        for key in checkpoint.tensors:
            if key.endswith("L_alpha"):
                checkpoint.tensors[key].clamp_(-19, 7)
        graph = load_network(checkpoint).graph()
        types = graph.types()
        for key, _c_in, _c_out, _k, stride, h_in, h_out in listed["binary_convs"]:
            node = next(n for n in graph if f"{key}.weight" in n.source
                        and isinstance(n.op, F.FBinaryConv2d | F.FConv2d))
            assert types[node.name].shape[1:] == (h_out, h_out)
            assert types[node.inputs[0]].shape[1] == h_in and node.op.stride == stride
        bits = [n for n in graph if isinstance(n.op, F.FBinaryConv2d)]
        ones = [n for n in graph if isinstance(n.op, F.FConv2d) and np.abs(n.op.weight).min() == 1]

        def macs(nodes, types=types):
            return sum(n.op.weight.size * int(np.prod(types[n.name].shape[1:])) for n in nodes)

        assert counts == (sum(n.op.weight.size for n in bits + ones), macs(bits), macs(ones))
        assert sum(layer.macs for layer in binary_layers(graph)) == counts[1]


def test_a_made_up_file_is_in_the_authors_format(tmp_path, monkeypatch):
    small = Geometry("reactnet", "cifar", (8, 8), (1, 1), 10)
    network = synth.SyntheticNetwork("small", "two stages", lambda g: made.parameters(small, g),
                                     made.hooks, made.wrap, 32, 24)
    monkeypatch.setattr(synth, "networks", lambda: {"small": network})
    path = synth.write("small", tmp_path / "cifar10_small_step2.h5")
    with zipfile.ZipFile(path):  # torch's zip, not HDF5
        held = torch.load(path, weights_only=True)
    assert type(held).__name__ == "OrderedDict" and next(iter(held)) == "module.conv1.weight"
    loaded_ = load_network(path)
    assert loaded_.family.name == "ab" and loaded_.graph().meta["input_size"] == 32
    again = synth.write("small", tmp_path / "again.h5")
    assert all(torch.equal(v, held[k]) for k, v in torch.load(again, weights_only=True).items())


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_made_up_parameters_reach_the_awkward_ranges(settled, stem):
    net, _size = settled(f"reactnet-{stem}")
    state = net.state_dict()
    exponents = torch.cat([v for k, v in state.items() if k.endswith("L_alpha")])
    low, high = {"cifar": (-7, 2), "imagenet": (-19, 7)}[stem]
    assert exponents.min() == low and exponents.max() == high
    assert (exponents == -2.5).any() and (exponents > 0.5).sum() >= 2
    gains = torch.cat([v.reshape(-1) for k, v in state.items() if k.endswith("gain")])
    assert (gains < 0).any() and (gains > 0).any()
    for key, w in state.items():
        if key.endswith("conv1.weight"):
            assert not torch.equal(w > 0, w > w.mean(dim=(1, 2, 3), keepdim=True))


@pytest.mark.parametrize("name", GEOMETRIES)
def test_layers_stay_alive_on_other_images(settled, name):
    net, size = settled(name)
    shares = []

    def watch(module, args):
        x = args[0]
        if bool(((x == 1) | (x == -1)).all()):
            shares.append((x > 0).float().mean(dim=(0, 2, 3)))

    handles = [m.register_forward_pre_hook(watch) for m in net.modules()
               if isinstance(m, BinaryStdConv2d)]
    with torch.no_grad():
        logits = net(torch.from_numpy(run_float(
            loaded(net, size, GEOMETRIES[name]).graph(), synth.colour_scenes(12, size, 50))
            ["input"]).float())
    for handle in handles:
        handle.remove()
    shares = torch.cat(shares)
    dead = ((shares < 0.02) | (shares > 0.98)).float().mean()
    assert dead < 0.03 and 0.35 < shares.mean() < 0.65
    assert 0.5 < logits.std(dim=0).mean() < 10 and len(set(logits.argmax(1).tolist())) > 2


@pytest.fixture(scope="module")
def plain(settled):
    """One small ReActNet of 7 classes with a CIFAR stem."""
    return settled("reactnet-cifar")[0]


REFUSED = [
    ({"layer1__1__conv1__gain": None}, "layer1.1.conv1.gain: missing; expected shape (16, 1, 1, 1"),
    ({"conv1__gain": None}, "conv1.gain: missing; expected shape (16, 1, 1, 1)"),
    ({"layer2__1__move2__bias": None}, "layer2.1.move2.bias: missing"),
    ({"layer2__0__downsample__1__weight": torch.zeros(24, 8, 1, 1)},
     "layer2.0.downsample.1.weight: shape (24, 8, 1, 1), expected (24, 16, 1, 1)"),
    ({"layer1__0__prelu__L_alpha": torch.full((16,), 8.0)},
     "layer1.0.prelu.L_alpha: channel 0 has the slope 2^8, outside 2^-19..2^7; 16 such slopes"),
    ({"layer1__0__prelu__L_alpha": -torch.arange(16.0) - 4.51},
     "layer1.0.prelu.L_alpha: channel 15 has the slope 2^-20"),
    ({"extra__weight": torch.zeros(3)}, "extra.weight: not a tensor of this family"),
    ({"conv1__weight": torch.zeros(16, 3, 5, 5)}, "conv1.weight: shape (16, 3, 5, 5); a 7x7"),
    ({"fc__weight": torch.zeros(24)}, "fc.weight: missing or not a matrix"),
    ({"layer1__0__conv1__weight": None}, "layer1.0.conv1.weight: missing"),
    ({"layer4__0__conv1__weight": torch.zeros(8, 8, 3, 3)}, "layer*: stages [1, 2, 4]"),
]


@pytest.mark.parametrize(("changes", "text"), REFUSED)
def test_refused(plain, changes, text):
    checkpoint = saved(plain, **changes)
    assert 0 < families()["ab"].recognise(checkpoint).score <= 1
    with pytest.raises(CheckpointError) as caught:
        load_network(checkpoint, options={"input_size": 32})
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_all_gains_missing_is_told_of_a_bare_network(settled):
    net, _size = settled("biresnet-cifar")
    gone = {k.replace(".", "__"): None for k in net.state_dict() if k.endswith("gain")}
    with pytest.raises(CheckpointError, match="conv1.gain: missing"):
        load_network(saved(net, **gone))


def test_step_1_cannot_be_told_by_keys(plain):
    graph = load_network(saved(plain, "net.h5"), options={"input_size": 32}).graph()
    assert any("step-1 file" in w for w in graph.meta["warnings"])
    assert not load_network(saved(plain), options={"input_size": 32}).graph().meta["warnings"]
    with pytest.raises(CheckpointError, match="named as a step-1 file.*weights=binary"):
        load_network(saved(plain, "cifar10_step1.h5"), options={"input_size": 32})
    load_network(saved(plain, "a_step1.h5"), options={"input_size": 32, "weights": "binary"})


def classes(net, count):
    width = net.fc.weight.shape[1]
    return {"fc__weight": torch.randn(count, width), "fc__bias": torch.zeros(count)}


SIZES = [  # network, classes, options, size or message
    ("reactnet-cifar", 10, {}, 32),
    ("reactnet-cifar", 100, {}, 32),
    ("reactnet-cifar", 37, {}, 32),
    ("reactnet-cifar", 1000, {}, "1000 classes behind the cifar stem: how large are its images"),
    ("reactnet-cifar", 1000, {"input_size": 32}, 32),
    ("reactnet-cifar", 10, {"input_size": 224}, "224 does not suit this network of 10 classes"),
    ("reactnet-cifar", 10, {"stem": "imagenet"}, "kernel of the cifar stem, not of imagenet"),
    ("reactnet-imagenet", 1000, {}, 224),
    ("reactnet-imagenet", 10, {}, "10 classes behind the imagenet stem"),
    ("reactnet-a-cifar", 10, {}, 32),
    ("reactnet-a-cifar", 100, {}, 32),
    ("reactnet-a-cifar", 1000, {}, 224),
    ("reactnet-a-cifar", 200, {}, "has 200 classes, neither ImageNet's 1000 nor CIFAR's 10 or 100"),
    ("reactnet-a-cifar", 7, {}, "how large are its images?; say --input-size 224, --input-size 32"),
    ("reactnet-a-cifar", 200, {"input_size": 64}, 64),
    ("reactnet-a-cifar", 10, {"input_size": 224}, "224 does not suit this network of 10 classes"),
    ("reactnet-a-cifar", 10, {"input_size": 224, "stem": "imagenet"}, 224),
    ("reactnet-a-cifar", 10, {"stem": "vgg"}, "option stem: 'vgg' is not valid (auto, imagenet"),
]


@pytest.mark.parametrize(("name", "count", "options", "found"), SIZES)
def test_stem_and_size(settled, name, count, options, found):
    net, _size = settled(name)
    checkpoint = saved(net, **classes(net, count))
    if isinstance(found, str):
        with pytest.raises((CheckpointError, UserError)) as caught:
            load_network(checkpoint, options=options)
        assert found in str(caught.value) and "\n" not in str(caught.value)
        return
    graph = load_network(checkpoint, options=options).graph()
    assert graph.meta["input_size"] == found
    assert graph.types()["input"].shape == (3, found, found)
    stem = "imagenet" if found == 224 else "cifar"
    assert graph.meta["geometry"]["stem"] == stem
    stated = {d.where for d in graph.decisions}
    assert ("stem" in stated) == name.startswith("reactnet-a") and "input_size" in stated


@pytest.mark.parametrize("name", ["reactnet-18", "reactnet-a", "snn-r18-tau4", "sd-resnet-18-in",
                                  "sd-resnet-20", "bnext-18", "bnext-t", "sd-vgg-small"])
def test_other_families_are_not_taken(published, name):
    match = families()["ab"].recognise(published(name)[0])
    assert match.score == 0 and match.reasons[0]


def test_weights_at_their_mean_are_counted(plain):
    weight = plain.layer1[0].conv1.weight.detach().clone()
    weight[3] = 0.25  # constant: deviation 0, so the channel's factor is 0
    weight[5] = torch.tensor([-1.0, 0.0, 1.0]).repeat(weight[5].numel() // 3).view_as(weight[5])
    graph = load_network(saved(plain, layer1__0__conv1__weight=weight),
                         options={"input_size": 32}).graph()
    assert graph["layer1.0.conv1.scale"].op.scale[3] == 0
    assert (graph["layer1.0.conv1"].op.weight[[3, 5]].min(axis=(1, 2, 3)) == (1, -1)).all()
    stated = [d for d in graph.decisions if d.where == "layer1.0.conv1.weight"]
    assert [d.chose for d in stated] == [f"{weight[5].numel() // 3} weights by the exact mean"]
