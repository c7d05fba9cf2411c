"""Extension is one file: by folder scan, or by entry point of another distribution, which may add and never replace."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from conformance import registry
from conformance.adapters.runtime import adapter_class, adapter_names
from conformance.checks import check_module, check_names
from conformance.errors import UsageError

CHECKS = ("conformance.checks", "conformance.checks")


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An importable folder; `install` puts a distribution with entry points into it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def install(folder: Path, name: str, group: str, entries: dict[str, str]) -> None:
    """Lay out a distribution's metadata as an installer would."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = "\n".join(f"{key} = {value}" for key, value in entries.items())
    (info / "entry_points.txt").write_text(f"[{group}]\n{lines}\n")


def test_the_built_in_ones_are_found_by_their_files() -> None:
    assert {"onnxruntime", "onnx-backend", "misbehaving"} <= set(adapter_names())
    assert {"session", "placement", "operators"} <= set(check_names())
    assert not {"port", "compare", "support"} & {*adapter_names(), *check_names()}


def test_every_built_in_one_can_be_loaded() -> None:
    for name in adapter_names():
        assert adapter_class(name).__name__ == "Adapter"
    for name in check_names():
        assert callable(check_module(name).judge)


def test_scan_gives_every_module_by_its_public_name() -> None:
    found = registry.scan(*CHECKS)
    assert sorted(found) == check_names()
    assert found["session"].__name__ == "conformance.checks.session"


def test_another_distribution_adds_a_check_by_one_file(distribution: Path) -> None:
    (distribution / "vendor_checks.py").write_text(
        "def plan(requested, context): return []\ndef measure(case, device): ...\ndef judge(case, seen, wanted): ...\n"
    )
    install(distribution, "vendor-checks", "conformance.checks", {"vendor-latency": "vendor_checks"})
    assert "vendor-latency" in check_names()
    assert check_module("vendor-latency").__name__ == "vendor_checks"  # type: ignore[attr-defined]


def test_another_distribution_adds_a_runtime_by_one_file(distribution: Path) -> None:
    (distribution / "vendor_runtime.py").write_text(
        "from conformance.adapters.runtime import onnx_backend\nclass Adapter(onnx_backend.Adapter): pass\n"
    )
    install(distribution, "vendor-runtime", "conformance.runtimes", {"vendor-sdk": "vendor_runtime:Adapter"})
    assert adapter_class("vendor-sdk").__module__ == "vendor_runtime"


def test_a_built_in_name_cannot_be_replaced(distribution: Path) -> None:
    install(distribution, "too-clever", "conformance.checks", {"placement": "too_clever"})
    with pytest.raises(UsageError, match="too-clever adds 'placement' to conformance.checks, but that name is taken"):
        check_names()
    assert check_module("placement").__name__ == "conformance.checks.placement"  # type: ignore[attr-defined]


def test_two_distributions_cannot_take_the_same_name(distribution: Path) -> None:
    install(distribution, "first", "conformance.checks", {"extra": "one"})
    install(distribution, "second", "conformance.checks", {"extra": "two"})
    with pytest.raises(UsageError, match="that name is taken"):
        check_names()


def test_an_unknown_name_shows_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"there is no 'placment' .*did you mean 'placement'\?"):
        check_module("placment")
    with pytest.raises(UsageError, match="known are .*onnxruntime"):
        adapter_class("zzz")


def test_an_entry_that_cannot_be_imported_says_why(distribution: Path) -> None:
    (distribution / "raises_at_import.py").write_text("raise RuntimeError('no driver\\nhere')\n")
    install(
        distribution,
        "broken",
        "conformance.checks",
        {"absent": "no_such_module_anywhere", "raises": "raises_at_import"},
    )
    with pytest.raises(
        UsageError, match="'absent' of conformance.checks cannot be imported from no_such_module_anywhere"
    ):
        check_module("absent")
    with pytest.raises(UsageError) as caught:
        check_module("raises")
    assert str(caught.value).endswith("raises_at_import: RuntimeError: no driver")


def test_a_check_without_its_three_functions_is_refused(distribution: Path) -> None:
    (distribution / "half_a_check.py").write_text("def plan(requested, context): return []\n")
    install(distribution, "half", "conformance.checks", {"half": "half_a_check"})
    with pytest.raises(UsageError, match=r"check 'half' has no measure and no judge\(\)"):
        check_module("half")


def test_a_runtime_without_an_adapter_class_is_refused(distribution: Path) -> None:
    (distribution / "no_adapter.py").write_text("Adapter = dict\n")
    install(distribution, "no-adapter", "conformance.runtimes", {"no-adapter": "no_adapter"})
    with pytest.raises(UsageError, match="runtime 'no-adapter' has no class Adapter that implements RuntimeAdapter"):
        adapter_class("no-adapter")


def test_listing_names_imports_no_extension() -> None:
    before = set(sys.modules)
    registry.names(*CHECKS)
    assert {name for name in set(sys.modules) - before if name.startswith("conformance.")} == set()
