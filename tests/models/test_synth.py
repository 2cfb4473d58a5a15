"""Made-up checkpoints: the authors' format, files never half written, layers that stay alive."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hwbnn import golden
from hwbnn.errors import UserError
from hwbnn.passes import lower_to_integers
from models import synth
from models.api import load_network
from models.checkpoint import load_checkpoint
from models.snn import synth as snn
from models.snn.net import Block, Geometry
from models.training import normalise

SHARED = Path(__file__).parents[3] / "shared" / "checkpoints"
SMALL = Geometry.uniform(3, stem="imagenet", widths=(8, 12), blocks=(2, 1), num_classes=7)


@pytest.fixture
def small(monkeypatch):
    """A network named "small", 64x64."""
    network = synth.SyntheticNetwork("small", "two stages", lambda g: snn.parameters(SMALL, g),
                                     snn.hooks, snn.wrap, 64)
    monkeypatch.setattr(synth, "networks", lambda: {"small": network})
    return network


def test_every_family_contributes():
    found = synth.networks()
    assert {"snn-r18-tau4", "snn-r18-tau5", "snn-r18-tau6", "snn-r18-tau9", "reactnet-18",
            "reactnet-34"} <= set(found)
    assert all(n.name == name and n.describe for name, n in found.items())


@pytest.mark.parametrize("name", [n.name for n in snn.NETWORKS])
def test_tensors_are_the_authors(name):
    listed = SHARED / f"{'reactnet-18' if name.endswith('tau9') else name}.json"
    if not listed.is_file():
        pytest.skip("the authors' tensor lists are not at ../shared/checkpoints")
    doc = json.loads(listed.read_text())
    expected = {(k, tuple(shape), dtype) for k, shape, dtype in doc["tensors"]}
    if name.endswith("tau9"):  # the same network with the full codebook in each layer
        expected |= {(f"{row[0]}.binarize.patterns", (512, 9), "float32")
                     for row in doc["binary_convs"]}
    network = synth.networks()[name]
    content = network.wrap(network.build(torch.Generator().manual_seed(0)))
    assert f"{{{','.join(map(repr, content))}}}" == doc["wrapper"]
    made = {(k.removeprefix(doc["prefix"]), tuple(v.shape), str(v.dtype).removeprefix("torch."))
            for k, v in content["state_dict"].items() if k.startswith(doc["prefix"])}
    assert made == expected and len(content["state_dict"]) == len(expected)
    latent = [v for k, v in content["state_dict"].items() if k.endswith("binary_conv.weight")]
    assert latent and all((v != 0).all() for v in latent)


def test_a_seed_gives_one_file(small, tmp_path):
    files = [synth.write("small", tmp_path / f"{i}.pth", seed) for i, seed in enumerate((5, 5, 6))]
    a, b, c = (load_checkpoint(f).tensors for f in files)
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not any(torch.equal(a[k], c[k]) for k in a if k.endswith(("conv1.weight", "patterns")))
    content = torch.load(files[0], weights_only=True)
    assert list(content) == ["epoch", "state_dict", "best_top1_acc", "optimizer"]
    assert all(k.startswith("module.") for k in content["state_dict"])
    assert load_network(files[0]).family.name == "snn"


def test_parameters_reach_the_awkward_ranges():
    wide = dataclasses.replace(SMALL, widths=(64, 64))
    net = snn.parameters(wide, torch.Generator().manual_seed(1))
    slopes = torch.cat([m.weight for m in net.modules() if isinstance(m, torch.nn.PReLU)])
    assert (slopes < 0).any() and (slopes > 1).any()
    gains = torch.cat([m.weight for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)])
    assert (gains < 0).any()
    patterns = net.layer1[0].binary_conv.binarize.patterns
    assert len(torch.unique(torch.sign(patterns), dim=0)) == 8 and patterns.abs().min() > 1e-3


def test_what_cannot_be_written_is_refused(small, tmp_path):
    there = tmp_path / "x.pth"
    there.write_bytes(b"precious")
    cases = {
        ("other", "y.pth"): "no synthetic network is named 'other'; known: small",
        ("small", "x.pth"): "x.pth: exists already; give another -o, or --force",
        ("small", "no/y.pth"): "no: no such folder",
        ("small", "."): "is a folder",
    }
    for (name, file), text in cases.items():
        with pytest.raises(UserError) as caught:
            synth.write(name, tmp_path / file)
        assert text in str(caught.value) and "\n" not in str(caught.value)
    assert there.read_bytes() == b"precious" and list(tmp_path.iterdir()) == [there]
    synth.write("small", there, force=True)
    assert load_network(there).family.name == "snn" and list(tmp_path.iterdir()) == [there]


def test_an_interrupted_one_leaves_what_was_there(small, tmp_path, monkeypatch):
    there = tmp_path / "x.pth"
    there.write_bytes(b"precious")

    def interrupt(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synth.write("small", there, force=True, progress=interrupt)
    assert there.read_bytes() == b"precious" and list(tmp_path.iterdir()) == [there]


def test_progress_counts_every_module(small):
    seen = []
    synth.synthesise("small", progress=lambda done, total: seen.append((done, total)))
    # bn1, 3 blocks of (bn1, move0..2), one shortcut's BN, fc
    assert seen == [(i, 15) for i in range(1, 16)]


def test_a_module_that_does_not_run_is_an_error(small):
    net = small.build(torch.Generator())
    net.spare = torch.nn.BatchNorm2d(3)
    with pytest.raises(ValueError, match="spare did not run"):
        synth.settle(net, synth.colour_scenes(2, 64), small.hooks(net), torch.Generator())


def observed(net, images):
    """(share of ones per channel before each sign, deviation of each block's output, logits)."""
    shares, deviations = [], []

    def block(module, args, out):
        shares.append((args[0] + module.move0.bias > 0).float().mean(dim=(0, 2, 3)))
        deviations.append(float(out.std()))

    handles = [m.register_forward_hook(block) for m in net.modules() if isinstance(m, Block)]
    with torch.no_grad():
        logits = net(normalise(images))
    for handle in handles:
        handle.remove()
    return torch.cat(shares), deviations, logits


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_layers_stay_alive_on_other_images(small, tmp_path, seed):
    net = load_network(synth.write("small", tmp_path / "x.pth", seed)).module()
    shares, deviations, logits = observed(net, synth.colour_scenes(12, 64, seed + 100))
    assert 0.1 < shares.min() and shares.max() < 0.9
    assert 0.4 < min(deviations) and max(deviations) < 3
    assert 1 < logits.std(dim=0).mean() < 5 and len(set(logits.argmax(1).tolist())) > 2


def test_full_size_network_lives_and_lowers(tmp_path):
    path = synth.write("snn-r18-tau5", tmp_path / "x.pth")
    network = load_network(path)
    shares, deviations, logits = observed(network.module(), synth.colour_scenes(8, 224, 9))
    assert 0.02 < shares.min() and shares.max() < 0.98 and abs(shares.mean() - 0.5) < 0.05
    assert 0.5 < min(deviations) and max(deviations) < 2
    assert len(set(logits.argmax(1).tolist())) > 4
    _folded, graph = lower_to_integers(network.graph(), synth.colour_scenes(4, 224, 10))
    images = synth.colour_scenes(2, 224, 11)
    result = golden.run(graph, images)
    real = result.logits * 2.0 ** -graph.types()[graph.output].frac
    exact = network.logits(images)
    assert np.abs(real - exact).mean() < 0.5 * exact.std()
    # ranges come from four other images
    assert max(result.saturated.values()) <= 1e-5 * 2 * 64 * 56 * 56


def test_scenes_are_smooth_and_repeatable():
    a, b, c = (synth.colour_scenes(3, 96, seed) for seed in (1, 1, 2))
    assert a.dtype == np.uint8 and a.shape == (3, 96, 96, 3)
    assert np.array_equal(a, b) and not np.array_equal(a, c)
    step = np.abs(np.diff(a.astype(float), axis=2)).mean()
    assert 2 < step < 0.5 * a.std()


def test_networks_are_facts():
    network = snn.NETWORKS[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        network.name = "x"
