"""The house rules that a program can check: who imports whom, what is exported, what is said."""

import ast
import importlib
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("rtl_gen", "boards", "hwbnn", "models", "sim")
SOURCES = sorted(p for name in PACKAGES for p in (ROOT / name).rglob("*.py"))
# Shells import everything, but only inside the functions that need it; nobody imports a shell.
SHELLS = ("hwbnn.cli", "hwbnn.__main__", "hwbnn.api", "hwbnn.pipeline", "hwbnn.stages",
          "hwbnn.show", "hwbnn.report")
MAY_IMPORT = {
    "rtl_gen": {"amaranth", "rtl_gen"},
    "boards": {"amaranth", "amaranth_boards", "boards"},
    "hwbnn": {"numpy", "amaranth", "rtl_gen", "boards", "hwbnn"},
    "models": {"numpy", "torch", "hwbnn", "models"},
    "sim": {"numpy", "cocotb", "cocotb_tools", "hwbnn", "rtl_gen", "boards", "sim"},
}
# Third parties for one file each, imported where they are used.
EXCEPTIONS = {
    "hwbnn.images": {"PIL"},
    "hwbnn.progress": {"rich"},
    "hwbnn.floorplan.floorplan": {"scipy"},
    "hwbnn.floorplan.spread": {"scipy"},
    "models.train": {"click"},  # python -m models.train
    "models.snn.train": {"click"},
    "models.ab.train": {"click"},
    "models.sd.train": {"click"},
}
IN_SHELLS = {"click", "jinja2", "models", "sim", "PIL", "rich"}
STANDARD = set(__import__("sys").stdlib_module_names)
SUBPROCESS = {"hwbnn.tools"}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_shell(module: str) -> bool:
    return any(module == shell or module.startswith(f"{shell}.") for shell in SHELLS)


def imports(path: Path):
    """(module imported, line, whether at the top of the file) of every import statement."""
    tree = ast.parse(path.read_text())
    top = {id(node) for node in tree.body}
    package = module_of(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, node.module] if node.module else base)
            names = [stem]
            if node.level or stem in PACKAGES:  # "from . import x" may name a module
                names = [f"{stem}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield name, node.lineno, id(node) in top


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_imports_point_one_way(path):
    module = module_of(path)
    package = module.split(".")[0]
    allowed = MAY_IMPORT[package] | STANDARD | EXCEPTIONS.get(module, set())
    if is_shell(module):
        allowed = allowed | IN_SHELLS
    for name, line, _top in imports(path):
        root = name.split(".")[0]
        assert root in allowed, f"{path}:{line} imports {name}"
        if root == "hwbnn" and not is_shell(module):
            assert not is_shell(name), f"{path}:{line} imports the shell {name}"


@pytest.mark.parametrize("path", [p for p in SOURCES if is_shell(module_of(p))], ids=module_of)
def test_shells_import_heavy_packages_where_they_are_used(path):
    for name, line, top in imports(path):
        root = name.split(".")[0]
        assert not (top and root in {"models", "sim", "PIL", "rich", "amaranth", "rtl_gen",
                                     "boards"}), f"{path}:{line} imports {name} at its top"


@pytest.mark.parametrize("path", [p for p in SOURCES if "rtl_gen" in p.parts], ids=module_of)
def test_annotations_of_components_are_not_postponed(path):
    """They are ports, and would be text (a TypeError in Amaranth)."""
    assert "from __future__ import annotations" not in path.read_text()


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_programs_are_started_in_one_place(path):
    module = module_of(path)
    starts = any(name.split(".")[0] == "subprocess" for name, *_ in imports(path))
    assert not starts or module in SUBPROCESS or module.startswith("sim.")


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_exported_names_exist(path):
    tree = ast.parse(path.read_text())
    exported = [n for n in tree.body if isinstance(n, ast.Assign)
                and any(isinstance(t, ast.Name) and t.id == "__all__" for t in n.targets)]
    if not exported:
        return
    names = ast.literal_eval(exported[0].value)
    assert len(names) == len(set(names))
    if module_of(path) == "sim.bench":  # only a simulator can import it
        return
    module = importlib.import_module(module_of(path))
    assert [n for n in names if not hasattr(module, n)] == []


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_files_say_what_they_are_for(path):
    tree = ast.parse(path.read_text())
    if tree.body:
        assert ast.get_docstring(tree), f"{path} has no docstring"


def test_torch_load_reads_data_alone():
    for path in SOURCES:
        for call in re.findall(r"torch\.load\([^)]*\)", path.read_text()):
            assert "weights_only=True" in call, f"{path}: {call}"


def test_no_rule_is_silenced_in_place():
    for path in SOURCES:
        assert not re.search(r"#\s*noqa", path.read_text()), path


def test_no_folder_of_tests_is_passed_over(pytestconfig):
    skipped = pytestconfig.getini("norecursedirs")
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    names = {part for folder in folders for part in folder.relative_to(ROOT).parts}
    assert not [name for name in names for pattern in skipped if fnmatch(name, pattern)]
