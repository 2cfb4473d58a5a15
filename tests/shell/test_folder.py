"""The output folder: lock, manifest, staleness, and what the operating system refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hwbnn.errors import StaleError, UserError
from hwbnn.folder import STAGES, Record, open_folder, plain_errors, write_text


def record(folder, stage, name, text="text", key=None):
    """Let ``stage`` finish with one file."""
    path = folder / name
    write_text(path, text)
    reads = folder.reads(stage)
    made = Record(key or folder.key(stage, {}, {}), {}, reads, folder.digests(path), {}, 0.0, 0)
    folder.finish(stage, made)
    return made


@pytest.fixture
def built(tmp_path):
    """A folder in which check, plan, rtl and report finished."""
    root = tmp_path / "out"
    with open_folder(root, create=True) as folder:
        record(folder, "check", "graph.json")
        record(folder, "plan", "plan.json")
        record(folder, "rtl", "engine.v")
        record(folder, "report", "report.json")
    return root


def test_records_survive(built):
    with open_folder(built, create=False) as folder:
        assert list(folder.records) == ["check", "plan", "rtl", "report"]
        assert folder.records["plan"].reads == {"check": folder.records["check"].key}
        assert folder.finished("check", folder.key("check", {}, {}))
        assert not folder.finished("check", folder.key("check", {"tau": 5}, {}))
        folder.check_files("rtl")


def test_a_changed_file_is_named_with_the_remedy(built):
    (built / "plan.json").write_text("edited")
    with open_folder(built, create=False) as folder:
        with pytest.raises(StaleError) as error:
            folder.check_files("plan")
        assert str(error.value) == (
            f"{built / 'plan.json'}: was changed after stage 'plan' wrote it; to build from it, "
            f"copy it elsewhere and pass --plan COPY; else delete {built}"
        )
        with pytest.raises(StaleError):
            folder.finished("plan", folder.records["plan"].key)
        assert (built / "plan.json").read_text() == "edited"


def test_a_missing_file_makes_its_stage_run_again(built):
    (built / "engine.v").unlink()
    with open_folder(built, create=False) as folder:
        assert not folder.finished("rtl", folder.records["rtl"].key)
        with pytest.raises(StaleError, match=r"engine\.v: is missing, stage 'rtl' wrote it"):
            folder.check_files("rtl")


def test_running_a_stage_again_takes_what_was_made_from_it(built):
    with open_folder(built, create=False) as folder:
        folder.invalidate("plan")
        assert list(folder.records) == ["check"]
    assert sorted(p.name for p in built.iterdir()) == [".lock", "graph.json", "manifest.json"]


def test_stages_beside_each_other_do_not_touch_each_other(built):
    with open_folder(built, create=False) as folder:
        record(folder, "evaluate", "agreement.json")
        folder.invalidate("evaluate")
        assert list(folder.records) == ["check", "plan", "rtl"]


def test_a_stage_made_from_another_input_is_stale(built):
    with open_folder(built, create=False) as folder:
        record(folder, "check", "graph.json", key="other")
        with pytest.raises(StaleError, match="stage 'plan' was made from another 'check'"):
            folder.check_files("plan")


def test_a_stage_needs_those_it_reads(tmp_path):
    with open_folder(tmp_path / "out", create=True) as folder:
        with pytest.raises(StaleError, match="stage 'check' has not finished here"):
            folder.key("plan", {}, {})


def test_every_stage_reads_earlier_ones():
    seen = set()
    for stage, reads in STAGES.items():
        assert set(reads) <= seen
        seen.add(stage)


def test_in_use(built):
    with open_folder(built, create=True):
        with pytest.raises(UserError) as error:
            with open_folder(built, create=True):
                pass
    assert str(error.value) == (
        f"{built}: in use by process {os.getpid()}; wait for it, or give another -o"
    )
    with open_folder(built, create=True):  # and free again
        pass


def test_a_killed_process_leaves_no_lock(tmp_path):
    root = tmp_path / "out"
    code = ("import os, sys\nfrom pathlib import Path\nfrom hwbnn.folder import open_folder\n"
            "with open_folder(Path(sys.argv[1]), create=True):\n    os._exit(9)\n")
    done = subprocess.run([sys.executable, "-c", code, str(root)], check=False)
    assert done.returncode == 9
    with open_folder(root, create=True):
        pass


def test_folders_that_are_not_ours(tmp_path):
    with pytest.raises(UserError, match="no such folder; 'hwbnn compile' makes one"):
        with open_folder(tmp_path / "none", create=False):
            pass
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="is no build folder"):
        with open_folder(full, create=False):
            pass
    with pytest.raises(UserError, match="is not empty and is no build folder; give another -o"):
        with open_folder(full, create=True):
            pass
    assert [p.name for p in full.iterdir()] == ["thesis.tex"]
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(UserError, match="is a file, not a folder"):
        with open_folder(file, create=True):
            pass
    with pytest.raises(UserError, match="a part of the path is a file; give another -o"):
        with open_folder(file / "out", create=True):
            pass


@pytest.mark.parametrize("text", ["", "{", '{"format": 1}', "[]"])
def test_damaged_manifest(built, text):
    (built / "manifest.json").write_text(text)
    with pytest.raises(StaleError, match=r"manifest\.json: is damaged; delete the folder"):
        with open_folder(built, create=False):
            pass


def test_manifest_of_another_version(built):
    doc = json.loads((built / "manifest.json").read_text())
    (built / "manifest.json").write_text(json.dumps(doc | {"format": 99}))
    with pytest.raises(StaleError, match="is of format 99, this version writes 1"):
        with open_folder(built, create=False):
            pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_read_only_folder(tmp_path):
    parent = tmp_path / "parent"
    parent.mkdir(mode=0o555)
    with pytest.raises(UserError, match="permission denied; give another -o"):
        with open_folder(parent / "out", create=True):
            pass


def test_full_disk(tmp_path):
    # The device that is always full stands for a disk that has become so.
    with pytest.raises(UserError, match="no space left on the disk; free some, or give another"):
        with plain_errors(tmp_path):
            with Path("/dev/full").open("w") as file:
                file.write("x")


def test_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    write_text(path, "old")

    def fail(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(KeyboardInterrupt):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


def test_errors_of_ours_keep_their_traceback(tmp_path):
    with pytest.raises(FileNotFoundError):
        with plain_errors(tmp_path):
            (tmp_path / "none").read_text()
