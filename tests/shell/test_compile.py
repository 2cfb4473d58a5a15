"""The commands on a small network: stages, what is kept, what is stale, what a failure leaves."""

import json
import subprocess
import sys

import numpy as np
import pytest

from hwbnn import api
from hwbnn.errors import Mismatch


@pytest.fixture
def planned(hwbnn, network, tmp_path):
    """A folder compiled up to the plan."""
    out = tmp_path / "out"
    result = hwbnn("compile", network, "--stop-after", "plan", "-o", out)
    assert result.exit_code == 0, result.output
    return out


def again(hwbnn, network, out, *options):
    """Compile the folder again; which stages ran and which were kept."""
    result = hwbnn("compile", network, "--stop-after", "plan", "-o", out, *options)
    assert result.exit_code == 0, result.output
    stages = ("check", "evaluate", "plan")
    lines = [line.split() for line in result.stderr.splitlines()]
    ran = [words[0] for words in lines if words[0] in stages and words[-1] == "s"]
    kept = [words[0] for words in lines if words[0] in stages and words[-1] == "unchanged"]
    return ran, kept


def test_a_folder_explains_itself(planned):
    files = {p.name for p in planned.iterdir()}
    assert files == {
        ".lock", "README.txt", "manifest.json", "graph.json", "graph.npz", "float.json",
        "float.npz", "plan.json", "program.txt", "report.json", "report.md", "report.html",
    }
    doc = api.read_report(planned)
    assert doc["stages_finished"] == ["check", "plan"]
    assert doc["network"]["input"] == [3, 32, 32]
    assert doc["performance"]["interval"]["estimate"]["value"] > 0
    manifest = json.loads((planned / "manifest.json").read_text())
    assert set(manifest["stages"]["plan"]["files"]) == {"plan.json", "program.txt"}
    assert manifest["stages"]["plan"]["reads"] == {"check": manifest["stages"]["check"]["key"]}
    assert set(manifest["stages"]["check"]["inputs"]) == {"checkpoint"}


def test_a_second_run_keeps_what_holds(hwbnn, network, planned):
    assert again(hwbnn, network, planned) == ([], ["check", "plan"])
    assert again(hwbnn, network, planned, "--device", "25F") == (["plan"], ["check"])
    assert again(hwbnn, network, planned, "--device", "25F") == ([], ["check", "plan"])
    assert again(hwbnn, network, planned, "--bn-eps", "1e-3") == (["check", "plan"], [])
    (planned / "program.txt").unlink()
    assert again(hwbnn, network, planned, "--bn-eps", "1e-3") == (["plan"], ["check"])


def test_another_checkpoint_starts_over(hwbnn, network, planned, save, state):
    state["module.fc.bias"] += 1
    save({"state_dict": state})
    assert again(hwbnn, network, planned) == (["check", "plan"], [])


def test_images_are_compared_without_a_new_plan(hwbnn, network, planned, images):
    ran, kept = again(hwbnn, network, planned, "--images", images())
    assert (ran, kept) == (["evaluate"], ["check", "plan"])
    found = api.read_report(planned)["agreement"]
    assert found["n_images"] == 4
    assert found["images"] == "images.npz"
    assert found["float_graph_error"] < 1e-4


def test_accuracy_on_all_labelled_images(hwbnn, network, planned, images):
    path = images(count=30)
    again(hwbnn, network, planned, "--eval", path)
    found = api.read_report(planned)["accuracy"]
    with np.load(path) as archive:
        labels = archive["y"]
    for key, name in (("torch_float", "torch-float"), ("int_model", "int-model")):
        classes = api.infer(network, path, name).classes
        assert found[key]["value"] == pytest.approx(100 * (classes == labels).mean())
        assert found[key]["path"] == name
    assert found["n_images"] == 30


def test_an_edited_file_is_not_overwritten(hwbnn, network, planned):
    path = planned / "plan.json"
    doc = json.loads(path.read_text())
    doc["const_words"] = 2
    path.write_text(json.dumps(doc))
    for command in (["compile", network, "--stop-after", "rtl", "-o", planned],
                    ["verify", planned], ["report", planned]):
        result = hwbnn(*command)
        assert result.exit_code == 8
        assert result.stderr.splitlines()[-1] == (
            f"error: {path}: was changed after stage 'plan' wrote it; to build from it, copy it "
            f"elsewhere and pass --plan COPY; else delete {planned}")
    assert json.loads(path.read_text()) == doc
    if command[0] == "compile":
        assert not (planned / "report.json").exists()


def test_a_plan_by_hand(hwbnn, network, planned, tmp_path):
    doc = json.loads((planned / "plan.json").read_text())
    doc["shape"] = {"S": 16, "P": 8, "T": 2, "K": 8}
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps(doc))
    assert again(hwbnn, network, planned, "--plan", mine) == (["plan"], ["check"])
    assert api.read_report(planned)["machine"]["shape"] == "S=16 P=8 T=2 K=8"
    mine.write_text(json.dumps(doc | {"speed": 11}))
    result = hwbnn("compile", network, "--stop-after", "plan", "-o", planned, "--plan", mine)
    assert result.exit_code == 2
    assert "unknown key 'speed'" in result.stderr
    assert not (planned / "report.json").exists()


def test_a_network_that_does_not_fit(hwbnn, network, tmp_path):
    out = tmp_path / "out"
    result = hwbnn("compile", network, "--max-luts", "500", "-o", out)
    assert result.exit_code == 5
    assert "too many" in result.stderr.splitlines()[-1]
    assert not (out / "report.json").exists()


def test_one_bit_baseline(hwbnn, network, planned, tmp_path, images):
    out = tmp_path / "one"
    assert hwbnn("compile", network, "--one-bit", "--stop-after", "plan", "-o",
                 out).exit_code == 0
    a, b = api.read_report(planned), api.read_report(out)
    assert a["network"]["kernel_bits"] == [4, 4]
    assert b["network"]["kernel_bits"] == [9, 9]
    assert b["claims"]["bops"] == b["claims"]["plain_bops"] == a["claims"]["plain_bops"]
    same = [api.infer(folder, images(), "int-model").logits for folder in (planned, out)]
    assert np.array_equal(*same)
    result = hwbnn("compare", planned, out)
    assert result.exit_code == 0
    assert "plain (--one-bit)" in result.stdout
    assert hwbnn("compare", planned, out, "-o", tmp_path / "c.html").exit_code == 0
    assert (tmp_path / "c.html").read_text().startswith("<!doctype html>")
    assert hwbnn("compare", planned, out, "-o", tmp_path / "c.pdf").exit_code == 2


def test_infer_writes_what_it_found(hwbnn, network, planned, images, tmp_path):
    path, out = images(count=5), tmp_path / "out.npz"
    for source in (network, planned):
        for kind in ("torch-float", "int-model"):
            result = hwbnn("infer", source, path, "--path", kind, "-o", out)
            assert result.exit_code == 0, result.output
            assert f"({kind})" in result.stdout
            with np.load(out) as archive:
                assert set(archive.files) == {"logits", "classes", "frac", "path"}
                assert archive["logits"].shape == (5, 4)
                assert archive["path"] == kind
                real = archive["logits"] * 2.0 ** -archive["frac"]
                assert np.array_equal(real.argmax(1), archive["classes"])


def test_infer_on_a_folder_whose_checkpoint_changed(hwbnn, network, planned, images):
    network.write_bytes(network.read_bytes() + b" ")
    result = hwbnn("infer", planned, images(), "--path", "torch-float")
    assert result.exit_code == 8
    assert f"{network}: was changed after {planned} was made from it" in result.stderr
    assert hwbnn("infer", planned, images(), "--path", "int-model").exit_code == 0
    network.unlink()
    result = hwbnn("infer", planned, images(), "--path", "torch-float")
    assert result.exit_code == 8 and "is gone" in result.stderr


def test_a_mismatch_leaves_no_report(hwbnn, network, tmp_path, monkeypatch):
    from sim import network as simulation

    def differ(*_args, **_kwargs):
        raise Mismatch("expected 3, got 4", where="layer1.0 channel 2 row 0 column 5")

    monkeypatch.setattr(simulation, "build_simulator", lambda config: tmp_path)
    monkeypatch.setattr(simulation, "simulate", differ)
    out = tmp_path / "out"
    result = hwbnn("compile", network, "--stop-after", "verify", "-o", out)
    assert result.exit_code == 7
    assert result.stderr.splitlines()[-1] == (
        "error: layer1.0 channel 2 row 0 column 5: expected 3, got 4")
    assert not list(out.glob("report.*"))
    assert "verify" not in json.loads((out / "manifest.json").read_text())["stages"]


@pytest.mark.slow
def test_hardware_of_a_small_network(hwbnn, network, tmp_path, images):
    """Two simulator builds: the compile's, and that of the folder by itself."""
    out = tmp_path / "out"
    result = hwbnn("compile", network, "--images", images(), "--stop-after", "verify", "-o", out)
    assert result.exit_code == 0, result.output
    doc = api.read_report(out)
    assert doc["simulation"]["frames"] == 4
    assert doc["simulation"]["words_compared"] > 1000
    cycles = doc["performance"]["latency"]
    assert cycles["rtl-sim"]["value"] == cycles["estimate"]["value"]
    done = subprocess.run([sys.executable, out / "sim" / "run.py"], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("4 frames, ")
    found = api.infer(out, images(count=2), "rtl-sim")
    wanted = api.infer(out, images(count=2), "int-model")
    assert np.array_equal(found.logits, wanted.logits)
    assert (found.cycles == cycles["rtl-sim"]["value"]).all()
    assert hwbnn("verify", out, "--frames", "2").exit_code == 0
    assert api.read_report(out)["simulation"]["frames"] == 2
    # a wrong expectation is found by the folder's own test
    with np.load(out / "sim" / "vectors.npz") as archive:
        arrays = dict(archive)
    key = next(k for k in arrays if k.endswith("/word"))
    arrays[key] = arrays[key] ^ 255
    np.savez(out / "sim" / "vectors.npz", **arrays)
    done = subprocess.run([sys.executable, out / "sim" / "run.py"], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 1
    assert "expected" in done.stderr
