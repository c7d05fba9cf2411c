"""One run at a time on one device: an advisory lock in the cache folder, released by the kernel when the process ends."""

from __future__ import annotations

import fcntl
import hashlib
import os
from typing import TYPE_CHECKING

from conformance.errors import HarnessError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


class DeviceLock:
    """A context manager. HarnessError, naming the holder, where another run has the device."""

    def __init__(self, folder: Path, device: str) -> None:
        self._path = folder / "locks" / f"{hashlib.blake2b(device.encode(), digest_size=12).hexdigest()}.lock"
        self._device = device
        self._fd = -1

    def __enter__(self) -> DeviceLock:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise HarnessError(f"{self._path}: the device lock cannot be made: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 200, 0).decode("utf-8", "replace").strip() or "another process"
            os.close(self._fd)
            raise HarnessError(
                f"the device {self._device} is in use by {holder}: wait for that run to end, or stop it"
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"process {os.getpid()}".encode(), 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)
