"""Tier 3: what one output of a model is judged by, and the judging.

The reference y comes with N runs of the same model whose operations were perturbed as the declared precision would round
them (Monte Carlo arithmetic; D. S. Parker, "Monte Carlo Arithmetic", UCLA CSD-970002, 1997). From their deviations follows a
scale s for every element, and from how the runs themselves fare against s follow limits for the tensor and for each of its
groups (`groups.py`). A device's x is judged by r = (x − y)/s: no element may be far out (|r| ≤ 8), the errors of no group too
large (the root mean square of r), and none lean to one side (the means of r and of sign(y)·r).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from conformance.errors import HarnessError
from conformance.numerics.formats import FORMATS, round_to
from conformance.numerics.groups import POOLED, TESTED, partitions
from conformance.numerics.judged import Judged, Statistic
from conformance.numerics.modes import native
from conformance.numerics.resemblance import LIKES, MEDIAN, resemblance

if TYPE_CHECKING:
    from conformance.numerics.groups import Partition
    from conformance.numerics.modes import PrecisionMode
    from conformance.tensors import Array

RUNS = 24
"""Perturbed runs: with 8 the limits themselves are too uncertain."""
FARTHEST = 8.0
"""The largest |r| of an element."""
FARTHEST_NAME = "farthest_r"
PRIOR = 8.0
"""How many runs the pooled variance counts for beside an element's own."""
RMS_FLOOR, RMS_TIMES, DEVIATIONS, BIAS_FLOOR = 0.6, 2.0, 6.0, 0.02
_RMS, _MEAN, _SIGNED = range(3)
_STORED = ("reference", "scale", "limits", "level")


class Spread(NamedTuple):
    """What one output is judged by: made once, kept, and used for any device that declares the precision."""

    reference: Array
    """y, float64, in the output's shape."""
    scale: Array
    """s per element, in the same shape; infinite where a perturbed run overflowed."""
    limits: Array
    """[1 + groups, 3]: the largest rms(r), |mean r| and |mean sign(y)·r| of the tensor, then of each group in order."""
    level: Array
    """[1]: the quadratic mean of the runs' own rms(r): what a right device is expected to show at most."""
    mode: PrecisionMode
    kind: str
    """The output's element type."""
    likes: Array = np.zeros(0)
    """[precisions of `resemblance.LIKES`]: the typical |r| of a device that computes so, NaN where that is no coarser; or empty."""

    def to_arrays(self) -> dict[str, Array]:
        """Return the arrays that `from_arrays` takes, to be stored."""
        return {name: getattr(self, name) for name in (*_STORED, "likes")}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Array], mode: PrecisionMode, kind: str) -> Spread:
        """Return a spread as it was stored; KeyError where an array is missing."""
        stored = {name: arrays[name] for name in _STORED}
        return cls(**stored, mode=mode, kind=kind, likes=arrays.get("likes", np.zeros(0)))


class Range(NamedTuple):
    """What the type of an output can hold and how finely, the declared precision or its own, whichever is coarser."""

    roundoff: float
    nmin: float
    step: float
    largest: float


def range_of(mode: PrecisionMode, kind: str) -> Range:
    """Return the range and grain of results in an output of a type."""
    both = (mode.results, native(kind).results)
    nmin = max(one.nmin for one in both)
    return Range(
        max(one.roundoff for one in both),
        nmin,
        nmin if mode.flushes else max(one.step for one in both),
        min(one.largest for one in both),
    )


def spread_of(reference: Array, runs: Array, mode: PrecisionMode, kind: str) -> Spread:
    """Return what an output is judged by, from its float64 reference and the perturbed runs [N, *shape]."""
    y = np.asarray(reference, dtype=np.float64)
    held = range_of(mode, kind)
    flat, count = y.reshape(-1), len(runs)
    finite = np.isfinite(flat)
    with np.errstate(invalid="ignore", over="ignore"):
        deviations = np.where(finite, runs.reshape(count, -1) - flat, 0.0)
        own = np.square(deviations).mean(axis=0)
        own = np.where(np.isnan(own), np.inf, own)
        pooled = np.full(flat.shape, own.mean() if own.size else 0.0)
        for part in partitions(y, POOLED):
            pooled = np.minimum(pooled, part.spread_out(part.means(own)))
        grain = np.maximum(held.roundoff * np.abs(np.where(finite, flat, 0.0)), held.step) / np.sqrt(3)
        scale = np.sqrt((count * own + PRIOR * pooled) / (count + PRIOR)) + grain
        shown = np.where(np.isfinite(scale), deviations / scale, 0.0)
    limits, level = _limits(y, np.where(np.isfinite(shown), shown, 0.0), held.nmin)
    small = scale.size == 0 or float(scale.min()) > 1e-37  # float32 keeps seven digits down to there
    stored = scale.astype(np.float32) if small else scale
    return Spread(y, stored.reshape(y.shape), limits, np.array([level]), mode, kind)


def with_likes(spread: Spread, runs: dict[str, Array]) -> Spread:
    """Return the spread with what the errors of coarser precisions look like: one perturbed run of each, by name."""
    return spread._replace(likes=np.array([typical(spread, runs[one]) if one in runs else np.nan for one in LIKES]))


def typical(spread: Spread, x: Array) -> float:
    """Return the typical |r| of an output: the standard deviation that its median tells, which a few wild elements do not move."""
    with np.errstate(invalid="ignore", over="ignore"):
        r = np.abs((np.asarray(x, dtype=np.float64) - spread.reference) / spread.scale)
    usable = r[np.isfinite(r)]
    return float(np.median(usable)) / MEDIAN if usable.size else 0.0


def _limits(y: Array, shown: Array, nmin: float) -> tuple[Array, float]:
    """Return the limits of the tensor and its groups, from the runs' own r [N, elements], and the level of the tensor."""
    count = len(shown)
    rows = []
    level = 0.0
    for part in [None, *partitions(y, TESTED)]:
        rms, *biases = _statistics(y, shown, part, nmin)
        quadratic, deviation = np.sqrt(np.square(rms).mean(axis=0)), rms.std(axis=0, ddof=1 if count > 1 else 0)
        allowed = np.maximum(np.maximum(RMS_TIMES * quadratic, RMS_FLOOR), quadratic + DEVIATIONS * deviation)
        columns = [allowed]
        for bias in biases:
            square = np.square(bias).mean(axis=0)
            if part is not None:
                square = (count * square + PRIOR * square.mean()) / (count + PRIOR)
            columns.append(DEVIATIONS * np.sqrt(square) + BIAS_FLOOR)
        rows.append(np.stack(columns, axis=-1))
        level = level or float(quadratic[0])
    return np.concatenate(rows), level


def _statistics(y: Array, shown: Array, part: Partition | None, nmin: float) -> tuple[Array, Array, Array]:
    """Return rms(r), mean(r) and mean(sign(y)·r) of each group, [..., groups], for r [..., elements]."""
    flat = y.reshape(-1)
    heard = np.abs(flat) >= nmin  # a rounding of what is smaller leans to one side wherever subnormals do
    heard &= np.isfinite(flat)
    weighed = np.where(heard, shown, 0.0)
    means = [np.square(shown), weighed, weighed * np.sign(np.where(heard, flat, 0.0))]
    if part is None:
        found = [one.mean(axis=-1, keepdims=True) if one.shape[-1] else np.zeros((*one.shape[:-1], 1)) for one in means]
    else:
        found = [part.means(one) for one in means]
    return np.sqrt(found[0]), found[1], found[2]


def judge_spread(spread: Spread, actual: Array, name: str = "output") -> Judged:
    """Judge one output of a device. The statistics hold the worst of each kind with its limit, whatever the judgement."""
    y = spread.reference
    if actual.shape != y.shape:
        return Judged("spread", f"{name} has the shape {list(actual.shape)}, want {list(y.shape)}")
    if actual.dtype.kind not in "fV":  # ml_dtypes has kind V
        return Judged("spread", f"{name} has the type {actual.dtype.name}, want {spread.kind}")
    x = actual.astype(np.float64)
    scale = spread.scale.astype(np.float64)
    held = range_of(spread.mode, spread.kind)
    known = np.isfinite(y)
    if known.any() and not np.isfinite(scale[known]).any():
        raise HarnessError(f"nothing of '{name}' can be judged: every perturbed run overflowed")
    strange = _pattern(spread, x, scale, held)
    if strange is not None:
        return Judged("spread", f"{_element(name, strange)} = {x[strange]:.9g}, want {_wanted(spread, strange)}")
    with np.errstate(invalid="ignore"):
        r = np.where(np.isfinite(x) & np.isfinite(y) & np.isfinite(scale), (x - y) / scale, 0.0)
    faults: list[str] = []  # an element that is wrong says more than a group's statistic, so it comes first
    statistics = [_farthest(spread, x, r, name, faults), *_of_groups(spread, r, name, held.nmin, faults)]
    if not faults:
        return Judged("spread", "", tuple(statistics))
    return Judged("spread", faults[0], tuple(statistics), resemblance(spread, x, r))


def _pattern(spread: Spread, x: Array, scale: Array, held: Range) -> tuple[int, ...] | None:
    """Return the first element that is NaN or infinite where y, rounded to the type, is not, or the other way round.

    Elements within 8 s of overflow may be finite or infinite with the reference's sign.
    """
    y = spread.reference
    form = native(spread.kind).results
    wanted = round_to(y, form if form.roundoff >= spread.mode.results.roundoff else FORMATS[spread.mode.output])
    with np.errstate(invalid="ignore"):
        near = np.isfinite(y) & ~(np.abs(y) + FARTHEST * scale < held.largest)
        beside = np.isfinite(x) | (np.isinf(x) & (np.sign(x) == np.sign(y)))
        same = np.where(np.isfinite(wanted), np.isfinite(x), np.where(np.isnan(wanted), np.isnan(x), x == wanted))
    bad = np.flatnonzero(~np.where(near, beside, same))
    return tuple(int(one) for one in np.unravel_index(bad[0], y.shape)) if bad.size else None


def _farthest(spread: Spread, x: Array, r: Array, name: str, faults: list[str]) -> Statistic:
    """Return the largest |r|; a fault that names the element is added where it is too large."""
    if r.size == 0:
        return Statistic(FARTHEST_NAME, 0.0, FARTHEST)
    at = tuple(int(one) for one in np.unravel_index(int(np.argmax(np.abs(r))), r.shape))
    worst = float(abs(r[at]))
    if worst > FARTHEST:
        told = f"{_element(name, at)} = {x[at]:.9g}, want {_wanted(spread, at)}"
        faults.append(f"{told} (Monte Carlo arithmetic: |r| = {worst:.3g} > {FARTHEST:g})")
    return Statistic(FARTHEST_NAME, worst, FARTHEST)


def _of_groups(spread: Spread, r: Array, name: str, nmin: float, faults: list[str]) -> list[Statistic]:
    """Return the statistics of the tensor, and the worst of its groups; a fault that names the worst is added."""
    y, flat = spread.reference, r.reshape(-1)
    parts = partitions(y, TESTED)
    found = [_statistics(y, flat, part, nmin) for part in [None, *parts]]
    values = np.stack([np.concatenate([np.abs(one[kind]) for one in found]) for kind in range(3)], axis=-1)
    shares = values / spread.limits
    statistics = []
    for kind, what in ((_RMS, "rms_r"), (_MEAN, "mean_r"), (_SIGNED, "mean_signed_r")):
        statistics.append(Statistic(what, float(values[0, kind]), float(spread.limits[0, kind])))
        if len(values) > 1:
            worst = 1 + int(np.argmax(shares[1:, kind]))
            value, limit = float(values[worst, kind]), float(spread.limits[worst, kind])
            statistics.append(Statistic(f"{what}_of_groups", value, limit))
    if (shares > 1).any():
        row, kind = (int(one) for one in np.unravel_index(int(np.argmax(shares)), shares.shape))
        value, limit = float(values[row, kind]), float(spread.limits[row, kind])
        faults.append(_told(kind, _group_name(row, parts, name), value, limit))
    return statistics


def _told(kind: int, where: str, value: float, limit: float) -> str:
    if kind == _RMS:
        return f"the errors of {where} are too large: rms r {value:.3g} > {limit:.3g} (Monte Carlo arithmetic)"
    lean, what = ("to one side", "mean r") if kind == _MEAN else ("toward zero or away from it", "mean sign(y)·r")
    return f"the errors of {where} lean {lean}: |{what}| {value:.3g} > {limit:.3g} (Monte Carlo arithmetic)"


def _group_name(row: int, parts: list[Partition], name: str) -> str:
    row -= 1
    for part in parts:
        if 0 <= row < len(part.counts):
            return part.name(row, name)
        row -= len(part.counts)
    return name


def _element(name: str, at: tuple[int, ...]) -> str:
    return f"{name}[{','.join(map(str, at))}]" if at else name


def _wanted(spread: Spread, at: tuple[int, ...]) -> str:
    y: Any = spread.reference[at]
    if not np.isfinite(y):
        return f"{y}"
    return f"{y:.9g} ± {FARTHEST * float(spread.scale[at]):.2g}"
