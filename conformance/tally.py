"""What is counted over fixed denominators: coverage of the suite, and claims beside what the device did. Pure.

The denominators and the book of claims are made once, with the plan, over the whole suite; `cover` and `weigh` close
them with the records of a run.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from conformance.records import (
    CLASS_OF,
    Basis,
    ClaimResult,
    ClaimsResult,
    Coverage,
    Outcome,
    OutcomeClass,
    UntestedClaim,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from conformance.records import Record

OPERATORS = "operators"
LONGEST_VALUE = 60
"""Attribute values longer than this as text are data rather than settings, and are not counted."""
WORKS = "works"
DECIDED = "decided"
NEAREST_FIRST = ("nothing shown", "not reached", "not selected", "outside the claims", "invalid upstream")
"""Why a claim is not tested, where there are several reasons: the one that is nearest to a test."""
_MISSED = frozenset({OutcomeClass.NOT_MET, OutcomeClass.CONDITIONAL})
_DECIDED_CLASSES = frozenset({OutcomeClass.MET, OutcomeClass.NOT_MET, OutcomeClass.CONDITIONAL})

Denominators = dict[str, dict[str, tuple[str, ...]]]
"""Coverage name → case id → all that the case covers."""


class Book(NamedTuple):
    """What the profile claims, and the cases of the whole suite that could show it, whatever is selected."""

    operators: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    entries: Sequence[Any] = ()
    """The rows of the suite: which operator versions and types a case uses."""
    is_claimed: Mapping[str, bool] = {}
    """Case → whether all that it uses is claimed, for each that could be planned; others are in no plan."""


# -- denominators -----------------------------------------------------------------------------------------------------


def count_out(entries: Iterable[Any]) -> Denominators:
    """Return the denominators of coverage: every operator, type and attribute value that the suite's node cases have."""
    operators: dict[str, tuple[str, ...]] = {}
    typed: dict[str, tuple[str, ...]] = {}
    valued: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        area, subject, kind, _ = entry.case_id.split("/", 3)
        if area != OPERATORS or entry.kind != "node":
            continue
        start = f"{subject}/{kind}"
        operators[entry.case_id] = (subject,)
        typed[entry.case_id] = (start,)
        if entry.expanded:
            continue  # it holds the operator's body instead of the operator: no attribute of it is set
        texts = [
            f"{start}/{name}={text}"
            for use in entry.uses
            if use.attributes and use.key == subject
            for name, value in use.attributes.items()
            if len(text := str(value) if isinstance(value, int | str) else value_text(value)) <= LONGEST_VALUE
        ]
        if texts:
            valued[entry.case_id] = tuple(dict.fromkeys(texts))
    return {"operators": operators, "operators × type": typed, "operators × type × attribute value": valued}


def value_text(value: object) -> str:
    """Return an attribute's value as text; numbers as short as a float32 allows."""
    if isinstance(value, float):
        return f"{value:.7g}"
    if isinstance(value, list | tuple):
        return f"[{','.join(value_text(item) for item in value)}]"
    return str(value)


def cover(denominators: Denominators, records: Sequence[Record]) -> tuple[Coverage, ...]:
    """Return how much of each denominator was claimed and passed; a thing passed when all its claimed cases did."""
    outcome_of = {record.case: record.outcome for record in records}
    covers = []
    for name, members_of in denominators.items():
        claimed: dict[str, bool] = {}
        total: set[str] = set()
        for case, members in members_of.items():
            total.update(members)
            outcome = outcome_of.get(case, Outcome.UNSUPPORTED)
            if outcome is not Outcome.UNSUPPORTED:
                is_pass = outcome is Outcome.PASS
                for member in members:
                    claimed[member] = claimed.get(member, True) and is_pass
        covers.append(Coverage(name=name, total=len(total), claimed=len(claimed), passed=sum(claimed.values())))
    return tuple(covers)


# -- claims -----------------------------------------------------------------------------------------------------------


def weigh(book: Book, records: Sequence[Record]) -> ClaimsResult:
    """Return where claims and device differ, over the records of a run, in the order of the plan."""
    claimed: dict[str, list[Record]] = {}
    unclaimed: dict[str, list[Record]] = {}
    for record in records:
        area, *parts = record.case.split("/", 3)
        if area == OPERATORS and len(parts) == 3:
            subject, kind, _ = parts
            side = unclaimed if record.basis is Basis.UNCLAIMED else claimed
            side.setdefault(f"{subject}({kind})", []).append(record)
    over = [found for subject, group in claimed.items() if (found := _over_claimed(subject, group))]
    under = [found for subject, group in unclaimed.items() if (found := _under_claimed(subject, group))]
    return ClaimsResult(
        operators=len(book.operators),
        types=len(book.types),
        over_claimed=tuple(sorted(over, key=lambda one: one.waived)),
        under_claimed=tuple(under),
        untested=tuple(_untested(book, {record.case: record.outcome for record in records})),
    )


def _over_claimed(subject: str, records: list[Record]) -> ClaimResult | None:
    missed = [one for one in records if one.outcome is not Outcome.PASS and CLASS_OF[one.outcome] in _MISSED]
    if not missed:
        return None
    first = next((one for one in missed if one.outcome is not Outcome.WAIVED), missed[0])
    seen = first.underlying if first.outcome is Outcome.WAIVED and first.underlying else first.outcome
    return ClaimResult(
        subject=subject,
        basis=first.basis,
        cases=len(records),
        counts=_counted(one.outcome.value for one in records),
        case=first.case,
        reason=f"{seen}: {first.reason}",
        waived=first.outcome is Outcome.WAIVED,
    )


def _under_claimed(subject: str, records: list[Record]) -> ClaimResult | None:
    """Return the subject where all that was not claimed of it works; only an operator can be claimed."""
    if "." not in subject or any(one.observed != WORKS for one in records):
        return None
    return ClaimResult(
        subject=subject,
        basis=Basis.UNCLAIMED,
        cases=len(records),
        counts=_counted(one.observed for one in records),
        case=records[0].case,
        reason=records[0].reason,
    )


def _counted(words: Iterable[str]) -> dict[str, int]:
    return dict(Counter(words).most_common())


def _untested(book: Book, outcome_of: Mapping[str, Outcome]) -> Iterator[UntestedClaim]:
    """Yield each claim of which no claimed case decided anything, with how near it came to one."""
    decided: set[Any] = set()
    others: list[tuple[str, Any]] = []
    for entry in book.entries:
        standing = _standing(entry, book.is_claimed, outcome_of)
        if standing == DECIDED:
            decided.update(entry.types)
            decided.update([(use.domain, use.op_type, use.since_version) for use in entry.uses])
        elif standing:
            others.append((standing, entry))
    tested = {one if isinstance(one, str) else f"{one[0]}.{one[1]}-{one[2]}" for one in decided}
    found = {name: Counter[str]() for name in (*book.operators, *book.types) if name not in tested}
    for standing, entry in others:
        for name in {use.key for use in entry.uses}.union(entry.types).intersection(found):
            found[name][standing] += 1
    for name, counted in found.items():
        why = next((one for one in NEAREST_FIRST if counted[one]), "no case exists")
        kind = "type" if name in book.types else "operator"
        yield UntestedClaim(name=name, kind=kind, why=why, cases=counted.total())


def _standing(entry: Any, is_claimed: Mapping[str, bool], outcome_of: Mapping[str, Outcome]) -> str:
    """Return how a case of the suite ended for the claims of what it uses; empty where no requirement asks for it."""
    claimed = is_claimed.get(entry.case_id)
    if not claimed:
        return "outside the claims" if claimed is not None else "invalid upstream" if entry.invalid else ""
    outcome = outcome_of.get(entry.case_id)
    if outcome is None or outcome is Outcome.NOT_RUN:
        return "not selected" if outcome is None else "not reached"
    is_decided = outcome is Outcome.PASS or CLASS_OF[outcome] in _DECIDED_CLASSES
    return DECIDED if is_decided else "nothing shown"
