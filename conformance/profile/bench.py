"""The bench file: what the lab adds to a run, and the waivers that it answers for."""

import re
from collections.abc import Iterator
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainValidator
from pydantic.json_schema import WithJsonSchema

from conformance.profile.category import RequirementId
from conformance.profile.model import Celsius, Many, Name, Strict, Text, refuse
from conformance.profile.tree import KeyPath
from conformance.profile.wording import Message

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _date(value: object) -> date:
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            refuse(f"the date {value} does not exist")
    return refuse("a date is wanted here, as 2026-12-31")


def _glob(value: str) -> str:
    if not value.isascii():
        refuse("case ids are ASCII: this pattern matches none")
    return value


def _variable(value: str) -> str:
    if not _VARIABLE.fullmatch(value):
        refuse("the name of an environment variable holds letters, digits and underscores only")
    return value


Day = Annotated[date, PlainValidator(_date), WithJsonSchema({"type": "string", "format": "date"})]
CaseGlob = Annotated[Name, AfterValidator(_glob)]
Variable = Annotated[Name, AfterValidator(_variable)]


class Bench(Strict):
    """Where the unit is and how the lab runs it."""

    lab: Name | None = None
    operator: Name | None = None
    unit_serial: Name | None = None
    ambient_c: Celsius | None = None
    transport: Literal["local"] = "local"
    python: Name | None = None
    """Interpreter for the child process, relative to this file: the environment that holds the vendor's runtime."""
    workers: Annotated[int, Field(ge=1, le=64)] | None = None
    """How many children may run untimed cases at once."""
    env: dict[Variable, Annotated[str, Field(max_length=4000)]] | None = None
    """Environment variables of the child process."""

    def settings(self) -> dict[str, str]:
        """Return what was given as texts, for the stamp of the run; values of `env` stay out, they may be secret."""
        given: dict[str, Any] = self.model_dump(exclude_none=True)
        if "env" in given:
            given["env"] = ", ".join(sorted(given["env"]))
        return {name: str(value) for name, value in given.items()}


class Waiver(Strict):
    """Somebody's signature under a known failure, with an end. It shows in the verdict, which becomes conditional."""

    case: CaseGlob
    """A pattern over case ids."""
    requirement: RequirementId | None = None
    reason: Text
    owner: Name
    issued: Day
    expires: Day
    """The last day on which it counts."""
    reference: Name | None = None

    def sense(self) -> Iterator[tuple[KeyPath, Message]]:
        """A waiver ends after it begins."""
        if self.expires < self.issued:
            yield ("expires",), f"the waiver expires on {self.expires}, before it was issued on {self.issued}"


class BenchFile(Strict):
    """One bench file."""

    conformance: Literal[1]
    """Version of this format."""
    bench: Bench = Field(default_factory=Bench)
    waivers: Many[Waiver] = ()
