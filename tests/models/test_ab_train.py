"""Training of A&B ReActNet: both steps learn, resume to the same weights, write authors' files."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch.nn import functional as F

import models.training as training
from hwbnn.errors import HwbnnError
from hwbnn.execute import walk
from models.ab.layers import BinaryStdConv2d
from models.ab.net import AbNet, Geometry, set_binary_weights
from models.ab.train import clip_gradients, halved, step1_path
from models.api import load_network
from models.train import main

SMALL = ["--widths", "8,12", "--blocks", "2,1", "--batch", "16", "--threads", "1", "--lr", "1e-2",
         "--epochs", "3,4", "--eval-every", "2"]
TINY = Geometry("reactnet", "cifar", (8, 12), (2, 1), 3)
EXAMPLE = Path(__file__).parents[2] / "examples" / "ab_cifar10.h5"


def run(data, out, *extra):
    result = CliRunner().invoke(main, [
        "ab", "--data", str(data / "train.npz"), "--test", str(data / "test.npz"),
        "-o", str(out), *SMALL, *extra])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "net.h5"
    return out, run(data, out)


def held(path):
    return torch.load(path, weights_only=True)


def same(a, b):
    a, b = held(a), held(b)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def losses(text, step):
    return [float(v) for v in re.findall(rf"step {step}: epoch \d/\d loss ([\d.]+)", text)]


def test_both_steps_learn(whole, data):
    _out, text = whole
    for step in (1, 2):
        first, last = losses(text, step)
        assert last < first
    stated = float(re.search(r"net\.h5: ([\d.]+) % of 96 test images", text)[1])
    assert stated > 60  # chance is 33
    net = AbNet(TINY)
    net.load_state_dict({k.removeprefix("module."): v for k, v in held(whole[0]).items()})
    test = training.Images.load(data / "test.npz")
    assert training.accuracy(net, test) == pytest.approx(stated, abs=0.005)


def test_files_are_the_authors(whole):
    keys = {f"module.{k}": v.shape for k, v in AbNet(TINY).state_dict().items()}
    assert "module.layer2.0.downsample.1.gain" in keys and "module.conv1.gain" in keys
    for path in (whole[0], step1_path(whole[0])):
        state = held(path)
        assert {k: v.shape for k, v in state.items()} == keys
        assert all(v.dtype == torch.float32 for v in state.values())


def test_step_2_starts_from_the_weights_of_step_1(whole, data, tmp_path):
    a, b = held(step1_path(whole[0])), held(whole[0])
    assert not any(torch.equal(a[k], b[k]) for k in a if k.endswith("conv1.weight"))
    text = run(data, tmp_path / "net.h5", "--step1", str(step1_path(whole[0])))
    assert "step 1" not in text
    assert same(whole[0], tmp_path / "net.h5")
    with pytest.raises(HwbnnError, match=r"has no conv1.weight of shape \(4, 3, 3, 3\)"):
        run(data, tmp_path / "n.h5", "--step1", str(whole[0]), "--widths", "4,4")


@pytest.mark.parametrize("breaks_at", [10_001, 20_002], ids=["step1", "step2"])
def test_resumed_run_equals_the_unbroken_one(whole, data, tmp_path, monkeypatch, breaks_at):
    out, real = tmp_path / "net.h5", training.augmented
    # Epoch e of step s is drawn with seed s * 10,000 + e.
    monkeypatch.setattr(training, "augmented",
                        lambda d, b, seed: real(d, b, seed) if seed < breaks_at else iter("x"))
    with pytest.raises(ValueError, match="not enough values to unpack"):
        run(data, out)
    monkeypatch.undo()
    text = run(data, out, "--resume")
    assert ("step 1" in text) == (breaks_at < 20_000)
    assert same(whole[0], out) and same(step1_path(whole[0]), step1_path(out))


def test_a_new_run_forgets_the_old_state(data, tmp_path):
    out = tmp_path / "net.h5"
    stale = tmp_path / "net.h5.resume"
    stale.write_bytes(b"of an older run")
    with pytest.raises(HwbnnError, match="192 images make no batch of 500"):
        run(data, out, "--batch", "500")
    assert not stale.exists()


def test_float16_file_is_the_same_network(whole, data, tmp_path):
    run(data, tmp_path / "net.h5", "--store", "float16", "--bf16")
    state = held(tmp_path / "net.h5")
    short = {k for k, v in state.items() if v.dtype == torch.float16}
    assert short == {"module." + n + ".conv1.weight" for n in ("layer1.0", "layer1.1", "layer2.0")
                     } | {"module.layer2.0.downsample.1.weight"}


def test_float16_keeps_signs_and_scales():
    torch.manual_seed(3)
    net = AbNet(Geometry("reactnet", "cifar", (16, 32), (1, 2), 5)).eval()
    with torch.no_grad():
        for p in net.parameters():  # gains of either sign, means off zero, widths over five decades
            p.mul_(10 ** torch.empty(p.shape[0], *[1] * (p.ndim - 1)).uniform_(-4, 1))
            p.add_(0.3 * p.std(unbiased=False) * torch.randn_like(p))
    net.layer2[1].conv1.weight.data[0, 0, 0, 0] = net.layer2[1].conv1.weight.data[0].mean() + 1e-9
    twin = AbNet(net.geometry)
    twin.load_state_dict(halved(net))
    convs = [(a, b) for a, b in zip(net.modules(), twin.modules(), strict=True)
             if isinstance(a, BinaryStdConv2d)]
    assert len(convs) == 4
    with torch.no_grad():
        for a, b in convs:
            (bits, scale), (bits_short, scale_short) = a.parts(), b.parts()
            assert torch.equal(bits, bits_short)
            assert torch.allclose(scale, scale_short, rtol=1e-6, atol=0)


def test_clipped_gradients():
    torch.manual_seed(0)
    free, bound = AbNet(TINY), AbNet(TINY)
    bound.load_state_dict(free.state_dict())
    clip_gradients(bound, 0.001)
    x, y = torch.randn(4, 3, 12, 12), torch.tensor([0, 1, 2, 0])
    for net in (free, bound):
        set_binary_weights(net, False)
        F.cross_entropy(net(x), y).backward()
    shorter = 0
    for (name, p), q in zip(bound.named_parameters(), free.parameters(), strict=True):
        if name.startswith("fc."):
            assert torch.equal(p.grad, q.grad)
            continue
        rows = (p, p.grad, q.grad) if p.ndim < 2 else [t.flatten(1) for t in (p, p.grad, q.grad)]
        value, got, full = (t.norm(dim=-1) for t in rows)
        limit = 0.001 * value.clamp_min(1e-3)
        assert torch.allclose(got, torch.minimum(full, limit), rtol=1e-4, atol=1e-12), name
        shorter += int((got < 0.99 * full).sum())
    assert shorter > 10


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        (["--widths", "8,x"], "--widths: '8,x' is not a list of positive integers"),
        (["--blocks", "1"], "--blocks: 2 widths but 1 stages of blocks"),
        (["--epochs", "3"], "--epochs: '3' is not two numbers; epochs of step 1 and of step 2"),
        (["--resume"], "nothing to resume; run without --resume"),
        (["--step1", "none.h5"], "none.h5: no such file"),
    ],
)
def test_bad_options(data, tmp_path, extra, text):
    with pytest.raises(HwbnnError) as caught:
        run(data, tmp_path / "n.h5", *extra)
    assert text in str(caught.value)


def test_bundled_example():
    assert EXAMPLE.stat().st_size < 4 << 20
    assert all(k.startswith("module.") for k in held(EXAMPLE))
    network = load_network(EXAMPLE)
    assert network.family.name == "ab"
    geometry = network.module().geometry
    assert geometry == Geometry("reactnet", "cifar", (32, 64, 128, 256), (2, 2, 2, 2), 10)
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    graph = network.graph()
    values = {node.name: value for node, _args, value in walk(graph, images)}
    with torch.no_grad():
        expected = network.module().double()(torch.from_numpy(values["input"])).numpy()
    assert np.abs(values[graph.output][:, :, 0, 0] - expected).max() < 1e-9


def test_bundled_example_is_the_file_that_its_results_are_of():
    text = EXAMPLE.with_suffix(".md").read_text()
    assert hashlib.sha256(EXAMPLE.read_bytes()).hexdigest() in text
