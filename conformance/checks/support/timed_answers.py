"""Whether a device that is timed still computes: right model, right place, and the answers of an unwatched, untimed run.

Outputs that were kept while the clock ran are judged by the reference of the model's own agreement case and, where the profile
declares a class of determinism that promises it, compared bit by bit with an accuracy run of the same inputs. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from conformance.checks.support.modelling import judge_agreement
from conformance.checks.support.valuing import judge_faults, judge_inputs, judge_names
from conformance.checks.support.witnessing import place_judgement
from conformance.records import Judgement, Measurement, Outcome
from conformance.tensors import equal_bits

if TYPE_CHECKING:
    from conformance.checks.support.valuing import OutputValues
    from conformance.observation import Seen
    from conformance.records import Case

GENERATION = "generation"


def judge_answers(case: Case, seen: Seen, expected: list[list[Any]]) -> Judgement:
    """Return PASS with what was compared, or the first thing that is wrong with what was answered or where."""
    sessions = seen.observation.sessions
    for upto in (sessions[:-1] or sessions, sessions[-1:]):
        fault = judge_faults(upto)
        if fault is not None:
            return fault
    timed, values = sessions[-1], seen.values[-1]
    if not timed.inferences or len(sessions) < 2:
        return Judgement(outcome=Outcome.ERROR, reason="nothing was answered while the clock ran")
    for inference in (*sessions[-2].inferences, *timed.inferences):
        changed = judge_inputs(inference)
        if changed is not None:
            return changed
    judged = _compare(case, seen, values, expected)
    for upto in (
        sessions[:-1],
        sessions,
    ):  # the accuracy run has all witnesses, the timed session those that cost no time
        if judged.outcome is Outcome.PASS:
            judged = place_judgement(case, msgspec.structs.replace(seen.observation, sessions=upto), judged)
    return judged


def _compare(case: Case, seen: Seen, values: list[OutputValues], expected: list[list[Any]]) -> Judgement:
    before, answered = seen.values[-2], seen.observation.facts["answered"]
    is_generation = case.params["scenario"] == GENERATION
    names = case.params["outputs"]
    if len(answered) != len(values) or any(not 0 <= at < len(before) for at in answered):
        return Judgement(outcome=Outcome.ERROR, reason=f"{len(values)} answers were kept, of {len(answered)} queries")
    differing: list[str] = []
    for at, outputs in zip(answered, values, strict=True):
        strange = None if is_generation else judge_names(outputs, names)
        if strange is not None:
            return strange
        known = dict(before[at])
        differing += [name for name, value in outputs if not equal_bits(value, known.get(name))]
    told = Measurement(
        name="answers_as_in_accuracy_run",
        value=len(values) - min(len(values), len(differing)),
        unit=f"of {len(values)}",
        limit="all" if case.params["is_bitwise"] else "",
        met=not differing if case.params["is_bitwise"] else None,
    )
    if differing and case.params["is_bitwise"]:
        reason = f"outputs while timing are not those of the accuracy run: {differing[0]} differs, in {len(differing)} of {len(values)}"
        return Judgement(outcome=Outcome.FAIL, reason=reason, measurements=(told,))
    stacked = _stacked(answered, values, len(expected[0][0].reference)) if expected else None
    if stacked is None and differing:
        reason = f"outputs while timing are not those of the accuracy run ({differing[0]}), and no reference says how far apart they may be"
        remedy = "declare a class of determinism that promises the same bits, or a model with an agreement case"
        return Judgement(outcome=Outcome.INCONCLUSIVE, reason=reason, remedy=remedy, measurements=(told,))
    if stacked is None:
        return Judgement(outcome=Outcome.PASS, measurements=(told,))
    judged = judge_agreement(case, [stacked], expected)
    reason = f"outputs while timing: {judged.reason}" if judged.outcome is not Outcome.PASS else ""
    share = [one for one in judged.measurements if one.name == "worst_statistic"]
    return msgspec.structs.replace(judged, reason=reason, context="", measurements=(told, *share))


def _stacked(answered: list[int], values: list[OutputValues], lot: int) -> OutputValues | None:
    """Return the first rows of one answer per input, in the order of the inputs; None where an input was never kept."""
    first = dict(zip(reversed(answered), reversed(values), strict=True))
    if sorted(first) != list(range(lot)):
        return None
    rows = [first[at] for at in sorted(first)]
    stacked: OutputValues = []
    for at, (name, value) in enumerate(rows[0]):
        parts = [part for part in (one[at][1] for one in rows) if isinstance(part, np.ndarray) and part.ndim]
        if not isinstance(value, np.ndarray) or [part.shape[1:] for part in parts] != [value.shape[1:]] * lot:
            return None
        stacked.append((name, np.concatenate([part[:1] for part in parts])))
    return stacked
