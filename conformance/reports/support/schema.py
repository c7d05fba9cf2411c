"""JSON schemas of the written files, made from the structs and the texts below their fields."""

from __future__ import annotations

import ast
import inspect
import sys
from typing import Any

import msgspec

from conformance import records
from conformance.reports import run_json
from conformance.reports.support import plain

DIALECT = "https://json-schema.org/draft/2020-12/schema"
OPTIONAL = {("MeasurementLine", "text")}
"""Written only where there is something to tell; everything else is always written."""


def build(name: str, struct: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the schema of a file that holds `struct`; every field is required, because every field is written."""
    (top,), components = msgspec.json.schema_components([struct], ref_template="#/$defs/{name}")
    texts = _field_texts()
    for title, component in components.items():
        properties = component.get("properties", {})
        if properties:
            component["required"] = [key for key in properties if (title, key) not in OPTIONAL]
        for key, part in properties.items():
            text = next((texts[owner, key] for owner in (title, *_BASES.get(title, ())) if (owner, key) in texts), None)
            if text is not None:
                # a sibling of $ref is allowed since draft 2019-09
                part["description"] = text
    return {"$schema": DIALECT, "$id": f"urn:resonance-conformance:{name}.schema.json", **top, "$defs": components}


_BASES = {"MeasurementLine": ("Measurement",), "CaseLine": ("Record",)}


def _field_texts() -> dict[tuple[str, str], str]:
    """Return the text under each field, by struct and field, read from the source."""
    texts: dict[tuple[str, str], str] = {}
    for module in (records, run_json, plain):
        for definition in ast.parse(inspect.getsource(sys.modules[module.__name__])).body:
            if isinstance(definition, ast.ClassDef):
                for before, after in zip(definition.body, definition.body[1:], strict=False):
                    match before, after:
                        case ast.AnnAssign(target=ast.Name(id=field)), ast.Expr(value=ast.Constant(value=str(text))):
                            texts[definition.name, field] = inspect.cleandoc(text)
    return texts
