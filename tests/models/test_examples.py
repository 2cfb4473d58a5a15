"""The trained files under examples/ are what examples/README.md says."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from models.api import load_network

FOLDER = Path(__file__).parents[2] / "examples"
FILES = sorted(FOLDER.glob("snn_cifar10*.pth"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_trained_example(path):
    tau = 9 if "tau9" in path.stem else 5
    assert path.stat().st_size < 4 << 20
    network = load_network(path)
    assert network.checkpoint.tensors["conv1.weight"].dtype == torch.float32
    graph = network.graph()
    types = graph.types()
    convs = [n for n in graph if type(n.op).__name__ == "FBinaryConv2d"]
    assert [n.op.weight.shape[0] for n in convs] == [32, 32, 64, 64, 128, 128, 192]
    assert [n.op.stride for n in convs] == [1, 1, 2, 1, 2, 1, 2]
    assert graph.meta["kernel_bits"] == [tau] * 7
    macs = sum(n.op.weight.size * np.prod(types[n.name].shape[1:]) for n in convs)
    assert (macs, sum(n.op.weight.size for n in convs)) == (50_724_864, 516_096)

    equal_to_pytorch(network, graph)


def equal_to_pytorch(network, graph):
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    values = {}
    for node in graph:
        values[node.name] = node.op.run(*([values[i] for i in node.inputs] or [images]))
    with torch.no_grad():
        expected = network.module().double()(torch.from_numpy(values["input"])).numpy()
    assert np.abs(values[graph.output][:, :, 0, 0] - expected).max() < 1e-9


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_readme_states_the_accuracy_in_the_file(path):
    row = re.search(rf"^\| `{path.name}` \|.* ([\d.]+) % \|$", (FOLDER / "README.md").read_text(),
                    re.MULTILINE)
    assert row, f"examples/README.md has no results for {path.name}"
    stated = torch.load(path, weights_only=True)["best_top1_acc"]
    assert float(row[1]) == pytest.approx(stated, abs=0.005)


def test_there_is_a_trained_example():
    assert FOLDER / "snn_cifar10.pth" in FILES

def test_trained_sd_example():
    """SD-BNN ResNet-20: thresholds of each image, no scale."""
    path = FOLDER / "sd_cifar10.pth"
    assert path.stat().st_size < 1 << 20
    network = load_network(path)
    assert network.checkpoint.tensors["layer1.0.conv1.weight"].dtype == torch.float16
    graph = network.graph()
    assert graph.meta["geometry"] == {"network": "resnet20", "stem": "cifar", "classes": 10,
                                      "widths": [16, 32, 64], "blocks": [3, 3, 3]}
    types = graph.types()
    convs = [n for n in graph if type(n.op).__name__ == "FBinaryConv2d"]
    macs = sum(n.op.weight.size * np.prod(types[n.name].shape[1:]) for n in convs)
    sizes = (len(convs), sum(n.op.weight.size for n in convs), macs)
    assert sizes == (18, 267_264, 40_108_032)
    equal_to_pytorch(network, graph)
    table = (FOLDER / "sd_cifar10.md").read_text()
    stated = re.search(r"^\| torch-float \| ([\d.]+) % \|", table, re.MULTILINE)
    best = torch.load(path, weights_only=True)["best_prec1"]
    assert float(stated[1]) == pytest.approx(best, abs=0.005)
