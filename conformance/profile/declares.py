"""What a device profile declares: the claims that the run puts to the test."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, PlainValidator, Tag
from pydantic.json_schema import WithJsonSchema

from conformance.profile.budgets import Documentation, Interface, Latency, Power, Sdk, SensorFusion, Thermal
from conformance.profile.model import (
    Count,
    Many,
    OpsetRange,
    ShortForm,
    Strict,
    Text,
    check_distinct,
    one_of,
    refuse,
    repeated_items,
    tighten,
)
from conformance.profile.terms import Term, TermError, parse_term
from conformance.profile.tree import KeyPath
from conformance.profile.vocabulary import (
    DETERMINISM,
    NATIVE_PRECISION,
    ONNX_DOMAINS,
    ROUNDOFF_BITS,
    TENSOR_TYPES,
    TYPE_HINTS,
)
from conformance.profile.wording import Hint, Message, nearest, shown


def _term(value: object) -> Term:
    if isinstance(value, Term):
        return value
    if not isinstance(value, str):
        refuse("an operator term is wanted here, such as Add, Resize-13 or Resize[mode=cubic]")
    try:
        return parse_term(value)
    except TermError as error:
        return refuse(error.message, error.offset)


def _tensor_type(value: object) -> str:
    return one_of(value, tuple(TENSOR_TYPES), "an ONNX tensor type", TYPE_HINTS)


def _precise_type(value: object) -> str:
    return one_of(value, tuple(NATIVE_PRECISION), "a floating-point tensor type", TYPE_HINTS)


def _roundoff(value: object) -> str:
    return one_of(
        value, tuple(ROUNDOFF_BITS), "a precision", TYPE_HINTS | {"fp8": "float8e4m3", "tensorfloat32": "tf32"}
    )


def _domain(value: object) -> str:
    if not isinstance(value, str) or not value or len(value) > 200 or not value.isascii() or " " in value:
        refuse("an operator-set domain is wanted here, such as ai.onnx")
    if value in ONNX_DOMAINS:
        return value
    if value.startswith("ai.onnx") or nearest(value, ONNX_DOMAINS, 0.9):
        refuse(Hint(f"ONNX has no domain '{shown(value)}'", value, ONNX_DOMAINS))
    return value


def _enum(names: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "enum": list(names)})


TERM_SCHEMA: dict[str, Any] = {"type": "string", "title": "operator term", "examples": ["Add", "Resize[mode=cubic]"]}
OperatorTerm = Annotated[Term, PlainValidator(_term), WithJsonSchema(TERM_SCHEMA)]
TensorType = Annotated[str, PlainValidator(_tensor_type), _enum(TENSOR_TYPES)]
PreciseType = Annotated[str, PlainValidator(_precise_type), _enum(NATIVE_PRECISION)]
Roundoff = Annotated[str, PlainValidator(_roundoff), _enum(ROUNDOFF_BITS)]
Domain = Annotated[str, PlainValidator(_domain), WithJsonSchema({"type": "string"})]
Terms = Annotated[Many[OperatorTerm], AfterValidator(check_distinct)]
Types = Annotated[Many[TensorType], AfterValidator(check_distinct)]
Opsets = dict[Domain, OpsetRange]
Determinism = Literal["none", "bounded", "bitwise-run", "bitwise-session", "bitwise-process", "batch-invariant"]


class Exclusion(Strict):
    """Operators that the device does not claim although `include` names them, and why."""

    term: OperatorTerm = Field(json_schema_extra=tighten("equal"))
    reason: Text | None = Field(default=None, json_schema_extra=tighten("free"))


def _as_exclusion(value: object) -> object:
    if not isinstance(value, str | dict | Exclusion):
        refuse("an operator term, or {term: …, reason: …}, is wanted here")
    return {"term": value} if isinstance(value, str) else value


def _include(value: object) -> object:
    if value == "all" and isinstance(value, str):
        return "all"
    if not isinstance(value, list | tuple):
        found = f", not '{shown(value)}'" if isinstance(value, str) else ""
        refuse(f"'all' or a list of operator terms is wanted here{found}")
    return value


def _form(value: object) -> str:
    return "all" if isinstance(value, str) else "terms"


# Told apart by form, so that a wrong item is not also blamed for not being the word `all`.
Included = Annotated[
    Annotated[Literal["all"], Tag("all")] | Annotated[Terms, Tag("terms")],
    Discriminator(_form),
    BeforeValidator(_include),
]
Excluded = Annotated[Exclusion, BeforeValidator(_as_exclusion), ShortForm(TERM_SCHEMA)]


class Operators(Strict):
    """The claimed operators: all of the declared opsets or the terms of `include`, less `exclude`."""

    include: Included = Field(json_schema_extra=tighten("superset"))
    exclude: Many[Excluded] = Field(default=(), json_schema_extra=tighten("subset"))


def _as_operators(value: object) -> object:
    return {"include": value} if isinstance(value, str | list) else value


_OPERATORS_FORM = ShortForm({"anyOf": [{"const": "all"}, {"type": "array", "items": TERM_SCHEMA}]})
Claimed = Annotated[Operators, BeforeValidator(_as_operators), _OPERATORS_FORM]


def _as_transforms(value: object) -> object:
    if value == "none":
        return ()
    return (value,) if isinstance(value, str) else value


_TRANSFORM_SCHEMA: dict[str, Any] = {"type": "string", "enum": ["winograd", "fft"]}
Transforms = Annotated[
    Many[Literal["winograd", "fft"]],
    BeforeValidator(_as_transforms),
    AfterValidator(check_distinct),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "enum": ["none", "winograd", "fft"]},
                {"type": "array", "items": _TRANSFORM_SCHEMA},
            ]
        }
    ),
]


class Precision(Strict):
    """How a type is computed: unit roundoffs by name, and what widens the error bound beyond them."""

    input: Roundoff | None = Field(
        default=None, json_schema_extra=tighten("stronger", weakest_first=tuple(ROUNDOFF_BITS))
    )
    """The precision to which inputs and weights are narrowed."""
    accumulate: Roundoff | None = Field(
        default=None, json_schema_extra=tighten("stronger", weakest_first=tuple(ROUNDOFF_BITS))
    )
    """The precision of the accumulator of sums and products."""
    output: Roundoff | None = Field(
        default=None, json_schema_extra=tighten("stronger", weakest_first=tuple(ROUNDOFF_BITS))
    )
    """The precision in which results are stored."""
    accumulate_rounding: Literal["toward-zero", "nearest"] = Field(
        default="nearest", json_schema_extra=tighten("stronger", weakest_first=("toward-zero", "nearest"))
    )
    subnormals: Literal["flushed", "kept"] = Field(
        default="kept", json_schema_extra=tighten("stronger", weakest_first=("flushed", "kept"))
    )
    accumulate_chain: Count | None = Field(default=None, json_schema_extra=tighten("lower"))
    """Longest chain of additions; left out, chains are as long as the contraction."""
    variance: Literal["one-pass", "two-pass"] = Field(
        default="one-pass", json_schema_extra=tighten("stronger", weakest_first=("one-pass", "two-pass"))
    )
    transforms: Transforms = Field(default=(), json_schema_extra=tighten("subset"))
    """Transforms that convolutions may go through: `none`, `winograd`, `fft`, or a list."""

    def completed(self, type_name: str) -> "Precision":
        """Return this precision with the type's own roundoffs where none is named."""
        native_input, native_accumulate, native_output = NATIVE_PRECISION[type_name]
        named = {
            "input": self.input or native_input,
            "accumulate": self.accumulate or native_accumulate,
            "output": self.output or native_output,
        }
        return self.model_copy(update=named)


class Shapes(Strict):
    """Shapes that the device takes."""

    dynamic: bool | None = Field(default=None, json_schema_extra=tighten("stronger", weakest_first=(False, True)))
    """Whether dimensions may change between runs of one session."""
    zero_size: bool | None = Field(default=None, json_schema_extra=tighten("stronger", weakest_first=(False, True)))
    """Whether tensors without elements are taken."""
    max_rank: Count | None = Field(default=None, json_schema_extra=tighten("higher"))
    max_elements: Count | None = Field(default=None, json_schema_extra=tighten("higher"))


class Declarations(Strict):
    """Everything that the vendor claims. What is left out is not claimed, and a MUST that needs it stays open."""

    opsets: Opsets = Field(json_schema_extra=tighten("superset"), min_length=1)
    """Operator-set versions by domain: [oldest, newest]."""
    types: Types = Field(json_schema_extra=tighten("superset"), min_length=1)
    """ONNX tensor types that inputs, outputs and values inside a model may have."""
    operators: Claimed | None = Field(default=None, json_schema_extra=tighten("superset"))
    """`all`, a list of operator terms, or `include` and `exclude`."""
    precision: dict[PreciseType, Precision] | None = Field(default=None, json_schema_extra=tighten("stronger"))
    """By tensor type; a type that is left out computes in its own precision."""
    shapes: Shapes | None = Field(default=None, json_schema_extra=tighten("stronger"))
    determinism: Determinism | None = Field(
        default=None, json_schema_extra=tighten("stronger", weakest_first=DETERMINISM, absent="bounded")
    )
    allowed_host_ops: Terms = Field(default=(), json_schema_extra=tighten("subset"))
    """Operators that the host may run although the device is under test."""
    interfaces: Many[Interface] = Field(default=(), json_schema_extra=tighten("superset"))
    sensor_fusion: SensorFusion | None = Field(default=None, json_schema_extra=tighten("stronger"))
    latency: Many[Latency] = Field(default=(), json_schema_extra=tighten("superset"))
    power: Power | None = Field(default=None, json_schema_extra=tighten("stronger"))
    thermal: Thermal | None = Field(default=None, json_schema_extra=tighten("stronger"))
    documentation: Documentation | None = Field(default=None, json_schema_extra=tighten("stronger"))
    sdk: Sdk | None = Field(default=None, json_schema_extra=tighten("stronger"))

    def sense(self) -> Iterator[tuple[KeyPath, Message]]:
        """Precision only for declared types, nothing declared twice, and no term outside the declared domains."""
        for name in self.precision or {}:
            if name not in self.types:
                yield ("precision", name), f"precision is given for {name}, which types does not list"
        yield from repeated_items(self.latency, ("latency",))
        yield from repeated_items(self.interfaces, ("interfaces",))
        if self.power is not None:
            yield from repeated_items(self.power.energy_per_inference, ("power", "energy_per_inference"))
            yield from repeated_items(self.power.states, ("power", "states"))
        yield from self._terms_outside()

    def _terms_outside(self) -> Iterator[tuple[KeyPath, str]]:
        if self.operators is None:
            return
        terms: list[tuple[KeyPath, Term]] = []
        if not isinstance(self.operators.include, str):
            included = self.operators.include
            terms += [(("operators", "include", index), term) for index, term in enumerate(included)]
        excluded = self.operators.exclude
        terms += [(("operators", "exclude", index, "term"), item.term) for index, item in enumerate(excluded)]
        for path, term in terms:
            if term.domain not in self.opsets:
                yield path, f"'{term}' belongs to the domain {term.domain}, which opsets does not list"
            undeclared = [name for name in term.types if name not in self.types]
            if undeclared and path[1] == "include":
                yield path, f"'{term}' names {undeclared[0]}, which types does not list"
