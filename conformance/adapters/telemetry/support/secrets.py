"""Secrets of meters: the bench file names a variable or a file, and only the process that reads the meter looks into it."""

from __future__ import annotations

import os
from pathlib import Path

from conformance.adapters.telemetry.port import TelemetryUnavailable

_LONGEST = 16 << 10


def secret_of(variable: str | None, file: str | None, what: str) -> str:
    """Return the secret, empty where neither is given. TelemetryUnavailable, which never tells it, where it cannot be had."""
    if variable is not None:
        secret = os.environ.get(variable, "")
        if not secret:
            raise TelemetryUnavailable(
                f"{variable}, which holds the {what}, is not set", f"export {variable} before the run"
            )
        return secret
    if file is None:
        return ""
    try:
        with Path(file).open(encoding="utf-8") as stream:
            secret = stream.read(_LONGEST).strip()
    except (OSError, UnicodeDecodeError) as error:
        words = getattr(error, "strerror", None) or "it is no text"
        raise TelemetryUnavailable(
            f"{file}, which holds the {what}, cannot be read ({words})", f"chmod u+r {file}"
        ) from None
    if not secret:
        raise TelemetryUnavailable(f"{file} is empty", f"write the {what} into it")
    return secret
