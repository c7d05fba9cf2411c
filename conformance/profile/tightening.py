"""What a deriving file may change: each field's metadata says what tighter means, and this compares by it."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel

from conformance.profile.declares import Exclusion, Precision
from conformance.profile.defects import fields_by_key, path_text, place_of
from conformance.profile.model import Strict
from conformance.profile.terms import Term
from conformance.profile.tree import Defect, KeyPath, Node
from conformance.profile.wording import shown

REMEDY: Final = {
    "lower": "may only lower it",
    "higher": "may only raise it",
    "subset": "may only take away from it",
    "superset": "may only add to it",
    "stronger": "may only strengthen it",
    "equal": "may not change it",
}


class Loosening:
    """A field whose value in the deriving file is looser than in its base."""

    __slots__ = ("derived", "path", "rule", "was")

    def __init__(self, path: KeyPath, was: Any, derived: Any, rule: str) -> None:
        self.path = path
        self.was = was
        self.derived = derived
        self.rule = rule


def check_tightening(base: BaseModel, derived: BaseModel, base_root: Node, derived_root: Node) -> list[Defect]:
    """Return a defect for each loosening, with both values and both places."""
    return [
        Defect(
            place_of(derived_root, found.path),
            f"loosens {path_text(found.path)}: {value_text(found.derived)} here, {value_text(found.was)} at "
            f"{place_of(base_root, found.path)}; a deriving file {REMEDY[found.rule]}",
        )
        for found in loosenings(base, derived)
    ]


def loosenings(base: BaseModel, derived: BaseModel, path: KeyPath = ()) -> Iterator[Loosening]:
    """Yield each field of `derived` that is looser than in `base`, both of one model."""
    names = {field.alias or name: name for name, field in type(base).model_fields.items()}
    for key, field in fields_by_key(type(base)):
        was, now = getattr(base, names[key]), getattr(derived, names[key])
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        rule = str(extra.get("tighter", "stronger"))
        if was == now or rule == "free":
            continue
        yield from _compare(was, now, rule, extra, (*path, key))


def _compare(was: Any, now: Any, rule: str, extra: Mapping[str, Any], path: KeyPath) -> Iterator[Loosening]:
    was = extra.get("absent") if was is None else was
    now = extra.get("absent") if now is None else now
    if _is_precisions(was) or _is_precisions(now):
        yield from _compare_precisions(was or {}, now or {}, path)
    elif was is None:
        return  # a declaration is added: more is claimed
    elif now is None:
        yield Loosening(path, was, None, rule)
    elif isinstance(was, BaseModel) and isinstance(now, BaseModel) and rule != "equal":
        yield from loosenings(was, now, path)
    elif _is_keyed(was) or _is_keyed(now):
        yield from _compare_items(was, now, rule, path)
    elif not _is_tighter(was, now, rule, extra):
        yield Loosening(path, was, now, rule)


def _is_precisions(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(item, Precision) for item in value.values())


def _is_keyed(value: Any) -> bool:
    return isinstance(value, tuple) and any(isinstance(item, Strict) and item.item_key for item in value)


def _compare_precisions(was: dict[str, Precision], now: dict[str, Precision], path: KeyPath) -> Iterator[Loosening]:
    for name in dict.fromkeys((*was, *now)):
        before = was.get(name, Precision()).completed(name)
        after = now.get(name, Precision()).completed(name)
        yield from loosenings(before, after, (*path, name))


def _compare_items(was: tuple[Strict, ...], now: tuple[Strict, ...], rule: str, path: KeyPath) -> Iterator[Loosening]:
    before = {_key_of(item): item for item in was}
    after = {_key_of(item): (index, item) for index, item in enumerate(now)}
    for key, item in before.items():
        if key in after:
            index, derived = after[key]
            yield from loosenings(item, derived, (*path, index))
        elif rule == "superset":
            yield Loosening(path, item, None, rule)
    if rule == "subset":
        yield from (
            Loosening((*path, index), None, item, rule) for key, (index, item) in after.items() if key not in before
        )


def _key_of(item: Strict) -> tuple[Any, ...]:
    return tuple(getattr(item, name) for name in item.item_key)


def _is_tighter(was: Any, now: Any, rule: str, extra: Mapping[str, Any]) -> bool:
    match rule:
        case "lower":
            return bool(now <= was)
        case "higher":
            return bool(now >= was)
        case "superset":
            return _contains(now, was)
        case "subset":
            return _contains(was, now)
        case "stronger":
            order = list(extra.get("weakest_first", []))
            return bool(order.index(now) >= order.index(was))
    return False


def _contains(large: Any, small: Any) -> bool:
    """Return whether everything in `small` is in `large`: ranges, mappings, terms, names."""
    if isinstance(large, dict):
        return all(name in large and _holds(large[name], small[name]) for name in small)
    if isinstance(large, str) or isinstance(small, str):
        return bool(large in ("all", small))  # every operator, or one and the same name
    if _is_range(large) and _is_range(small):
        return bool(large[0] <= small[0] and small[1] <= large[1])
    return all(any(_covers(theirs, mine) for theirs in large) for mine in small)


def _holds(large: Any, small: Any) -> bool:
    return _contains(large, small) if isinstance(large, tuple) and isinstance(small, tuple) else bool(large == small)


def _is_range(value: Any) -> bool:
    return len(value) == 2 and all(isinstance(end, int | float) for end in value)


def _covers(large: Any, small: Any) -> bool:
    if isinstance(large, Exclusion) and isinstance(small, Exclusion):
        return large.term.covers(small.term)
    if isinstance(large, Term) and isinstance(small, Term):
        return large.covers(small)
    return bool(large == small)


def value_text(value: Any) -> str:
    """Return a value as it stands in a message."""
    match value:
        case None:
            text = "left out"
        case Exclusion():
            text = str(value.term)
        case Strict():
            key = [str(part) for part in _key_of(value) if part is not None]
            text = f"'{' '.join(key)}'" if key else "given"
        case tuple():
            text = f"[{', '.join(value_text(item) for item in value)}]"
        case dict():
            text = f"{{{', '.join(f'{name}: {value_text(item)}' for name, item in value.items())}}}"
        case bool():
            text = "true" if value else "false"
        case float():
            text = f"{value:g}"
        case _:
            text = str(value)
    return shown(text, 120)
