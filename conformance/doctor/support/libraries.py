"""Finding a shared library by its name without loading it, as the loader would: the environment, its configuration, its defaults."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from conformance.doctor.port import Host

FOLDERS = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib",
    "/usr/lib/wsl/lib",
    "/usr/local/nvidia/lib64",
    "/opt/rocm/lib",
)
_VERSION = re.compile(r"\.so\.(\d+(?:\.\d+)+)$")


def find_library(folders: Iterable[Path], name: str) -> Path | None:
    """Return the path of a shared library in the first folder that has it, None where none has."""
    for folder in folders:
        path = folder / name
        try:
            if path.is_file():
                return path
        except OSError:
            continue
    return None


def version_of(library: Path) -> str:
    """Return the version that the file behind a link carries in its name (`libnvidia-ml.so.580.95.05`), empty where none."""
    found = _VERSION.search(library.resolve().name)
    return found[1] if found else ""


def loader_folders(host: Host, library_path: str) -> Iterator[Path]:
    """Yield where the loader looks for libraries; `library_path` is the value of LD_LIBRARY_PATH."""
    for given in library_path.split(":"):
        if given.startswith("/"):
            yield host.path(given)
    for file in (host.path("etc/ld.so.conf"), *host.paths("etc/ld.so.conf.d/*.conf")):
        for line in host.text(file).splitlines():
            if line.strip().startswith("/"):
                yield host.path(line.strip())
    for folder in FOLDERS:
        yield host.path(folder)
