"""Operator terms: how a profile names operators, versions of them, and uses with certain attributes or types.

    term       = [domain "."] operator ["-" since_version] ["[" attributes "]"] ["(" types ")"]
    attributes = name "=" value {"," name "=" value}
    types      = type {"," type}

`Add`, `ai.onnx.ml.Scaler`, `Resize-13`, `Resize[mode=cubic, antialias=1]`, `Add(bfloat16)` and
`Cast-24[to=float16](string)` are terms. Whatever a term names must hold all at once. A value is a word, a quoted text
or a list in brackets. An attribute that a node leaves out has ONNX's default. This module needs neither pydantic nor
onnx.
"""

import re
from typing import Final, TypeAlias

import msgspec

from conformance.profile.onnx_operators import (
    attributes_of,
    default_of,
    known_onnx_version,
    operators_of,
    versions_of,
)
from conformance.profile.vocabulary import TENSOR_TYPES, TYPE_HINTS
from conformance.profile.wording import Hint, Message, shown

AttributeValue: TypeAlias = str | int | float | list[str] | list[int] | list[float]
DEFAULT_DOMAIN: Final = "ai.onnx"
MAX_TERM: Final = 500


class OperatorUse(msgspec.Struct, frozen=True, kw_only=True):
    """One node of a model, as claims see it. `since_version` 0 means that no schema is known for the operator."""

    domain: str
    op: str
    since_version: int
    next_version: int | None = None
    """The operator's next since_version, None where there is none."""
    attributes: dict[str, AttributeValue] = {}
    types: frozenset[str] = frozenset()
    """Element types among the node's inputs and outputs, as far as known."""

    @property
    def name(self) -> str:
        """`Add`, or with its domain where that is not ONNX's own: `ai.onnx.ml.Scaler`."""
        return spelled(self.domain, self.op)


class TermError(ValueError):
    """A term that cannot be read; `offset` counts characters to the place."""

    def __init__(self, message: Message, offset: int) -> None:
        super().__init__(message, offset)
        self.message = message
        self.offset = offset

    def __str__(self) -> str:
        return str(self.message)


class Term(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed term. Attribute values are texts, compared by `is_same_value`."""

    domain: str
    op: str
    since_version: int | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    types: tuple[str, ...] = ()

    def __str__(self) -> str:
        version = "" if self.since_version is None else f"-{self.since_version}"
        attributes = ", ".join(f"{name}={_quoted(value)}" for name, value in self.attributes)
        types = ", ".join(self.types)
        return (
            spelled(self.domain, self.op)
            + version
            + (f"[{attributes}]" if attributes else "")
            + (f"({types})" if types else "")
        )

    def matches(self, use: OperatorUse) -> bool:
        """Return whether everything that the term names holds for this use."""
        if use.op != self.op or (use.domain or DEFAULT_DOMAIN) != self.domain:
            return False
        if self.since_version is not None and use.since_version != self.since_version:
            return False
        if not use.types.issuperset(self.types):
            return False
        for name, text in self.attributes:
            value = use.attributes.get(name)
            if value is None:
                value = default_of(self.domain, self.op, use.since_version, name)
            if value is None or not is_same_value(text, value):
                return False
        return True

    def covers(self, other: "Term") -> bool:
        """Return whether every use that `other` matches is matched by this term too."""
        return (
            (self.domain, self.op) == (other.domain, other.op)
            and self.since_version in (None, other.since_version)
            and set(self.types) <= set(other.types)
            and all(
                any(name == theirs and is_same_value(text, value) for theirs, value in other.attributes)
                for name, text in self.attributes
            )
        )


def _quoted(value: str) -> str:
    found = _VALUE.fullmatch(value)
    return value if found is not None and found["quoted"] is None else f'"{value}"'


def spelled(domain: str, op: str) -> str:
    """Return the operator's name, with its domain where that is not ONNX's own."""
    return op if domain in {"", DEFAULT_DOMAIN} else f"{domain}.{op}"


def is_same_value(text: str, value: object) -> bool:
    """Return whether a written value means an attribute's value: by text, by number, or as name of a tensor type."""
    if isinstance(value, list):
        items = _list_items(text)
        return (
            items is not None
            and len(items) == len(value)
            and all(is_same_value(item, held) for item, held in zip(items, value, strict=True))
        )
    if text == str(value):
        return True
    if isinstance(value, int) and text in TENSOR_TYPES:
        return TENSOR_TYPES[text] == value
    if isinstance(value, str) and value in TENSOR_TYPES and text.isdigit():
        return TENSOR_TYPES[value] == int(text)
    try:
        wanted, held = float(text), float(str(value))
    except ValueError:
        return False
    # A float attribute is a float32 in the model: 0.1 is held as 0.10000000149.
    return wanted == held or abs(wanted - held) <= 6e-8 * abs(wanted)


def _list_items(text: str) -> list[str] | None:
    if not (text.startswith("[") and text.endswith("]")):
        return None
    inner = text[1:-1].strip()
    return [item.strip() for item in inner.split(",")] if inner else []


_NAME = re.compile(r"(?P<domain>(?:[A-Za-z][A-Za-z0-9_]*\.)*)(?P<op>[A-Za-z_][A-Za-z0-9_]*)")
_VERSION = re.compile(r"-([0-9]{1,6})(?![0-9])")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VALUE = re.compile(r'"(?P<quoted>[^"]*)"|(?P<list>\[[^\[\]]*\])|(?P<word>[^\s,\[\]()"][^,\[\]"]*)')


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def skip_blanks(self) -> None:
        while self.at < len(self.text) and self.text[self.at] == " ":
            self.at += 1

    def take(self, character: str) -> bool:
        self.skip_blanks()
        if not self.text.startswith(character, self.at):
            return False
        self.at += 1
        return True

    def match(self, pattern: re.Pattern[str], wanted: str) -> re.Match[str]:
        self.skip_blanks()
        found = pattern.match(self.text, self.at)
        if found is None:
            raise TermError(f"{wanted} is wanted {self.where()}", self.at)
        self.at = found.end()
        return found

    def where(self) -> str:
        rest = self.text[self.at :]
        return f"before '{shown(rest, 30)}'" if rest else "at the end"


def parse_term(text: str) -> Term:
    """Return the term; TermError with the place where it cannot be read or names what ONNX does not have."""
    if len(text) > MAX_TERM:
        raise TermError(f"an operator term of {len(text)} characters is too long", 0)
    reader = _Reader(text)
    name = reader.match(_NAME, "an operator name such as Add or ai.onnx.ml.Scaler")
    domain = name["domain"].rstrip(".") or DEFAULT_DOMAIN
    op = name["op"]
    _check_operator(domain, op, name.start("op"))
    since_version = _read_version(reader, domain, op)
    attributes = _read_attributes(reader, domain, op, since_version)
    types = _read_types(reader)
    reader.skip_blanks()
    if reader.at < len(text):
        raise TermError(f"the operator term ends {reader.where()}: write Op-13[attribute=value](type)", reader.at)
    return Term(domain=domain, op=op, since_version=since_version, attributes=attributes, types=types)


def _check_operator(domain: str, op: str, offset: int) -> None:
    operators = operators_of(domain)
    if operators is not None and op not in operators:
        text = f"onnx {known_onnx_version()} has no operator '{shown(spelled(domain, op))}'"
        raise TermError(Hint(text, op, operators), offset)


def _read_version(reader: _Reader, domain: str, op: str) -> int | None:
    start = reader.at
    if not reader.text.startswith("-", start):
        return None
    version = int(reader.match(_VERSION, "a version such as -13")[1])
    versions = versions_of(domain, op)
    if versions and version not in versions:
        known = ", ".join(str(number) for number in versions)
        raise TermError(f"{spelled(domain, op)} has no version {version}; its versions are {known}", start + 1)
    return version


def _read_attributes(reader: _Reader, domain: str, op: str, since_version: int | None) -> tuple[tuple[str, str], ...]:
    if not reader.take("["):
        return ()
    known = attributes_of(domain, op, since_version) if operators_of(domain) is not None else None
    owner = spelled(domain, op) + ("" if since_version is None else f"-{since_version}")
    attributes: dict[str, str] = {}
    while True:
        found = reader.match(_IDENTIFIER, "an attribute name")
        name = found[0]
        if known is not None and name not in known:
            raise TermError(Hint(f"{owner} has no attribute '{shown(name)}'", name, sorted(known)), found.start())
        if name in attributes:
            raise TermError(f"the attribute '{shown(name)}' is given twice", found.start())
        if not reader.take("="):
            raise TermError(f"'=' and a value are wanted {reader.where()}", reader.at)
        value = reader.match(_VALUE, "a value")
        quoted = value["quoted"]
        attributes[name] = (value["list"] or value["word"].strip()) if quoted is None else quoted
        if reader.take("]"):
            return tuple(attributes.items())
        if not reader.take(","):
            raise TermError(f"',' or ']' is wanted {reader.where()}", reader.at)


def _read_types(reader: _Reader) -> tuple[str, ...]:
    if not reader.take("("):
        return ()
    types: list[str] = []
    while True:
        found = reader.match(_IDENTIFIER, "a tensor type such as bfloat16")
        name = found[0]
        if name not in TENSOR_TYPES:
            hint = TYPE_HINTS.get(name.lower())
            text = f"'{shown(name)}' is not a tensor type"
            message = f"{text}; did you mean '{hint}'?" if hint else Hint(text, name, TENSOR_TYPES)
            raise TermError(message, found.start())
        types.append(name)
        if reader.take(")"):
            return tuple(dict.fromkeys(types))
        if not reader.take(","):
            raise TermError(f"',' or ')' is wanted {reader.where()}", reader.at)
