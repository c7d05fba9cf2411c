"""What the bench file says of a meter, in tests; and one way to open a source."""

from __future__ import annotations

from typing import Any

from conformance.adapters.telemetry import source_class
from conformance.adapters.telemetry.port import Given, TelemetrySource
from conformance.metering.trace import Descriptor


def source(name: str, *, lab: dict[str, Any] | None = None, **options: Any) -> TelemetrySource:
    """Return a source that is not open yet, called `m`."""
    kind = source_class(name)
    return kind(kind.read_options(options), Given(**({"name": "m"} | (lab or {}))))


def opened(
    name: str, *, lab: dict[str, Any] | None = None, **options: Any
) -> tuple[TelemetrySource, dict[str, Descriptor]]:
    """Return an open source with its descriptors by channel."""
    one = source(name, lab=lab, **options)
    return one, {found.channel: found for found in one.open()}


def values(one: TelemetrySource) -> dict[str, float | None]:
    """Return what the channels give just now."""
    return {reading.channel: reading.value for reading in one.read()}
