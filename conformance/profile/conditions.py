"""When a requirement applies: `all`, `any` and `not` over fields of the device profile, with the reason in words.

A leaf reads one field: `equals`, `one_of`, `at_least` or `present`. A field that holds a list satisfies a leaf when one
of its items does. A field that was left out satisfies only `present: false`.
"""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin

from pydantic import BaseModel, Field

from conformance.profile.defects import fields_by_key, models_in
from conformance.profile.model import Many, Name, Number, Option, Strict, tighten
from conformance.profile.tree import KeyPath
from conformance.profile.wording import Hint, Message, shown

_FORMS = ("all", "any", "not", "field")
_TESTS = ("equals", "one_of", "at_least", "present")
_EQUAL = tighten("equal")


class Condition(Strict):
    """One of `all`, `any`, `not`, or a leaf with `field` and one test."""

    is_merged: ClassVar[bool] = False

    all_of: Annotated[Many["Condition"], Field(min_length=1)] | None = Field(
        default=None, alias="all", json_schema_extra=_EQUAL
    )
    any_of: Annotated[Many["Condition"], Field(min_length=1)] | None = Field(
        default=None, alias="any", json_schema_extra=_EQUAL
    )
    not_: "Condition | None" = Field(default=None, alias="not", json_schema_extra=_EQUAL)
    field: Name | None = Field(default=None, json_schema_extra=_EQUAL)
    """A field of the device profile, such as `device.subtype` or `declares.opsets.ai.onnx`."""
    equals: Option | None = Field(default=None, json_schema_extra=_EQUAL)
    one_of: Annotated[Many[Option], Field(min_length=1)] | None = Field(default=None, json_schema_extra=_EQUAL)
    at_least: Number | None = Field(default=None, json_schema_extra=_EQUAL)
    present: bool | None = Field(default=None, json_schema_extra=_EQUAL)

    def sense(self) -> Iterator[tuple[KeyPath, Message]]:
        """Exactly one form, and for a leaf exactly one test that the field can meet."""
        forms = [
            name
            for name, value in zip(_FORMS, (self.all_of, self.any_of, self.not_, self.field), strict=True)
            if value is not None
        ]
        tests = [name for name in _TESTS if getattr(self, name) is not None]
        if len(forms) != 1:
            given = f"found {' and '.join(forms)}" if forms else "found none"
            yield (forms[1],) if forms else (), f"a condition is one of all, any, not or field; {given}"
        elif self.field is None and tests:
            yield (tests[0],), f"'{tests[0]}' needs a field: write {{field: …, {tests[0]}: …}}"
        elif self.field is not None and len(tests) != 1:
            given = f"found {' and '.join(tests)}" if tests else "found none"
            yield ("field",), f"a field needs one test of {', '.join(_TESTS)}; {given}"
        elif self.field is not None:
            yield from _check_field(self.field, self)


def _check_field(name: str, leaf: Condition) -> Iterator[tuple[KeyPath, Message]]:
    from conformance.profile.device import DeviceProfile

    annotation = annotation_of(DeviceProfile, name)
    if annotation is None:
        what = f"a device profile has no field '{shown(name)}'"
        yield ("field",), Hint(what, name, field_names(DeviceProfile))
        return
    if leaf.present is not None:
        return
    if models_in(annotation):
        yield ("field",), f"'{name}' is a mapping or a list of mappings: only present can be asked of it"
        return
    kinds = _kinds(annotation)
    if leaf.at_least is not None and not kinds & {int, float}:
        yield ("at_least",), f"'{name}' is not a number: use equals or one_of"
    allowed = _literals(annotation)
    values = [(("equals",), leaf.equals)] if leaf.equals is not None else []
    values += [(("one_of", index), value) for index, value in enumerate(leaf.one_of or ())]  # type: ignore[misc]
    for path, value in values:
        if allowed and value not in allowed:
            yield path, Hint(f"'{name}' is never {shown(str(value))}", str(value), [str(one) for one in allowed])
        elif not allowed and isinstance(value, str) != (str in kinds):
            wanted = "a text" if str in kinds else "a number or true/false"
            yield path, f"'{name}' is {wanted}, so it is never {shown(str(value))}"


def annotation_of(model: type[BaseModel], name: str) -> Any:
    """Return the annotation of a dotted field name, None where the model has no such field.

    Below a mapping with free keys the whole rest of the name is one key.
    """
    rest = name.split(".")
    models = [model]
    annotation: Any = None
    while rest:
        step = rest.pop(0)
        annotation = next(
            (field.annotation for found in models for key, field in fields_by_key(found) if key == step), None
        )
        if annotation is None:
            return None
        free = _free_mapping(annotation)
        if free is not None and rest:
            return free
        models = [] if _is_sequence(annotation) else models_in(annotation)
        if rest and not models:
            return None
    return annotation


def field_names(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return every dotted field name of a model; lists of mappings are not entered."""
    names: list[str] = []
    for key, field in fields_by_key(model):
        names.append(prefix + key)
        if not _is_sequence(field.annotation) and _free_mapping(field.annotation) is None:
            for found in models_in(field.annotation):
                names += field_names(found, f"{prefix}{key}.")
    return names


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    if get_origin(annotation) is not Literal:
        for part in get_args(annotation):
            yield from _parts(part)


def _free_mapping(annotation: Any) -> Any:
    return next((get_args(part)[1] for part in _parts(annotation) if get_origin(part) is dict), None)


def _is_sequence(annotation: Any) -> bool:
    return any(get_origin(part) is tuple for part in _parts(annotation))


def _kinds(annotation: Any) -> set[type]:
    kinds = {part for part in _parts(annotation) if part in (str, int, float, bool)}
    kinds |= {type(value) for value in _literals(annotation)}
    # Operator terms are compared by their text.
    return kinds or {str}


def _literals(annotation: Any) -> list[Any]:
    return [value for part in _parts(annotation) if get_origin(part) is Literal for value in get_args(part)]


def evaluate(condition: Condition | None, profile: BaseModel) -> tuple[bool, str]:
    """Return whether a condition holds for a device profile, and the facts that decide it, in words."""
    if condition is None:
        return True, "it applies to every device of the category"
    if condition.all_of is not None:
        results = [evaluate(part, profile) for part in condition.all_of]
        holds = all(held for held, _ in results)
        return holds, " and ".join(why for held, why in results if held == holds)
    if condition.any_of is not None:
        results = [evaluate(part, profile) for part in condition.any_of]
        holds = any(held for held, _ in results)
        return holds, " and ".join(why for held, why in results if held == holds)
    if condition.not_ is not None:
        held, why = evaluate(condition.not_, profile)
        return not held, why
    return _evaluate_leaf(condition, profile)


def _evaluate_leaf(leaf: Condition, profile: BaseModel) -> tuple[bool, str]:
    name = leaf.field or ""
    value = read_field(profile, name)
    is_given = value is not None and (bool(value) or not isinstance(value, tuple | dict))
    if leaf.present is not None:
        return is_given == leaf.present, f"{name} is {'given' if is_given else 'not given'}"
    if not is_given:
        return False, f"{name} is not given"
    items = list(value) if isinstance(value, tuple) else [value]
    text = ", ".join(shown(str(item)) for item in items)
    if leaf.at_least is not None:
        numbers = [item for item in items if isinstance(item, int | float) and not isinstance(item, bool)]
        holds = any(number >= leaf.at_least for number in numbers)
        return holds, f"{name} is {text}, {'at least' if holds else 'below'} {leaf.at_least:g}"
    wanted = [leaf.equals] if leaf.equals is not None else list(leaf.one_of or ())
    holds = any(_is_same(item, want) for item in items for want in wanted)
    if holds and len(items) == 1:
        return True, f"{name} is {text}"
    names = " or ".join(shown(str(want)) for want in wanted)
    verb = "holds" if len(items) > 1 else "is"
    return holds, f"{name} {verb} {text}, {'with' if holds else 'not'} {names}"


def _is_same(item: object, want: object) -> bool:
    if isinstance(item, bool) or isinstance(want, bool):
        return item is want
    if isinstance(item, int | float) and isinstance(want, int | float):
        return item == want
    return str(item) == str(want)


def read_field(profile: BaseModel, name: str) -> Any:
    """Return the value of a dotted field, None where it was left out."""
    value: Any = profile
    rest = name.split(".")
    while rest and value is not None:
        if isinstance(value, dict):
            return value.get(".".join(rest))
        step = rest.pop(0)
        value = getattr(value, step, None)
    return value
