"""What a host lacks at a moment: memory that its kernel had to win back, space on a disk. Standard library only."""

from __future__ import annotations

import os


def oom_kills(vmstat: str | os.PathLike[str] = "/proc/vmstat") -> int:
    """Return how many processes the host's out-of-memory killer has killed since boot (0 where the host does not tell)."""
    try:
        with open(vmstat, encoding="ascii") as stream:
            for line in stream:
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return 0


def free_mb(folder: str | os.PathLike[str]) -> float | None:
    """Return the free space in MB that an ordinary user has on the disk of `folder`, None where it cannot be told."""
    try:
        status = os.statvfs(folder)
    except OSError:
        return None
    return status.f_bavail * status.f_frsize / 1e6
