"""Families: discovery, user files, the example of docs/families.md, ambiguous files."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hwbnn.errors import CheckpointError, UserError
from hwbnn.passes import lower_to_integers
from models import registry
from models.api import load_network
from models.checkpoint import Checkpoint

EXAMPLE = Path(__file__).parents[2] / "examples" / "my_family.py"


@pytest.fixture(autouse=True)
def _forget_user_families():
    families, origins = dict(registry.families()), dict(registry._ORIGIN)
    yield
    registry.FAMILIES.clear()
    registry.FAMILIES.update(families)
    registry._ORIGIN.clear()
    registry._ORIGIN.update(origins)


def test_families_of_the_package_are_found():
    found = registry.families()
    assert "snn" in found
    for family in found.values():
        common = {o.name for o in registry.COMMON} - {"bn_eps"}  # not all of them normalise
        assert family.describe and common <= {o.name for o in family.options}


def test_example_family_lowers_and_equals_torch():
    (family,) = registry.load_family_file(EXAMPLE)
    net_class = sys.modules["user_family_my_family"].PlainNet
    torch.manual_seed(1)
    net = net_class(widths=(6, 8, 10, 8), classes=4)
    with torch.no_grad():
        for m in net.modules():
            if isinstance(m, torch.nn.BatchNorm2d):
                m.running_mean.normal_()
                m.running_var.uniform_(1, 30)
                m.weight.normal_()
                m.bias.normal_()
    checkpoint = Checkpoint.of(net.state_dict(), "my_net.pth")
    assert registry.recognise(checkpoint) is family
    options = {"strides": "1,2,1", "input_size": "12"}
    network = load_network(checkpoint, str(EXAMPLE), options)
    images = np.random.default_rng(0).integers(0, 256, (5, 12, 12, 3), dtype=np.uint8)
    graph = network.graph()
    values = {}
    for node in graph:
        values[node.name] = node.op.run(*([values[i] for i in node.inputs] or [images]))
    x = torch.from_numpy(values["input"])
    with torch.no_grad():
        expected = network.module().double()(x).numpy()
    assert np.ptp(expected) > 0.1
    assert np.abs(values[graph.output][:, :, 0, 0] - expected).max() < 1e-9
    _folded, integer = lower_to_integers(graph, images)
    assert integer.types()[integer.output].kind == "int"
    with pytest.raises(CheckpointError, match="3 binary convolutions, option strides 2"):
        load_network(checkpoint, str(EXAMPLE), {"strides": "1,2"})


def test_a_file_can_be_loaded_twice():
    registry.load_family_file(EXAMPLE)
    assert [f.name for f in registry.load_family_file(EXAMPLE)] == ["plain-example"]


FAMILY = """
from models.registry import Match, register
@register
class {cls}:
    name, describe, options = "{name}", "d", ()
    def recognise(self, checkpoint): return Match(1.0, ("always",))
    def geometry(self, checkpoint, options): return None
    def to_torch(self, checkpoint, options): return None
    def lower(self, checkpoint, options): return None
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "f.py: registers no family; decorate the class"),
        ("import torch\n\nundefined_name\n", "f.py:3: NameError: name 'undefined_name'"),
        ("def broken(:\n", "f.py:1: SyntaxError"),
        (FAMILY.format(cls="A", name="snn"), "a family named 'snn' exists already; choose another"),
        (FAMILY.format(cls="A", name="a").replace("lower", "raise_"), "A: family has no lower"),
        (FAMILY.format(cls="A", name="a") + FAMILY.format(cls="B", name="b"),
         "registers 2 families (a, b); one per file can be selected"),
    ],
)
def test_bad_family_files(tmp_path, text, message):
    (tmp_path / "f.py").write_text(text)
    with pytest.raises(UserError) as caught:
        registry.select(str(tmp_path / "f.py"))
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert registry.families()["snn"].__class__.__name__ == "SnnFamily"


def test_selection_by_name(tmp_path):
    assert registry.select("snn").name == "snn"
    with pytest.raises(UserError, match="unknown family 'resnet'; known: .*snn.*, or a .py file"):
        registry.select("resnet")
    with pytest.raises(UserError, match="no such family file"):
        registry.select(str(tmp_path / "none.py"))


def test_ambiguous_files_need_a_choice(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.py").write_text(FAMILY.format(cls="A", name=name))
        registry.load_family_file(tmp_path / f"{name}.py")
    with pytest.raises(CheckpointError, match="fits the families a and b alike; --family a"):
        registry.recognise(Checkpoint.of({"w": torch.zeros(1)}, "n"))
