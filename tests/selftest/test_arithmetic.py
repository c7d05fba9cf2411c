"""Sums and products of simulated devices against the same written out term by term."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from conformance.numerics.formats import FORMATS, round_to
from conformance.numerics.modes import PrecisionMode, native
from conformance.selftest.arithmetic import BLOCK, ORDERS, Arithmetic, Order, narrow

SUMS = [
    PrecisionMode(),
    PrecisionMode(accumulate_rounding="toward-zero"),
    PrecisionMode(input="float16", accumulate="float16", output="float16"),
    PrecisionMode(input="float16", accumulate="float16", output="float16", accumulate_rounding="toward-zero"),
    native("bfloat16"),
    PrecisionMode(accumulate="bfloat16"),
]


def add_up(terms: list[float], mode: PrecisionMode, order: Order) -> float:
    def add(one: float, other: float) -> float:
        return float(round_to(np.asarray(one + other), mode.sums, mode.rounding))

    def run(values: list[float]) -> float:
        total = 0.0
        for value in values:
            total = add(total, value)
        return total

    if order == "sequential":
        return run(terms)
    if order == "blocked":
        return run([run(terms[at : at + BLOCK]) for at in range(0, len(terms), BLOCK)])
    level = [run([one]) for one in terms]
    assert len(level) & (len(level) - 1) == 0, "the tree below is that of a power of two"
    while len(level) > 1:
        level = [add(level[at], level[at + 1]) for at in range(0, len(level), 2)]
    return level[0]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("rounding", ["nearest", "toward-zero"])
@pytest.mark.parametrize("flush", [False, True])
def test_narrowing_is_rounding(name: str, rounding: str, flush: bool) -> None:
    rng = np.random.default_rng(5)
    values = rng.standard_normal(5000) * 10.0 ** rng.integers(-45, 40, 5000)
    values[:6] = [0.0, -0.0, np.inf, -np.inf, np.nan, 65520.0]
    form = FORMATS[name]
    found = narrow(values, form, rounding, flush=flush)  # type: ignore[arg-type]
    wanted = round_to(values, form, rounding, flush=flush)  # type: ignore[arg-type]
    assert np.array_equal(found, wanted, equal_nan=True)
    assert np.array_equal(np.signbit(found[:2]), [False, True])


def test_narrowing_leaves_what_it_is_given() -> None:
    values = np.array([1.0 + 2.0**-30])
    narrow(values, FORMATS["float32"])
    assert values[0] == 1.0 + 2.0**-30
    assert narrow(np.asarray(1 / 3), FORMATS["bfloat16"]).shape == ()


@pytest.mark.parametrize("mode", SUMS, ids=lambda mode: f"{mode.accumulate}-{mode.accumulate_rounding}")
@pytest.mark.parametrize("order", ORDERS)
def test_products_are_those_of_their_terms(mode: PrecisionMode, order: Order) -> None:
    rng = np.random.default_rng(7)
    rows, kernels = rng.standard_normal((2, 3, 128)), rng.standard_normal((2, 128, 4))
    own = Arithmetic(mode, order)
    found = own.product(rows, kernels)
    assert found.shape == (2, 3, 4)
    a, b = own.operand(rows), own.operand(kernels)
    products = a[:, :, :, None] * b[:, None, :, :]
    if mode.accumulate == "float32" and mode.rounding == "nearest":
        products = products.astype(np.float32).astype(np.float64)
    for g, m, n in itertools.product(range(2), range(3), range(4)):
        assert found[g, m, n] == add_up(products[g, m, :, n].tolist(), mode, order)


def test_the_long_axis_does_not_matter() -> None:
    rng = np.random.default_rng(11)
    rows, kernels = rng.standard_normal((300, 40)), rng.standard_normal((40, 2))
    own = Arithmetic(PrecisionMode(), "pairwise")
    assert np.array_equal(own.product(rows, kernels), own.product(kernels.T, rows.T).T)


@pytest.mark.parametrize("order", ORDERS)
def test_sums_stagnate_where_they_must(order: Order) -> None:
    mode = PrecisionMode(input="float16", accumulate="float16", output="float16")
    total = Arithmetic(mode, order).total(np.ones((1, 4096)))
    assert total[0] == (2048 if order == "sequential" else 4096)


def test_sums_are_to_nearest_where_products_are_truncated() -> None:
    terms = np.random.default_rng(3).uniform(1, 2, (5, 200))
    given = PrecisionMode(accumulate_rounding="toward-zero")
    assert np.array_equal(Arithmetic(given).total(terms), Arithmetic(PrecisionMode()).total(terms))
    truncated = Arithmetic(given).product(terms, np.ones((200, 1)))
    assert (truncated < Arithmetic(PrecisionMode(), "pairwise").product(terms, np.ones((200, 1)))).all()


def test_nothing_adds_up_to_zero() -> None:
    own = Arithmetic(PrecisionMode())
    assert own.total(np.zeros((3, 0))).tolist() == [0.0, 0.0, 0.0]
    assert own.product(np.zeros((2, 0)), np.zeros((0, 3))).tolist() == [[0.0] * 3] * 2
