"""Shared memory of the local transport: sealed copies of reference packs, and regions that grow.

memfd with inherited descriptors rather than `multiprocessing.SharedMemory`, which on Python 3.11 unlinks a segment when a
child that attached by name exits. Regions are sealed against shrinking, so that a hostile child cannot make the parent fault.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import time
from typing import TYPE_CHECKING

import numpy as np

from conformance.errors import HarnessError
from conformance.tensors import DTYPES, TensorRef, type_name

if TYPE_CHECKING:
    from conformance.tensors import Array

ALIGNMENT = 64
_GROWTH = 1 << 20
CLOCK_PHASES = ("compile", "run", "open")


def sealed_copy(name: str, data: bytes | memoryview) -> int:
    """Return a descriptor of an anonymous file that holds `data` and that nobody can change any more."""
    fd = unsealed(name)
    fill_and_seal(fd, data)
    return fd


def unsealed(name: str) -> int:
    """Return a descriptor of an empty anonymous file for `fill_and_seal`, so that it can be inherited before it is full."""
    return os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def fill_and_seal(fd: int, data: bytes | memoryview) -> None:
    """Write `data` and seal it. HarnessError where somebody can still write: it has been mapped by then."""
    os.ftruncate(fd, len(data))
    view = memoryview(data)
    at = 0
    while at < len(data):
        at += os.pwrite(fd, view[at : at + (1 << 26)], at)
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    try:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    except OSError as error:
        raise HarnessError(f"the reference inputs cannot be sealed: {error.strerror}") from error


def region(name: str) -> int:
    """Return a descriptor of an empty shared region that can grow and never shrink."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return fd


class Clock:
    """A word of shared memory in which the child says what phase a case is in, since a message would cost two wake-ups.

    The parent looks only when a deadline seems to have passed. A child that lies here can do no more than with messages.
    """

    _WORD = struct.Struct("<QQd")

    def __init__(self, fd: int) -> None:
        if os.fstat(fd).st_size < self._WORD.size:
            os.ftruncate(fd, self._WORD.size)
        self._map = mmap.mmap(fd, self._WORD.size)

    def write(self, seq: int, phase: str) -> None:
        """Say that case `seq` enters a phase now."""
        self._map[:] = self._WORD.pack(seq, CLOCK_PHASES.index(phase), time.monotonic())

    def read(self, seq: int) -> tuple[str, float]:
        """Return the phase and when it was entered (monotonic seconds, never in the future); ("", 0.0) for another case."""
        word = self._map[:]
        while word != (again := self._map[:]):  # the child may be writing
            word = again
        told, phase, since = self._WORD.unpack(word)
        if told != seq or phase >= len(CLOCK_PHASES) or not since >= 0:  # NaN too
            return "", 0.0
        return CLOCK_PHASES[phase], min(since, time.monotonic())


class Writer:
    """Appends tensors to a region; `restart` reuses the pages, which are faulted in already."""

    def __init__(self, fd: int, store: str) -> None:
        self._fd = fd
        self._store = store
        self._used = 0
        self._maps: list[mmap.mmap] = []
        self._placed: list[tuple[int, int, int]] = []

    def restart(self) -> None:
        """Begin again at offset 0; references handed out before are void."""
        self._used = 0
        self._placed.clear()

    def reserve(self, name: str, shape: tuple[int, ...], *, poison: bool = False) -> Array:
        """Return a writable array inside the region.

        `poison` fills it with 0xFF (NaN in every float type): pages are reused, and an output that a device never wrote
        must not be found to hold the right answer of the run before.
        """
        dtype = DTYPES[name]
        nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        view = self._view(self._used + nbytes)
        raw = np.frombuffer(view, dtype=np.uint8, count=nbytes, offset=self._used)
        if poison:
            raw.fill(0xFF)
        array = raw.view(dtype).reshape(shape)
        self._placed.append((array.__array_interface__["data"][0], self._used, nbytes))
        self._used = -(-(self._used + nbytes) // ALIGNMENT) * ALIGNMENT
        return array

    def put(self, array: Array) -> TensorRef:
        """Return a reference to the array in the region, copying it there unless it already lies there."""
        name = type_name(array)
        address = array.__array_interface__["data"][0]
        for start, offset, nbytes in self._placed:
            if start == address and nbytes == array.nbytes:
                return TensorRef(name, array.shape, None, self._store, offset, nbytes)
        target = self.reserve(name, array.shape)
        target[...] = array
        _, offset, nbytes = self._placed[-1]
        return TensorRef(name, array.shape, None, self._store, offset, nbytes)

    def _view(self, size: int) -> mmap.mmap:
        if not self._maps or len(self._maps[-1]) < size:
            length = -(-size // _GROWTH) * _GROWTH
            if os.fstat(self._fd).st_size < length:
                os.ftruncate(self._fd, length)
            self._maps.append(mmap.mmap(self._fd, length))  # older maps stay alive for arrays that still use them
        return self._maps[-1]


class Reader:
    """Reads tensors from a region or a sealed copy, mapped as far as it has grown."""

    def __init__(self, fd: int, *, private: bool = False) -> None:
        self._fd = fd
        self._private = private
        self._map: mmap.mmap | None = None

    def view(self, needed: int) -> memoryview:
        """Return the bytes, at least `needed` of them; HarnessError where the store is shorter.

        A private view may be written to: the pages are copied on write and the store stays as it is.
        """
        if self._map is None or len(self._map) < needed:
            size = os.fstat(self._fd).st_size
            if size < needed:
                raise HarnessError(f"a tensor region reaches to byte {needed}, but its store ends at {size}")
            if size == 0:
                return memoryview(b"")
            if self._private:
                flags, access = mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE
            else:
                flags, access = mmap.MAP_SHARED, mmap.PROT_READ
            self._map = mmap.mmap(self._fd, size, flags=flags, prot=access)
        return memoryview(self._map)

    def forget(self) -> None:
        """Drop what was written to a private view: it shows the store again, also what is written there later."""
        if self._map is not None:
            self._map.madvise(mmap.MADV_DONTNEED)
