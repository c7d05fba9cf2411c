"""`conformance bisect`, and a run that searches by itself: the first wrong node of a model, on a device of a real runtime."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from conformance.diagnose import MOST, folder_of, searchable
from conformance.records import Basis, Measurement, Outcome, Record

BACKENDS = Path(__file__).resolve().parent / "backends"
CASE = "models/cnn-shapes/float32/agreement"
PROFILE = """\
conformance: 1
device: {vendor: Acme, model: Wrong node, category: host-reference, hardware: cpu}
runtime: {adapter: onnx-backend, module: MODULE}
declares:
  opsets: {ai.onnx: [7, 22]}
  types: [float32, int64, bool]
  operators: all
"""


def _record(case: str, outcome: Outcome = Outcome.FAIL, *, met: bool | None = False) -> Record:
    measured = (Measurement(name="worst_statistic", value=2.0, met=met),)
    return Record(
        case=case, check="models", requirements=("R",), outcome=outcome, basis=Basis.DECLARED, measurements=measured
    )


def test_only_model_cases_whose_values_are_wrong_are_searched_and_not_too_many() -> None:
    wrong = [_record(f"models/m{at}/float32/agreement") for at in range(MOST + 2)]
    other = [
        _record("models/a/float32/agreement", Outcome.PASS, met=True),
        _record("models/a/float32/agreement", Outcome.CRASH, met=None),
        _record("models/a/float32/accuracy"),
        _record("models/a/float32/decode"),
    ]

    assert searchable([*other, *wrong]) == [one.case for one in wrong[:MOST]]


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    monkeypatch.setenv("PYTHONPATH", str(BACKENDS))

    def write(module: str) -> Path:
        path = tmp_path / f"{module}.yaml"
        path.write_text(PROFILE.replace("MODULE", module), encoding="utf-8")
        return path

    return write


def test_a_run_names_the_first_wrong_node_and_leaves_a_test_of_it(
    conformance: Any, profile: Callable[[str], Path], tmp_path: Path
) -> None:
    done = conformance("run", str(profile("wrong_node_backend")), "--case", CASE, "--out", "run", env=dict(os.environ))

    assert done.returncode == 20
    assert re.search(rf"^{CASE}, searched in \d+ runs of the device$", done.stdout, re.MULTILINE)
    assert "of GlobalAveragePool" in done.stdout
    place = tmp_path / "run" / "failures" / folder_of(CASE)
    found = json.loads((place / "found.json").read_text())
    assert (found["case"], found["nodes"], found["shows_alone"]) == (CASE, 1, True)
    (node,) = onnx.load(place / "model.onnx").graph.node
    assert node.op_type == "GlobalAveragePool"


@pytest.mark.parametrize("case", ["models/cnn-shapes/float32/accuracy", "interface/session/create-run-destroy"])
def test_a_case_that_cannot_be_searched_gets_one_line(
    case: str, conformance: Any, profile: Callable[[str], Path]
) -> None:
    done = conformance("bisect", case, str(profile("wrong_node_backend")), env=dict(os.environ))

    assert done.returncode == 2
    assert done.stderr.startswith(f"error: '{case}' is no case that can be searched")
    assert len(done.stderr.splitlines()) == 1
