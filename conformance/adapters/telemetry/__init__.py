"""Meters of power, energy, temperature and throttling. `port.py` is the port; every other module is one source, found by folder scan."""

from __future__ import annotations

import msgspec

from conformance.adapters.telemetry.port import TelemetrySource
from conformance.errors import UsageError
from conformance.registry import load, names

PACKAGE = "conformance.adapters.telemetry"
GROUP = "conformance.telemetry"


def source_names() -> list[str]:
    """Return the names a bench file may give as `telemetry: - source:`."""
    return sorted(names(PACKAGE, GROUP))


def source_class(name: str) -> type[TelemetrySource]:
    """Return the source class of that name (its vendor package is not imported yet); UsageError where there is none."""
    source = getattr(load(PACKAGE, GROUP, name), "Source", None)
    if not (isinstance(source, type) and issubclass(source, TelemetrySource)):
        raise UsageError(f"telemetry source '{name}' has no class Source that implements TelemetrySource")
    options = getattr(source, "Options", None)
    if not (isinstance(options, type) and issubclass(options, msgspec.Struct)):
        raise UsageError(f"telemetry source '{name}' has no Options (a msgspec.Struct)")
    return source
