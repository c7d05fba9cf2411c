"""What the models of the three files share: strictness, kinds of text and number, how a field may be tightened."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal, NoReturn, Self, TypeAlias, TypeVar

from pydantic import AfterValidator as After
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainValidator,
    StringConstraints,
    model_validator,
)
from pydantic.json_schema import WithJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError

from conformance.profile.tree import KeyPath
from conformance.profile.wording import Hint, Message, is_hidden, shown

T = TypeVar("T")
Tighter: TypeAlias = Literal["lower", "higher", "subset", "superset", "stronger", "equal", "free"]
MAX_NAME: Final = 200
MAX_TEXT: Final = 4000
SLUG_PATTERN: Final = r"^[a-z0-9]+(-[a-z0-9]+)*$"


class Strict(BaseModel):
    """Base of every model: unknown keys are defects, types are not converted, values never change.

    A subclass says in `sense` what must hold between its fields. A class used as list item may name in `item_key` the
    fields that identify an item: duplicates are then defects. Deriving files change mappings key by key and such lists
    item by item; where `is_merged` is false they restate the whole.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)
    item_key: ClassVar[tuple[str, ...]] = ()
    is_merged: ClassVar[bool] = True

    def sense(self) -> Iterator[tuple[KeyPath, Message]]:
        """Yield what is wrong between fields: the path from this model, and a sentence."""
        yield from ()

    @model_validator(mode="after")
    def _make_sense(self) -> Self:
        found = list(self.sense())
        if found:
            raise PydanticCustomError("sense", "makes no sense", {"defects": found})
        return self


@dataclass(frozen=True, slots=True, eq=False)
class ShortForm:
    """Tells the JSON schema that a value may also be written in a shorter way, which a validator expands."""

    schema: dict[str, Any]

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [self.schema, handler(core)]}


def refuse(message: Message, offset: int = 0) -> NoReturn:
    """Raise the error that becomes a defect with exactly this text; `offset` counts characters into the value."""
    # pydantic makes texts of all that it is handed here; inside a tuple the message keeps its text to itself.
    raise PydanticCustomError("defect", "is refused", {"message": (message,), "offset": offset})


def tighten(rule: Tighter, *, weakest_first: tuple[str | bool, ...] = (), absent: str | None = None) -> dict[str, Any]:
    """Return the field metadata that says what a deriving file may do; it is published in the JSON schema.

    `weakest_first` orders the values for `stronger`; `absent` is what leaving the field out means.
    """
    extra: dict[str, Any] = {"tighter": rule}
    if weakest_first:
        extra["weakest_first"] = list(weakest_first)
    if absent is not None:
        extra["absent"] = absent
    return extra


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Many = Annotated[tuple[T, ...], BeforeValidator(_as_tuple)]
"""A YAML list, held as a tuple."""


def _visible(text: str) -> str:
    for index, character in enumerate(text):
        if is_hidden(character):
            refuse(f"character U+{ord(character):04X} is not allowed in a name: remove it", index)
    if not text.strip():
        refuse("is blank: write a name or leave the key out")
    return text


def _visible_lines(text: str) -> str:
    _visible(text.replace("\n", " "))
    return text


Name = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME), After(_visible)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT), After(_visible_lines)]
Slug = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=SLUG_PATTERN)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Celsius = Annotated[float, Field(ge=-273.15, le=2000)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


def _whole(value: object) -> object:
    if type(value) is not int and value == 1:  # true and 1.0 are equal to 1, and mean something else
        refuse("the version of the format is wanted here, as the whole number 1")
    return value


FormatVersion = Annotated[Literal[1], BeforeValidator(_whole)]
"""Version of the format of a file."""


def _scalar(value: object) -> object:
    if isinstance(value, str):
        return _visible_lines(value) if value else value
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return refuse("a text, number or true/false is wanted here")


Option = Annotated[
    str | int | float | bool, PlainValidator(_scalar), WithJsonSchema({"type": ["string", "number", "boolean"]})
]
"""An option as a runtime takes it; the runtime's adapter knows which exist."""


def one_of(value: object, known: tuple[str, ...], what: str, hints: dict[str, str] | None = None) -> str:
    """Return `value` when it is one of `known`, else refuse it, naming the nearest."""
    if not isinstance(value, str):
        refuse(f"{what} is wanted here, as text")
    if value in known:
        return value
    meant = (hints or {}).get(value.lower(), "")
    text = f"'{shown(value)}' is not {what}"
    return refuse(f"{text}; did you mean '{meant}'?" if meant else Hint(text, value, known))


def check_distinct(items: tuple[T, ...]) -> tuple[T, ...]:
    """Refuse a list that names something twice."""
    seen: set[str] = set()
    for item in items:
        text = str(item)
        if text in seen:
            refuse(f"'{shown(text)}' is listed twice")
        seen.add(text)
    return items


def repeated_items(items: tuple[Strict, ...], path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Yield a defect for each item whose `item_key` fields were given before."""
    seen: dict[tuple[object, ...], int] = {}
    for index, item in enumerate(items):
        key = tuple(getattr(item, name) for name in item.item_key)
        if key in seen:
            words = " ".join(str(part) for part in key if part is not None)
            yield (*path, index, item.item_key[0]), f"'{shown(words)}' is given twice"
        seen[key] = index


def ordered(model: BaseModel, names: tuple[str, ...]) -> Iterator[tuple[KeyPath, str]]:
    """Yield a defect wherever a later field of `names` is below an earlier one; absent fields are passed over."""
    last: tuple[str, float] | None = None
    for name in names:
        value = getattr(model, name)
        if value is None:
            continue
        if last is not None and value < last[1]:
            yield (last[0],), f"{last[0]} is {last[1]:g}, above {name}, which is {value:g}"
        last = (name, value)


def _range(value: object) -> object:
    if not isinstance(value, list | tuple) or len(value) != 2:
        refuse("a pair is wanted here: [lowest, highest]")
    low, high = value
    for end in value:
        if isinstance(end, bool) or not isinstance(end, int | float):
            refuse("a pair of numbers is wanted here: [lowest, highest]")
    if low > high:
        refuse(f"the range is reversed: {low:g} is above {high:g}; write [{high:g}, {low:g}]")
    return (float(low), float(high))


_RANGE_SCHEMA = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
Range = Annotated[tuple[float, float], PlainValidator(_range), WithJsonSchema(_RANGE_SCHEMA)]
"""[lowest, highest]."""


def _opset_range(value: object) -> object:
    if not isinstance(value, list | tuple) or len(value) != 2:
        refuse("a pair of opset versions is wanted here: [lowest, highest]")
    low, high = value
    for end in value:
        if isinstance(end, bool) or not isinstance(end, int):
            refuse("a pair of whole numbers is wanted here: [lowest, highest]")
        if not 1 <= end <= 10_000:
            refuse(f"opset {end} does not exist: opsets count from 1")
    if low > high:
        refuse(f"the opsets are reversed: {low} is above {high}; write [{high}, {low}]")
    return (low, high)


_OPSET_SCHEMA = {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 2, "maxItems": 2}
OpsetRange = Annotated[tuple[int, int], PlainValidator(_opset_range), WithJsonSchema(_OPSET_SCHEMA)]


class Deadlines(Strict):
    """How long opening a session, compiling a model and one inference may take before the child is killed."""

    open_s: Seconds | None = Field(default=None, json_schema_extra=tighten("lower"))
    compile_s: Seconds | None = Field(default=None, json_schema_extra=tighten("lower"))
    run_s: Seconds | None = Field(default=None, json_schema_extra=tighten("lower"))
