"""Room for a run: memory, and free disk where the run folder and the cache are."""

from __future__ import annotations

import os
import shlex
import shutil
from typing import TYPE_CHECKING

from conformance.doctor.port import EVERY, Finding, Host, State
from conformance.errors import HarnessError
from conformance.paths import cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conformance.doctor.support.subject import Subject

TITLE = "room"
MIB = 1 << 20
CACHE_MIB = 512
"""What the cache of reference answers grows to in a full run (290 MiB when this was written), with some to spare."""
RUN_MIB = 256
"""What a run folder takes, with its children's scratch folders."""
MEMORY_MIB = 1024
"""Below this a run of the reference device does not end well."""
RUNS_FOLDER = "conformance-runs"


def examine(host: Host, subject: Subject) -> Iterator[Finding]:
    """Look at memory and at both folders."""
    cap = subject.profile.category.caps.host_memory_mb if subject.profile is not None else 0
    yield look_at_memory(host, cap)
    yield look_at_folder("run folder", host.folder / RUNS_FOLDER, RUN_MIB, "give `conformance run` another --out")
    try:
        cache = cache_folder()
    except HarnessError as error:
        yield Finding(
            name="cache",
            state=State.MISSING,
            found=str(error),
            means="no run can begin: reference answers have no place",
            remedy="export CONFORMANCE_CACHE=/path/of/a/folder",
            needed_by=(EVERY,),
        )
        return
    yield look_at_folder("cache", cache, CACHE_MIB, "set CONFORMANCE_CACHE to a folder with more room")


def look_at_memory(host: Host, cap_mib: int) -> Finding:
    """Look how much memory is free: of the host, and within the control group. `cap_mib` is what a child may take at most."""
    fields = dict(line.split(":", 1) for line in host.text("proc/meminfo").splitlines() if ":" in line)
    words = fields.get("MemAvailable", "").split()
    free_mib = int(words[0]) // 1024 if words and words[0].isdigit() else None
    group_mib = _left_in_group(host)
    if free_mib is None:
        return Finding(name="memory", state=State.LIMITS, found="the host does not say", needed_by=(EVERY,))
    told = f"{free_mib:,} MiB available"
    if group_mib is not None and group_mib < free_mib:
        free_mib = group_mib
        told += f", of which the control group leaves {group_mib:,} MiB"
    if free_mib < MEMORY_MIB:
        return Finding(
            name="memory",
            state=State.MISSING,
            found=told,
            means="the child is killed for want of memory: cases end as ERROR",
            remedy="end other programs, or give the container or virtual machine at least 4 GiB",
            needed_by=(EVERY,),
        )
    if cap_mib and free_mib < cap_mib:
        return Finding(
            name="memory",
            state=State.LIMITS,
            found=f"{told}; the category lets the child take {cap_mib:,} MiB",
            means="a device that uses what it may is killed by the host first: ERROR, not FAIL",
            remedy=f"end other programs until `free -m` shows {cap_mib:,} MiB available",
            needed_by=(EVERY,),
        )
    return Finding(name="memory", state=State.OK, found=told, needed_by=(EVERY,))


def _left_in_group(host: Host) -> int | None:
    """Return the MiB that this process's control group leaves, None where it sets no limit."""
    left = []
    for line in host.text("proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers not in ("", "memory"):
            continue
        base = f"sys/fs/cgroup/{controllers}".rstrip("/")
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if controllers else ("memory.max", "memory.current")
        for folder in (f"{base}/{path.strip('/')}".rstrip("/"), base):
            limit, used = (host.text(f"{folder}/{name}") for name in names)
            if limit.isdigit() and used.isdigit() and int(limit) < 1 << 60:
                left.append(max(0, int(limit) - int(used)) // MIB)
    return min(left, default=None)


def look_at_folder(name: str, folder: Path, needed_mib: int, remedy: str) -> Finding:
    """Look whether a folder, or the one that it would be made in, can be written and has room."""
    place = next(one for one in (folder, *folder.absolute().parents) if one.is_dir())
    if not os.access(place, os.W_OK | os.X_OK):
        return Finding(
            name=name,
            state=State.MISSING,
            found=f"{place} may not be written",
            means="no run can begin",
            remedy=remedy,
            needed_by=(EVERY,),
        )
    free_mib = shutil.disk_usage(place).free // MIB
    told = f"{free_mib:,} MiB free for {folder}"
    held_mib = _size(folder) // MIB if name == "cache" else 0
    wanted_mib = max(RUN_MIB // 2, needed_mib - held_mib)
    if free_mib >= wanted_mib:
        return Finding(name=name, state=State.OK, found=told, needed_by=(EVERY,))
    return Finding(
        name=name,
        state=State.MISSING,
        found=f"{told}; a full run wants {wanted_mib:,} MiB",
        means="the run ends with the disk full: harness error 70",
        remedy=f"{remedy}; `df -h {shlex.quote(str(place))}` shows the disk",
        needed_by=(EVERY,),
    )


def _size(folder: Path) -> int:
    """Return the bytes below a folder, one level of sub-folders deep: the cache has no more."""
    total = 0
    for path in (*folder.glob("*"), *folder.glob("*/*")):
        try:
            total += path.lstat().st_size
        except OSError:
            continue
    return total
