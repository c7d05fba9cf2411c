"""The JSON schemas of the three files, with each field's docstring and what tighter means for it."""

from __future__ import annotations

import ast
import inspect
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance.profile.bench import BenchFile
from conformance.profile.category import CategoryProfile
from conformance.profile.defects import models_in
from conformance.profile.device import DeviceProfile

if TYPE_CHECKING:
    from pydantic import BaseModel

MODELS: dict[str, type[BaseModel]] = {
    "device-profile": DeviceProfile,
    "category-profile": CategoryProfile,
    "bench-profile": BenchFile,
}


def json_schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON schemas by name; `docs/schemas/NAME.schema.json` holds the same."""
    return {name: _schema(model) for name, model in MODELS.items()}


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    schema: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}
    parts = {**schema.get("$defs", {}), model.__name__: schema}
    for found in _reachable(model, {}).values():
        part = parts.get(found.__name__, {})
        for key, text in _field_docs(found).items():
            part.get("properties", {}).get(key, {}).setdefault("description", text)
    return schema


def _reachable(model: type[BaseModel], found: dict[str, type[BaseModel]]) -> dict[str, type[BaseModel]]:
    if model.__name__ not in found:
        found[model.__name__] = model
        for field in model.model_fields.values():
            for inner in models_in(field.annotation):
                _reachable(inner, found)
    return found


def _field_docs(model: type[BaseModel]) -> dict[str, str]:
    """Return the text under each field, by the key that a file uses.

    Read from the source and only here: pydantic's own way (`use_attribute_docstrings`) costs every start 0.1 s.
    """
    body = ast.parse(inspect.getsource(sys.modules[model.__module__])).body
    definition = next(node for node in body if isinstance(node, ast.ClassDef) and node.name == model.__name__)
    docs: dict[str, str] = {}
    for before, after in zip(definition.body, definition.body[1:], strict=False):
        if (
            isinstance(before, ast.AnnAssign)
            and isinstance(before.target, ast.Name)
            and before.target.id in model.model_fields
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            key = model.model_fields[before.target.id].alias or before.target.id
            docs[key] = inspect.cleandoc(after.value.value)
    return docs


def write_schemas(folder: Path) -> list[Path]:
    """Write the schemas into a folder and return the files."""
    paths = []
    for name, schema in json_schemas().items():
        path = folder / f"{name}.schema.json"
        path.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        paths.append(path)
    return paths


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
