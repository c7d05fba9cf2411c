"""What the host is, for the stamp of a run."""

from __future__ import annotations

import locale
import os
import platform
from pathlib import Path


def describe_host(cpuinfo: Path = Path("/proc/cpuinfo"), meminfo: Path = Path("/proc/meminfo")) -> dict[str, str]:
    """Return names and versions that a reader of a verdict wants to know. What the host does not tell is left out."""
    found = {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "python": platform.python_version(),
        "cpus": str(len(os.sched_getaffinity(0))),
        "cpu": _field(cpuinfo, "model name"),
        "memory": _field(meminfo, "MemTotal"),
        "load": f"{os.getloadavg()[0]:.2f}",
    }
    return {key: value for key, value in found.items() if value}


def has_locale(name: str) -> bool:
    """Return whether the C library has a locale. The process's own is as it was afterwards."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        locale.setlocale(locale.LC_ALL, name)
    except locale.Error:
        return False
    locale.setlocale(locale.LC_ALL, before)
    return True


def _field(path: Path, name: str) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            for line in stream:
                if line.startswith(name):
                    return line.partition(":")[2].strip()
    except OSError:
        return ""
    return ""
