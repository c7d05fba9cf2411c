"""A tally by blocks says what one over the whole says, and takes no copy of the tensor."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest

from conformance.errors import HarnessError
from conformance.numerics import tallying
from conformance.numerics.bounded import Bound, judge_bound
from conformance.numerics.tallying import BLOCK, Tally, sample, sum_own_rounding, tally

NAN, INF = math.nan, math.inf


def bound(reference: Any, unit: Any = 1.0, **more: Any) -> Bound:
    fields = {"name": "y", "kind": "float32", "law": "a law"} | more
    return Bound(reference=np.asarray(reference, dtype=np.float64), unit=unit, **fields)


def drawn(shape: tuple[int, ...], **more: Any) -> tuple[Bound, Any]:
    """Return a bound of every kind of part, and an output with errors, some of them beyond their limits."""
    random = np.random.default_rng(3)
    reference = random.standard_normal(shape)
    one = bound(
        reference,
        random.uniform(0.5, 2, shape[-1]) * 2.0**-20,
        limit=random.uniform(1, 3, shape),
        slack=2.0**-24,
        terms=4.0,
        drift=random.uniform(0, 0.1, shape),
        exempt=random.random(shape) < 0.1,
        **more,
    )
    errors = random.standard_normal(shape) * 2.0**-20
    return one, (reference + errors).astype(np.float32)


def test_blocks_change_no_count_and_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    one, actual = drawn((7, 11, 13))
    actual[5, 3, 2], actual[6, 0, 0] = NAN, -INF
    whole = tally(one, actual)
    assert whole.strange == int(~one.exempt[5, 3, 2]) + int(~one.exempt[6, 0, 0])
    assert whole.strange and whole.beyond > 10
    monkeypatch.setattr(tallying, "BLOCK", 17)
    parts = tally(one, actual)
    for name in Tally._fields:
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), rel=1e-12, abs=1e-12), name
    exact = ("counted", "finite", "strange", "first_strange", "beyond", "share", "at", "e", "limit", "allowed")
    assert all(getattr(parts, name) == getattr(whole, name) for name in exact)


def test_the_sums_are_those_of_plain_arithmetic() -> None:
    one, actual = drawn((3, BLOCK // 2 + 5))
    found = tally(one, actual)
    used = ~one.exempt
    e = np.where(used, (actual.astype(np.float64) - one.reference) / one.unit, 0.0)
    size = e.size
    assert found.counted == used.sum()
    assert found.squares == pytest.approx(math.fsum((e * e).ravel()), rel=1e-13)
    assert found.lean == pytest.approx(math.fsum((np.sign(one.reference) * e).ravel()), abs=1e-12 * size)
    assert found.total == pytest.approx(math.fsum(e.ravel()), abs=1e-12 * size)
    assert found.drift == pytest.approx(math.fsum(one.drift[used]), rel=1e-13)
    assert found.values == pytest.approx(math.fsum(one.reference[used]), abs=1e-12 * size)
    beyond = used & (np.abs(actual - one.reference) > one.limit * one.unit * (1 + tallying.OWN) + one.slack)
    assert found.beyond == beyond.sum()


def test_the_worst_of_equals_is_the_first_and_a_strange_value_is_named_by_its_place() -> None:
    reference = np.ones(3 * BLOCK)
    actual = np.ones(3 * BLOCK, np.float32)
    actual[[BLOCK + 7, 2 * BLOCK]] = 5
    found = tally(bound(reference), actual)
    assert (found.at, found.e, found.beyond) == (BLOCK + 7, 4.0, 2)
    actual[2 * BLOCK + 9] = NAN
    assert "y[131081] = nan, want 1 (1 of 196608" in judge_bound(bound(reference), actual).reason


def test_layouts_change_nothing() -> None:
    one, actual = drawn((60, 70))
    assert tally(one, np.asfortranarray(actual)) == tally(one, actual)


def test_nothing_judged_is_an_error_of_the_harness() -> None:
    with pytest.raises(HarnessError, match="judges nobody"):
        judge_bound(bound(np.ones(5), exempt=np.ones(5, bool)), np.ones(5, np.float32))


def test_what_the_reference_itself_loses_is_summed_over_all_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = np.tile([1 + 2.0**-25, -1 - 2.0**-25], 50)  # both are rounded toward zero
    one = bound(reference, 2.0**-25)
    actual = reference.astype(np.float32)
    monkeypatch.setattr(tallying, "BLOCK", 7)
    assert sum_own_rounding(one, actual) == (0.0, 100.0)


def test_a_large_failure_is_described_by_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallying, "BLOCK", 17)
    monkeypatch.setattr(tallying, "LOOKED_AT", 30)
    reference = np.arange(100.0)
    x, y, unit, counted = sample(bound(reference), reference.astype(np.float32))
    assert y.tolist() == x.tolist() == reference[::4].tolist()
    assert unit.shape == counted.shape == y.shape
    assert counted.all()


@pytest.mark.parametrize("is_right", [True, False])
def test_no_copy_of_the_output_is_made(*, is_right: bool) -> None:
    count = 60 * BLOCK  # 16 MB of float32, 31 MB as float64
    one = bound(np.full(count, 0.5), np.float64(2.0**-24), limit=2.0, terms=4.0)
    actual = np.full(count, 0.5, np.float32)
    if not is_right:
        actual[-1] = 3
    tracemalloc.start()
    try:
        judged = judge_bound(one, actual)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert judged.ok == is_right
    assert peak < (10e6 if is_right else 64e6)
