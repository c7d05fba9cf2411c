"""How long a timed case lasts, and how many queries it makes: fixed before the first one that counts.

The level gives the seconds of the measured run. A certificate asks for 600 s or more; what is shorter says so in its verdict.
The number of queries follows from a ranging run and from the percentiles that are declared, never from how the run goes:
looking until it passes would turn an error of 1 % into one of 8.5 %.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from conformance.levels import CERTIFY, FULL, SMOKE
from conformance.timing.percentiles import queries_to_plan

if TYPE_CHECKING:
    from collections.abc import Mapping

BITWISE = ("bitwise-session", "bitwise-process", "batch-invariant")
"""Classes of determinism that promise the same bits in a session of its own."""
CERTIFYING_S = 600.0
"""The shortest run on which a certificate may rest."""
LONGER = 1.05
"""A certifying run is planned so much longer: a device that is a little quicker than when it was ranged still fills the time."""
SECONDS = {SMOKE: 2.0, FULL: 10.0, CERTIFY: CERTIFYING_S}
MOST = {SMOKE: 1.0, FULL: 3.0, CERTIFY: 6.0}
"""By how much a run may be longer than that for its percentiles to be decided."""
SMOKE_TOTAL_S = 60.0
"""What all timed cases of a smoke run may take together."""
OVERHEAD = 2.5
"""What a case takes, in units of its measured run: warm-up, ranging, the harness's own measurement and the audits included."""
WARM_UP_S = {SMOKE: 0.2, FULL: 1.0, CERTIFY: 5.0}
RANGING_SHARE = 0.1
AUDIT_SHARE = 0.1
"""Of the measured run's length: each of the three lots that the audits compare."""
PERCENTILES = {"p50_ms": 50.0, "p90_ms": 90.0, "p95_ms": 95.0, "p99_ms": 99.0, "p999_ms": 99.9}
SPARE = 1
"""Queries over the limit that the planned number leaves room for."""
MOST_QUERIES = 5_000_000
SLACK = 3.0
"""A run is given up when it takes so many times as long as planned."""
OTHER_S = 60.0
"""What the harness's own measurement and the accuracy run may take."""
FEWEST = 100


class Extent(NamedTuple):
    """How long the parts of a timed case last, in seconds."""

    measured_s: float
    warm_up_s: float
    ranging_s: float
    audit_s: float
    most_s: float
    """The longest that the measured run is planned for."""

    @property
    def longest_s(self) -> float:
        """What the case may take by its own plan, a run included that is given up at `SLACK` times its length."""
        parts = self.warm_up_s + 3 * self.ranging_s + 4 * self.audit_s
        return SLACK * (self.most_s + parts) + OTHER_S


def extent(level: str, item: Mapping[str, Any], count: int) -> Extent:
    """Return the extent of one of `count` timed cases for a declared latency."""
    seconds = SECONDS[level]
    if level == SMOKE:
        seconds = min(seconds, SMOKE_TOTAL_S / (OVERHEAD * max(1, count)))
    elif level == CERTIFY:
        seconds = LONGER * max(seconds, item.get("min_duration_s") or 0.0)
    declared = item.get("warm_up_s")
    warm_up = WARM_UP_S[level] if declared is None else min(declared, WARM_UP_S[CERTIFY] * 12)
    if level == SMOKE:
        warm_up = min(warm_up, WARM_UP_S[SMOKE])
    audit = min(AUDIT_SHARE * seconds, 10.0)
    return Extent(seconds, warm_up, min(RANGING_SHARE * seconds, 5.0), audit, seconds * MOST[level])


def queries_needed(item: Mapping[str, Any]) -> int:
    """Return how many queries decide the tightest of the declared limits, with `SPARE` of them over it."""
    shares = [1.0 - percent / 100.0 for name, percent in PERCENTILES.items() if item.get(name) is not None]
    if item.get("miss_rate"):
        shares.append(float(item["miss_rate"]))
    if item.get("jitter_ms") is not None:
        shares.append(0.001)
    generated = [item.get(name) for name in ("ttft_p99_ms", "tpot_p99_ms")]
    if any(one is not None for one in generated):
        shares.append(0.01)
    return max((queries_to_plan(round(share, 9), SPARE) for share in shares), default=FEWEST)


def plan_count(per_query_ns: float, needed: int, measured_s: float, most_s: float) -> int:
    """Return how many queries are made: those that fill the time, or those that decide the limits where there is time for them."""
    filling = math.ceil(measured_s * 1e9 / max(per_query_ns, 1.0))
    wanted = max(filling, needed if needed * per_query_ns <= most_s * 1e9 else filling, FEWEST // 10)
    return min(wanted, MOST_QUERIES)


def why_too_short(measured_s: float, item: Mapping[str, Any]) -> str:
    """Return why a run certifies nothing although it met its limits; empty where it was long enough."""
    wanted = max(CERTIFYING_S, item.get("min_duration_s") or 0.0)
    return "" if measured_s >= wanted else f"too short to certify: {measured_s:.3g} s < {wanted:g} s"
