"""BNext: recognition, stem and size, refusals, made-up files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hwbnn.errors import CheckpointError, UserError
from models import synth
from models.api import load_network
from models.bnext import synth as made
from models.bnext.layers import HardBinaryConv, Unit
from models.bnext.net import CHANNELS, R18, WIDTHS, Geometry, Geometry18, build
from models.checkpoint import Checkpoint
from models.registry import families, recognise
from models.training import normalise

SHARED = Path(__file__).parents[3] / "shared" / "checkpoints"
SMALL = (16, 32, 64, 64)
GEOMETRIES = {
    "mobile-imagenet": Geometry("imagenet", SMALL, 7),
    "mobile-cifar-quant": Geometry("cifar", SMALL, 7, 8),
    "18-cifar": Geometry18("cifar", (16, 24), (2, 1), 7),
    "18-imagenet-quant": Geometry18("imagenet", (16, 24), (2, 1), 7, 8),
}
PUBLISHED = {f"bnext-{size}{'' if bits is None else '-quant'}": (
    Geometry18("imagenet", WIDTHS, R18, 1000, bits) if size == "18" else
    Geometry("imagenet", CHANNELS[size], 1000, bits))
    for size in ("18", *CHANNELS) for bits in (None, 8)}


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


def saved(net, **changes):
    """Checkpoint with tensors replaced (keys with __ for dots) or removed (None)."""
    state = {k: v.clone() for k, v in made.wrap(net)["state_dict"].items()}
    for key, value in changes.items():
        key = "module." + key.replace("__", ".")
        state[key] = value
        if value is None:
            del state[key]
    return Checkpoint.of(state, "checkpoint.pth.tar")


def options_of(net, size):
    return {"input_size": size, **({"stem": net.geometry.stem}
                                   if isinstance(net.geometry, Geometry) else {})}


def listed(name):
    path = SHARED / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"the authors' tensor lists are not at ../shared/checkpoints ({path.name})")
    return json.loads(path.read_text())


def without_values(name):
    """The authors' tensors on the meta device: shapes are all that recognition looks at."""
    return Checkpoint({k: torch.empty(shape, dtype=getattr(torch, dtype), device="meta")
                       for k, shape, dtype in listed(name)["tensors"]}, name)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_file_runs_as_the_network_it_came_from(settled, name, tmp_path):
    net, size = settled(name)
    torch.save(made.wrap(net), tmp_path / "checkpoint.pth.tar")
    network = load_network(tmp_path / "checkpoint.pth.tar", options=options_of(net, size))
    assert network.family.name == "bnext" and network.checkpoint.facts["epoch"] == 511
    assert network.family.geometry(network.checkpoint, network.options) == net.geometry
    images = synth.colour_scenes(6, size, 7)
    with torch.no_grad():
        expected = net(normalise(images)).numpy()
    found = network.logits(images)
    assert found.dtype == np.float32 and expected.std() > 0.3
    assert np.abs(found - expected).max() < 1e-4
    counted = [k for k in network.checkpoint.tensors if k.endswith("num_batches_tracked")]
    for key in counted:
        del network.checkpoint.tensors[key]
    assert np.array_equal(network.logits(images), found)


def test_se_bits_are_asked_of_the_user(settled):
    net, size = settled("mobile-cifar-quant")
    images = synth.colour_scenes(4, size, 7)
    logits = {bits: load_network(saved(net), options={**options_of(net, size), "se_bits": bits})
              .logits(images) for bits in ("4", "8", "16", "32")}
    assert np.abs(logits["16"] - logits["32"]).max() < 0.3
    assert np.abs(logits["4"] - logits["32"]).max() > np.abs(logits["8"] - logits["32"]).max() > 0
    with pytest.raises(UserError, match="option se_bits: '5' is not valid"):
        load_network(saved(net), options={**options_of(net, size), "se_bits": "5"})


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_tensors(name):
    doc = listed(name)
    with torch.device("meta"):
        net = build(PUBLISHED[name])
    mine = [[k, list(v.shape), str(v.dtype).removeprefix("torch.")]
            for k, v in net.state_dict().items()]
    assert mine == doc["tensors"]
    convs = {n: (m.weight.shape[1], m.weight.shape[0], m.weight.shape[2], m.stride)
             for n, m in net.named_modules() if isinstance(m, HardBinaryConv)}
    assert convs == {row[0]: tuple(row[1:5]) for row in doc["binary_convs"]}
    checkpoint = without_values(name)
    assert recognise(checkpoint).name == "bnext"
    (reason,) = families()["bnext"].recognise(checkpoint).reasons
    size = name.removesuffix("-quant")
    assert reason == (size + ", quantised" if name.endswith("quant") else size)
    assert synth.networks()[name].input_size == doc["input"][-1]
    content = made.wrap(net)
    assert f"{{{','.join(map(repr, content))}}}" == doc["wrapper"]
    assert list(content["state_dict"]) == [doc["prefix"] + key for key, _shape, _ in mine]


def test_a_published_file_at_full_size():
    checkpoint = saved(made.parameters(PUBLISHED["bnext-t-quant"],
                                       torch.Generator().manual_seed(0)))
    network = load_network(checkpoint)
    assert network.family.geometry(checkpoint, network.options) == PUBLISHED["bnext-t-quant"]
    clips = [v.tolist() for k, v in checkpoint.tensors.items() if k.endswith("clip_val")]
    assert [-25, 25] in clips and [-1000, 1000] in clips and [-1000.0, 1000.0] in clips


@pytest.mark.parametrize("name", ["reactnet-18", "reactnet-a", "snn-r18-tau4", "sd-resnet-18-in",
                                  "ab-reactnet-18-in", "ab-reactnet-a-in", "sd-vgg-small"])
def test_other_families_are_not_taken(name):
    match = families()["bnext"].recognise(without_values(name))
    assert match.score == 0 and match.reasons[0]


def test_every_published_network_can_be_made_up():
    sizes = ("18", "t", "s", "m", "l")
    cifar = {f"bnext-{size}-c10{end}" for size in sizes for end in ("", "-quant")}
    assert {n.name for n in made.NETWORKS} == {*PUBLISHED, *cifar}


def test_a_seed_gives_one_file(tmp_path, monkeypatch):
    small = GEOMETRIES["18-cifar"]
    network = synth.SyntheticNetwork("small", "two stages", lambda g: made.parameters(small, g),
                                     made.hooks, made.wrap, 32, 24)
    monkeypatch.setattr(synth, "networks", lambda: {"small": network})
    held = [torch.load(synth.write("small", tmp_path / f"{i}.pth", seed), weights_only=True)
            for i, seed in enumerate((5, 5, 6))]
    a, b, c = (h["state_dict"] for h in held)
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["module.conv1.weight"], c["module.conv1.weight"])
    temperature = float(a["module.layer0.0.FFN.binary_conv.temperature"])
    assert temperature == pytest.approx(held[0]["temp"][held[0]["epoch"]], rel=1e-6)


def test_made_up_parameters_reach_the_awkward_ranges(settled):
    net, _size = settled("mobile-imagenet")
    units = [m for m in net.modules() if isinstance(m, Unit)]
    scales = torch.cat([m.scale.reshape(-1) for m in units])
    assert (scales < 0).any() and (scales > 1).any()
    slopes = torch.cat([m.activation2.weight for m in units])
    assert (slopes < 0).any() and slopes.max() > 0.8
    gains = torch.cat([m.norm2.weight for m in units])
    assert (gains < 0).any() and (gains > 0).any()
    assert all((m.binary_conv.weight != 0).all() for m in units)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_layers_stay_alive_on_other_images(settled, name):
    net, size = settled(name)
    shares, gains = [], []
    handles = []
    for module in net.modules():
        if isinstance(module, Unit):
            handles.append(module.binary_conv.register_forward_pre_hook(
                lambda m, args: shares.append((args[0] > 0).float().mean(dim=(0, 2, 3)))))
            handles.append(module.se.register_forward_hook(
                lambda m, args, out: gains.append(out.flatten(1))))
    with torch.no_grad():
        x = normalise(synth.colour_scenes(24, size, 50))
        logits = net(x)
        for handle in handles:
            handle.remove()
        exact = net.double()(x.double())
        net.float()
    shares, gains = torch.cat(shares), torch.cat(gains, dim=1)
    dead = ((shares < 0.02) | (shares > 0.98)).float().mean()
    assert dead < 0.03 and 0.35 < shares.mean() < 0.65
    assert gains.std(dim=0).mean() > 0.05 and 0.3 < gains.mean() < 0.7
    assert 0.5 < logits.std(dim=0).mean() < 10 and len(set(logits.argmax(1).tolist())) > 2
    assert (logits.argmax(1) == exact.argmax(1)).float().mean() > 0.9


REFUSED = [
    ("mobile-imagenet", {"feature__1__FFN_1__binary_conv__temperature": torch.tensor([0.02])},
     ("feature.1.FFN_1.binary_conv.temperature: 0.02 is not below 1e-07: weights are not binary "
      "yet in 1 convolutions; give a checkpoint of epoch 153 or later")),
    ("mobile-imagenet", {"feature__1__FFN_2__binary_conv__temperature": torch.tensor([1e-6])},
     "1e-06 is not below 1e-07"),
    ("18-cifar", {"layer1__0__FFN__binary_conv__temperature": torch.tensor([2e-5])},
     ("2e-05 is not below 1e-05: weights are not binary yet in 1 convolutions; give a checkpoint "
      "of epoch 110 or later")),
    ("mobile-imagenet", {"feature__2__FFN_1__se__se__3__bias": None},
     "feature.2.FFN_1.se.se.3.bias: missing; expected shape (32,)"),
    ("mobile-imagenet", {"feature__3__Attention__scale": torch.zeros(1, 32, 1, 1)},
     "feature.3.Attention.scale: shape (1, 32, 1, 1), expected (1, 64, 1, 1)"),
    ("mobile-imagenet", {"feature__0__prelu__weight": None}, "feature.0.prelu.weight: missing"),
    ("mobile-imagenet", {"feature__5__move__bias": torch.zeros(1)}, "blocks [0, 1, 2, 3, 5]"),
    ("mobile-imagenet", {"feature__0__conv1__weight": torch.zeros(16, 3, 5, 5)},
     "feature.0.conv1.weight: shape (16, 3, 5, 5); expected 3x3 over 3 colours"),
    ("mobile-imagenet", {"extra__weight": torch.zeros(3)}, "extra.weight: not a tensor of this"),
    ("mobile-imagenet", {"fc__weight": torch.zeros(24)}, "fc.weight: missing or not a matrix"),
    ("mobile-cifar-quant", {"fc__act_clip_val": None}, "fc.act_clip_val: missing"),
    ("mobile-cifar-quant", {"fc__weight": torch.eye(7, 64) - torch.eye(1, 64)},
     "fc.weight: output channel 0 is all 0, and the quantiser divides by its size"),
    ("18-cifar", {"layer0__0__Attention__binary_conv__weight": None},
     "layer0.0.Attention.binary_conv.weight: missing"),
    ("18-cifar", {"layer3__0__FFN__scale": torch.zeros(1)}, "layer*: stages [0, 1, 3]"),
    ("18-cifar", {"conv1__weight": torch.zeros(16, 3, 5, 5)},
     "conv1.weight: shape (16, 3, 5, 5); expected 7x7 or 3x3 over 3 colours"),
    ("18-imagenet-quant", {"layer1__0__Attention__downsample__1__bias": None},
     "layer1.0.Attention.downsample.1.bias: missing; expected shape (24,)"),
]


@pytest.mark.parametrize(("name", "changes", "text"), REFUSED)
def test_refused(settled, name, changes, text):
    net, size = settled(name)
    checkpoint = saved(net, **changes)
    assert 0 < families()["bnext"].recognise(checkpoint).score <= 1
    with pytest.raises(CheckpointError) as caught:
        load_network(checkpoint, options=options_of(net, size))
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_18_is_binary_at_a_higher_temperature(settled):
    net, size = settled("18-cifar")
    key = "layer0__0__FFN__binary_conv__temperature"
    load_network(saved(net, **{key: torch.tensor([5e-6])}), options={"input_size": size})


SIZES = [  # network, classes, options, (stem, size of images) or message
    ("mobile-imagenet", 1000, {}, "imagenet"),
    ("mobile-imagenet", 10, {}, "cifar"),
    ("mobile-imagenet", 100, {"input_size": 64}, "cifar"),
    ("mobile-imagenet", 7, {}, "has 7 classes, neither ImageNet's 1000 nor CIFAR's 10 or 100"),
    ("mobile-imagenet", 7, {"input_size": 64}, "cifar"),
    ("mobile-imagenet", 7, {"input_size": 128}, "imagenet"),
    ("mobile-imagenet", 10, {"input_size": 224}, "224 does not suit this network of 10 classes"),
    ("mobile-imagenet", 10, {"input_size": 224, "stem": "imagenet"}, "imagenet"),
    ("mobile-imagenet", 1000, {"input_size": 30}, "30 does not divide by 4"),
    ("18-cifar", 10, {}, "cifar"),
    ("18-cifar", 1000, {}, "1000 classes behind the cifar stem: how large are its images"),
    ("18-cifar", 10, {"stem": "imagenet"}, "kernel of the cifar stem, not of imagenet"),
    ("18-imagenet-quant", 1000, {}, "imagenet"),
    ("18-imagenet-quant", 10, {}, "10 classes behind the imagenet stem"),
]


@pytest.mark.parametrize(("name", "count", "options", "found"), SIZES)
def test_stem_and_size(settled, name, count, options, found):
    net, _size = settled(name)
    generator = torch.Generator().manual_seed(1)
    checkpoint = saved(net, fc__weight=torch.randn(count, net.fc.in_features, generator=generator),
                       fc__bias=torch.zeros(count))
    if found not in ("cifar", "imagenet"):
        with pytest.raises((CheckpointError, UserError)) as caught:
            load_network(checkpoint, options=options)
        assert found in str(caught.value) and "\n" not in str(caught.value)
        return
    network = load_network(checkpoint, options=options)
    assert network.family.geometry(checkpoint, network.options).stem == found
    first = next(m for m in network.module().modules() if isinstance(m, torch.nn.Conv2d))
    assert first.stride == ((1, 1) if found == "cifar" else (2, 2))
