"""Blocks that threads share: each once, in order, and what fails in one fails the whole."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from conformance.numerics import streaming
from conformance.numerics.streaming import BLOCK, SHARED, read_blocks, share_blocks


def test_idle_cores_are_at_most_all_but_one() -> None:
    assert 0 <= streaming.count_idle_cores() < len(os.sched_getaffinity(0)) + 1


@pytest.fixture
def four_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have large tensors shared between threads, whatever else the machine does."""
    monkeypatch.setattr(streaming, "count_idle_cores", lambda: 3)


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize("total", [0, 5, SHARED, SHARED + 1])
def test_every_block_is_worked_once(total: int) -> None:
    seen: list[int] = []
    share_blocks(total, seen.extend)
    assert sorted(seen) == list(range(0, total, BLOCK))


@pytest.mark.usefixtures("four_threads")
def test_what_fails_in_a_thread_fails_the_whole() -> None:
    def fail(starts: Any) -> None:
        for start in starts:
            if start:
                raise RuntimeError("block")

    with pytest.raises(RuntimeError, match="block"):
        share_blocks(4 * SHARED, fail)


def test_ranges_are_row_major_whatever_the_strides() -> None:
    whole = np.arange(60).reshape(3, 4, 5)
    for array in (whole, np.asfortranarray(whole), np.broadcast_to(whole[:1], (3, 4, 5)), whole[:, ::-2]):
        assert read_blocks(array)(7, 19).tolist() == array.ravel().tolist()[7:19]


def test_a_contiguous_range_is_no_copy() -> None:
    whole = np.arange(60).reshape(3, 20)
    assert np.shares_memory(read_blocks(whole)(5, 30), whole)
