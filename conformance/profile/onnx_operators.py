"""Which operators ONNX defines, in which versions, with which attributes and defaults, without loading onnx.

`onnx_operators.json` is made from `onnx.defs` by `python -m conformance.profile.onnx_operators`; a test holds the two
together.
"""

import functools
import importlib.resources
import json
import sys
from pathlib import Path
from typing import Any, Final, TypeAlias

AttributeDefault: TypeAlias = str | int | float | list[Any] | None
Table: TypeAlias = dict[str, dict[str, dict[str, dict[str, AttributeDefault]]]]
"""domain → operator → since_version (as text) → attribute → default, None where there is none."""

FILE_NAME: Final = "onnx_operators.json"


@functools.cache
def _load() -> dict[str, Any]:
    text = importlib.resources.files("conformance.profile").joinpath(FILE_NAME).read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def known_onnx_version() -> str:
    """Return the onnx release that the table was made from."""
    return str(_load()["onnx"])


def operators_of(domain: str) -> dict[str, dict[str, dict[str, AttributeDefault]]] | None:
    """Return the operators of a domain, None where ONNX does not define that domain."""
    table: Table = _load()["domains"]
    return table.get(domain)


def versions_of(domain: str, op: str) -> list[int]:
    """Return the since_versions of an operator, oldest first; empty where it is not ONNX's."""
    return sorted(int(version) for version in (operators_of(domain) or {}).get(op, {}))


def attributes_of(domain: str, op: str, since_version: int | None = None) -> set[str]:
    """Return the attribute names of one version of an operator, or of all its versions."""
    versions = (operators_of(domain) or {}).get(op, {})
    wanted = versions.values() if since_version is None else [versions.get(str(since_version), {})]
    return {name for attributes in wanted for name in attributes}


def default_of(domain: str, op: str, since_version: int, attribute: str) -> AttributeDefault:
    """Return what an attribute means when a node leaves it out, None where it has no default."""
    return (operators_of(domain) or {}).get(op, {}).get(str(since_version), {}).get(attribute)


def is_deprecated(domain: str, op: str, since_version: int) -> bool:
    """Return whether ONNX took the operator back with this version: no model of that opset may hold it."""
    taken_back: dict[str, dict[str, int]] = _load()["deprecated"]
    return taken_back.get(domain, {}).get(op) == since_version


def build_table() -> dict[str, Any]:
    """Return the table as the installed onnx gives it."""
    import onnx
    from onnx import defs

    domains: Table = {}
    deprecated: dict[str, dict[str, int]] = {}
    for schema in sorted(defs.get_all_schemas_with_history(), key=lambda one: (one.domain, one.name)):
        if schema.deprecated:
            deprecated.setdefault(schema.domain or "ai.onnx", {})[schema.name] = schema.since_version
        versions = domains.setdefault(schema.domain or "ai.onnx", {}).setdefault(schema.name, {})
        versions[str(schema.since_version)] = {
            name: _default(attribute.default_value) for name, attribute in sorted(schema.attributes.items())
        }
    ordered = {
        domain: {
            op: dict(sorted(versions.items(), key=lambda item: int(item[0]))) for op, versions in sorted(ops.items())
        }
        for domain, ops in sorted(domains.items())
    }
    return {"onnx": onnx.__version__, "deprecated": deprecated, "domains": ordered}


def _default(attribute: Any) -> AttributeDefault:
    import numpy as np
    from onnx import helper

    if not attribute.name:
        return None
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, float):
        # Attributes are float32: the shortest text that reads back the same is what people write.
        return float(str(np.float32(value)))
    if isinstance(value, int | str):
        return value
    return [item.decode() if isinstance(item, bytes) else item for item in value]


def render_table(table: dict[str, Any]) -> str:
    """Return the table as JSON text with one operator per line."""
    lines = [
        "{",
        f' "onnx": {json.dumps(table["onnx"])},',
        f' "deprecated": {json.dumps(table["deprecated"])},',
        ' "domains": {',
    ]
    domains: Table = table["domains"]
    for number, (domain, ops) in enumerate(domains.items(), 1):
        lines.append(f"  {json.dumps(domain)}: {{")
        rows = [f"   {json.dumps(op)}: {json.dumps(versions, separators=(',', ':'))}" for op, versions in ops.items()]
        lines.append(",\n".join(rows))
        lines.append("  }" + ("," if number < len(domains) else ""))
    return "\n".join([*lines, " }", "}", ""])


if __name__ == "__main__":
    Path(__file__).with_name(FILE_NAME).write_text(render_table(build_table()), encoding="utf-8")
    sys.stdout.write(f"{FILE_NAME}: onnx {build_table()['onnx']}\n")
