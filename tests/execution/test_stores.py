"""Shared memory: what is sealed stays as it is, private views are the reader's own, regions grow and never shrink."""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Callable, Iterator

import ml_dtypes
import numpy as np
import pytest

from conformance.errors import HarnessError
from conformance.execution import stores
from conformance.tensors import from_ref

Make = Callable[..., int]


@pytest.fixture
def made() -> Iterator[Callable[[int], int]]:
    """Keeps descriptors and closes them."""
    kept: list[int] = []

    def keep(fd: int) -> int:
        kept.append(fd)
        return fd

    yield keep
    for fd in kept:
        os.close(fd)


def test_a_sealed_copy_can_be_read_and_nothing_else(made: Make) -> None:
    fd = made(stores.sealed_copy("sealed", b"0123456789"))

    assert bytes(stores.Reader(fd).view(10)) == b"0123456789"
    with pytest.raises(PermissionError):
        os.pwrite(fd, b"x", 0)
    for length in (0, 100):
        with pytest.raises(PermissionError):
            os.ftruncate(fd, length)
    with pytest.raises(PermissionError):
        mmap.mmap(fd, 10, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    with pytest.raises(TypeError):
        stores.Reader(fd).view(10)[0] = 1


def test_a_private_view_is_the_reader_s_own(made: Make) -> None:
    fd = made(stores.sealed_copy("sealed", b"0123456789"))
    private = stores.Reader(fd, private=True).view(10)
    private[0:3] = b"xyz"

    assert bytes(private) == b"xyz3456789"
    assert bytes(stores.Reader(fd).view(10)) == b"0123456789"
    assert bytes(stores.Reader(fd, private=True).view(10)) == b"0123456789"


def test_a_region_cannot_be_cut_under_its_reader(made: Make) -> None:
    fd = made(stores.region("region"))
    stores.Writer(fd, "outbox").put(np.ones(10, np.float32))
    view = stores.Reader(fd).view(40)
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 0)

    assert len(view) >= 40


def test_a_reader_follows_a_region_that_grows(made: Make) -> None:
    fd = made(stores.region("region"))
    writer, reader = stores.Writer(fd, "outbox"), stores.Reader(fd)
    first = np.arange(100, dtype=np.int64)
    second = np.arange(1 << 19, dtype=np.int64)
    refs = [writer.put(first)]
    assert np.array_equal(from_ref(refs[0], {"outbox": reader.view(800)}), first)  # type: ignore[arg-type]
    refs.append(writer.put(second))
    view = reader.view(refs[1].offset + refs[1].nbytes)

    for ref, value in zip(refs, (first, second), strict=True):
        assert np.array_equal(from_ref(ref, {"outbox": view}), value)  # type: ignore[arg-type]
    assert refs[1].offset % stores.ALIGNMENT == 0
    assert refs[1].offset >= 800


def test_a_reader_says_where_a_store_ends(made: Make) -> None:
    fd = made(stores.sealed_copy("sealed", b"0123"))

    with pytest.raises(HarnessError, match="reaches to byte 5, but its store ends at 4"):
        stores.Reader(fd).view(5)
    assert bytes(stores.Reader(made(stores.region("empty"))).view(0)) == b""


def test_an_array_that_lies_in_the_region_is_not_copied(made: Make) -> None:
    fd = made(stores.region("region"))
    writer = stores.Writer(fd, "outbox")
    reserved = writer.reserve("float32", (4, 4))
    reserved[...] = 3
    before = writer.put(np.zeros(3, np.int8))
    ref = writer.put(reserved)

    assert (ref.offset, ref.nbytes, ref.shape, ref.dtype) == (0, 64, (4, 4), "float32")
    assert before.offset == 64
    seen = from_ref(ref, {"outbox": stores.Reader(fd).view(64)})
    assert isinstance(seen, np.ndarray)
    assert seen.tolist() == [[3.0] * 4] * 4


def test_a_part_of_a_reserved_array_is_copied(made: Make) -> None:
    writer = stores.Writer(made(stores.region("region")), "outbox")
    reserved = writer.reserve("float32", (4, 4))
    reserved[...] = 1

    assert writer.put(reserved[:2]).offset == 64


@pytest.mark.parametrize("name", ["float32", "float64", "float16", "bfloat16"])
def test_poison_is_no_number(made: Make, name: str) -> None:
    fd = made(stores.region("region"))
    writer = stores.Writer(fd, "outbox")
    writer.reserve(name, (100,))[...] = 7
    writer.restart()
    poisoned = writer.reserve(name, (100,), poison=True)

    assert np.isnan(poisoned.astype(np.float64)).all(), "the right answer of the run before must not be found"


def test_restarting_uses_the_same_bytes_again(made: Make) -> None:
    fd = made(stores.region("region"))
    writer = stores.Writer(fd, "outbox")
    for _ in range(50):
        writer.restart()
        assert writer.put(np.ones(1000, ml_dtypes.bfloat16)).offset == 0

    assert os.fstat(fd).st_size == 1 << 20


def test_an_array_of_the_case_before_holds_poison_and_not_the_old_answer(made: Make) -> None:
    writer = stores.Writer(made(stores.region("region")), "outbox")
    old = writer.reserve("float32", (4,))
    old[...] = 7
    writer.restart()
    writer.reserve("float32", (4,), poison=True)

    assert np.isnan(old).all()


def test_what_somebody_has_mapped_to_write_to_cannot_be_sealed(made: Make) -> None:
    fd = made(stores.unsealed("inputs"))
    os.ftruncate(fd, 10)
    with mmap.mmap(fd, 10), pytest.raises(HarnessError, match="the reference inputs cannot be sealed: "):
        stores.fill_and_seal(fd, b"0123456789")


def test_a_copy_may_be_inherited_before_it_is_full(made: Make) -> None:
    fd = made(stores.unsealed("inputs"))
    early = stores.Reader(fd)
    assert bytes(early.view(0)) == b""
    stores.fill_and_seal(fd, b"0123456789")

    assert bytes(early.view(10)) == b"0123456789"
    with pytest.raises(PermissionError):
        os.pwrite(fd, b"x", 0)


# -- the clock --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", stores.CLOCK_PHASES)
def test_the_clock_tells_phase_and_moment_of_one_case(made: Make, phase: str) -> None:
    fd = made(stores.region("clock"))
    theirs, ours = stores.Clock(fd), stores.Clock(fd)
    assert ours.read(7) == ("", 0.0)
    before = time.monotonic()
    theirs.write(7, phase)
    told, since = ours.read(7)

    assert told == phase
    assert before <= since <= time.monotonic()
    assert ours.read(8) == ("", 0.0), "it is another case's"
    assert os.fstat(fd).st_size == struct.calcsize("<QQd")


@pytest.mark.parametrize("phase", [len(stores.CLOCK_PHASES), 1 << 63])
def test_a_phase_that_does_not_exist_is_none(made: Make, phase: int) -> None:
    fd = made(stores.region("clock"))
    clock = stores.Clock(fd)
    os.pwrite(fd, struct.pack("<QQd", 7, phase, 1.0), 0)

    assert clock.read(7) == ("", 0.0)


@pytest.mark.parametrize("since", [-1.0, float("-inf"), float("nan")])
def test_a_moment_that_cannot_have_been_is_none(made: Make, since: float) -> None:
    fd = made(stores.region("clock"))
    clock = stores.Clock(fd)
    os.pwrite(fd, struct.pack("<QQd", 7, 1, since), 0)

    assert clock.read(7) == ("", 0.0)


@pytest.mark.parametrize("since", [1e300, float("inf")])
def test_a_moment_to_come_is_now(made: Make, since: float) -> None:
    fd = made(stores.region("clock"))
    clock = stores.Clock(fd)
    os.pwrite(fd, struct.pack("<QQd", 7, 1, since), 0)
    told, moment = clock.read(7)

    assert told == "run"
    assert moment <= time.monotonic(), "a child cannot give itself more time than it asks for now"


def test_a_word_that_is_being_written_is_read_again(made: Make) -> None:
    clock = stores.Clock(made(stores.region("clock")))
    whole = struct.pack("<QQd", 7, 1, 1.0)

    class Flickering:
        words = iter([whole[:8] + bytes(16), whole, whole])

        def __getitem__(self, _: slice) -> bytes:
            return next(self.words)

    clock._map = Flickering()  # type: ignore[assignment]
    assert clock.read(7) == ("run", 1.0)
