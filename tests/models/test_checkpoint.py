"""What is read, and the one line that each bad file gets."""

import argparse
import os
import zipfile

import numpy as np
import pytest
import torch

from hwbnn.errors import CheckpointError
from models.checkpoint import Checkpoint, load_checkpoint

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.n": torch.tensor(4)}


def message(path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    text = str(caught.value)
    assert "\n" not in text and str(path) in text
    return text


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
def test_wrappers_and_prefixes(tmp_path, legacy, wrap, prefix):
    state = {prefix + k: v for k, v in STATE.items()}
    wrapper = {"state_dict": state, "epoch": 7, "best_top1_acc": torch.tensor([56.25])}
    held = wrapper if wrap else state
    torch.save(held, tmp_path / "n.pth", _use_new_zipfile_serialization=not legacy)
    read = load_checkpoint(tmp_path / "n.pth")
    assert list(read.tensors) == list(STATE)
    assert all(torch.equal(read.tensors[k], STATE[k]) for k in STATE)
    assert read.facts == ({"epoch": 7, "best_top1_acc": 56.25} if wrap else {})


def test_numpy_scalars_in_the_wrapper_are_data(tmp_path):
    torch.save({"state_dict": STATE, "best_top1_acc": np.float64(71.5)}, tmp_path / "n.pth")
    assert load_checkpoint(tmp_path / "n.pth").facts == {"best_top1_acc": 71.5}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_truncated(tmp_path, legacy, share):
    path = tmp_path / "n.pth"
    torch.save({"w": torch.randn(100, 100)}, path, _use_new_zipfile_serialization=not legacy)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "truncated or damaged" in message(path)


def test_no_file(tmp_path):
    assert "no such file" in message(tmp_path / "missing.pth")
    assert "is a folder" in message(tmp_path)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html>login</html>", "is an HTML page, not a checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a git-lfs pointer"),
        (b"\x00\x01\x02\x03garbage", "not a PyTorch checkpoint (it starts with 00 01 02 03)"),
    ],
)
def test_foreign_content(tmp_path, content, text):
    (tmp_path / "n.pth").write_bytes(content)
    assert text in message(tmp_path / "n.pth")


def test_other_archives(tmp_path):
    np.savez(tmp_path / "n.npz", w=np.zeros(3))
    assert "is a .npz archive, not a PyTorch checkpoint" in message(tmp_path / "n.npz")
    with zipfile.ZipFile(tmp_path / "n.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "is a zip archive, not a PyTorch checkpoint" in message(tmp_path / "n.zip")
    with zipfile.ZipFile(tmp_path / "ts.pt", "w") as archive:
        archive.writestr("ts/data.pkl", b"")
        archive.writestr("ts/constants.pkl", b"")
    assert "is a TorchScript program, not a state_dict" in message(tmp_path / "ts.pt")


class Attack:
    """Unpickling it would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_is_refused_and_not_run(tmp_path, legacy):
    path, proof = tmp_path / "n.pth", tmp_path / "ran"
    torch.save({"state_dict": STATE, "x": Attack(proof)}, path,
               _use_new_zipfile_serialization=not legacy)
    assert "holds pickled code (posix.mkdir), which is never run" in message(path)
    assert not proof.exists()


def test_whole_module_and_namespace_are_code(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "m.pth")
    assert "pickled code (torch.nn.modules.linear.Linear)" in message(tmp_path / "m.pth")
    torch.save({"state_dict": STATE, "args": argparse.Namespace(lr=1)}, tmp_path / "a.pth")
    assert "save tensors alone" in message(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("held", "text"),
    [
        ([1, 2], "holds a list, not a state_dict"),
        (torch.zeros(3), "holds a Tensor, not a state_dict"),
        ({}, "holds no tensors"),
        ({"state_dict": {}}, "holds no tensors"),
        ({"weights": [1.0]}, "entry 'weights' is a list, not a tensor"),
        ({"w": torch.zeros(1), "module.w": torch.zeros(1)}, "has w twice"),
        ({"w": torch.tensor([1.0, float("nan"), float("inf")])}, "w: 2 of 3 values are NaN"),
        ({"bn.running_var": torch.tensor([1.0, -1.0])}, "bn.running_var: a variance is negative"),
        ({"w": torch.zeros(2, dtype=torch.complex64)}, "w: is a torch.complex64"),
        ({"w": torch.zeros(2).to_sparse()}, "w: is a torch.float32 torch.sparse_coo tensor"),
    ],
)
def test_bad_contents(tmp_path, held, text):
    torch.save(held, tmp_path / "n.pth")
    assert text in message(tmp_path / "n.pth")


def test_state_dict_in_memory():
    read = Checkpoint.of({"module.w": torch.ones(2, dtype=torch.float16)}, "here")
    assert read.array("w").dtype == np.float64
