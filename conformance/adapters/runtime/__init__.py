"""Runtimes that execute ONNX models. `port.py` is the port; every other module is one adapter, found by folder scan."""

from __future__ import annotations

import msgspec

from conformance.adapters.runtime.port import RuntimeAdapter
from conformance.errors import UsageError
from conformance.registry import load, names

PACKAGE = "conformance.adapters.runtime"
GROUP = "conformance.runtimes"


def adapter_names() -> list[str]:
    """Return the names a profile may give as `runtime.adapter`."""
    return sorted(names(PACKAGE, GROUP))


def adapter_class(name: str) -> type[RuntimeAdapter]:
    """Return the adapter class of that name (its runtime package is not imported yet); UsageError where there is none."""
    adapter = getattr(load(PACKAGE, GROUP, name), "Adapter", None)
    if not (isinstance(adapter, type) and issubclass(adapter, RuntimeAdapter)):
        raise UsageError(f"runtime '{name}' has no class Adapter that implements RuntimeAdapter")
    options = getattr(adapter, "Options", None)
    if not (isinstance(options, type) and issubclass(options, msgspec.Struct)):
        raise UsageError(f"runtime '{name}' has no Options (a msgspec.Struct); see docs/extending.md")
    return adapter
