"""Small networks with random parameters, and files made of them."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint import Checkpoint
from models.snn.net import Geometry, SnnNet

SHARED = Path(__file__).parents[3] / "shared" / "checkpoints"


def randomised(net: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Every parameter and statistic random, in the ranges that training leaves them in."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, value in net.state_dict().items():
            if key.endswith("num_batches_tracked") or key.endswith("patterns"):
                continue
            if key.endswith("running_var"):
                value.copy_(torch.rand(value.shape, generator=g) * 3 + 0.1)
            else:
                value.copy_(torch.randn(value.shape, generator=g) * 0.5)
    return net.eval()


@pytest.fixture(scope="session")
def restated():
    """The module beside this file: networks written again from their papers."""
    spec = importlib.util.spec_from_file_location("restated", Path(__file__).parent / "restated.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Two .npz: 3 classes that differ by which third of the picture is bright."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name, n in (("train", 192), ("test", 96)):
        y = rng.integers(0, 3, n).astype(np.uint8)
        x = rng.integers(0, 90, (n, 12, 12, 3), dtype=np.uint8)
        for i, label in enumerate(y):
            x[i, 4 * label : 4 * label + 4] += 120
        np.savez(folder / f"{name}.npz", x=x, y=y)
    return folder


@pytest.fixture
def make_net():
    """make_net(tau, seed=0, **geometry) -> SnnNet in evaluation mode."""

    def make(tau, seed=0, **geometry):
        torch.manual_seed(seed)
        geometry = {"widths": (8, 12), "blocks": (1, 2), "num_classes": 5, **geometry}
        return randomised(SnnNet(Geometry.uniform(tau, **geometry)), seed)

    return make


@pytest.fixture
def save(tmp_path):
    """save(net, name) -> path of a file in the authors' wrapper."""

    def write(net, name="net.pth"):
        state = {f"module.{k}": v for k, v in net.state_dict().items()}
        path = tmp_path / name
        torch.save({"epoch": 3, "state_dict": state, "best_top1_acc": 12.5, "optimizer": {}}, path)
        return path

    return write


@pytest.fixture(scope="session")
def published():
    """published(name) -> Checkpoint with the authors' keys and shapes, and the JSON itself."""

    def read(name):
        path = SHARED / f"{name}.json"
        if not path.is_file():
            pytest.skip(f"the authors' tensor lists are not at ../shared/checkpoints ({path.name})")
        listed = json.loads(path.read_text())
        g = torch.Generator().manual_seed(0)
        state = {}
        for key, shape, dtype in listed["tensors"]:
            value = torch.randn(shape, generator=g) * 0.1
            if key.endswith("running_var"):
                value = value.abs() + 0.5
            if key.endswith("patterns"):
                value = torch.where(value < 0, -1.0, 1.0)
            state[listed["prefix"] + key] = value.to(getattr(torch, dtype))
        return Checkpoint.of(state, path.name), listed

    return read
