"""Training of SD-BNN: it learns, resumes to the same weights, writes files of the authors' form."""

import copy
import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import models.training as training
from hwbnn.errors import HwbnnError
from models.api import load_network
from models.sd.fused import fused
from models.sd.net import BinaryConv, Geometry, build, shifted
from models.sd.train import halved, initialise, sharpness
from models.train import main

SMALL = ["--widths", "16,32", "--blocks", "1,1", "--batch", "16", "--threads", "1", "--epochs", "6",
         "--eval-every", "3"]
TINY = Geometry("resnet20", (16, 32), (1, 1), 3)


def run(data, out, *extra):
    result = CliRunner().invoke(main, [
        "sd", "--data", str(data / "train.npz"), "--test", str(data / "test.npz"),
        "-o", str(out), *SMALL, *extra])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "net.pth"
    return out, run(data, out)


def held(path):
    return torch.load(path, weights_only=True)


def same(a, b):
    a, b = held(a)["state_dict"], held(b)["state_dict"]
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_learns_and_writes_the_authors_wrapper(whole, data):
    out, text = whole
    first, last = (float(v) for v in re.findall(r"epoch \d/\d loss ([\d.]+)", text))
    assert last < first
    file = held(out)
    assert set(file) == {"state_dict", "best_prec1"}
    assert {k.removeprefix("module."): v.shape for k, v in file["state_dict"].items()} == {
        k: v.shape for k, v in build(TINY).state_dict().items()}
    stated = float(re.search(r"net\.pth: ([\d.]+) % of 96 test images", text)[1])
    assert stated > 60  # chance is 33
    assert stated == pytest.approx(file["best_prec1"], abs=0.005)
    network = load_network(out, options={"input_size": 12})
    assert network.family.name == "sd" and network.module().geometry == TINY
    test = training.Images.load(data / "test.npz")
    top1 = 100 * float((network.logits(test.x).argmax(1) == test.y).mean())
    assert top1 == pytest.approx(stated, abs=0.005)


def test_every_parameter_is_trained(whole):
    torch.manual_seed(1)
    start = build(TINY)
    initialise(start)
    trained = {k.removeprefix("module."): v for k, v in held(whole[0])["state_dict"].items()}
    for name, before in start.named_parameters():
        assert not torch.equal(before, trained[name]), name


def test_resumed_run_equals_the_unbroken_one(whole, data, tmp_path, monkeypatch):
    out, real = tmp_path / "net.pth", training.augmented
    monkeypatch.setattr(training, "augmented",
                        lambda d, b, seed: real(d, b, seed) if seed < 10_004 else iter("x"))
    with pytest.raises(ValueError, match="not enough values to unpack"):
        run(data, out)
    monkeypatch.undo()
    run(data, out, "--resume")
    assert same(whole[0], out)
    with pytest.raises(HwbnnError, match="was started with optimiser = sgd; now adam"):
        run(data, out, "--resume", "--optimiser", "adam")


def test_float16_file_is_the_same_network(whole, data, tmp_path):
    run(data, tmp_path / "net.pth", "--store", "float16")
    full, short = held(whole[0])["state_dict"], held(tmp_path / "net.pth")["state_dict"]
    narrow = {k for k, v in short.items() if v.dtype == torch.float16}
    assert narrow == {f"module.layer{i}.0.conv{j}.weight" for i in (1, 2) for j in (1, 2)}
    assert all(torch.equal(full[k], short[k]) for k in full if k not in narrow)
    x = np.random.default_rng(2).integers(0, 256, (8, 12, 12, 3), dtype=np.uint8)
    a, b = (load_network(p, options={"input_size": 12}).logits(x)
            for p in (whole[0], tmp_path / "net.pth"))
    assert np.array_equal(a, b)


def test_float16_keeps_signs():
    torch.manual_seed(3)
    net = build(TINY)
    convs = [(n, m) for n, m in net.named_modules() if isinstance(m, BinaryConv)]
    with torch.no_grad():
        for _name, conv in convs:  # means off zero, magnitudes over five decades, weights near 0
            size = 10 ** torch.empty(conv.shape[0], 1, 1, 1).uniform_(-4, 1)
            conv.weight.normal_(0.3).mul_(size)
            conv.alpha.normal_(0, 2)
            mean = conv.weight.mean(dim=(1, 2, 3))
            conv.weight[:, 0, 0, 0] = -0.0049 * mean  # sigmoid(alpha) decides the sign
            conv.weight[:, 0, 0, 1] = 1e-6 * mean
    state = halved(net)
    for name, conv in convs:
        short, alpha = state[f"{name}.weight"], conv.alpha.detach().double()
        assert short.dtype == torch.float16
        expected = torch.sign(shifted(conv.weight.detach().double(), alpha))
        assert (expected != 0).all()
        assert torch.equal(torch.sign(shifted(short.double(), alpha)), expected)
        assert torch.equal(torch.sign(shifted(short.float(), alpha.float())), expected.float())


def test_gradient_of_sign():
    torch.manual_seed(0)
    conv = BinaryConv(16, 16, 1, 16)
    x = torch.tensor([-2.0, -0.3, 0.0, 0.05, 4.0], requires_grad=True)
    for t in (1e-3, 0.5, 1.0, 3.0, 10.0):
        conv.sharpness = torch.tensor(t)
        x.grad = None
        y = conv.sign(x)
        assert y.tolist() == [-1, -1, 0, 1, 1]
        y.sum().backward()
        twin = x.detach().clone().requires_grad_(True)
        (max(1, 1 / t) * torch.tanh(t * twin)).sum().backward()
        assert torch.allclose(x.grad, twin.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.filterwarnings("ignore")  # of the compiler
def test_fused_step_is_that_of_the_network():
    """In float64, where no sign falls to the other side."""
    torch.manual_seed(4)
    net = build(TINY).double().train()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.normal_()
                module.bias.normal_()
            elif isinstance(module, BinaryConv):
                module.sharpness = torch.tensor(1.5, dtype=torch.float64)
    twin = copy.deepcopy(net)
    x, y = torch.randn(5, 3, 12, 12).double(), torch.tensor([0, 1, 2, 0, 1])
    results = [forward(x) for forward in (net, fused(twin))]
    assert torch.allclose(*results, rtol=1e-12, atol=1e-12)
    for logits in results:
        torch.nn.functional.cross_entropy(logits, y).backward()
    for (name, a), b in zip(net.named_parameters(), twin.parameters(), strict=True):
        assert a.grad.abs().max() > 0 or "dybeta" in name, name  # its only hidden unit may rest
        assert torch.allclose(a.grad, b.grad, rtol=1e-9, atol=1e-12), name
    for (name, a), b in zip(net.named_buffers(), twin.buffers(), strict=True):
        assert torch.allclose(a, b, rtol=1e-12), name


@pytest.mark.filterwarnings("ignore")  # of the compiler
def test_fused_training_learns(data, tmp_path):
    text = run(data, tmp_path / "net.pth", "--compile", "--bf16")
    first, last = (float(v) for v in re.findall(r"epoch \d/\d loss ([\d.]+)", text))
    assert last < first
    assert float(re.search(r"net\.pth: ([\d.]+) %", text)[1]) > 60  # chance is 33


def test_sharpness_rises_over_four_decades():
    values = [sharpness(p / 4) for p in range(5)]
    assert values == pytest.approx([1e-3, 1e-2, 1e-1, 1, 10])
    assert [sharpness(p / 2, 0.5, 2) for p in range(3)] == pytest.approx([0.5, 1, 2])


def test_starts_from_the_weights_of_another_run(whole, data, tmp_path):
    """A rate of nothing keeps them, signs included; both a file and a run's state will do."""
    state = whole[0].with_name("net.pth.resume")
    for name, source in (("a.pth", whole[0]), ("b.pth", state)):
        run(data, tmp_path / name, "--init", str(source), "--lr", "1e-30", "--sharpness", "0.5,2")
        learned = held(tmp_path / name)["state_dict"]
        for key, value in held(whole[0])["state_dict"].items():
            assert "running" in key or "tracked" in key or torch.equal(value, learned[key]), key
    with pytest.raises(HwbnnError, match="has no conv1.weight of shape"):
        run(data, tmp_path / "c.pth", "--init", str(whole[0]), "--widths", "32,64")
    with pytest.raises(HwbnnError, match="was started with family = sharpness 0.5,2"):
        run(data, tmp_path / "a.pth", "--resume", "--lr", "1e-30")


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        (["--widths", "8,x"], "--widths: '8,x' is not a list of positive integers"),
        (["--blocks", "1"], "--blocks: 2 widths but 1 stages of blocks"),
        (["--widths", "8,16"], "--widths: 8 channels leave no hidden unit for beta"),
        (["--widths", "16", "--blocks", "1"], "--widths: one stage tells no ResNet-20"),
        (["--widths", "16,48"], "--widths: an option-A shortcut doubles channels"),
        (["--resume"], "nothing to resume; run without --resume"),
        (["--sharpness", "2,1"], "--sharpness: '2,1' is not two rising positive numbers"),
        (["--sharpness", "1"], "--sharpness: '1' is not two rising positive numbers"),
    ],
)
def test_bad_options(data, tmp_path, extra, text):
    with pytest.raises(HwbnnError) as caught:
        run(data, tmp_path / "n.pth", *extra)
    assert text in str(caught.value)
