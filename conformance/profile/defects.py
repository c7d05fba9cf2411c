"""Turns what a model refuses into defects: the place in the file, what is wrong, and the nearest known word."""

import re
from collections.abc import Iterator
from typing import Any, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from conformance.profile.model import SLUG_PATTERN
from conformance.profile.tree import MAX_DEFECTS, Defect, KeyPath, Node, Position, describe
from conformance.profile.wording import Hint, Message, nearest, shown


def validate(model: type[BaseModel], root: Node, defects: list[Defect]) -> Any:
    """Return the model's instance for a tree, or None after adding every defect to `defects`."""
    if not isinstance(root.value, dict):
        if not root.broken:
            defects.append(Defect(root.at, f"a mapping is wanted at the top of the file, found {describe(root)}"))
        return None
    try:
        return model.model_validate(root.plain())
    except ValidationError as error:
        defects.extend(translate(error, root, model))
        return None


def translate(error: ValidationError, root: Node, model: type[BaseModel]) -> list[Defect]:
    """Return a defect for each thing that the validation found, less those that follow from another defect."""
    found: list[Defect] = []
    missing: list[tuple[KeyPath, str, Defect]] = []
    unknown: dict[KeyPath, list[Hint]] = {}
    for item in error.errors(include_url=False, include_input=False):
        path = real_path(root, item["loc"])
        kind, context = item["type"], item.get("ctx", {})
        # A list whose items were all refused counts as empty for pydantic.
        if _is_broken(root, path) or (kind == "too_short" and root.find(path).value):
            continue
        if kind == "sense":
            found += [
                Defect(place_of(root, real_path(root, (*path, *inner))), what) for inner, what in context["defects"]
            ]
        elif kind == "missing":
            name = str(item["loc"][-1])
            at = place_of_key(root, path)
            missing.append((path, name, Defect(at, f"the key '{name}' is missing{_inside(path)}")))
        elif kind == "extra_forbidden":
            known = known_keys(model, item["loc"][:-1])
            name = str(item["loc"][-1])
            hint = Hint(f"unknown key '{shown(name)}'", name, known)
            unknown.setdefault(path[:-1], []).append(hint)
            found.append(Defect(place_of_key(root, path), hint))
        else:
            node = root.find(path)
            at = node.at.shifted(node.text_shift + context["offset"]) if context.get("offset") else node.at
            if item["loc"] and item["loc"][-1] == "[key]":
                at = node.key_at or at
            found.append(Defect(at, _sentence(kind, context, item["msg"], node, path)))
    # A misspelt key is one mistake, not an unknown key and a missing one.
    for path, name, defect in missing:
        if not any(nearest(hint.word, hint.known) == name for hint in unknown.get(path, [])[:MAX_DEFECTS]):
            found.append(defect)
    return found


def real_path(root: Node, location: tuple[str | int, ...]) -> KeyPath:
    """Return the steps of a validation location that exist in the tree; union members and shorthands do not."""
    node = root
    steps: list[str | int] = []
    for step in location:
        child = node.child(step)
        if child is not None:
            node = child
            steps.append(step)
    return tuple(steps)


def place_of(root: Node, path: KeyPath) -> Position:
    """Return where to point for `path`: a mapping or list by its key, a scalar by its value."""
    node = root.find(path)
    if isinstance(node.value, dict | list) and node.key_at is not None:
        return node.key_at
    return node.at


def place_of_key(root: Node, path: KeyPath) -> Position:
    """Return where the key of `path` stands; the top of the file for the root, the item itself inside a list."""
    node = root.find(path)
    return node.key_at or node.at


def _inside(path: KeyPath) -> str:
    return f" in '{shown(path_text(path))}'" if path else ""


def path_text(path: KeyPath) -> str:
    """Return a path as people write it: `declares.latency[0].p99_ms`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def _is_broken(root: Node, path: KeyPath) -> bool:
    node = root
    for step in path:
        if node.broken:
            return True
        node = node.child(step) or node
    return node.broken


_WANTED = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
}


def _sentence(kind: str, context: dict[str, Any], message: str, node: Node, path: KeyPath) -> Message:
    name = _subject(path)
    if kind == "defect":
        (refused,) = context["message"]
        return cast("Message", refused)
    if kind in _WANTED:
        return f"{name} must be {_WANTED[kind]}, found {describe(node)}{_remedy(kind, node)}"
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", str(context["expected"]))
        if not known:
            return f"{name} must be {context['expected']}, found {describe(node)}"
        word = node.value if isinstance(node.value, str) else ""
        return Hint(f"{name} cannot be {describe(node)}", word, known)
    if kind == "too_short":
        return f"{name} is empty: at least {context['min_length']} must be given"
    return f"{name} is {describe(node)}: {_limit(kind, context) or shown(message, 200)}"


def _subject(path: KeyPath) -> str:
    step = path[-1] if path else ""
    if isinstance(step, int):
        names = [part for part in path if isinstance(part, str)]
        return f"item {step + 1} of '{shown(names[-1] if names else '')}'"
    return f"'{shown(step)}'"


_NUMBER_WITH_UNIT = re.compile(r"\s*([-+]?[0-9]*\.?[0-9]+)\s*(\S{1,12})\s*")
_YES, _NO = frozenset({"yes", "on", "1"}), frozenset({"no", "off", "0"})


def _remedy(kind: str, node: Node) -> str:
    word = str(node.value).lower()
    if kind == "string_type" and isinstance(node.value, bool | int | float):
        return f'; quote it: "{shown(node.source)}"'
    if kind in {"float_type", "int_type"} and isinstance(node.value, str):
        found = _NUMBER_WITH_UNIT.fullmatch(node.value)
        return f"; the unit stands in the key: write {found[1]} in that unit" if found else ""
    if kind == "bool_type" and word in _YES | _NO:
        return f"; write {'true' if word in _YES else 'false'}"
    if kind == "tuple_type" and node.source:
        return f"; write [{shown(node.source)}]"
    return ""


_LIMITS = {
    "greater_than": "it must be above {gt:g}",
    "greater_than_equal": "it must be at least {ge:g}",
    "less_than_equal": "it must be at most {le:g}",
    "string_too_long": "it must have at most {max_length} characters",
    "string_too_short": "it must not be empty",
    "string_pattern_mismatch": "it must match {pattern}",
}


def _limit(kind: str, context: dict[str, Any]) -> str:
    if context.get("pattern") == SLUG_PATTERN:
        return "it must consist of lower-case letters, digits and single hyphens"
    return _LIMITS[kind].format(**context) if kind in _LIMITS else ""


def known_keys(model: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    """Return the keys that the mapping at a validation location may have."""
    annotation: Any = model
    for step in location:
        annotation = annotation_at(annotation, step)
    return [key for found in models_in(annotation) for key, _ in fields_by_key(found)]


def fields_by_key(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """Yield a model's fields by the key that a file uses."""
    for name, field in model.model_fields.items():
        yield field.alias or name, field


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that an annotation names, itself included."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) if not isinstance(part, str) for found in models_in(part)]


def annotation_at(annotation: Any, step: str | int) -> Any:
    """Return what an annotation says of the place one step below it."""
    for model in models_in(annotation) if not _is_mapping(annotation) else []:
        for key, field in fields_by_key(model):
            if key == step:
                return field.annotation
    if isinstance(step, int) or _is_mapping(annotation):
        members = [part for part in get_args(_without_none(annotation)) if part is not Ellipsis]
        return members[-1] if members else annotation
    return annotation


def _without_none(annotation: Any) -> Any:
    parts = [part for part in get_args(annotation) if part is not type(None)]
    return parts[0] if type(None) in get_args(annotation) and len(parts) == 1 else annotation


def _is_mapping(annotation: Any) -> bool:
    return get_origin(_without_none(annotation)) is dict
