"""What a start loads: the claims that keep `--help` quick and the child's environment small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

HEAVY = (
    "numpy",
    "ml_dtypes",
    "onnx",
    "onnxruntime",
    "pydantic",
    "pytest",
    "rich",
    "yaml",
    "junit_xml",
    "click",
    "msgspec",
)


def loaded_after(statements: str, watched: tuple[str, ...] = HEAVY) -> set[str]:
    """Return which of the watched packages a fresh interpreter has loaded after running some statements."""
    script = f"import json, sys\n{statements}\nprint(json.dumps([name for name in {watched!r} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_package_loads_nothing() -> None:
    assert loaded_after("import conformance; assert conformance.__version__") == set()


def test_help_loads_click_and_nothing_heavier() -> None:
    statements = (
        "import contextlib\nfrom conformance.cli import main\nwith contextlib.suppress(SystemExit): main(['--help'])"
    )
    assert loaded_after(statements) == {"click"}


def test_the_child_needs_only_msgspec_numpy_and_ml_dtypes() -> None:
    statements = (
        "import conformance.execution.child\n"
        "from conformance.adapters.runtime import adapter_class, adapter_names\n"
        "from conformance.checks import check_module, check_names\n"
        "for name in adapter_names(): adapter_class(name)\n"
        "for name in check_names(): check_module(name)"
    )
    assert loaded_after(statements) == {"msgspec", "numpy", "ml_dtypes"}


def test_the_child_starts_where_the_parents_packages_are_absent(tmp_path: Path) -> None:
    """An environment made for one runtime has no pydantic, onnx, rich, click or pytest: here, importing one fails."""
    for name in ("pydantic", "onnx", "rich", "click", "pytest", "yaml", "junit_xml"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name} is not installed in this environment')\n")
    done = subprocess.run(
        [sys.executable, "-m", "conformance.execution.child"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"hello" in done.stdout


def test_reading_a_profile_opens_no_runtime() -> None:
    statements = "from conformance.conduct import prepare\nprepare('reference-cpu')"
    assert {"onnx", "onnxruntime", "pytest"} & loaded_after(statements) == set()
