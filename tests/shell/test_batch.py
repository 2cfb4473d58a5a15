"""`--batch`: what is planned and reported, and what is refused."""

import json

import pytest

from hwbnn import api
from hwbnn.report.assemble import assemble
from hwbnn.report.quantity import Measurement, from_json


@pytest.fixture
def small(hwbnn, network, tmp_path):
    """A small network planned for batches of four images."""
    out = tmp_path / "out"
    result = hwbnn("compile", network, "--batch", 4, "--max-luts", 15000, "--stop-after", "plan",
                   "-o", out)
    assert result.exit_code == 0, result.output
    return out


def test_latency_and_throughput_of_a_batch_are_told_apart(small):
    perf = api.read_report(small)["performance"]
    interval = perf["interval"]["estimate"]["value"]
    assert perf["batch"] == 4
    assert perf["per_image"]["estimate"]["value"] == interval / 4
    assert perf["fps"]["estimate"]["value"] == pytest.approx(4 * 100e6 / interval)
    assert perf["latency"]["estimate"]["value"] > 3 * interval / 4
    text = (small / "report.md").read_text()
    assert "latency of a batch of 4 images" in text
    assert "interval an image, batch / images" in text
    assert "batch 4" in (small / "program.txt").read_text()
    machine = api.read_report(small)["machine"]["text"]
    assert "A load of weights serves one image, from " in machine
    assert machine.endswith("on 4 images.")


def test_a_plan_keeps_its_batch(hwbnn, network, small, tmp_path):
    plan = small / "plan.json"
    doc = json.loads(plan.read_text())
    assert doc["batch"][-1][1] == 4
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps(doc | {"batch": [[doc["batch"][-1][0], 2]]}))
    result = hwbnn("compile", network, "--plan", mine, "--stop-after", "plan", "-o", small)
    assert result.exit_code == 0, result.output
    assert api.read_report(small)["performance"]["batch"] == 2
    result = hwbnn("compile", network, "--plan", mine, "--batch", 4, "--stop-after", "plan",
                   "-o", small)
    assert result.exit_code == 2
    assert "a plan has its own batch" in result.stderr


def test_builds_are_compared_by_cycles_an_image(hwbnn, network, small, tmp_path):
    one = tmp_path / "one"
    assert hwbnn("compile", network, "--max-luts", 15000, "--stop-after", "plan",
                 "-o", one).exit_code == 0
    perf = [api.read_report(folder)["performance"] for folder in (one, small)]
    result = hwbnn("compare", one, small)
    assert result.exit_code == 0, result.output
    assert "interval of 4 images / 4, cycles" in result.stdout
    ratio = perf[1]["per_image"]["estimate"]["value"] / perf[0]["interval"]["estimate"]["value"]
    line = next(x for x in result.stdout.split("Against one")[1].splitlines()
                if x.startswith("out "))
    assert abs(float(line.split()[-1]) - ratio) < 0.001
    assert ratio < 1


def test_frames_per_second_count_the_images_of_a_batch(small):
    class Finished:
        def __init__(self, facts):
            self.facts, self.inputs = facts, {"checkpoint": "ab" * 32}
            self.seconds, self.peak_bytes = 1.0, 1

    manifest = json.loads((small / "manifest.json").read_text())["stages"]
    facts = {name: stage["facts"] for name, stage in manifest.items() if name != "report"}
    steps = facts["plan"]["steps"]
    facts["verify"] = {"images": "a", "frames": 8, "batch": 4, "words_compared": 1, "tool": "",
                       "cycles": [900] * 8, "starts": [0, 1_100, 2_100],
                       "step_ends": [list(range(100, 100 + len(steps)))] * 8}
    options = {"checkpoint": "net.pth", "one_bit": False}
    perf = assemble({k: Finished(v) for k, v in facts.items()}, options)["performance"]
    assert from_json(perf["per_image"]["rtl-sim"]) == Measurement(250.0, "cycles", "rtl-sim")
    assert perf["latency"]["rtl-sim"]["value"] == 900
