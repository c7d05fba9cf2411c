"""The ONNX backend suite as reference data: 2,033 models with inputs and expected outputs, mapped from a cache.

`load_suite()` reads the cache, or makes it: ONNX generates most cases in Python, which takes seconds, and the expected
outputs come from the host's own kernels, so a cache belongs to one host and one set of versions. The cache is one
folder of three files: `index.msgpack`, `inputs.pack`, the only one whose descriptor a child process is given, and
`expected.pack`, which stays with the parent: a device must not read the answers.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import shutil
import tempfile
import time
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Self

import msgspec

from conformance.errors import HarnessError
from conformance.paths import cache_folder, read_file
from conformance.reference import pins
from conformance.reference.entries import Dataset, Index, OperatorUse, Region, SuiteEntry
from conformance.reference.host import suite_key
from conformance.reference.sealed import Sealed, making, without_collection
from conformance.tensors import from_ref

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.reference.suite_limits import SuiteLimits
    from conformance.tensors import Value

__all__ = ["Dataset", "OperatorUse", "Region", "Suite", "SuiteEntry", "load_suite"]


INDEX, INPUTS, EXPECTED = "index.msgpack", "inputs.pack", "expected.pack"
STALE_SECONDS = 3600.0


class Damaged(Exception):
    """The cache is not what it says it is."""


class Suite:
    """The loaded suite. Entries are in the order of their case ids; tensors are read when asked for."""

    def __init__(self, folder: Path, index: Index, notice: str = "") -> None:
        self.folder = folder
        self.notice = notice
        """Not empty when a damaged cache was replaced: one line that says so."""
        self.key = index.key
        self.entries: list[SuiteEntry] = pins.apply(index.entries)
        self._by_id = {entry.case_id: entry for entry in self.entries}
        self._maps: dict[str, bytes] = {}
        self._limits: SuiteLimits | None = None

    @property
    def inputs_path(self) -> Path:
        """The pack of models and inputs."""
        return self.folder / INPUTS

    def entry(self, case_id: str) -> SuiteEntry:
        """Return the entry of a case id; HarnessError when the suite has none."""
        try:
            return self._by_id[case_id]
        except KeyError:
            raise HarnessError(f"the operator suite has no case '{case_id}'") from None

    def inputs_fd(self) -> int:
        """Open the inputs pack for reading and return the descriptor, which the caller closes."""
        return os.open(self.inputs_path, os.O_RDONLY | os.O_CLOEXEC)

    def model(self, entry: SuiteEntry) -> bytes:
        """Return the serialised ModelProto."""
        return bytes(self._store(INPUTS)[entry.model.offset : entry.model.offset + entry.model.nbytes])

    def inputs(self, entry: SuiteEntry, dataset: int = 0) -> dict[str, Value]:
        """Return the inputs of one data set by graph input name, read-only."""
        stores = {"inputs": self._store(INPUTS)}
        return {name: from_ref(ref, stores) for name, ref in entry.datasets[dataset].inputs}

    def expected(self, entry: SuiteEntry, dataset: int = 0) -> list[Value]:
        """Return the expected outputs of one data set in graph order, read-only."""
        stores = {"expected": self._store(EXPECTED)}
        return [from_ref(ref, stores) for _, ref in entry.datasets[dataset].outputs]

    def limits(self, modes: dict[str, dict[str, Any]]) -> SuiteLimits:
        """Return what the cases are judged by under these precisions, by type; `hold` makes it ready."""
        from conformance.reference.suite_limits import SuiteLimits

        if self._limits is None:
            self._limits = SuiteLimits(self, modes)
        return self._limits

    def close(self) -> None:
        """Give the maps back; arrays that are still held keep theirs alive until they go."""
        self._maps.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def hold(self, progress: Callable[[str, int, int], None] | None = None) -> None:
        """Take expected outputs and limits into memory now: once a device is open, its process could rewrite the files."""
        self._store(EXPECTED)
        if self._limits is not None:
            self._limits.hold(progress or (lambda *_: None))

    def _store(self, name: str) -> memoryview:
        held = self._maps.get(name)
        if held is None:
            # A copy of our own, not a map: a child runs as the same user and could rewrite the file under our eyes.
            held = read_file(self.folder / name)
            self._maps[name] = held
        return memoryview(held)


def load_suite(progress: Callable[[str, int, int], None] | None = None) -> Suite:
    """Return the suite, from the cache or freshly generated.

    `progress(stage, done, total)` is called while cases are generated, never on a warm load. Raises HarnessError when
    the cache cannot be written or the installed onnx has other cases than this version of the package knows.
    """
    key = suite_key()
    root = cache_folder() / "onnx-suite"
    folder = root / key
    notice = ""
    if folder.is_dir():
        try:
            return Suite(folder, read_index(folder, key))
        except Damaged as fault:
            notice = f"the operator suite in {folder} was damaged ({fault}) and has been generated again"
            _discard(folder)
    try:
        root.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        with making(folder):
            if not folder.is_dir():  # else somebody was faster
                _generate_into(root, folder, key, progress)
    except OSError as error:
        raise HarnessError(
            f"cannot write the operator suite below {root}: {error.strerror}; free space or set CONFORMANCE_CACHE"
        ) from error
    try:
        return Suite(folder, read_index(folder, key), notice)
    except Damaged as fault:
        raise HarnessError(f"the operator suite in {folder} is damaged right after writing ({fault})") from fault


def read_index(folder: Path, key: str) -> Index:
    """Read and verify a cache folder: the index's digest, size and digest of both packs. Damaged if any is off."""
    found: dict[str, tuple[int, bytes]] = {}
    # hashlib lets go of the interpreter lock: the packs are summed while the index is decoded.
    sums = [Thread(target=_measure, args=(folder / name, found)) for name in (INPUTS, EXPECTED)]
    for thread in sums:
        thread.start()
    try:
        index = _open_index(folder / INDEX)
    finally:
        for thread in sums:
            thread.join()
    if index.key != key:
        raise Damaged(f"{INDEX} belongs to another host or version")
    stated = {
        INPUTS: (index.inputs_nbytes, index.inputs_digest),
        EXPECTED: (index.expected_nbytes, index.expected_digest),
    }
    for name, pair in stated.items():
        if found.get(name) != pair:
            raise Damaged(f"{name} does not match its digest" if name in found else f"{name} is missing")
    return index


def _measure(path: Path, found: dict[str, tuple[int, bytes]]) -> None:
    try:
        # Over a map: no copy of the file in this process's own memory.
        if not path.is_file():  # a pipe would make us wait for ever
            return
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
            found[path.name] = (len(held), _digest(held))
    except (OSError, ValueError):  # ValueError: an empty file cannot be mapped
        return


def _open_index(path: Path) -> Index:
    try:
        sealed = msgspec.msgpack.decode(read_file(path), type=Sealed)
        if _digest(bytes(sealed.body)) != sealed.digest:
            raise Damaged(f"{INDEX} does not match its digest")
        return _decode(sealed.body)
    except FileNotFoundError:
        raise Damaged(f"{INDEX} is missing") from None
    except OSError as error:
        raise Damaged(f"{INDEX}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise Damaged(f"{INDEX}: {error}") from error


def _decode(body: msgspec.Raw) -> Index:
    with without_collection():
        return msgspec.msgpack.decode(body, type=Index)


def write_index(folder: Path, index: Index) -> None:
    """Write the sealed index."""
    body = msgspec.msgpack.encode(index)
    (folder / INDEX).write_bytes(msgspec.msgpack.encode(Sealed(_digest(body), msgspec.Raw(body))))


def _digest(data: bytes | mmap.mmap) -> bytes:
    return hashlib.blake2b(data, digest_size=32).digest()


def _generate_into(root: Path, folder: Path, key: str, progress: Callable[[str, int, int], None] | None) -> None:
    from conformance.reference import generate

    temporary = Path(tempfile.mkdtemp(prefix=f".{key}-", dir=root))
    try:
        with (temporary / INPUTS).open("wb") as inputs, (temporary / EXPECTED).open("wb") as expected:
            index = generate.generate(key, inputs, expected, progress or (lambda *_: None))
        write_index(temporary, index)
        try:
            temporary.rename(folder)
        except OSError:
            # Another process was faster: its folder is as good as ours, and is verified by whoever loads it.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _discard(folder: Path) -> None:
    """Move a damaged folder out of the way in one step, then remove it; losing a race for it is fine."""
    aside = folder.with_name(f".{folder.name}-damaged-{os.getpid()}")
    try:
        folder.rename(aside)
    except FileNotFoundError:
        return
    except OSError as error:
        raise HarnessError(f"cannot replace the damaged {folder}: {error.strerror}; remove it") from error
    shutil.rmtree(aside, ignore_errors=True)


def _sweep(root: Path) -> None:
    """Remove what an interrupted generation left behind an hour or more ago."""
    limit = time.time() - STALE_SECONDS
    for path in root.glob(".*-*"):
        try:
            if path.stat().st_mtime < limit:
                shutil.rmtree(path, ignore_errors=True)
        except FileNotFoundError:
            continue
