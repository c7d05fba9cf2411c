"""A day as the lab's file writes it."""

import re
from datetime import date
from typing import Annotated

from pydantic import PlainValidator
from pydantic.json_schema import WithJsonSchema

from conformance.profile.model import refuse

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _date(value: object) -> date:
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            refuse(f"the date {value} does not exist")
    return refuse("a date is wanted here, as 2026-12-31")


Day = Annotated[date, PlainValidator(_date), WithJsonSchema({"type": "string", "format": "date"})]
