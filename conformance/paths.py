"""Where shipped data lies and where the cache goes: the only places this package reads or writes by itself."""

from __future__ import annotations

import errno
import os
import pwd
import stat
from pathlib import Path

from conformance.errors import HarnessError

PACKAGE = Path(__file__).resolve().parent


def read_file(path: Path) -> bytes:
    """Return the bytes of a regular file; OSError where it is none. A pipe in its place would make the reader wait for ever."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    with open(fd, "rb") as stream:  # noqa: PTH123 - a descriptor, not a path
        return stream.read()


def data_folder(name: str) -> Path:
    """Return the folder `profiles` or `fixtures`, from an installed package or from a checkout.

    A wheel carries the copies below `conformance/_data`; an editable install and a checkout have them beside the package.
    """
    for candidate in (PACKAGE / "_data" / name, PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise HarnessError(f"the shipped folder '{name}' is missing: reinstall resonance-conformance")


def _home() -> Path:
    """Return the user's folder, from the user database where HOME is empty: Python would take that for the root."""
    return Path.home() if os.environ.get("HOME", "~") else Path(pwd.getpwuid(os.getuid()).pw_dir)


def cache_folder() -> Path:
    """Return the cache folder: `CONFORMANCE_CACHE`, else `XDG_CACHE_HOME`, else `~/.cache`, made on first use."""
    explicit = os.environ.get("CONFORMANCE_CACHE")
    if explicit:
        folder = Path(explicit)
    else:
        base = os.environ.get("XDG_CACHE_HOME")
        folder = (Path(base) if base else _home() / ".cache") / "resonance-conformance"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HarnessError(f"cannot make the cache folder {folder}: {error.strerror}; set CONFORMANCE_CACHE") from error
    return folder
