"""Where shipped data lies and where the cache goes: the only places this package reads or writes by itself."""

from __future__ import annotations

import os
from pathlib import Path

from conformance.errors import HarnessError

PACKAGE = Path(__file__).resolve().parent


def data_folder(name: str) -> Path:
    """Return the folder `profiles` or `fixtures`, from an installed package or from a checkout.

    A wheel carries the copies below `conformance/_data`; an editable install and a checkout have them beside the package.
    """
    for candidate in (PACKAGE / "_data" / name, PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise HarnessError(f"the shipped folder '{name}' is missing: reinstall resonance-conformance")


def cache_folder() -> Path:
    """Return the cache folder: `CONFORMANCE_CACHE`, else `XDG_CACHE_HOME`, else `~/.cache`, made on first use."""
    explicit = os.environ.get("CONFORMANCE_CACHE")
    if explicit:
        folder = Path(explicit)
    else:
        base = os.environ.get("XDG_CACHE_HOME")
        folder = (Path(base) if base else Path.home() / ".cache") / "resonance-conformance"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HarnessError(f"cannot make the cache folder {folder}: {error.strerror}; set CONFORMANCE_CACHE") from error
    return folder
