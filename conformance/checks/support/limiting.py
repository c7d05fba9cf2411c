"""Judging the outputs of a session by their limits, whichever tier each belongs to: what the operator checks share. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conformance.checks.support.valuing import judge_inputs, judge_names
from conformance.records import Judgement, Measurement, Outcome

if TYPE_CHECKING:
    from conformance.checks.support.valuing import OutputValues
    from conformance.numerics.judged import Judged
    from conformance.observation import SessionSeen
    from conformance.tensors import Value

TIERS = {
    "exact": "exact",
    "bound": "bound of the operator (tier 2)",
    "spread": "Monte Carlo arithmetic (tier 3)",
    "discrete": "choices by margin",
    "rate": "quantised results",
}
"""How the tiers are spelled beside a measurement."""


def judge_limits(
    params: dict[str, Any], expected: list[list[Any]], session: SessionSeen, values: list[OutputValues]
) -> Judgement:
    """Judge every output of every data set by its limit; the measurement is the statistic nearest to its limit."""
    if not expected or len(values) != len(expected):
        text = f"{len(values)} inferences were made, {len(expected)} are expected"
        return Judgement(outcome=Outcome.ERROR, reason=text)
    sets: list[str] = params["sets"] or [str(at) for at in range(len(expected))]
    worst: Measurement | None = None
    for at, (got, limits) in enumerate(zip(values, expected, strict=True)):
        names = params["outputs"]
        strange = judge_inputs(session.inferences[at]) or judge_names(got, names)
        if strange is not None:
            return strange
        if len(limits) != len(names):
            return Judgement(outcome=Outcome.ERROR, reason=f"{len(names)} outputs, {len(limits)} limits")
        for (name, actual), limit in zip(got, limits, strict=True):
            judged = _judge_one(name, actual, limit)
            told = _measured(judged)
            if not judged.ok:
                looks = f"; the errors look like {judged.looks_like}" if judged.looks_like else ""
                context = f"data set '{sets[at]}' (inference {at}); {session.mode} session"
                return Judgement(
                    outcome=Outcome.FAIL, reason=judged.reason + looks, context=context, measurements=(told,)
                )
            if worst is None or (told.margin or 0.0) > (worst.margin or 0.0):
                worst = told
    return Judgement(outcome=Outcome.PASS, measurements=(worst,) if worst is not None else ())


def _judge_one(name: str, actual: Value, limit: Any) -> Judged:
    import numpy as np

    from conformance.numerics.judged import Judged
    from conformance.numerics.limits import judge as judge_limit
    from conformance.numerics.spread import Spread, judge_spread
    from conformance.tensors import DTYPES

    kind = getattr(limit, "kind", "")
    if not kind:
        return judge_limit(limit, actual)
    if not isinstance(actual, np.ndarray):
        return Judged("exact", f"{name} is no tensor")
    if actual.dtype != DTYPES[kind]:
        return Judged("exact", f"{name} has the type {actual.dtype.name}, want {kind}")
    return judge_spread(limit, actual, name) if isinstance(limit, Spread) else judge_limit(limit, actual)


def _measured(judged: Judged) -> Measurement:
    """Return the statistic that uses most of its limit, as the measurement of an output's values."""
    worst = max(judged.statistics, key=lambda one: one.share, default=None)
    tier = TIERS.get(judged.tier, judged.tier)
    if worst is None:
        return Measurement(
            name="worst_error", value=0.0 if judged.ok else 1.0, unit="of the limit", limit=tier, margin=0.0, met=judged.ok
        )  # fmt: skip
    share = worst.share
    limit = f"{worst.name} {worst.value:.3g} ≤ {worst.limit:.3g}{' ' + worst.unit if worst.unit else ''}: {tier}"
    return Measurement(name="worst_error", value=share, unit="of the limit", limit=limit, margin=share, met=judged.ok)
