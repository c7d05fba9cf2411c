"""Whether clock and generator kept their part: what makes a run worthless rather than a device slow.

clock step          time jumped: by a second clock, or by an interval that dwarfs the rest of the run
sampling gap        queries are missing from the record: frames of the schedule, or a stretch without any
generator starved   queries were issued late although the device was free
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from conformance.timing.finding import Finding, milliseconds

if TYPE_CHECKING:
    from conformance.tensors import Array
    from conformance.timing.samples import Samples

LEAST_STEP_NS = 10_000_000_000
"""An interval that is shorter may be a hang of the device: only a second clock can call it a step."""
DWARFS = 1000
CLOCKS_DIFFER_NS = 50_000_000
"""Two clocks of one host may drift apart by this much in a run: NTP slews at most 500 ppm, 50 ms in 100 s."""
CLOCKS_DRIFT = 1e-3
LEAST_GAP_NS = 1_000_000_000
GAPS_SHARE = 0.1
"""Of a closed loop: a host that takes the processor away between two queries, a few percent of the time, hides none of them."""
LATE = 0.1
"""The share of a limit, or of the period, that the generator's own lateness may take."""


def own_lateness_ns(samples: Samples) -> Array:
    """Return int64[n]: how much later a query was issued than it could have been.

    That is when it was due; or when all before it were done, where it waited for them: a device that is too slow for its
    schedule makes queries late, and that is no fault of the generator.
    """
    ended = np.maximum.accumulate(samples.done_ns)
    free = np.concatenate(([0], ended[:-1]))
    waited = (free > samples.due_ns) & (free <= samples.issued_ns)
    lateness: Array = samples.issued_ns - np.where(waited, free, samples.due_ns)
    return lateness


def find_schedule_faults(samples: Samples, other_clock_ns: Array | None = None) -> list[Finding]:
    """Return what makes the times of a run unfit for any verdict.

    `other_clock_ns`, int64[n], is a second clock read where `issued_ns` was, such as the wall clock.
    """
    step = find_clock_step(samples, other_clock_ns)
    found = [step, None if step else find_gap(samples)]
    return [one for one in found if one is not None]


def find_clock_step(samples: Samples, other_clock_ns: Array | None = None) -> Finding | None:
    """Return by how much the clock jumped, where it did."""
    if samples.size < 3:
        return None
    if other_clock_ns is not None:
        own, other = np.diff(samples.issued_ns), np.diff(other_clock_ns)
        apart = own - other
        at = int(np.argmax(np.abs(apart)))
        allowed = CLOCKS_DIFFER_NS + CLOCKS_DRIFT * min(abs(float(own[at])), abs(float(other[at])))
        if abs(int(apart[at])) <= allowed:
            return None
        text = f"between query {at} and {at + 1} one clock went on by {milliseconds(own[at])}, the other by {milliseconds(other[at])}"
        return Finding("clock step", text, {"step_ns": float(apart[at]), "query": at})
    events = np.sort(np.concatenate([samples.issued_ns, samples.done_ns]))
    intervals = np.diff(events)
    at = int(np.argmax(intervals))
    longest = int(intervals[at])
    usual = int(np.partition(intervals, -2)[-2])
    if longest < LEAST_STEP_NS or longest < DWARFS * max(1, int(np.median(intervals))) or longest < 10 * usual:
        return None
    text = f"{longest / 1e9:.4g} s in which nothing happened: the clock stepped, or everything stood still"
    return Finding(
        "clock step", text, {"step_ns": float(longest), "query": float(np.searchsorted(samples.issued_ns, events[at]))}
    )


def find_gap(samples: Samples) -> Finding | None:
    """Return how much of the run is missing from the record."""
    if samples.size < 3:
        return None
    if samples.is_scheduled:
        periods = np.diff(samples.due_ns)
        usual = float(np.median(periods))
        # A schedule of equal periods misses one frame at 1.5; random arrivals leave 25 medians free once in 3 × 10⁷.
        is_regular = float(np.quantile(periods, 0.9)) <= 1.5 * max(usual, 1.0)
        over = periods > (1.5 if is_regular else 25) * max(usual, 1.0)
        missing = float((periods[over] / max(usual, 1.0) - 1).sum())
        if not over.any():
            return None
        text = f"the schedule has {int(over.sum())} gaps, the longest {milliseconds(periods.max())}: some {missing:.0f} queries are missing"
        return Finding(
            "sampling gap", text, {"gaps": float(over.sum()), "longest_ns": float(periods.max()), "missing": missing}
        )
    idle = samples.issued_ns[1:] - np.maximum.accumulate(samples.done_ns)[:-1]
    cycle = max(1.0, float(np.median(np.diff(samples.issued_ns))))
    over = idle > 20 * cycle
    lost = float(idle[over].sum())
    span = float(samples.done_ns.max() - samples.issued_ns[0])
    if not over.any() or (float(idle.max()) < LEAST_GAP_NS and lost < GAPS_SHARE * span):
        return None
    text = f"for {milliseconds(lost)} in {int(over.sum())} gaps no query was under way: the record is not complete, or the generator stood still"
    return Finding(
        "sampling gap", text, {"gaps": float(over.sum()), "longest_ns": float(idle.max()), "share": lost / span}
    )


def find_starvation(samples: Samples, period_ns: int | None = None) -> Finding | None:
    """Return how late the generator was by its own fault, where p99 of that is above a tenth of the (median) period."""
    if samples.size < 3 or not samples.is_scheduled:
        return None
    late = float(np.quantile(own_lateness_ns(samples), 0.99))
    period = float(period_ns or np.median(np.diff(samples.due_ns)))
    if late <= LATE * period:
        return None
    text = f"one query in a hundred was issued {milliseconds(late)} late by the generator, with a period of {milliseconds(period)}"
    return Finding("generator starved", text, {"late_p99_ns": late, "period_ns": period})
