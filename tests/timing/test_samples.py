"""The times of a run: what they say, what is refused, and bytes of unknown origin."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.errors import HarnessError
from conformance.timing.samples import SCHEDULED, UNSCHEDULED, Samples, find_defect, from_times, pack, unpack

GOOD = from_times([0, 10, 20], [1, 12, 20], [5, 30, 31])


def npy(array: Any, *, pickled: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=pickled)
    return file.getvalue()


def test_on_a_schedule_latency_counts_from_when_a_query_was_due() -> None:
    assert GOOD.latency_ns.tolist() == [5, 20, 11]
    assert GOOD.lateness_ns.tolist() == [1, 2, 0]
    assert GOOD.service_ns.tolist() == [4, 18, 11]
    assert GOOD.size == 3


def test_without_one_it_counts_from_the_issue() -> None:
    assert GOOD._replace(is_scheduled=False).latency_ns.tolist() == [4, 18, 11]


def test_taking_some_keeps_the_scenario() -> None:
    some = GOOD._replace(is_scheduled=False).take(slice(1, None))
    assert (some.size, some.is_scheduled) == (2, False)


@pytest.mark.parametrize("is_scheduled", [True, False])
def test_kept_bytes_give_the_same_run(is_scheduled: bool) -> None:
    kept = pack(GOOD._replace(is_scheduled=is_scheduled))
    back = unpack(kept)
    assert back.is_scheduled is is_scheduled
    for one, other in zip(back[:3], GOOD[:3], strict=True):
        assert one.dtype == np.int64
        assert one.tolist() == other.tolist()


def test_the_array_can_be_read_by_numpy_alone() -> None:
    kept = pack(GOOD)
    assert np.load(io.BytesIO(kept[kept.index(b"\n") + 1 :])).tolist() == [one.tolist() for one in GOOD[:3]]


def test_an_empty_run_is_a_run() -> None:
    assert unpack(pack(from_times([], [], []))).size == 0


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (([0, 0], [5, 4], [9, 9]), "query 1 is issued before the query ahead of it: the clock went back"),
        (([0, 0], [5, 6], [9, 5]), "query 1 is done before it was issued"),
        (([0, 7], [5, 6], [9, 9]), "query 1 is issued before it was due"),
        (([0], [1, 2], [3, 4]), "lengths differ"),
        (([-1], [1], [2]), "due_ns leaves the range"),
        (([0], [1], [2**62 + 1]), "done_ns leaves the range"),
        (([0.5], [1], [2]), "whole nanoseconds"),
        (([[0]], [[1]], [[2]]), "one dimension"),
        ((np.array([2**63], np.uint64), [1], [2]), "lies above"),
    ],
)
def test_what_cannot_be_a_run_is_refused(times: Any, said: str) -> None:
    with pytest.raises(HarnessError, match=said):
        from_times(*times)


def test_a_run_that_cannot_be_is_not_kept() -> None:
    wrong = GOOD._replace(done_ns=GOOD.issued_ns - 1)
    assert find_defect(wrong)
    with pytest.raises(HarnessError, match="done before"):
        pack(wrong)


FIRST = SCHEDULED
HUGE = b"(3, 9999999999999), }"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "do not begin"),
        (npy(np.zeros((3, 1), np.int64)), "do not begin"),
        (FIRST, "no header of a numpy array"),
        (FIRST + b"\x93NUMPY\x01\x00\x10\x00" + b"{'descr': ", "no header of a numpy array"),
        (FIRST + npy(np.array([{}, {}, {}], object), pickled=True), "no header of a numpy array"),
        (FIRST + pickle.dumps([1]), "no header of a numpy array"),
        (FIRST + npy(np.zeros((3, 1))), "no header of a numpy array"),
        (FIRST + npy(np.zeros((2, 3), np.int64)), "no header of a numpy array"),
        (FIRST + npy(np.zeros(3, np.int64)), "no header of a numpy array"),
        (FIRST + npy(np.asfortranarray(np.zeros((3, 2), np.int64))), "no header of a numpy array"),
        (FIRST + npy(np.zeros((3, 2), ">i8")), "no header of a numpy array"),
        (FIRST + npy(np.zeros((3, 2), np.int64))[:-1], "bytes do not make"),
        (FIRST + npy(np.zeros((3, 2), np.int64)) + b"x", "bytes do not make"),
        (
            FIRST + npy(np.zeros((3, 2), np.int64)).replace(b"(3, 2), }" + b" " * 12, HUGE),
            "bytes do not make 3 × 9999999999999",
        ),
        (
            FIRST + npy(np.zeros((3, 2), np.int64)).replace(b"\x93NUMPY\x01", b"\x93NUMPY\x03"),
            "no header of a numpy array",
        ),
        (UNSCHEDULED + npy(np.array([[0], [5], [4]], np.int64)), "done before it was issued"),
    ],
)
def test_hostile_bytes_are_refused(data: bytes, said: str) -> None:
    with pytest.raises(HarnessError, match=said):
        unpack(data)


@given(st.binary(max_size=200), st.integers(0, 250))
def test_no_bytes_do_more_than_be_refused(noise: bytes, at: int) -> None:
    kept = bytearray(pack(GOOD))
    kept[at : at + len(noise)] = noise
    try:
        samples = unpack(bytes(kept))
    except HarnessError:
        return
    assert isinstance(samples, Samples)
    assert find_defect(samples) == ""
