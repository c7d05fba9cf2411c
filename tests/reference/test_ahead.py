"""References computed ahead, in processes beside this one."""

from __future__ import annotations

import io
import os
import pickle
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

from conformance.reference.ahead import call_ahead, serve


def _framed(call: object) -> bytes:
    body = pickle.dumps(call)
    return struct.pack("<Q", len(body)) + body


def test_calls_are_made_in_other_processes_and_counted(tmp_path: Path) -> None:
    told: list[int] = []
    calls = [partial(os.mkdir, tmp_path / str(at)) for at in range(3)]
    assert call_ahead(calls, told.append, workers=2) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2"]
    assert told[-1] == 3
    assert told == sorted(told)


def test_what_fails_kills_its_worker_or_cannot_be_sent_is_left_out(tmp_path: Path) -> None:
    calls: list[Callable[[], object]] = [
        partial(os._exit, 3),
        partial(os.mkdir, tmp_path / "none" / "below"),
        partial(os.mkdir, tmp_path / "made"),
        lambda: None,
    ]
    assert call_ahead(calls, lambda _: None, workers=2) == 1
    assert (tmp_path / "made").is_dir()


def test_one_processor_or_one_call_is_not_worth_a_process(tmp_path: Path) -> None:
    calls = [partial(os.mkdir, tmp_path / name) for name in ("a", "b")]
    assert call_ahead(calls, lambda _: None, workers=1) == 0
    assert call_ahead(calls[:1], lambda _: None, workers=2) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_worker_serves_until_its_input_ends(tmp_path: Path) -> None:
    good, bad = partial(os.mkdir, tmp_path / "a"), partial(os.rmdir, tmp_path / "b")
    answers = io.BytesIO()
    serve(io.BytesIO(_framed(good) + _framed(bad) + b"cut"), answers)
    assert answers.getvalue() == b"+-"
