"""The trainer learns, resumes to the same weights, writes loadable files, and fails in one line."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from hwbnn.errors import HwbnnError
from models.api import load_network
from models.train import main
from models.training import Images, Recipe, augmented, normalise, train

SMALL = ["--widths", "8,8", "--blocks", "1,1", "--batch", "16", "--threads", "1"]


def run(data, out, *extra):
    args = ["snn", "--data", str(data / "train.npz"), "--test", str(data / "test.npz"),
            "-o", str(out), *SMALL, *extra]
    result = CliRunner().invoke(main, args)
    if isinstance(result.exception, HwbnnError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def tensors(path):
    return load_network(path).checkpoint.tensors


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "net.pth"
    text = run(data, out, "--tau", "3", "--epochs", "4", "--eval-every", "2")
    return out, text


def test_learns_and_writes_the_authors_wrapper(whole):
    out, text = whole
    held = torch.load(out, weights_only=True)
    assert set(held) == {"epoch", "state_dict", "best_top1_acc", "optimizer"}
    assert all(k.startswith("module.") for k in held["state_dict"])
    assert held["epoch"] == 4 and held["best_top1_acc"] > 60  # chance is 33
    assert f"{held['best_top1_acc']:.2f} % of 96 test images" in text
    network = load_network(out, options={"input_size": 12})
    codebooks = [n.op.codebook for n in network.graph() if hasattr(n.op, "codebook")]
    assert [len(c) for c in codebooks] == [8, 8]


def test_file_and_graph_reach_the_logged_accuracy(whole, data):
    images = Images.load(data / "test.npz")
    logits = load_network(whole[0], options={"input_size": 12}).logits(images.x)
    top1 = 100 * float((logits.argmax(1) == images.y).mean())
    assert top1 == pytest.approx(torch.load(whole[0], weights_only=True)["best_top1_acc"])


def test_same_seed_same_weights(whole, data, tmp_path):
    run(data, tmp_path / "b.pth", "--tau", "3", "--epochs", "4", "--eval-every", "2")
    a, b = tensors(whole[0]), tensors(tmp_path / "b.pth")
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_resumed_run_equals_the_unbroken_one(whole, data, tmp_path, monkeypatch):
    import models.training as training

    real = training.augmented
    monkeypatch.setattr(training, "augmented",
                        lambda d, b, seed: real(d, b, seed) if seed < 10_002 else iter("x"))
    with pytest.raises(AssertionError):  # breaks off in epoch 3
        run(data, tmp_path / "net.pth", "--tau", "3", "--epochs", "4", "--eval-every", "2")
    monkeypatch.undo()
    run(data, tmp_path / "net.pth", "--tau", "3", "--epochs", "4", "--eval-every", "2", "--resume")
    a, b = tensors(whole[0]), tensors(tmp_path / "net.pth")
    assert all(torch.equal(a[k], b[k]) for k in a)
    with pytest.raises(HwbnnError, match="was started with epochs = 4; now 5; resume with"):
        run(data, tmp_path / "net.pth", "--tau", "3", "--epochs", "5", "--resume")
    with pytest.raises(HwbnnError, match="belongs to another network"):
        run(data, tmp_path / "net.pth", "--tau", "4", "--epochs", "4", "--resume")
    with pytest.raises(HwbnnError, match="is not the state of a training run"):
        (tmp_path / "c.pth.resume").write_bytes((tmp_path / "net.pth").read_bytes())
        run(data, tmp_path / "c.pth", "--tau", "3", "--epochs", "4", "--resume")


def test_tau_9_from_sub_bit_weights(whole, data, tmp_path):
    run(data, tmp_path / "n.pth", "--tau", "9", "--epochs", "1", "--bf16", "--init", str(whole[0]))
    state = tensors(tmp_path / "n.pth")
    assert not any(k.endswith("patterns") for k in state)
    with pytest.raises(HwbnnError, match=r"has no conv1.weight of shape \(4, 3, 3, 3\)"):
        run(data, tmp_path / "n.pth", "--init", str(whole[0]), "--widths", "4,4")


def test_augmentation_only_moves_and_flips():
    x = np.arange(4 * 8 * 8 * 3, dtype=np.uint32).reshape(4, 8, 8, 3)
    images = Images((x % 251).astype(np.uint8), np.arange(4))
    same = normalise(images.x)
    seen = set()
    for xs, ys in augmented(images, 2, seed=3, pad=0):
        for a, label in zip(xs, ys.tolist(), strict=True):
            assert torch.equal(a, same[label]) or torch.equal(a, same[label].flip(2))
            seen.add(label)
    assert seen == {0, 1, 2, 3}
    first = [ys.tolist() for _, ys in augmented(images, 2, seed=3)]
    assert first == [ys.tolist() for _, ys in augmented(images, 2, seed=3)]
    shifted = next(augmented(images, 4, seed=5, pad=2))[0]
    assert shifted.shape == (4, 3, 8, 8) and not torch.equal(shifted, same)


def test_learning_rate_rises_then_falls_to_zero():
    recipe = Recipe(lr=1.0, warmup=0.1)
    rates = [recipe.rate(p / 100) for p in range(101)]
    assert rates[0] == 0 and rates[100] < 1e-9 and rates.index(max(rates)) == 10


@pytest.mark.parametrize(
    ("write", "text"),
    [
        (None, "no such file; give an .npz"),
        (lambda p: p.write_bytes(b"not a zip"), "cannot be read as .npz"),
        (lambda p: np.savez(p, x=np.zeros(3)), "has no array 'y'; it holds x"),
        (lambda p: np.savez(p, x=np.zeros((2, 8, 8, 3)), y=np.zeros(2, int)), "x is float64"),
        (lambda p: np.savez(p, x=np.zeros((2, 8, 8, 3), np.uint8), y=np.zeros(3, int)), "y is int"),
    ],
)
def test_bad_data_files(tmp_path, write, text):
    path = tmp_path / "d.npz"
    if write:
        write(path)
    with pytest.raises(HwbnnError) as caught:
        Images.load(path)
    assert text in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        (["--widths", "8,x"], "--widths: '8,x' is not a list of positive integers"),
        (["--blocks", "1"], "--blocks: 2 widths but 1 stages of blocks"),
        (["--batch", "500"], "192 images make no batch of 500; give a smaller --batch"),
        (["--resume"], "nothing to resume; run without --resume"),
    ],
)
def test_bad_options(data, tmp_path, extra, text):
    with pytest.raises(HwbnnError) as caught:
        run(data, tmp_path / "n.pth", "--epochs", "1", *extra)
    assert text in str(caught.value)


def test_command_line_prints_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "models.train", "snn", "--data", "none.npz", "--test", "none.npz",
         "-o", str(tmp_path / "n.pth")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: none.npz: no such file; give an .npz with arrays x and y\n"


def test_a_run_of_limited_minutes_ends_its_schedule(tmp_path, monkeypatch):
    import models.training as training

    clock = iter(range(0, 10**6, 60))  # a minute passes between any two looks
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    x = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3), dtype=np.uint8)
    images = Images(x, np.arange(64) % 2)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2))
    seen, saved, out = [], [], tmp_path / "n.pth"
    recipe = Recipe(epochs=10, batch=16, minutes=18.5, eval_every=100)
    train(net, images, images, recipe, out, before_step=lambda step, total: seen.append(step),
          before_save=lambda: saved.append(len(seen)), log=lambda line: None)
    assert seen == [int(40 * m / 18.5) for m in range(1, 19)]  # of 40 steps
    assert saved == [4, 8, 12, 16, 18] and out.is_file()
