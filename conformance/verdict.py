"""Outcomes, their order, and the one fold: case → requirement → device. Knows nothing of how anything was measured.

not met > open > conditional > met > not applicable: so a harness error can never hide a failure, and a requirement that
is a MUST and has not one PASS is open, even where every case is UNSUPPORTED or waived.
"""

from __future__ import annotations

import fnmatch
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from conformance.errors import EXIT_CONDITIONAL, EXIT_CONFORMANT, EXIT_INCOMPLETE, EXIT_NON_CONFORMANT
from conformance.levels import CERTIFY, SMOKE
from conformance.records import (
    CLASS_OF,
    ClaimsResult,
    GivenDocument,
    Outcome,
    OutcomeClass,
    Record,
    RequirementResult,
    Verdict,
)
from conformance.tally import cover, weigh

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date

    from conformance.plan import Plan, State

ORDER = (
    OutcomeClass.NOT_MET,
    OutcomeClass.OPEN,
    OutcomeClass.CONDITIONAL,
    OutcomeClass.MET,
    OutcomeClass.NOT_APPLICABLE,
)
PLACEMENT_CASE = "placement/model/device-nodes"


class Standing(NamedTuple):
    """What the category and the profile say about the device as a whole."""

    certifiable: bool
    why_not: str
    eligibility: str
    documents_wanted: tuple[str, ...] = ()
    documents_given: tuple[GivenDocument, ...] = ()


class Waiver(NamedTuple):
    """A lab's written permission to accept a known defect for a while."""

    case: str
    """Glob over case ids."""
    reason: str
    owner: str
    expires: date
    issued: date | None = None
    requirement: str | None = None
    """Where given, only cases that serve this requirement and no other are waived."""

    def covers(self, record: Record, today: date) -> bool:
        """Whether the waiver is in force and speaks of this case."""
        if self.expires < today or (self.issued is not None and self.issued > today):
            return False
        if self.requirement is not None and record.requirements != (self.requirement,):
            return False
        return fnmatch.fnmatchcase(record.case, self.case)


def fold(classes: Iterable[OutcomeClass]) -> OutcomeClass:
    """Return the worst class present; not applicable where there is none."""
    present = set(classes)
    return next((one for one in ORDER if one in present), OutcomeClass.NOT_APPLICABLE)


def apply_waivers(records: Sequence[Record], waivers: Sequence[Waiver], today: date) -> list[Record]:
    """Return the records, WAIVED where an unexpired waiver names a case that is not met; nothing else is waivable."""
    waived = []
    for record in records:
        waiver = next((w for w in waivers if w.covers(record, today)), None)
        if waiver is not None and CLASS_OF[record.outcome] is OutcomeClass.NOT_MET:
            reason = f"waived until {waiver.expires} by {waiver.owner}: {waiver.reason}; seen: {record.reason}"
            record = msgspec.structs.replace(record, outcome=Outcome.WAIVED, underlying=record.outcome, reason=reason)  # noqa: PLW2901
        waived.append(record)
    return waived


def conclude(plan: Plan, records: Sequence[Record], standing: Standing) -> Verdict:
    """Fold records to requirements, these to the device. A planned case without a record is a bug: AssertionError."""
    recorded = Counter(record.case for record in records)
    planned = {one.case.id for one in plan.cases}
    if set(recorded) != planned or any(count != 1 for count in recorded.values()):
        raise AssertionError("the books do not close: every planned case ends with exactly one record")
    is_partial = plan.level == SMOKE or bool(plan.selection)
    by_requirement: dict[str, list[Record]] = {}
    for record in records:
        for requirement in record.requirements:
            by_requirement.setdefault(requirement, []).append(record)
    results = tuple(
        _fold_requirement(state, by_requirement.get(state.requirement.id, []), is_partial) for state in plan.states
    )
    claims = weigh(plan.claims, records)
    if not is_partial:
        results = tuple(_with_untested(state, one, claims) for state, one in zip(plan.states, results, strict=True))
    name, code = _name(results, records, is_partial)
    why_not = _why_not(plan, standing, name, is_partial)
    placement = next((record for record in records if record.case == PLACEMENT_CASE), None)
    return Verdict(
        name=name,
        exit_code=code,
        certifiable=not why_not,
        why_not_certifiable=why_not,
        placement_shown=placement is not None and placement.outcome is Outcome.PASS,
        eligibility=standing.eligibility,
        partial=is_partial,
        summary=_summarise(name, results, is_partial),
        requirements=results,
        counts=_counts(records),
        coverage=cover(plan.denominators, records),
        claims=claims,
        documents_wanted=standing.documents_wanted,
        documents_given=standing.documents_given,
    )


def _with_untested(state: State, result: RequirementResult, claims: ClaimsResult) -> RequirementResult:
    """Say beside "every declared operator … met" for how many of them there was no case that could have shown otherwise."""
    requirement = state.requirement
    is_theirs = requirement.check == "operators" and requirement.params.get("scope") == "declared"
    untested = sum(one.kind == "operator" for one in claims.untested)
    if result.result is not OutcomeClass.MET or not is_theirs or not untested:
        return result
    reason = f"{untested} of {claims.operators} declared operator versions have no case: run.json names them"
    return msgspec.structs.replace(result, reason=reason)


def _fold_requirement(state: State, records: list[Record], is_partial: bool) -> RequirementResult:
    result, reason = _result_of(state, records, is_partial)
    requirement = state.requirement
    return RequirementResult(
        id=requirement.id,
        level=str(requirement.level),
        title_en=requirement.title.en,
        title_zh=requirement.title.zh,
        area=requirement.area,
        status=str(requirement.status),
        origin=tuple(requirement.origin),
        applies=state.applies,
        why=state.why,
        result=result,
        reason=reason,
        counts=_counts(records),
    )


def _result_of(state: State, records: list[Record], is_partial: bool) -> tuple[OutcomeClass, str]:
    if not state.applies:
        return OutcomeClass.NOT_APPLICABLE, state.why
    if state.unplanned:
        return OutcomeClass.OPEN, state.unplanned
    if not records:
        reason = "no case of it was selected" if is_partial else "no case could be planned for it"
        return OutcomeClass.OPEN, reason
    result = fold(CLASS_OF[record.outcome] for record in records)
    if result in (OutcomeClass.NOT_MET, OutcomeClass.OPEN):
        first = next(record for record in records if CLASS_OF[record.outcome] is result)
        return result, f"{first.case}: {first.outcome}: {first.reason}"
    has_pass = any(record.outcome is Outcome.PASS for record in records)
    if not has_pass and str(state.requirement.level) == "MUST":
        # Waiving every case shows no more than claiming none of them does.
        return OutcomeClass.OPEN, f"not one PASS among {len(records)} cases: {records[0].reason}"
    first = next(record for record in records if CLASS_OF[record.outcome] is result)
    where = f"{first.case}: {first.outcome}: " if result is OutcomeClass.CONDITIONAL else ""
    return result, "" if result is OutcomeClass.MET else f"{where}{first.reason}"


def _name(results: tuple[RequirementResult, ...], records: Sequence[Record], is_partial: bool) -> tuple[str, int]:
    musts = [result for result in results if result.level == "MUST" and result.applies]
    if is_partial:  # what was not selected is not held against a partial run; what was selected is
        required = {result.id for result in musts}
        outcomes = [record.outcome for record in records if required.intersection(record.requirements)]
        worst = fold(CLASS_OF[outcome] for outcome in outcomes)
        if worst is OutcomeClass.MET:
            return "CLEAN-PARTIAL", EXIT_CONFORMANT
        if worst is OutcomeClass.CONDITIONAL and Outcome.PASS not in outcomes:
            worst = OutcomeClass.OPEN
    else:
        worst = fold(result.result for result in musts)
    return {
        OutcomeClass.NOT_MET: ("NON-CONFORMANT", EXIT_NON_CONFORMANT),
        OutcomeClass.OPEN: ("INCOMPLETE", EXIT_INCOMPLETE),
        OutcomeClass.CONDITIONAL: ("CONDITIONAL", EXIT_CONDITIONAL),
        OutcomeClass.MET: ("CONFORMANT", EXIT_CONFORMANT),
        OutcomeClass.NOT_APPLICABLE: ("INCOMPLETE", EXIT_INCOMPLETE),
    }[worst]


def _why_not(plan: Plan, standing: Standing, name: str, is_partial: bool) -> str:
    if not standing.certifiable:
        return standing.why_not
    if is_partial:
        return "a smoke or selected run is never certifiable"
    if plan.level != CERTIFY and any(one.case.timed for one in plan.cases):
        return f"latency, power and temperature were measured for a short while only: --level {CERTIFY} takes the time"
    return "" if name in ("CONFORMANT", "CONDITIONAL") else f"the verdict is {name}"


def _summarise(name: str, results: tuple[RequirementResult, ...], is_partial: bool) -> str:
    musts = [result for result in results if result.level == "MUST" and result.applies]
    counted = Counter(result.result for result in musts)
    parts = [f"{counted[one]} {one.value}" for one in ORDER if counted[one]]
    scope = "partial run; " if is_partial else ""
    return f"{name}: {scope}{len(musts)} MUST requirements apply: {', '.join(parts) or 'none'}"


def _counts(records: Sequence[Record]) -> dict[str, int]:
    counted = Counter(record.outcome for record in records)
    return {outcome.value: counted[outcome] for outcome in Outcome if counted[outcome]}
