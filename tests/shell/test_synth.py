"""The command that makes up checkpoints."""

import re

import pytest

from hwbnn import api
from hwbnn.errors import UserError


def test_lists_what_it_can_make(hwbnn):
    result = hwbnn("models", "synth")
    assert result.exit_code == 0 and set(api.synthetic_networks()) <= set(result.stdout.split())
    assert "hwbnn models synth" in hwbnn("models").stdout
    assert "made-up" in hwbnn("models", "--help").stdout


def test_refusals_are_one_line(hwbnn, tmp_path):
    there = tmp_path / "x.pth"
    there.write_bytes(b"precious")
    cases = [
        (("nope", "-o", tmp_path / "y.pth"), "no synthetic network is named 'nope'"),
        (("snn-r18-tau5", "-o", there), "exists already; give another -o, or --force"),
        (("snn-r18-tau5", "-o", tmp_path / "no" / "y.pth"), "no such folder; create it first"),
        (("-o", there), "NAME is missing"),
        (("snn-r18-tau5", "--seed", "-1"), "Invalid value for '--seed'"),
    ]
    for arguments, text in cases:
        result = hwbnn("models", "synth", *arguments)
        assert result.exit_code == 2 and text in result.stderr, arguments
        assert result.stderr.count("\n") == 1
    assert there.read_bytes() == b"precious" and list(tmp_path.iterdir()) == [there]


def test_check_shows_the_stem(hwbnn, save, imagenet_state):
    result = hwbnn("check", save(imagenet_state), "--input-size", "64")
    assert result.exit_code == 0
    row = next(line for line in result.stdout.splitlines() if line.startswith("conv1 "))
    assert "8-bit 7x7" in row and "3x64x64  8x16x16" in row
    assert row.endswith("affine, 3x3 max-pool, sign")
    assert re.search(r"conv1 +weights of \d of 8 channels negated", result.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["snn-r18-tau4", "snn-r18-tau6", "snn-r18-tau9", "reactnet-18",
                                  "reactnet-34"])
def test_each_can_be_made_and_read(hwbnn, tmp_path, name):
    path = tmp_path / "x.pth"
    result = hwbnn("models", "synth", name, "-o", path)
    assert result.exit_code == 0
    assert re.fullmatch(rf"wrote {re.escape(str(path))} \(\d+\.\d MB\)\n", result.stdout)
    from models.api import load_network

    graph = load_network(path).graph()
    assert graph.types()[graph.output].shape == (1000, 1, 1)


def test_python_function_refuses_alike(tmp_path):
    with pytest.raises(UserError, match="exists already"):
        (tmp_path / "x").touch()
        api.synthesise("snn-r18-tau5", tmp_path / "x")
