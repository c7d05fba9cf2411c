"""The published schemas are those of the code, and what is written is valid by them."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from conformance.records import (
    Attempt,
    Basis,
    Identity,
    Measurement,
    Outcome,
    OutcomeClass,
    Record,
    RequirementResult,
    RunInfo,
    Witness,
)
from conformance.reports import cases_jsonl, run_json, schemas

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conformance.records import RunResult


@pytest.mark.parametrize("name", ["run", "case"])
def test_published(name: str, schema_folder: Path) -> None:
    written = (schema_folder / f"{name}.schema.json").read_text(encoding="utf-8")
    told = json.dumps(schemas()[name], indent=2, ensure_ascii=False) + "\n"
    assert written == told, f"write it again: conformance schema {name} > docs/schemas/{name}.schema.json"
    Draft202012Validator.check_schema(json.loads(written))


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(schemas()[name])


def test_real_output_is_valid(typical: RunResult) -> None:
    validator("run").validate(json.loads(b"".join(run_json.render(typical))))
    case = validator("case")
    for line in cases_jsonl.render(typical):
        case.validate(json.loads(line))


def test_odd_output_is_valid(record: Callable[..., Record], result: Callable[..., RunResult]) -> None:
    odd = record(
        duration_ms=math.nan,
        worker=None,
        measurements=(Measurement(name="\ud800", value=math.nan, margin=math.inf),),
    )
    for line in cases_jsonl.render(result([odd])):
        validator("case").validate(json.loads(line))
    empty = result([], [], name="INCOMPLETE", info={"identity": None, "profile": "\ud800"}, counts={}, coverage=())
    validator("run").validate(json.loads(b"".join(run_json.render(empty))))


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("case", lambda line: line.pop("reason")),
        ("case", lambda line: line.update(outcome="SKIPPED")),
        ("case", lambda line: line.update(duration_ms=None)),
        ("run", lambda document: document.pop("verdict")),
        ("run", lambda document: document.update(schema_version=2)),
        ("run", lambda document: document["verdict"]["requirements"][0].update(result="passed")),
    ],
)
def test_schema_refuses(name: str, spoil: Callable[[Any], Any], typical: RunResult) -> None:
    written = next(iter(cases_jsonl.render(typical))) if name == "case" else b"".join(run_json.render(typical))
    told = json.loads(written)
    spoil(told)
    assert not validator(name).is_valid(told)


def test_every_field_of_the_records_is_published() -> None:
    published = {**schemas()["run"]["$defs"], **schemas()["case"]["$defs"]}
    for struct, title in (
        (RunInfo, "RunInfo"),
        (Identity, "Identity"),
        (RequirementResult, "RequirementResult"),
        (Record, "CaseLine"),
        (Measurement, "MeasurementLine"),
        (Witness, "Witness"),
        (Attempt, "Attempt"),
    ):
        assert set(struct.__struct_fields__) <= set(published[title]["properties"]), title
    for enum in (Outcome, OutcomeClass, Basis):
        assert set(published[enum.__name__]["enum"]) == {member.value for member in enum}


def test_texts_below_fields_are_published() -> None:
    case = schemas()["case"]["$defs"]
    assert case["CaseLine"]["properties"]["underlying"]["description"] == "For WAIVED: what was seen."
    assert "informs" in case["MeasurementLine"]["properties"]["met"]["description"]
    assert "text" not in case["MeasurementLine"]["required"]
    assert "JSON has no such number" in case["MeasurementLine"]["properties"]["text"]["description"]
