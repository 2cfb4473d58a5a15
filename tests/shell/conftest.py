"""A small trained-looking network on disk, and the command line as a function."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from hwbnn.cli import main
from models.snn.net import Geometry, SnnNet


def make_state(tau=4, seed=0, **geometry):
    """A state_dict with random parameters in the ranges that training leaves."""
    torch.manual_seed(seed)
    geometry = {"widths": (8, 16), "blocks": (1, 1), "num_classes": 4, **geometry}
    net = SnnNet(Geometry.uniform(tau, **geometry))
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, value in net.state_dict().items():
        if not key.endswith(("num_batches_tracked", "patterns")):
            value = torch.randn(value.shape, generator=generator) * 0.3
        if key.endswith("running_var"):
            value = value.abs() + 0.5
        state[f"module.{key}"] = value.clone()
    return state


@pytest.fixture
def state():
    """A changeable state_dict."""
    return make_state()


@pytest.fixture
def imagenet_state():
    """The same with a 7x7 stem and a max-pool."""
    return make_state(stem="imagenet")


@pytest.fixture
def one_stage_state():
    """The same with a single stage, which takes images of any size."""
    return make_state(widths=(8,), blocks=(1,))


@pytest.fixture
def save(tmp_path):
    """save(content, name) -> path."""

    def write(content, name="net.pth"):
        path = tmp_path / name
        torch.save(content, path)
        return path

    return write


@pytest.fixture
def network(save, state):
    """A checkpoint in the authors' wrapper."""
    return save({"epoch": 1, "state_dict": state, "best_top1_acc": 50.0, "optimizer": {}})


@pytest.fixture
def images(tmp_path):
    """images(count, size) -> path of an .npz of noise with labels."""

    def write(count=4, size=32, name="images.npz"):
        rng = np.random.default_rng(3)
        path = tmp_path / name
        np.savez(path, x=rng.integers(0, 256, (count, size, size, 3), np.uint8),
                 y=rng.integers(0, 4, count))
        return path

    return write


@pytest.fixture
def hwbnn():
    """hwbnn("check", path) -> click's result, with stdout, stderr and exit_code."""

    def run(*arguments):
        result = CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)
        return result

    return run
