"""Files of the cache that say themselves whether they are whole, each made once however many processes want it."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import hashlib
import os
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from conformance.paths import read_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


PATIENCE_S = 300.0
"""How long to wait for somebody else's making, who may stand still for ever."""


class Sealed(msgspec.Struct, array_like=True):
    """A body with its digest, so that damage is noticed before anything is believed."""

    digest: bytes
    body: msgspec.Raw


def digest_of(data: bytes) -> bytes:
    """Return BLAKE2b of 32 bytes."""
    return hashlib.blake2b(data, digest_size=32).digest()


def digest_of_sources(paths: Iterable[Path], *versions: str) -> str:
    """Return a name for what is made by these source files and versions."""
    digest = hashlib.blake2b("\0".join(versions).encode(), digest_size=16)
    for path in paths:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def kept_body(path: Path, make: Callable[[], bytes]) -> bytes:
    """Return the MessagePack body kept at a path, made if it is missing or damaged.

    While one process makes it, others wait for it. A cache that cannot be written costs time, not truth.
    """
    found = _read(path)
    if found is not None:
        return found
    with making(path):
        found = _read(path)  # by somebody who was faster
        if found is not None:
            return found
        body = make()
        with contextlib.suppress(OSError):
            _write(path, body)
    return body


@contextlib.contextmanager
def making(path: Path) -> Iterator[None]:
    """Hold a file's or folder's lock while it is made; whoever has waited for it looks again before making it a second time.

    Where no lock can be had, or not for long, nobody waits: what is made twice is the same twice.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(path.with_name(f".{path.name}.lock").open("wb"))
            _wait_for(lock)
        yield


def _wait_for(lock: IO[bytes]) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return


def _read(path: Path) -> bytes | None:
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        sealed = msgspec.msgpack.decode(read_file(path), type=Sealed)
        body = bytes(sealed.body)
        if digest_of(body) == sealed.digest:
            return body
    return None


def _write(path: Path, body: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".making-")
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(msgspec.msgpack.encode(Sealed(digest_of(body), msgspec.Raw(body))))
    Path(name).replace(path)


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Keep Python's cyclic collector from walking a hundred thousand small objects that hold no cycle and stay."""
    was_collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_collecting:
            gc.enable()
