"""ReActNet-A: the paper's semantics, the float graph, recognition, refusals, the integers."""

import numpy as np
import pytest
import torch

from hwbnn import golden
from hwbnn.errors import CheckpointError, UserError
from hwbnn.passes import lower_to_integers
from hwbnn.passes.calibrate import run_float
from models import synth
from models.api import load_network
from models.checkpoint import Checkpoint
from models.mobile import REACTNET_A, MobileGeometry
from models.reactnet_a import synth as made
from models.reactnet_a.net import HardBinaryConv, ReActNetA
from models.registry import families, recognise, resolve_options

CHANNELS = tuple(c // 8 for c in REACTNET_A)


def randomised(geometry, seed):
    net = ReActNetA(geometry)
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, value in net.state_dict().items():
            if key.endswith("num_batches_tracked"):
                continue
            drawn = torch.randn(value.shape, generator=g) * 0.5
            value.copy_(drawn.abs() * 4 + 0.2 if key.endswith("running_var") else drawn)
    return net.eval()


def saved(net, **changes):
    state = {f"module.{k}": v for k, v in net.state_dict().items()}
    for key, value in changes.items():
        key = "module." + key.replace("__", ".")
        state[key] = value
        if value is None:
            del state[key]
    return Checkpoint.of(state, "net.pth")


@pytest.mark.parametrize(("stem", "stride"), [("imagenet", 2), ("cifar", 1)])
def test_pytorch_and_graph_are_what_the_paper_says(restated, stem, stride):
    net = randomised(MobileGeometry(stem, CHANNELS, 7), seed=stride)
    size = 32 * stride
    network = load_network(saved(net), options={"input_size": size, "stem": stem})
    graph = network.graph()
    images = np.random.default_rng(3).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    values = run_float(graph, images)
    x = torch.from_numpy(values["input"])
    net = network.module().double()
    with torch.no_grad():
        expected = restated.reactnet_a(net.state_dict(), stride, x).numpy()
        found = net(x).numpy()
    scale = np.abs(expected).max()
    assert expected.std() > 0.01
    assert np.abs(found - expected).max() < 1e-10 * scale
    assert np.abs(values[graph.output][:, :, 0, 0] - expected).max() < 1e-10 * scale
    assert values["feature.1.repeat"].shape[1] == 2 * CHANNELS[0]
    pw = graph["feature.1.binary_pw_down"].op
    assert pw.weight.shape == (2 * CHANNELS[0], CHANNELS[0], 1, 1) and pw.padding == 0


def test_integers_agree_with_pytorch():
    geometry = MobileGeometry("imagenet", (16, 32, 64, 64), 7)
    generator = torch.Generator().manual_seed(2)
    net = made.parameters(geometry, generator)
    synth.settle(net, synth.colour_scenes(32, 64, 1), made.hooks(net), generator)
    network = load_network(saved(net), options={"input_size": 64, "stem": "imagenet"})
    folded, integer = lower_to_integers(network.graph(), synth.colour_scenes(16, 64, 2))
    images = synth.colour_scenes(12, 64, 3)
    result, exact = golden.run(integer, images), network.logits(images)
    real = result.logits * 2.0 ** -integer.types()[integer.output].frac
    assert np.abs(real - exact).mean() < 0.15 * exact.std()
    assert (result.classes == exact.argmax(1)).mean() >= 0.75
    assert sum(result.saturated.values()) <= 20
    assert integer.meta["numeric"]["rprelu"] == "multiplier"
    # the whole network hangs together by its shortcuts: one position
    assert len({integer.types()[n.name].frac for n in integer if n.name.endswith("add2")}) == 1


def test_published_tensors(published):
    checkpoint, listed = published("reactnet-a")
    family = recognise(checkpoint)
    assert family.name == "reactnet-a"
    geometry = family.geometry(checkpoint, resolve_options(family))
    assert geometry == MobileGeometry("imagenet", REACTNET_A, 1000)
    network = synth.networks()["reactnet-a"]
    content = network.wrap(network.build(torch.Generator().manual_seed(0)))
    assert f"{{{','.join(map(repr, content))}}}" == listed["wrapper"]
    mine = [[k.removeprefix("module."), list(v.shape), str(v.dtype).removeprefix("torch.")]
            for k, v in content["state_dict"].items()]
    assert mine == listed["tensors"]
    with torch.device("meta"):
        net = ReActNetA(geometry)
    convs = {n: (m.shape[1], m.shape[0], m.shape[2], m.stride)
             for n, m in net.named_modules() if isinstance(m, HardBinaryConv)}
    assert convs == {row[0]: tuple(row[1:5]) for row in listed["binary_convs"]}


@pytest.mark.parametrize("name", ["ab-reactnet-a-in", "bnext-t", "reactnet-18", "snn-r18-tau4",
                                  "sd-resnet-18-in"])
def test_other_families_are_not_taken(published, name):
    match = families()["reactnet-a"].recognise(published(name)[0])
    assert match.score == 0 and match.reasons[0]


SMALL = MobileGeometry("imagenet", (8, 16, 32, 32), 5)
REFUSED = [
    ({"feature__1__binary_3x3__weights": None,
      "feature__1__binary_3x3__weight": torch.zeros(8, 8, 3, 3)},
     "feature.1.binary_3x3.weight: is a real weight of training step 1; give the step-2 file"),
    ({"feature__2__binary_3x3__weights": torch.zeros(100, 1)},
     "feature.2.binary_3x3.weights: shape (100, 1), expected (2304, 1)"),
    ({"feature__2__binary_3x3__weights": torch.arange(2304.0)[:, None] % 2},
     "feature.2.binary_3x3.weights: 1152 of 2304 weights are exactly 0, which is no binary"),
    ({"feature__3__bn2__weight": None}, "feature.3.bn2.weight: missing; expected shape (32,)"),
    ({"feature__3__binary_pw_down1__weights": torch.zeros(4, 1)}, "feature.3.binary_pw_down1"),
    ({"feature__9__move11__bias": torch.zeros(4)}, "blocks [0, 1, 2, 3, 9]"),
    ({"extra__bias": torch.zeros(4)}, "extra.bias: not a tensor of this family"),
    ({"fc__weight": torch.zeros(4)}, "fc.weight: missing or not a matrix"),
    ({"feature__0__conv1__weight": torch.zeros(8, 3, 7, 7)},
     "feature.0.conv1.weight: shape (8, 3, 7, 7); expected a 3x3"),
]


@pytest.mark.parametrize(("changes", "text"), REFUSED)
def test_refused(changes, text):
    checkpoint = saved(randomised(SMALL, 1), **changes)
    with pytest.raises(CheckpointError) as caught:
        load_network(checkpoint, "reactnet-a", {"input_size": 224}).graph()
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_size_and_stem_are_asked_for():
    checkpoint = saved(randomised(SMALL, 1))
    with pytest.raises(CheckpointError, match="5 classes, neither .*: how large are its images.*"
                       "--input-size 224"):
        load_network(checkpoint)
    warned = load_network(checkpoint, options={"input_size": 32}).graph().meta["warnings"]
    assert len(warned) == 1 and warned[0].startswith("stem: cifar, stride 1")
    stems = {size: load_network(checkpoint, options={"input_size": size}).graph().meta["geometry"]
             ["stem"] for size in (32, 224)}
    assert stems == {32: "cifar", 224: "imagenet"}
    with pytest.raises(UserError, match="30 does not divide by 4; .*; try 32"):
        load_network(checkpoint, options={"input_size": 30, "stem": "imagenet"})
