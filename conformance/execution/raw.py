"""Raw measurements that a run keeps beside its records: every sample of a latency, every reading of a meter.

They come from a child in which vendor code ran, so names are letters, digits and `._-` and nothing leaves the folder.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

from conformance.errors import HarnessError

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = "raw"
LARGEST = 256 * 1024 * 1024
"""Bytes of one case, all files together."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}")


def keep_raw(folder: Path, case: str, kept: dict[str, bytes]) -> None:
    """Write the files of a case below `FOLDER/raw/CASE`, replacing those of an attempt before it.

    HarnessError for a name that is none, for too much, and where the disk refuses.
    """
    total = sum(map(len, kept.values()))
    if total > LARGEST:
        raise HarnessError(f"{case}: {total} bytes of raw measurements, {LARGEST} are allowed")
    for name in kept:
        if not _NAME.fullmatch(name):
            raise HarnessError(f"{case}: {name!a} is no name for a file of raw measurements")
    if not kept:
        return
    target = folder / FOLDER / case
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, data in kept.items():
            with suppress(FileNotFoundError):
                (target / name).unlink()  # never through a link that somebody left there
            with (target / name).open("xb") as stream:
                stream.write(data)
    except OSError as error:
        raise HarnessError(f"{target}: raw measurements cannot be written: {error.strerror}; free space") from error
