"""A file is there whole or not at all: written beside its place, synced, renamed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from conformance.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def write_whole(path: Path, chunks: Iterable[bytes]) -> None:
    """Write the chunks to `path`, replacing what is there only when all of them are on disk.

    HarnessError where the file cannot be written; the former file, if any, is then untouched.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as stream:
            for chunk in chunks:
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        raise HarnessError(
            f"{path}: the report cannot be written: {reason}; make room or give another --out"
        ) from error
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
