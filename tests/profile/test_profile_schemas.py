"""The published schemas are the ones in use, and every field says what tighter means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

import jsonschema
import pytest
import yaml

from conformance.profile.bench import BenchFile
from conformance.profile.catalog import shipped
from conformance.profile.category import CategoryProfile
from conformance.profile.defects import models_in
from conformance.profile.device import DeviceProfile
from conformance.profile.loader import init_profile, json_schemas
from conformance.profile.schemas import write_schemas

if TYPE_CHECKING:
    from pydantic import BaseModel

PUBLISHED = Path(__file__).parents[2] / "docs" / "schemas"
NAMES = ("device-profile", "category-profile", "bench-profile")
RULES = {"lower", "higher", "subset", "superset", "stronger", "equal", "free"}


@pytest.mark.parametrize("name", NAMES)
def test_the_published_schema_is_the_one_in_use(name: str) -> None:
    """Write the files anew with `python -m conformance.profile.schemas docs/schemas`."""
    published = json.loads((PUBLISHED / f"{name}.schema.json").read_text(encoding="utf-8"))
    assert published == json_schemas()[name]
    jsonschema.Draft202012Validator.check_schema(published)


def test_the_schemas_are_written_as_published(tmp_path: Path) -> None:
    written = write_schemas(tmp_path)
    assert {path.name for path in written} == {f"{name}.schema.json" for name in NAMES}
    assert all(path.read_bytes() == (PUBLISHED / path.name).read_bytes() for path in written)


@pytest.mark.parametrize("kind", ["devices", "categories"])
def test_shipped_profiles_meet_the_schema(kind: str) -> None:
    schema = json_schemas()["device-profile" if kind == "devices" else "category-profile"]
    validator = jsonschema.Draft202012Validator(schema)
    for path in shipped(kind).values():  # type: ignore[arg-type]
        validator.validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def test_the_schema_knows_the_short_forms_and_refuses_what_the_loader_refuses() -> None:
    validator = jsonschema.Draft202012Validator(json_schemas()["device-profile"])
    tree = yaml.safe_load(init_profile("accelerator-card"))

    def is_valid(**declares: object) -> bool:
        return bool(validator.is_valid({**tree, "declares": {**tree["declares"], **declares}}))

    assert is_valid(operators="all")
    assert is_valid(operators=["Add"])
    assert is_valid(operators={"include": "all", "exclude": ["Add", {"term": "Sub", "reason": "later"}]})
    assert is_valid(precision={"float32": {"transforms": "none"}})
    assert is_valid(precision={"float32": {"transforms": ["winograd"]}})
    assert not is_valid(operators="al")
    assert not is_valid(types=["fp32"])
    assert not is_valid(opsets={"ai.onnx": [1]})
    assert not is_valid(thermal={"max": 3})
    assert not is_valid(precision={"float32": {"input": "fp32"}})


def test_fields_carry_their_descriptions_and_rules() -> None:
    device = json_schemas()["device-profile"]
    power = device["$defs"]["Power"]["properties"]
    assert power["max_w"]["tighter"] == "lower"
    assert "Supply voltages" in power["supply_v"]["description"]
    determinism = device["$defs"]["Declarations"]["properties"]["determinism"]
    assert determinism["weakest_first"][0] == "none"
    assert determinism["absent"] == "bounded"
    assert device["properties"]["conformance"]["description"] == "Version of this format."


def _fields(model: type[BaseModel], seen: set[str]) -> list[tuple[str, Any, Any]]:
    if model.__name__ in seen:
        return []
    seen.add(model.__name__)
    found: list[tuple[str, Any, Any]] = []
    for name, field in model.model_fields.items():
        found.append((f"{model.__name__}.{name}", field.json_schema_extra, field.annotation))
        for inner in models_in(field.annotation):
            found += _fields(inner, seen)
    return found


@pytest.mark.parametrize("model", [DeviceProfile, CategoryProfile])
def test_every_field_says_what_tighter_means(model: type[BaseModel]) -> None:
    for name, extra, annotation in _fields(model, set()):
        is_one_model = bool(models_in(annotation)) and get_origin(annotation) not in {tuple, dict}
        if extra is None:
            assert is_one_model, f"{name} needs json_schema_extra=tighten(…)"
            continue
        assert isinstance(extra, dict)
        assert extra["tighter"] in RULES, name
        if extra["tighter"] == "stronger" and not models_in(annotation):
            literals = [set(get_args(part)) for part in (annotation, *get_args(annotation)) if get_args(part)]
            assert "weakest_first" in extra, f"{name} needs the order of its values"
            if "Literal" in str(annotation):
                assert any(set(extra["weakest_first"]) == values for values in literals), name


def test_bench_files_have_no_inheritance() -> None:
    assert "extends" not in BenchFile.model_fields
