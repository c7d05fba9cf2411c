"""What a shared library asks the loader for, read from the file without loading it (System V ABI, chapter 5, Dynamic Linking)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PT_LOAD, PT_DYNAMIC = 1, 2
DT_NULL, DT_NEEDED, DT_STRTAB, DT_RPATH, DT_RUNPATH = 0, 1, 5, 15, 29
MOST_ENTRIES = 4096
LONGEST_TEXT = 4096


class Wanted(NamedTuple):
    """The libraries that a library needs, and the folders that it names for them."""

    libraries: tuple[str, ...]
    folders: tuple[str, ...]
    """As they stand there: `$ORIGIN` is the library's own folder."""


def wanted_by(path: Path) -> Wanted | None:
    """Return what a 64-bit little-endian ELF file asks for; None for a file of another kind or a broken one."""
    try:
        with path.open("rb") as stream:

            def read(offset: int, count: int) -> bytes:
                stream.seek(offset)
                return stream.read(count)

            return _read(read)
    except (OSError, struct.error, ValueError, OverflowError):
        return None


def _read(read: Callable[[int, int], bytes]) -> Wanted | None:
    head = read(0, 64)
    if head[:6] != b"\x7fELF\x02\x01":
        return None
    (table,) = struct.unpack_from("<Q", head, 32)
    size, count = struct.unpack_from("<HH", head, 54)
    loads: list[tuple[int, int, int]] = []
    dynamic: tuple[int, int] | None = None
    for index in range(count):
        kind, _, offset, address, _, in_file = struct.unpack_from("<IIQQQQ", read(table + index * size, 56))
        if kind == PT_LOAD:
            loads.append((address, offset, in_file))
        elif kind == PT_DYNAMIC:
            dynamic = (offset, in_file)
    if dynamic is None:
        return Wanted((), ())
    entries: list[tuple[int, int]] = []
    data = read(dynamic[0], min(dynamic[1], 16 * MOST_ENTRIES))
    for tag, value in struct.iter_unpack("<qQ", data[: len(data) // 16 * 16]):
        if tag == DT_NULL:
            break
        entries.append((tag, value))
    texts = next((value for tag, value in entries if tag == DT_STRTAB), None)
    start = next(
        (offset + texts - at for at, offset, size in loads if texts is not None and at <= texts < at + size), None
    )
    if start is None:
        return None

    def text(at: int) -> str:
        return read(start + at, LONGEST_TEXT).partition(b"\0")[0].decode("utf-8", "replace")

    # A run path replaces the older kind of path, where both are there.
    paths = {tag: text(value) for tag, value in entries if tag in (DT_RPATH, DT_RUNPATH)}
    folders = paths.get(DT_RUNPATH, paths.get(DT_RPATH, ""))
    return Wanted(
        tuple(text(value) for tag, value in entries if tag == DT_NEEDED), tuple(filter(None, folders.split(":")))
    )
