"""Every declared limit of a run's latency gets an outcome, a reason with figures, and the number of queries still missing.

Percentiles and the deadline's miss rate are decided by the binomial rule (`percentiles.py`), jitter by the intervals of the
two percentiles that it is made of. A maximum cannot be confirmed by samples, only refuted: one query over it fails it, and it
passes where the run was long enough to have shown one slow query in a thousand.

A limit stays open, whatever was counted, where the measurement is no match for it: where the floor (what the harness itself
takes, measured with a device that does nothing) or the generator's own lateness is above a tenth of the limit, or where clock
or record are unfit. A run that is still becoming slower passes nothing: what it would show later is worse. It can fail: what
counts is then how many queries were over the limit in this very run, and its slow change is no cluster. A percentile fails
only where it is over by more than the floor, and a maximum passes only where it is met by more than the floor.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from conformance.timing.correlation import clustering, without_trend
from conformance.timing.diagnosis import diagnose
from conformance.timing.finding import milliseconds
from conformance.timing.percentiles import (
    ALPHA,
    Interval,
    Outcome,
    critical_counts,
    decide_share,
    effective_count,
    percentile,
    percentile_interval,
    queries_for,
    samples_needed,
)
from conformance.timing.schedule import LATE, find_schedule_faults, own_lateness_ns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.tensors import Array
    from conformance.timing.finding import Finding
    from conformance.timing.samples import Samples

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}
SHOWN_RATE = 0.001
"""A maximum passes where a share this large over it would have been seen, with the stated error."""
FLOOR_SHARE = 0.1
WORSENING = frozenset({"drift", "throttling"})
"""Diagnoses under which nothing passes."""


class Limits(NamedTuple):
    """What is declared, in ns; None where nothing is."""

    p50_ns: int | None = None
    p90_ns: int | None = None
    p95_ns: int | None = None
    p99_ns: int | None = None
    p999_ns: int | None = None
    max_ns: int | None = None
    jitter_ns: int | None = None
    """Largest p99.9 less p50."""
    deadline_ns: int | None = None
    miss_rate: float | None = None
    """The share that may miss the deadline; None: none may."""

    @classmethod
    def from_declaration(cls, declared: Mapping[str, Any]) -> Limits:
        """Return the limits in a latency declaration, whose keys are `p99_ms` and so on; other keys are left alone."""
        found = {
            name: round(declared[key] * 1e6)
            for name in cls._fields
            if name.endswith("_ns") and declared.get(key := f"{name[:-3]}_ms") is not None
        }
        return cls(**found, miss_rate=declared.get("miss_rate"))


class Floor(NamedTuple):
    """What the harness itself takes, in ns: a device that does nothing, and one that is busy for a known time."""

    p50_ns: int = 0
    p999_ns: int = 0
    max_ns: int = 0
    error_ns: int = 0
    """By how much the median of the busy device missed its time, beyond p50 of the one that does nothing."""
    p90_ns: int | None = None
    p95_ns: int | None = None
    p99_ns: int | None = None

    @classmethod
    def from_null(cls, latency_ns: Array, error_ns: int = 0) -> Floor:
        """Return the floor from the latencies of a device that does nothing, int64[n]; n should be no less than the run's."""
        at = {f"{name}_ns": percentile(latency_ns, p) for name, p in PERCENTILES.items()}
        return cls(**at, max_ns=int(latency_ns.max()), error_ns=abs(error_ns))

    def at(self, name: str) -> int:
        """Return the floor of a limit by its name, such as `p99`; where a percentile is not known, that above it."""
        names = [*PERCENTILES, "max"]
        known: list[int | None] = [getattr(self, f"{one}_ns") for one in names[names.index(name) :]]
        return max(self.error_ns, next(one for one in known if one is not None))


class LimitResult(NamedTuple):
    """The outcome of one declared limit."""

    name: str
    """`p50` to `p999`, `max`, `jitter`, `deadline`."""
    limit: float
    """ns; the share of misses for `deadline`."""
    measured: float | None
    """In the unit of the limit; None of an empty run."""
    low: float | None
    """The interval; each end beyond the true value with a probability of at most alpha. None: not bounded."""
    high: float | None
    outcome: Outcome
    reason: str
    needed: int = 0
    """Where more queries would help: how many more, if none of them went over the limit."""
    n: int = 0
    effective: int = 0
    """How many independent queries the n are worth."""
    over: int = 0


def judge_latency(
    samples: Samples,
    limits: Limits,
    floor: Floor,
    *,
    alpha: float = ALPHA,
    findings: list[Finding] | None = None,
    other_clock_ns: Array | None = None,
) -> list[LimitResult]:
    """Return one result per declared limit, in the order of `Limits`.

    `findings` are those of `diagnosis.diagnose` where the caller has them already, and `other_clock_ns` what
    `schedule.find_clock_step` takes. `alpha` is the error of each limit, less where looks share it (`share_of_error`).
    """
    known = diagnose(samples) if findings is None else findings
    latency = samples.latency_ns
    worsening = next((one for one in known if one.name in WORSENING), None)
    run = _Run(
        latency,
        own_lateness_ns(samples) if samples.is_scheduled else None,
        clustering(latency),
        clustering(without_trend(latency)) if worsening else None,
        worsening,
        floor,
        alpha,
    )
    results = []
    for name, p in PERCENTILES.items():
        limit = getattr(limits, f"{name}_ns")
        if limit is not None:
            results.append(_judge_share(run, name, limit, round(1 - p, 9), p))
    if limits.max_ns is not None:
        results.append(_judge_max(run, "max", limits.max_ns))
    if limits.jitter_ns is not None:
        results.append(_judge_jitter(run, limits.jitter_ns))
    if limits.deadline_ns is not None:
        if limits.miss_rate:
            results.append(_judge_share(run, "deadline", limits.deadline_ns, limits.miss_rate, None))
        else:
            results.append(_judge_max(run, "deadline", limits.deadline_ns))
    faults = find_schedule_faults(samples, other_clock_ns)
    return [_void(one, faults[0]) for one in results] if faults else results


class _Run(NamedTuple):
    """What every limit is judged from."""

    latency: Array
    lateness: Array | None
    """The generator's own; None where latency is timed from issue, so that lateness is no part of it."""
    clusters: Array
    """What `clustering` says of the latencies."""
    clusters_in_trend: Array | None
    """The same once they are freed of their trend, where they have one."""
    worsening: Finding | None
    floor: Floor
    alpha: float

    def worth(self, limit: int) -> int:
        """Return how many independent queries the run is worth where a limit is judged."""
        return int(effective_count(self.latency, limit, self.clusters))

    def fails(self, surely: int, limit: int, allowed: float) -> bool:
        """Return whether so many queries over a limit fail it."""
        n = self.latency.size
        worths = [self.worth(limit)]
        if self.clusters_in_trend is not None:
            worths.append(int(effective_count(self.latency, int(self.latency.max()), self.clusters_in_trend)))
        return any(surely >= critical_counts(n, allowed, self.alpha, one).fewest_to_fail for one in worths)

    def find_unfit(self, name: str, limit: int, p: float | None) -> str:
        """Return why the measurement is no match for a limit, or nothing; p is None for a maximum."""
        floor = self.floor.at(name if name in PERCENTILES else "max" if p is None else "p999")
        if floor > FLOOR_SHARE * limit:
            return f"the measurement floor is {milliseconds(floor)}, {floor / limit:.0%} of the limit: more than {FLOOR_SHARE:.0%}"
        if self.lateness is not None and self.lateness.size:
            late = percentile(self.lateness, 1.0 if p is None else p)
            if late > LATE * limit:
                return f"generator starved: its own lateness is {milliseconds(late)}, {late / limit:.0%} of the limit: more than {LATE:.0%}"
        return ""


def _void(result: LimitResult, fault: Finding) -> LimitResult:
    """Return a result of a run whose times are unfit."""
    return result._replace(outcome="open", needed=0, reason=f"{fault.name}: {fault.text} ({result.reason})")


def _so_far(worsening: Finding, told: str) -> str:
    """Return why a limit that has not failed stays open in a run that is becoming slower."""
    return f"{worsening.name}: {worsening.text} (so far {told})"


def _judge_share(run: _Run, name: str, limit: int, allowed: float, p: float | None) -> LimitResult:
    """Judge a percentile, or with p None the share of misses of a deadline."""
    n = run.latency.size
    if not n:
        fewest = samples_needed(allowed, 0, run.alpha) if 0 < allowed < 1 and run.alpha else 1
        return _nothing(name, limit if p else allowed, fewest)
    level = p or round(1 - allowed, 9)
    margin = run.floor.at(name if name in PERCENTILES else "p999")
    over = int(np.count_nonzero(run.latency > limit))
    surely = int(np.count_nonzero(run.latency > limit + margin))
    worth = run.worth(limit)
    counts = critical_counts(n, allowed, run.alpha, worth)
    seen = percentile_interval(run.latency, level, run.alpha, worth)
    counted = f"{over} of {n} over it, {allowed:.3g} allowed" + (
        f", worth {worth} independent ones" if worth < 0.9 * n else ""
    )
    if p:
        told = f"{name} {_compared(seen.value, seen, limit)}: {counted}"
        shown: tuple[float, float | None, float | None] = seen
    else:
        told = f"{over / n:.3g} of the queries miss {milliseconds(limit)}: {counted}"
        shown = (over / n, None, None)
    base = LimitResult(name, limit if p else allowed, *shown, "open", told, 0, n, worth, over)
    unfit = run.find_unfit(name, limit, level)
    if unfit:
        return base._replace(reason=f"{unfit} ({told})")
    if run.fails(surely, limit, allowed):
        return base._replace(outcome="fail")
    if run.worsening:
        return base._replace(reason=_so_far(run.worsening, told))
    if over <= counts.most_to_pass:
        return base._replace(outcome="pass")
    if over >= counts.fewest_to_fail:
        return base._replace(reason=f"over it by less than the measurement floor of {milliseconds(margin)}; {told}")
    needed = worth + decide_share(math.ceil(over * worth / n), worth, allowed, run.alpha).needed
    more = max(1, queries_for(needed, n, worth) - n)
    return base._replace(needed=more, reason=f"{more} more queries are needed if none of them is over it; {told}")


def _judge_max(run: _Run, name: str, limit: int) -> LimitResult:
    """Judge a limit that no query may exceed."""
    n = run.latency.size
    enough = samples_needed(SHOWN_RATE, 0, run.alpha) if run.alpha else 0
    if not n:
        return _nothing(name, limit, enough)
    largest, over = int(run.latency.max()), int(np.count_nonzero(run.latency > limit))
    worth = run.worth(limit)
    told = f"{name} {_compared(largest, None, limit)}: {over} of {n} over it"
    base = LimitResult(name, limit, largest, largest, None, "open", told, 0, n, worth, over)
    unfit = run.find_unfit(name, limit, None)
    if unfit:
        return base._replace(reason=f"{unfit} ({told})")
    if over:
        return base._replace(outcome="fail")
    if run.worsening:
        return base._replace(reason=_so_far(run.worsening, told))
    margin = run.floor.at("max")
    if largest + margin >= limit:
        return base._replace(reason=f"met by less than the measurement floor of {milliseconds(margin)}; {told}")
    if not run.alpha or worth < enough:
        more = max(1, queries_for(enough, n, worth) - n)
        return base._replace(
            needed=more, reason=f"{more} more queries are needed to show one slow query in a thousand; {told}"
        )
    return base._replace(outcome="pass")


def _judge_jitter(run: _Run, limit: int) -> LimitResult:
    """Judge p99.9 less p50; each of the two intervals spends half of the error."""
    n = run.latency.size
    enough = samples_needed(SHOWN_RATE, 0, run.alpha / 2) if run.alpha else 0
    if not n:
        return _nothing("jitter", limit, enough)
    tail, middle = (
        percentile_interval(run.latency, p, run.alpha / 2, run.worth(percentile(run.latency, p))) for p in (0.999, 0.5)
    )
    spread = Interval(
        tail.value - middle.value,
        None if tail.low is None or middle.high is None else max(0, tail.low - middle.high),
        None if tail.high is None or middle.low is None else tail.high - middle.low,
    )
    worth = run.worth(tail.value)
    told = f"jitter (p99.9 less p50) {_compared(spread.value, spread, limit)}, {n} queries"
    base = LimitResult("jitter", limit, *spread, "open", told, 0, n, worth, 0)
    unfit = run.find_unfit("p999", limit, 0.999)
    if unfit:
        return base._replace(reason=f"{unfit} ({told})")
    if spread.low is not None and spread.low > limit + run.floor.at("p999"):
        return base._replace(outcome="fail")
    if run.worsening:
        return base._replace(reason=_so_far(run.worsening, told))
    if spread.high is not None and spread.high <= limit:
        return base._replace(outcome="pass")
    more = max(0, queries_for(enough, n, worth) - n)
    return base._replace(
        needed=more,
        reason=f"{f'{more} more queries are needed' if more else 'the limit is inside the interval'}; {told}",
    )


def _nothing(name: str, limit: float, needed: int) -> LimitResult:
    queries = queries_for(needed)
    reason = f"no query was measured; {queries} are needed at least"
    return LimitResult(name, limit, None, None, None, "open", reason, queries)


def _compared(value: float, interval: Interval | None, limit: float) -> str:
    """Return `4.1 ms (3.9 ms to 4.4 ms) ≤ 5 ms (82 %)`."""
    ends = ""
    if interval is not None:
        low, high = ("?" if one is None else milliseconds(one) for one in interval[1:])
        ends = f" ({low} to {high})"
    return f"{milliseconds(value)}{ends} {'≤' if value <= limit else '>'} {milliseconds(limit)} ({value / limit:.0%})"
