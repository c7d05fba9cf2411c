"""The binomial bounds: published values, symmetry, edges."""

from __future__ import annotations

import pytest

from conformance.numerics.intervals import lower_bound, upper_bound


def test_459_samples_without_a_miss_show_one_percent() -> None:
    assert upper_bound(0, 459) <= 0.01 < upper_bound(0, 458)


@pytest.mark.parametrize(("hits", "trials"), [(0, 10), (1, 100), (7, 1024), (512, 1024), (1023, 1024)])
def test_a_bound_is_where_the_tail_has_one_percent(hits: int, trials: int) -> None:
    from math import comb

    rate = upper_bound(hits, trials)

    tail = sum(comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in range(hits + 1))
    assert tail == pytest.approx(0.01, rel=1e-6)
    assert lower_bound(trials - hits, trials) == pytest.approx(1 - rate)


def test_edges() -> None:
    assert upper_bound(5, 5) == 1.0
    assert lower_bound(0, 5) == 0.0
    assert lower_bound(3, 1024) < 3 / 1024 < upper_bound(3, 1024)
