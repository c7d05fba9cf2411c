"""Tier 3 on outputs made by hand: what scatters as the runs do passes, what does not fails and says where."""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest

from conformance.errors import HarnessError
from conformance.numerics.modes import PrecisionMode, native
from conformance.numerics.spread import RUNS, Spread, judge_spread, spread_of

FLOAT32 = PrecisionMode()
BFLOAT16 = PrecisionMode(input="bfloat16", output="bfloat16")
U = 2.0**-24
SHAPE = (8, 16, 12)


def _reference(seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=SHAPE) * np.exp2(np.arange(16) % 5)[:, None]


def _scattered(y: np.ndarray, seed: int, size: float = 8 * U) -> np.ndarray:
    return np.asarray(y + size * np.abs(y).mean() * np.random.default_rng(seed).normal(size=y.shape))


def _spread(y: np.ndarray, mode: PrecisionMode = FLOAT32, kind: str = "float32", size: float = 8 * U) -> Spread:
    return spread_of(y, np.stack([_scattered(y, seed, size) for seed in range(RUNS)]), mode, kind)


Y = _reference()
SPREAD = _spread(Y)


@pytest.mark.parametrize("seed", range(100, 130))
def test_what_scatters_as_the_runs_do_passes(seed: int) -> None:
    judged = judge_spread(SPREAD, _scattered(Y, seed).astype(np.float32), "y")

    assert judged.ok, judged.reason
    assert judged.tier == "spread"
    assert all(0 <= one.share < 0.9 for one in judged.statistics)
    assert {one.name for one in judged.statistics} == {
        "farthest_r",
        "rms_r",
        "rms_r_of_groups",
        "mean_r",
        "mean_r_of_groups",
        "mean_signed_r",
        "mean_signed_r_of_groups",
    }


def test_the_reference_rounded_once_passes_in_its_own_type() -> None:
    assert judge_spread(SPREAD, Y.astype(np.float32)).ok
    y = _reference(5)
    assert judge_spread(_spread(y, BFLOAT16, "bfloat16", 2.0**-8), y.astype(ml_dtypes.bfloat16)).ok


def _one_element(x: np.ndarray) -> np.ndarray:
    x[2, 3, 4] += 20 * SPREAD.scale[2, 3, 4]
    return x


def _one_channel(x: np.ndarray) -> np.ndarray:
    x[:, 3] += 2.5 * SPREAD.scale[:, 3]
    return x


def _toward_zero(x: np.ndarray) -> np.ndarray:
    return np.asarray(x - np.sign(Y) * SPREAD.scale * 0.8)


def _small_ones(x: np.ndarray) -> np.ndarray:
    small = np.abs(Y) < 0.25
    return np.where(small, Y + SPREAD.scale * np.where(np.arange(12) % 2, 4.0, -4.0), x)


def _coarse(x: np.ndarray) -> np.ndarray:
    return np.asarray(Y + np.clip(3 * (x - Y), -5 * SPREAD.scale, 5 * SPREAD.scale))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_one_element, r"y[2,3,4] = "),
        (_one_channel, r"the errors of y[:, 3, :] lean to one side: |mean r| 2."),
        (_toward_zero, "lean toward zero or away from it: |mean sign(y)·r| "),
        (_small_ones, "the errors of the elements of y from 2^"),
        (_coarse, "are too large: rms r "),
    ],
)
def test_what_does_not_scatter_as_they_do_fails(change: Callable[[np.ndarray], np.ndarray], told: str) -> None:
    judged = judge_spread(SPREAD, change(_scattered(Y, 77)).astype(np.float32), "y")

    assert not judged.ok
    assert told in judged.reason
    assert max(one.share for one in judged.statistics) > 1


def test_an_element_says_what_was_wanted() -> None:
    judged = judge_spread(SPREAD, _one_element(_scattered(Y, 77)).astype(np.float32), "y")

    assert f"want {Y[2, 3, 4]:.9g} ± " in judged.reason
    assert "(Monte Carlo arithmetic: |r| = " in judged.reason
    assert judged.reason.endswith(" > 8)")
    assert judged.looks_like == "1 of 1536 elements are wrong, the others are as they should be"


@pytest.mark.parametrize(
    ("actual", "told"),
    [
        (Y.astype(ml_dtypes.bfloat16).astype(np.float32), "bfloat16 holds: the output was rounded or cut to it"),
        ((Y.astype(np.float32).view(np.int32) & ~np.int32(0x1FFF)).view(np.float32), "TF32 holds"),
        (_scattered(Y, 9, 8 * 2.0**-8).astype(np.float32), "errors of this size come from bfloat16"),
        (_scattered(Y, 9, 8 * 2.0**-11).astype(np.float32), "errors of this size come from float16 or TF32"),
        ((-Y).astype(np.float32), "no precision explains errors of this size"),
    ],
)
def test_errors_are_likened_to_a_precision(actual: np.ndarray, told: str) -> None:
    assert told in judge_spread(SPREAD, actual).looks_like


def test_shape_type_and_pattern_come_first() -> None:
    good = Y.astype(np.float32)
    odd = good.copy()
    odd[1, 2, 3] = np.nan

    assert judge_spread(SPREAD, good[:4], "y").reason == "y has the shape [4, 16, 12], want [8, 16, 12]"
    assert "int64" in judge_spread(SPREAD, good.astype(np.int64), "y").reason
    assert judge_spread(SPREAD, odd, "y").reason.startswith("y[1,2,3] = nan, want ")


def test_near_overflow_either_is_right() -> None:
    mode = PrecisionMode(input="float16", output="float16")
    y = np.array([65480.0, -65490.0, 3.0, 1e6, -np.inf, np.nan] * 8)
    runs = y * (1 + 2.0**-11 * np.random.default_rng(1).normal(size=(RUNS, y.size)))
    spread = spread_of(y, runs, mode, "float16")
    with np.errstate(over="ignore"):
        right = y.astype(np.float16)
    beyond = right.copy()
    beyond[:2] = [np.inf, -np.inf]
    wrong = right.copy()
    wrong[0] = -np.inf

    assert judge_spread(spread, right).ok
    assert judge_spread(spread, beyond).ok
    assert judge_spread(spread, wrong, "y").reason.startswith("y[0] = -inf")
    finite = right.copy()
    finite[4] = 65504
    assert judge_spread(spread, finite, "y").reason == "y[4] = 65504, want -inf"


def test_what_is_exact_in_every_run_has_to_be_exact() -> None:
    y = np.zeros((4, 64))
    y[0] = 1.5
    spread = spread_of(y, np.stack([y] * RUNS), FLOAT32, "float32")
    off = y.astype(np.float32)
    off[2, 5] = 1e-30

    assert judge_spread(spread, y.astype(np.float32)).ok
    assert "[2,5]" in judge_spread(spread, off, "y").reason


def test_flushed_subnormals_are_no_fault_where_they_are_declared() -> None:
    y = np.full(64, 2.0**-127)
    runs = y + 2.0**-149 * np.random.default_rng(4).uniform(-1, 1, (RUNS, 64))
    scattered = y + 2.0**-126 * np.random.default_rng(4).uniform(-1, 1, (RUNS, 64))
    flushed = PrecisionMode(subnormals="flushed")

    assert not judge_spread(spread_of(y, runs, FLOAT32, "float32"), np.zeros(64, np.float32)).ok
    assert judge_spread(spread_of(y, scattered, flushed, "float32"), np.zeros(64, np.float32)).ok


def test_a_spread_comes_back_as_it_was_stored() -> None:
    again = Spread.from_arrays({name: one.copy() for name, one in SPREAD.to_arrays().items()}, FLOAT32, "float32")
    x = _scattered(Y, 5).astype(np.float32)

    assert judge_spread(again, x) == judge_spread(SPREAD, x)
    assert SPREAD.scale.dtype == np.float32
    with pytest.raises(KeyError):
        Spread.from_arrays({}, FLOAT32, "float32")


def test_empty_outputs_and_scalars_are_judged() -> None:
    nothing = np.zeros((0, 4))
    one = np.array(0.75)

    assert judge_spread(spread_of(nothing, np.zeros((RUNS, 0, 4)), FLOAT32, "float32"), nothing.astype(np.float32)).ok
    scalar = spread_of(one, one + 1e-7 * np.random.default_rng(2).normal(size=RUNS), FLOAT32, "float32")
    assert judge_spread(scalar, np.array(0.75, np.float32)).ok
    assert not judge_spread(scalar, np.array(0.76, np.float32)).ok


def test_where_every_perturbed_run_overflowed_nobody_passes() -> None:
    reference = np.linspace(1.0, 2.0, 64)
    spread = spread_of(reference, np.full((24, 64), np.inf), native("float32"), "float32")
    with pytest.raises(HarnessError, match="nothing of 'y' can be judged"):
        judge_spread(spread, reference.astype(np.float32), "y")
