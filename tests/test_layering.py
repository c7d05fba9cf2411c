"""The architecture's claims about the source, held by reading the source: imports, rooms, docstrings, file sizes."""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "conformance"

FOUNDATION = [
    "errors",
    "levels",
    "paths",
    "registry",
    "host",
    "tensors",
    "numerics",
    "timing",
    "metering",
    "workload",
    "records",
    "observation",
]
"""Modules that every room may use, lowest first."""
ROOMS = [
    "profile",
    "reference",
    "adapters.runtime.port",  # the two ports are types that the plan hands on without knowing their implementations
    "load",
    "checks.support.port",
    "tally",
    "plan",
    "adapters",
    "checks",
    "execution",
    "verdict",
    "reports",
    "prepare",
    "explain",
    "conduct",
    "device",
    "selftest",
    "bisection",
    "diagnose",
    "doctor",
    "pytest_plugin",
    "cli",
    "__main__",
]
"""ARCHITECTURE's rooms, in its order: a module imports from its own room and from those before it."""
LAYERS = ["", *FOUNDATION, *ROOMS]
"""The empty name is the package itself, which holds the version and nothing else."""

IGNORANCE = {
    "profile": {"reference", "adapters", "checks", "execution"},
    "reference": {"profile", "adapters", "checks", "execution", "verdict"},
    "adapters": {"profile", "reference", "plan", "checks", "execution"},
    "checks": {"profile", "plan", "execution", "reports"},
    "execution": {"profile", "plan", "verdict", "reports"},
    "tally": {"reference", "plan", "adapters", "checks", "execution", "verdict", "reports"},
    "verdict": {"profile", "reference", "adapters", "checks", "execution", "reports"},
    "reports": {"profile", "reference", "plan", "adapters", "checks", "execution"},
    "explain": {"reference", "adapters", "checks", "execution", "verdict"},
}
"""What a room knows nothing of, whatever the order of the rooms would allow."""
HEAVY_IN_CHILD = {"pydantic", "onnx", "rich", "click", "yaml", "pytest", "junit_xml"}


class Import(NamedTuple):
    """One import of one module by another, both without the leading `conformance.`."""

    importer: str
    imported: str
    where: str


def module_of(path: Path) -> str:
    """Return a file's dotted name inside the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {module_of(path): path for path in FILES}


@cache
def trees() -> list[tuple[str, Path, ast.Module]]:
    """Return every module with its syntax tree."""
    return [(name, path, ast.parse(path.read_text(encoding="utf-8"))) for name, path in MODULES.items()]


def imported_names(tree: ast.Module) -> list[tuple[str, int]]:
    """Return each imported dotted name with its line; imports inside functions and TYPE_CHECKING blocks count too."""
    found: list[tuple[str, int]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute in this package"
            found += [(f"{node.module}.{alias.name}", node.lineno) for alias in node.names]
    return found


@cache
def inner_imports() -> list[Import]:
    """Return the imports inside the package."""
    found = []
    for name, path, tree in trees():
        for dotted, line in imported_names(tree):
            if dotted.partition(".")[0] != "conformance":
                continue
            inside = dotted.removeprefix("conformance").removeprefix(".")
            target = inside if inside in MODULES else inside.rpartition(".")[0]
            found.append(Import(name, target, f"{path.relative_to(PACKAGE.parent)}:{line}"))
    return found


def layer_of(module: str) -> int:
    """Return the number of the layer of a module: the longest layer name that is a prefix of its own."""
    names = [layer for layer in LAYERS if layer and (module == layer or module.startswith(f"{layer}."))]
    if not names:
        assert module == "", (
            f"conformance/{module} belongs to no room: put it into one, or add it to ARCHITECTURE and here"
        )
        return 0
    return LAYERS.index(max(names, key=len))


def test_the_walk_sees_the_package() -> None:
    assert len(inner_imports()) > 100
    assert any(one.importer == "conduct" and one.imported == "plan" for one in inner_imports())


def test_imports_go_down_the_list_of_rooms_only() -> None:
    wrong = [
        f"{one.where}: {one.importer} imports {one.imported}, which comes after it"
        for one in inner_imports()
        if layer_of(one.imported) > layer_of(one.importer)
    ]
    assert wrong == []


@pytest.mark.parametrize("room", IGNORANCE)
def test_rooms_know_nothing_of_what_is_not_theirs(room: str) -> None:
    ports = {"adapters.runtime.port", "checks.support.port"}
    wrong = []
    for one in inner_imports():
        if layer_of(one.importer) != layer_of(room) or one.imported in ports:
            continue
        target = LAYERS[layer_of(one.imported)]
        if target in IGNORANCE[room] and not _is_allowed(one):
            wrong.append(f"{one.where}: {one.importer} imports {one.imported}")
    assert wrong == []


def _is_allowed(one: Import) -> bool:
    """The fold takes a plan and its states as types; nothing else crosses."""
    return (one.importer, one.imported) == ("verdict", "plan")


def test_no_import_cycle() -> None:
    graph: dict[str, set[str]] = {name: set() for name in MODULES}
    for name, _, tree in trees():
        deferred = {id(inner) for node in ast.walk(tree) if _defers(node) for inner in ast.walk(node)}
        for node in ast.walk(tree):
            if (
                id(node) in deferred
                or not isinstance(node, ast.ImportFrom)
                or not (node.module or "").startswith("conformance")
            ):
                continue
            for alias in node.names:
                inside = f"{node.module}.{alias.name}".removeprefix("conformance").removeprefix(".")
                target = inside if inside in MODULES else inside.rpartition(".")[0]
                if target and target != name:
                    graph[name].add(target)
    done: set[str] = set()
    while True:
        ready = {name for name, targets in graph.items() if name not in done and targets <= done}
        if not ready:
            break
        done |= ready
    assert sorted(set(graph) - done) == []


def _defers(node: ast.AST) -> bool:
    """Whether imports below a node are not executed when the module is."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return True
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def test_only_the_pytest_plugin_imports_pytest() -> None:
    users = [
        name
        for name, _, tree in trees()
        for dotted, _ in imported_names(tree)
        if dotted.partition(".")[0] in ("pytest", "_pytest")
    ]
    assert [name for name in users if name != "pytest_plugin"] == []


def test_what_runs_in_the_child_names_no_heavy_package() -> None:
    """Wherever the import stands: the child's environment need not have them. onnx-backend needs onnx by its nature."""
    child_modules = [
        name
        for name in MODULES
        if name.startswith(("adapters.", "checks."))
        or name in {*FOUNDATION, "execution.child", "execution.protocol", "execution.stores"}
    ]
    assert "adapters.runtime.onnxruntime" in child_modules
    wrong = [
        f"{name} imports {dotted}"
        for name, _, tree in trees()
        if name in child_modules
        for dotted, _ in imported_names(tree)
        if dotted.partition(".")[0] in HEAVY_IN_CHILD
    ]
    assert wrong == []


def test_the_keeper_needs_nothing_but_the_standard_library() -> None:
    tree = ast.parse(MODULES["execution.keeper"].read_text(encoding="utf-8"))
    outside = {dotted.partition(".")[0] for dotted, _ in imported_names(tree)} - set(sys.stdlib_module_names)
    assert outside == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_introduces_itself_and_stays_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), f"{path} has no docstring"
    assert len(text.splitlines()) < 500
    exported = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets)
    ]
    for value in exported:
        names = ast.literal_eval(value)
        assert names == sorted(names), f"{path}: __all__ is not sorted"
        assert len(set(names)) == len(names)


def test_tests_and_benchmarks_stay_short_too() -> None:
    root = PACKAGE.parent
    others = [path for folder in ("tests", "benchmarks", "fixtures") for path in (root / folder).rglob("*.py")]
    long = [str(path) for path in others if len(path.read_text(encoding="utf-8").splitlines()) >= 500]
    assert long == []
