"""The checks: every module here is one check with `plan`, `measure` and `judge`; `support/` holds what they share."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, cast

from conformance.errors import UsageError
from conformance.registry import load, names

if TYPE_CHECKING:
    from conformance.checks.support.port import Check

PACKAGE = "conformance.checks"
GROUP = "conformance.checks"


def check_names() -> list[str]:
    """Return the names a category may give as a requirement's `check`."""
    return sorted(names(PACKAGE, GROUP))


@functools.cache
def check_module(name: str) -> Check:
    """Return the check of that name; UsageError where there is none or it lacks one of the three functions."""
    module = load(PACKAGE, GROUP, name)
    lacking = [part for part in ("plan", "measure", "judge") if not callable(getattr(module, part, None))]
    if lacking:
        raise UsageError(f"check '{name}' has no {' and no '.join(lacking)}()")
    return cast("Check", module)
