"""The limits of ONNX's own cases: made, kept, read back, and ONNX's tolerance only where a reason is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from conformance.numerics.bounded import Bound
from conformance.numerics.limits import Discrete, Exact, Rate, judge
from conformance.numerics.modes import native
from conformance.numerics.spread import Spread, judge_spread, spread_of
from conformance.reference import suite_limits
from conformance.reference.packed import Packed, pack_limit, unpack_limit
from conformance.reference.suite import Suite, load_suite
from conformance.reference.suite_limits import FLOATS, SuiteLimits

MODES = {kind: msgspec.to_builtins(native(kind)) for kind in FLOATS}
ADD = "operators/ai.onnx.Add-14/float32/test_add"
BOUNDARY = "operators/ai.onnx.NonMaxSuppression-11/float32/test_nonmaxsuppression_iou_threshold_boundary"
FEW = 60
"""Most cases that may be left to ONNX's tolerance: nothing may fall to it unseen."""


@pytest.fixture(scope="module")
def suite(suite_cache: Path) -> Suite:
    return load_suite()


@pytest.fixture(scope="module")
def limits(suite: Suite) -> SuiteLimits:
    made = SuiteLimits(suite, MODES)
    made.hold(lambda *_: None)
    return made


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.dtype == other.dtype and np.array_equal(one, other)
    return bool(one == other)


@pytest.mark.parametrize(
    "limit",
    [
        Bound(name="y", kind="float32", law="dot, K = 3", reference=np.ones(4), unit=1e-7 * np.ones(4), limit=6.0, terms=3.0),
        Bound(name="y", kind="float16", law="l", reference=np.ones(2), unit=np.ones(2), limit=np.array([1.0, 2.0]), drift=np.ones(2)),
        Exact(name="y", expected=np.array([1, 2], dtype=np.int8), is_zero_signed=True),
        Exact(name="y", expected=[np.ones(2, np.float32), np.zeros((), np.float32)]),
        Exact(name="y", expected=None),
        Exact(name="y", expected=np.array(["a", "b"], dtype=object)),
        Discrete(name="y", expected=np.array([3, 1]), is_decided=np.array([True, False])),
        Rate(name="y", expected=np.array([3, 1], dtype=np.uint8)),
    ],
)  # fmt: skip
def test_a_limit_is_read_back_as_it_was_kept(limit: Any) -> None:
    body = msgspec.msgpack.encode(pack_limit(limit))
    again = unpack_limit(msgspec.msgpack.decode(body, type=Packed), native("float32"))

    assert type(again) is type(limit)
    for name in limit.__struct_fields__:
        was, now = getattr(limit, name), getattr(again, name)
        if isinstance(was, list):
            assert all(_is_same(*pair) for pair in zip(was, now, strict=True))
        else:
            assert _is_same(was, now), name


def test_a_spread_is_read_back_as_it_was_kept() -> None:
    reference = np.linspace(1.0, 2.0, 64)
    runs = reference + 1e-7 * np.random.default_rng(2).standard_normal((24, 64))
    spread = spread_of(reference, runs, native("float32"), "float32")
    body = msgspec.msgpack.encode(pack_limit(spread))
    again = unpack_limit(msgspec.msgpack.decode(body, type=Packed), native("float32"))

    assert isinstance(again, Spread)
    assert all(_is_same(was, now) for was, now in zip(spread, again, strict=True))
    assert judge_spread(again, reference.astype(np.float32), "y").ok


def test_what_onnx_expects_of_a_sum_is_within_and_a_little_else_is_not(suite: Suite, limits: SuiteLimits) -> None:
    ((limit,),) = limits.of(ADD)
    (expected,) = suite.expected(suite.entry(ADD))
    assert isinstance(limit, Bound)
    assert isinstance(expected, np.ndarray)
    assert judge(limit, expected).ok
    near = expected.copy()
    near.reshape(-1)[7] *= np.float32(1 + 1e-6)  # ONNX's tolerance would let it pass
    assert not judge(limit, near).ok


def test_a_choice_on_the_very_boundary_is_left_to_what_onnx_expects(limits: SuiteLimits) -> None:
    assert limits.of(BOUNDARY) == "a choice on the very boundary, which no margin decides"


def test_few_cases_are_left_to_onnx_s_tolerance_and_each_says_why(suite: Suite, limits: SuiteLimits) -> None:
    left = {one.case_id: limits.of(one.case_id) for one in suite.entries if not one.invalid}
    reasons = {case_id: told for case_id, told in left.items() if isinstance(told, str)}
    assert all(reasons.values())
    assert len(reasons) <= FEW, sorted(reasons)


def test_a_chunk_that_is_damaged_is_made_again(
    suite: Suite, limits: SuiteLimits, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CONFORMANCE_CACHE", str(tmp_path))
    monkeypatch.setattr(suite_limits, "_limits", lambda *_: "not worked out here")
    alone = SuiteLimits(suite, MODES)
    alone.make(0)
    path = alone._path(0)
    whole = path.read_bytes()
    path.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])

    assert set(alone._read(0)) == set(alone._chunks[0])
    assert path.read_bytes() == whole
