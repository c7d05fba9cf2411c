"""Limits worked out ahead are those worked out on the spot, whatever happens to who works ahead."""

from __future__ import annotations

import io
import struct
from typing import Any

import msgspec
import numpy as np
import pytest

from conformance.numerics.modes import PrecisionMode
from conformance.reference.made import ahead as working
from conformance.reference.made.ahead import LimitsAhead, Wanted, serve
from conformance.reference.made.limits import limits_of
from conformance.reference.packed import Packed, unpack_limit


def plain_mode() -> dict[str, Any]:
    """What a device declares that declares nothing but float32."""
    named = {"input": "float32", "accumulate": "float32", "output": "float32"}
    built: dict[str, Any] = msgspec.to_builtins(PrecisionMode(**named))
    return built


@pytest.fixture(scope="module")
def wanted() -> list[Wanted]:
    from conformance.reference.made.index import load_entries

    known = {one.case_id for one in load_entries()}
    by_operator: dict[str, str] = {}
    for case_id in sorted(known):
        operator = case_id.split("/")[1]
        if "/float32/" in case_id:
            by_operator.setdefault(operator, case_id)
    chosen = [by_operator[name] for name in list(by_operator)[::40]]
    return [Wanted(one, plain_mode(), "float32", "") for one in chosen]


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return bool(np.array_equal(one, other, equal_nan=np.asarray(one).dtype.kind == "f"))
    return one == other or (one != one and other != other)  # noqa: PLR0124 - NaN


def assert_same_limits(got: list[list[Any]], own: list[list[Any]]) -> None:
    assert len(got) == len(own) > 0
    for ours, theirs in zip(own, got, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert type(one) is type(other)
            names = getattr(one, "__struct_fields__", None) or one._fields
            for name in names:
                assert same(getattr(one, name), getattr(other, name)), name


def test_what_is_worked_out_ahead_is_what_is_worked_out_here(wanted: list[Wanted]) -> None:
    assert len(wanted) > 5
    with LimitsAhead(wanted, workers=1) as ahead:
        for one in wanted:
            assert_same_limits(ahead.limits_of(one), limits_of(*one))


def test_who_asks_again_is_answered_again(wanted: list[Wanted]) -> None:
    with LimitsAhead(wanted, workers=1) as ahead:
        for _ in range(2):
            assert_same_limits(ahead.limits_of(wanted[0]), limits_of(*wanted[0]))


def test_any_order_and_no_worker_give_the_same(wanted: list[Wanted]) -> None:
    with LimitsAhead(wanted, workers=0) as ahead:
        assert_same_limits(ahead.limits_of(wanted[1]), limits_of(*wanted[1]))
    with LimitsAhead(wanted, workers=2) as ahead:
        for one in reversed(wanted):
            assert_same_limits(ahead.limits_of(one), limits_of(*one))


def test_a_worker_that_dies_costs_time_alone(wanted: list[Wanted], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working, "AHEAD", 1)
    with LimitsAhead(wanted, workers=1) as ahead:
        first = ahead.limits_of(wanted[0])
        ahead._processes[0].kill()
        for one in wanted[1:]:
            assert_same_limits(ahead.limits_of(one), limits_of(*one))
    assert_same_limits(first, limits_of(*wanted[0]))


def test_no_more_wait_in_memory_than_is_said(wanted: list[Wanted], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working, "AHEAD", 2)
    with LimitsAhead(wanted, workers=2) as ahead:
        for one in wanted:
            ahead.limits_of(one)
            assert len(ahead._found) <= 2


def test_closing_in_the_middle_leaves_no_process(wanted: list[Wanted]) -> None:
    with LimitsAhead(wanted, workers=2) as ahead:
        ahead.limits_of(wanted[0])
        processes = ahead._processes
    assert len(processes) == 2
    assert all(one.returncode is not None for one in processes)
    assert not any(one.is_alive() for one in ahead._threads)


def test_a_question_that_cannot_be_answered_is_left_to_who_asks(wanted: list[Wanted]) -> None:
    unknown = Wanted("operators/ai.onnx.Nothing-1/float32/made/x", plain_mode(), "float32", "")
    asked = b"".join(struct.pack("<Q", len(b)) + b for b in map(msgspec.msgpack.encode, (unknown, wanted[0])))
    answers = io.BytesIO()
    serve(io.BytesIO(asked + b"cut"), answers)
    answers.seek(0)
    assert struct.unpack("<Q", answers.read(8)) == (0,)
    body = answers.read(struct.unpack("<Q", answers.read(8))[0])
    packed = msgspec.msgpack.decode(body, type=list[list[Packed]])
    mode = PrecisionMode.of(plain_mode())
    assert_same_limits([[unpack_limit(x, mode) for x in out] for out in packed], limits_of(*wanted[0]))
