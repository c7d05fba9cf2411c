"""The judge of a timed case: limits, audits and diagnoses of the samples that were kept. Pure.

A device that answers wrongly while it is timed, or elsewhere, fails before its times are looked at. Then every declared limit
is decided by the binomial rule, the audits by the ratio of percentiles with its interval, and what was found about the run is
named. An audit that cannot be decided on a noisy host holds up a certificate, and is told in a shorter run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from conformance.checks.support.timed_answers import judge_answers
from conformance.checks.support.timed_generation import TOKENS
from conformance.checks.support.timed_plan import why_too_short
from conformance.checks.support.timed_run import AUDITS, NULL, QUERIES
from conformance.levels import CERTIFY
from conformance.records import Judgement, Measurement, Outcome
from conformance.timing.comparison import PARTS_PER_MILLION, TOLERANCE, compare_gap, compare_repeats, compare_runs
from conformance.timing.diagnosis import FEWEST, diagnose
from conformance.timing.judging import WORSENING, Floor, Limits, judge_latency
from conformance.timing.percentiles import ALPHA, percentile_interval
from conformance.timing.samples import unpack
from conformance.timing.schedule import find_schedule_faults, find_starvation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from conformance.observation import Seen
    from conformance.records import Case
    from conformance.tensors import Array
    from conformance.timing.comparison import Comparison
    from conformance.timing.finding import Finding
    from conformance.timing.judging import LimitResult
    from conformance.timing.percentiles import Outcome as Decided
    from conformance.timing.samples import Samples

MET = {"pass": True, "fail": False, "open": None}
WORSE = 0.1
"""The growth over a run from which on a device becomes slower, and not the host that it shares."""
SEEDS = "seed dependence"


class _Said(NamedTuple):
    """What one part of the judgement has to say."""

    outcome: str
    reason: str
    measurement: Measurement


def judge_timed(case: Case, seen: Seen, expected: list[list[Any]]) -> Judgement:
    """Return the judgement of one timed case."""
    answered = judge_answers(case, seen, expected)
    facts, kept = seen.observation.facts, seen.observation.kept
    if answered.outcome in (Outcome.FAIL, Outcome.ERROR):
        return answered
    if QUERIES not in kept or NULL not in kept:
        missing = Judgement(outcome=Outcome.ERROR, reason="the times of the queries are missing")
        return missing if answered.outcome is Outcome.PASS else answered
    queries = unpack(kept[QUERIES])
    floor = Floor.from_null(unpack(kept[NULL]).latency_ns, int(facts["busy_error_ns"]))
    runs = {"": queries} if TOKENS not in kept else {"ttft_": queries, "tpot_": unpack(kept[TOKENS])}
    findings = {name: diagnose(run) for name, run in runs.items()}
    said: list[_Said] = []
    for name, run in runs.items():
        limits = _limits(case.params["item"], name)
        results = judge_latency(run, limits, floor, findings=[one for one in findings[name] if _counts(one)])
        said += [_limit(one, name) for one in results]
    if case.params["scenario"] == "sustained":
        said.append(_sustained(queries, findings[""]))
    said += _cold_start(case.params["item"], facts)
    is_limited = any(one.measurement.limit for one in said)
    if not is_limited:
        bare = Measurement(name="limits", value=0, limit="≥ 1")
        said.append(_Said("open", "the declaration has no limit that could be met or missed", bare))
    said += _extent(facts, queries)
    short = why_too_short(float(facts["measured_s"]), case.params["item"])
    if short and case.params["level"] == CERTIFY:
        said.append(_Said("open", short, Measurement(name="measured_s", value=float(facts["measured_s"]), unit="s")))
    audits = _audits(kept, int(facts.get("audit_rounds", 0)))
    said += [_audit(one, case.params["level"]) for one in audits]
    notes = [f"{one.name}: {one.text}" for found in findings.values() for one in found]
    notes += [f"{one.name}: {one.text}" for one in _others(queries, kept)]
    return _concluded(answered, said, [*notes, *([short] if short else [])], floor)


def _limits(item: Mapping[str, Any], run: str) -> Limits:
    """Return the limits of a run: those declared for single queries, or the one of the first tokens or of the following."""
    if not run:
        return Limits.from_declaration(item)
    declared = item.get(f"{run}p99_ms")
    return Limits(p99_ns=None if declared is None else round(declared * 1e6))


def _limit(result: LimitResult, run: str) -> _Said:
    is_share = result.name == "deadline" and result.limit <= 1
    scale, unit = (1.0, "of the queries") if is_share else (1e6, "ms")
    value = None if result.measured is None else float(f"{result.measured / scale:.4g}")
    told = Measurement(
        name=f"{run}{result.name}" + ("_misses" if is_share else "_ms"),
        value=value,
        unit=unit,
        limit=f"≤ {result.limit / scale:.4g}",
        margin=None if value is None or not result.limit else value / (result.limit / scale),
        met=MET[result.outcome],
    )
    return _Said(result.outcome, result.reason if not run else f"{run[:-1]}: {result.reason}", told)


def _sustained(queries: Samples, findings: Iterable[Finding]) -> _Said:
    """Judge load without a pause: it may become no slower."""
    worse = next((one for one in findings if one.name in WORSENING), None)
    share = 0.0 if worse is None else _growth(worse)
    told = Measurement(
        name="growth_over_run",
        value=float(f"{share:.3g}"),
        limit=f"≤ {WORSE:g}",
        margin=share / WORSE,
        met=share <= WORSE,
    )
    if worse is not None and _counts(worse):
        return _Said("fail", f"{worse.name}: {worse.text}", told)
    if queries.size < FEWEST:
        reason = f"{queries.size} queries tell no drift: {FEWEST} are needed"
        return _Said("open", reason, msgspec.structs.replace(told, met=None))
    return _Said("pass", "", told)


def _growth(found: Finding) -> float:
    """Return by which share latency grew: along a line, or in one step."""
    figures = found.figures
    return figures["growth"] if "growth" in figures else figures["after_ns"] / figures["before_ns"] - 1


def _counts(found: Finding) -> bool:
    """Whether a finding stands against a pass."""
    return found.name not in WORSENING or _growth(found) > WORSE


def _cold_start(item: Mapping[str, Any], facts: Mapping[str, Any]) -> list[_Said]:
    """Judge, or tell where nothing is declared, how long it took from the model's bytes to the first outputs."""
    took_ms = (facts["compile_ns"] + facts["first_ns"]) / 1e6
    limit = item.get("cold_start_ms")
    told = Measurement(name="cold_start_ms", value=float(f"{took_ms:.4g}"), unit="ms")
    if limit is None:
        return [_Said("pass", "", told)]
    is_met = took_ms <= limit
    told = msgspec.structs.replace(told, limit=f"≤ {limit:g}", margin=took_ms / limit, met=is_met)
    return [_Said("pass" if is_met else "fail", f"cold start {took_ms:.4g} ms > {limit:g} ms", told)]


def _extent(facts: Mapping[str, Any], queries: Samples) -> list[_Said]:
    """Tell how many queries were made in which time; open where the device did not come to the end of those planned."""
    planned, seconds = int(facts["planned"]), float(facts["measured_s"])
    lasted = Measurement(name="duration_s", value=float(f"{seconds:.4g}"), unit="s")
    made = Measurement(name="queries", value=queries.size, unit=f"of {planned} planned")
    late = f"given up: {queries.size} of {planned} queries in {seconds:.3g} s, slower than what was ranged or scheduled"
    outcome = "open" if queries.size < planned else "pass"
    return [_Said(outcome, late, made), _Said("pass", "", lasted)]


def _audits(kept: Mapping[str, bytes], rounds: int) -> list[Comparison]:
    """Return what the three lots say that took turns: a result cache, and a speed that depends on the seed."""
    if not all(name in kept for name in AUDITS):
        return []
    known, other, repeated = (unpack(kept[name]).service_ns for name in AUDITS)
    cache, seeds = compare_repeats(known, repeated, is_paired=False), compare_runs(known, other, SEEDS)
    return [
        by_round(cache, known, repeated, rounds, most=float("inf")),
        by_round(seeds, known, other, rounds, most=1 / (1 - TOLERANCE)),
    ]


def by_round(pooled: Comparison, first: Array, second: Array, rounds: int, *, most: float) -> Comparison:
    """Return a comparison that pooled queries leave open as the rounds decide it, where they do.

    The blocks of a round follow one another closely, so that a host which is slow for a while slows both. The ratios of their
    medians are few but depend on one another little; their median has an interval by order statistics as any other.
    """
    if pooled.outcome != "open" or rounds < 2 or first.size % rounds or second.size % rounds:
        return pooled
    medians = [np.median(one.reshape(rounds, -1), axis=1) for one in (first, second)]
    ratios = np.rint(PARTS_PER_MILLION * medians[1] / np.maximum(1, medians[0])).astype(np.int64)
    seen = percentile_interval(ratios, 0.5, ALPHA, rounds)
    if seen.low is None or seen.high is None:
        return pooled
    ratio, low, high = (one / PARTS_PER_MILLION for one in (seen.value, seen.low, seen.high))
    least = 1 - TOLERANCE
    outcome: Decided = "fail" if low > most or high < least else "pass" if low >= least and high <= most else "open"
    text = f"over {rounds} rounds the median of a block is {ratio:.3g} of that of distinct, known inputs ({low:.3g} to {high:.3g})"
    return pooled._replace(outcome=outcome, ratio=ratio, low=low, high=high, text=text)


def _audit(one: Comparison, level: str) -> _Said:
    name = one.name.replace(" ", "_")
    told = Measurement(name=f"{name}_ratio", value=float(f"{one.ratio:.4g}"), limit="within 10 %", met=MET[one.outcome])
    outcome = one.outcome if one.outcome != "open" or level == CERTIFY else "pass"
    return _Said(outcome, f"{one.name}: {one.text}", told)


def _others(queries: Samples, kept: Mapping[str, bytes]) -> list[Finding | Comparison]:
    """Return what else is to be said and decides nothing: a starved generator, clocks, and idle gaps that cost time."""
    starved = find_starvation(queries)
    found: list[Finding | Comparison] = [*find_schedule_faults(queries), *([starved] if starved else [])]
    if queries.is_scheduled and AUDITS[0] in kept:
        gap = compare_gap(unpack(kept[AUDITS[0]]).service_ns, queries.service_ns)
        found += [gap] if gap.outcome == "fail" else []
    return found


def _concluded(answered: Judgement, said: list[_Said], notes: list[str], floor: Floor) -> Judgement:
    """Return the judgement: what fails first, then what is open, then the place, then a pass with what was noticed."""
    null = (
        Measurement(name="floor_p50_us", value=round(floor.p50_ns / 1e3, 2), unit="µs"),
        Measurement(name="floor_p999_us", value=round(floor.p999_ns / 1e3, 2), unit="µs"),
        Measurement(name="floor_error_us", value=round(floor.error_ns / 1e3, 2), unit="µs"),
    )
    measurements = (*(one.measurement for one in said), *null, *answered.measurements)
    context = "; ".join((*notes, *filter(None, (answered.context,))))
    failed, undecided = ([one.reason for one in said if one.outcome == what] for what in ("fail", "open"))
    if failed:
        return Judgement(outcome=Outcome.FAIL, reason="; ".join(failed), context=context, measurements=measurements)
    if answered.outcome is not Outcome.PASS:
        return msgspec.structs.replace(answered, context=context, measurements=measurements)
    if undecided:
        reason = "; ".join(undecided)
        remedy = "a longer run (--level certify), or a quieter host"
        return Judgement(
            outcome=Outcome.INCONCLUSIVE, reason=reason, context=context, remedy=remedy, measurements=measurements
        )
    return Judgement(outcome=Outcome.PASS, context=context, measurements=measurements)
