"""hwbnn pack and unpack on a folder of a machine that streams its weights."""

import json
import re

import numpy as np
import pytest

from hwbnn import api
from hwbnn import build as flow
from hwbnn.place import lpf
from hwbnn.weight_image import read


@pytest.fixture
def streaming(hwbnn, network, tmp_path):
    """A folder compiled up to the plan of a machine that streams its weights."""
    return compiled(hwbnn, network, tmp_path, stream=True, shape=SHAPE)


SHAPE = {"S": 16, "P": 8, "T": 2, "K": 8}


def compiled(hwbnn, network, tmp_path, **change):
    first, out, plan = tmp_path / "first", tmp_path / "out", tmp_path / "mine.json"
    result = hwbnn("compile", network, "--stop-after", "plan", "-o", first)
    assert result.exit_code == 0, result.output
    plan.write_text(json.dumps(json.loads((first / "plan.json").read_text()) | change))
    result = hwbnn("compile", network, "--stop-after", "plan", "-o", out, "--plan", plan)
    assert result.exit_code == 0, result.output
    return out


def test_a_build_is_packed_and_listed(hwbnn, streaming):
    result = hwbnn("pack", streaming)
    path = streaming / "weights.bin"
    image = read(path)
    words = len(image.words)
    assert result.exit_code == 0, result.output
    assert result.stdout == (
        f"wrote {path} ({words:,} words, {2 * words:,} bytes, CRC-32 {image.crc32:08x})\n")
    result = hwbnn("unpack", streaming)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    steps = {line.split()[0]: line.split() for line in lines if line}
    _path, _image, parts = api.unpack(streaming)
    assert {p.step.split()[0] for p in parts} < set(steps) and len(parts) == 5
    assert sum(p.words for p in parts) == words > 1000
    assert lines[-1].endswith("all of it as the network says")


def test_elsewhere_and_again_it_is_the_same_file(hwbnn, streaming, tmp_path):
    copy = tmp_path / "card.bin"
    assert hwbnn("pack", streaming, "-o", copy).exit_code == 0
    assert not (streaming / "weights.bin").exists()
    assert hwbnn("pack", streaming).exit_code == 0
    assert copy.read_bytes() == (streaming / "weights.bin").read_bytes()
    assert hwbnn("unpack", streaming, copy).exit_code == 0


def test_what_does_not_belong_is_refused(hwbnn, streaming, tmp_path, save, state):
    result = hwbnn("unpack", streaming)
    assert result.exit_code == 2
    assert result.stderr == (f"error: {streaming / 'weights.bin'}: no such file; "
                             "'hwbnn pack' makes one\n")
    (tmp_path / "second").mkdir()
    state["module.fc.bias"] += 1
    other = compiled(hwbnn, save({"state_dict": state}, "other.pth"), tmp_path / "second",
                     stream=True, shape=SHAPE)
    assert hwbnn("pack", other).exit_code == 0
    result = hwbnn("unpack", streaming, other / "weights.bin")
    assert result.exit_code == 2
    assert "belongs to another network or machine; give the file" in result.stderr
    damaged = tmp_path / "damaged.bin"
    damaged.write_bytes((other / "weights.bin").read_bytes()[:-2])
    result = hwbnn("unpack", streaming, damaged)
    assert result.exit_code == 2 and "damaged.bin: is cut short" in result.stderr
    result = hwbnn("pack", streaming, "-o", tmp_path / "none" / "weights.bin")
    assert result.exit_code == 2 and "none: no such folder; give another -o" in result.stderr


def test_a_machine_with_its_weights_on_chip_has_nothing_to_pack(hwbnn, network, tmp_path):
    out = compiled(hwbnn, network, tmp_path, stream=False)
    for command in ("pack", "unpack"):
        result = hwbnn(command, out)
        assert result.exit_code == 2
        assert "has no weight image: all weights are in the bitstream" in result.stderr
    assert not np.any([p.suffix == ".bin" for p in out.iterdir()])


def test_a_folder_without_a_plan_is_refused(hwbnn, network, tmp_path):
    out = tmp_path / "out"
    assert hwbnn("compile", network, "--stop-after", "check", "-o", out).exit_code == 0
    result = hwbnn("pack", out)
    assert result.exit_code == 8 and "stage 'plan' has not finished here" in result.stderr


class Handed(Exception):
    """What the stage gave to synthesis, place and route."""

    def __init__(self, emitted, contents, options):
        super().__init__("stopped")
        self.emitted, self.contents, self.options = emitted, contents, options


def handed(hwbnn, network, streaming, monkeypatch, *options):
    def stop(emitted, contents, **options):
        raise Handed(emitted, contents, options)

    monkeypatch.setattr(flow, "build", stop)
    monkeypatch.setattr("hwbnn.stages.verify", lambda run: ([], {}))
    monkeypatch.setattr("hwbnn.stages.rtl", lambda run: ([], {}))
    plan = streaming.parent / "mine.json"
    return hwbnn("compile", network, "--stop-after", "build", "-o", streaming, "--plan", plan,
                 *options)


def test_the_build_stage_writes_the_weights_and_builds_a_board_with_sdram(
        hwbnn, network, streaming, monkeypatch):
    with pytest.raises(Handed) as raised:
        handed(hwbnn, network, streaming, monkeypatch)
    given = raised.value
    assert given.options["best_clock"] and given.options["clock_range"] == (60, 133)
    assert "accelerator" in given.emitted.modules
    top = given.emitted.modules["board_top"]
    pins = sorted(set(re.findall(r"wire .*(?:output|inout) \d+ +\\(sdram_\w+)$", top, re.M)))
    assert len(pins) == 39
    assert lpf(given.options["board"], pins).count("LOCATE") == 39
    image = read(streaming / "weights.bin")
    assert image.digest == api.unpack(streaming)[1].digest
    words = given.contents["steps"]
    assert words and "weights" not in given.contents, "streamed weights are not in the bitstream"


def test_clocks_that_the_memory_does_not_take_are_refused(
        hwbnn, network, streaming, monkeypatch):
    for mhz in ("50", "150"):
        result = handed(hwbnn, network, streaming, monkeypatch, "--freq", mhz)
        assert result.exit_code == 2
        assert f"--freq {mhz}: streamed weights work from 60 to 133 MHz" in result.stderr
