"""Compile caches that are older than the driver or the runtime: what lies in them was made by others than those under test.

A run gives each child an empty folder for caches. Only a folder that the profile names by an absolute path outlives it.
"""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from conformance.doctor.port import EVERY, Finding, Host, State
from conformance.doctor.support.libraries import find_library, loader_folders

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.doctor.support.subject import Subject

TITLE = "compile caches"
WORDS = ("cache_dir", "cache_path", "cachedir", "cache_folder", "context_file_path", "context_cache_path", "blob_path")
"""What the names of options hold that name a place for compiled models: OpenVINO's cache_dir, TensorRT's trt_engine_cache_path
and trt_timing_cache_path, the session option ep.context_file_path, QNN's qnn_context_cache_path, VitisAI's cache_dir."""
MOST = 20_000
"""Files looked at in one cache."""


class Made(NamedTuple):
    """Something that a cache depends on, and when it came onto the host (seconds since the epoch)."""

    name: str
    when: float


def examine(host: Host, subject: Subject) -> Iterator[Finding]:
    """Look at each folder or file that the profile names as a cache."""
    named = options_of(subject)
    if subject.ssh or not named:
        return
    made = [*_runtimes(subject), *_drivers(host, subject)]
    for option, value in named.items():
        path = subject.path_of_option(value)
        if path is None:
            yield Finding(
                name=option,
                state=State.OK,
                found=f"'{value}' is relative: each child has an empty folder of its own",
                needed_by=(EVERY,),
            )
        else:
            yield look_at_cache(option, path, made)


def options_of(subject: Subject) -> dict[str, str]:
    """Return the options of the profile that name a cache, by name."""
    found = {}
    for group in ("options", "session_options"):
        for name, value in subject.options.get(group, {}).items():
            is_named = name == subject.options.get("cache_option") or any(word in name.lower() for word in WORDS)
            if is_named and isinstance(value, str) and value:
                found[name] = value
    return found


def _runtimes(subject: Subject) -> Iterator[Made]:
    """Yield the distributions that hold the runtime and the provider, with the time of their installation."""
    tops = {"onnxruntime", subject.options.get("module", "onnxruntime").split(".")[0]}
    for name, one in subject.environment.distributions.items():
        if tops & set(one.tops):
            yield Made(f"{name} {one.version}", one.when)
    library = subject.options.get("library")
    if library is not None and Path(library).exists():
        yield Made(Path(library).name, _when(Path(library)))


def _drivers(host: Host, subject: Subject) -> Iterator[Made]:
    """Yield the driver's library: packages keep a file's own date, so the time of its last change of place counts too."""
    if subject.family is not None and subject.family.library:
        library = find_library(loader_folders(host, host.environ.get("LD_LIBRARY_PATH", "")), subject.family.library)
        if library is not None:
            yield Made(f"the driver's {library.name}", _when(library))


def _when(path: Path) -> float:
    status = path.stat()
    return max(status.st_mtime, status.st_ctime)


def look_at_cache(option: str, path: Path, made: list[Made]) -> Finding:
    """Look whether anything in a cache is older than what it was compiled for."""
    times = _times(path)
    if not times:
        return Finding(name=option, state=State.OK, found=f"{path} is empty or not there yet", needed_by=(EVERY,))
    oldest = min(times)
    younger = [one for one in made if one.when > oldest]
    told = f"{path} holds {len(times):,} files, the oldest of {_day(oldest)}"
    if not younger:
        return Finding(
            name=option,
            state=State.LIMITS,
            found=f"{told}; none is older than the runtime",
            means="compile times and failures to compile are those of an earlier run",
            remedy=f"rm -r -- {shlex.quote(str(path))}",
            needed_by=(EVERY,),
        )
    told_younger = ", ".join(f"{one.name} of {_day(one.when)}" for one in younger)
    return Finding(
        name=option,
        state=State.WRONG,
        found=f"{told}; younger is {told_younger}",
        means="what runs may have been compiled by another version: a verdict would be about both",
        remedy=f"rm -r -- {shlex.quote(str(path))}",
        needed_by=(EVERY,),
    )


def _times(path: Path) -> list[float]:
    files = [path] if path.is_file() else (one for one in path.rglob("*") if one.is_file())
    times: list[float] = []
    for file in files:
        try:
            times.append(file.stat().st_mtime)
        except OSError:
            continue
        if len(times) >= MOST:
            break
    return times


def _day(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(when))
