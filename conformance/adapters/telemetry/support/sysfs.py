"""Reading numbers from sysfs at a low price: each attribute is opened once and read again from its beginning.

The kernel makes an attribute's text anew for each read at offset 0 (https://docs.kernel.org/filesystems/sysfs.html).
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from conformance.adapters.telemetry.port import NoReading, TelemetryUnavailable

if TYPE_CHECKING:
    from pathlib import Path

_GONE = frozenset({errno.ENODEV, errno.ENXIO, errno.ENOENT, errno.ESTALE})
_LONGEST = 64


class Attribute:
    """One open file of sysfs that holds a whole number."""

    def __init__(self, path: Path) -> None:
        """Open it. PermissionError and other OSErrors are the caller's to explain."""
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def number(self) -> int:
        """Return the number; NoReading where the driver has none just now, TelemetryUnavailable where the device is gone."""
        try:
            text = os.pread(self._fd, _LONGEST, 0).decode("ascii", "replace").strip()
        except OSError as error:
            if error.errno in _GONE:
                raise TelemetryUnavailable(
                    f"{self.path} has gone ({error.strerror})", "the device or its driver was removed: bring it back"
                ) from error
            raise NoReading(f"the driver answers: {error.strerror}") from error
        try:
            return int(text)
        except ValueError:
            raise NoReading(f"the driver answers {text[:40]!r}, which is no number") from None

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def text_of(path: Path) -> str:
    """Return the text of an attribute without the blanks around it; empty where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def number_of(path: Path) -> int | None:
    """Return the number of an attribute that is read once; None where there is none."""
    try:
        return int(text_of(path))
    except ValueError:
        return None


def device_of(folder: Path) -> str:
    """Return the path of the device behind a class folder, below `/sys/devices` where it is there; it outlives renumbering."""
    link = folder / "device"
    path = (link if link.exists() else folder).resolve()
    text = str(path)
    return text[text.index("/devices/") :] if "/devices/" in text else text
