"""docs/outcomes.md says what the code does: its tables are read and held against it."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance import errors
from conformance.records import CLASS_OF, Outcome
from conformance.reports.support.junit_entries import status_of
from conformance.reports.support.telling import EXIT_MEANINGS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "outcomes.md"


def tables() -> list[list[list[str]]]:
    """Return the page's tables as rows of cells, without their heads."""
    found: list[list[list[str]]] = []
    before = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("|"):
            if not before.startswith("|"):
                found.append([])
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        before = line
    return [rows[2:] for rows in found]


def test_every_outcome_with_its_class() -> None:
    assert [(name, kind) for name, _, kind in tables()[0]] == [(o.value, CLASS_OF[o].value) for o in Outcome]


def test_every_verdict_with_its_exit_code() -> None:
    told = {name: int(code) for name, code, _ in tables()[1]}
    assert told == {
        "CONFORMANT": errors.EXIT_CONFORMANT,
        "CLEAN-PARTIAL": errors.EXIT_CONFORMANT,
        "CONDITIONAL": errors.EXIT_CONDITIONAL,
        "NON-CONFORMANT": errors.EXIT_NON_CONFORMANT,
        "INCOMPLETE": errors.EXIT_INCOMPLETE,
    }
    assert set(told) == set(EXIT_MEANINGS)


@pytest.mark.parametrize("outcome", Outcome)
def test_junit_mapping(outcome: Outcome) -> None:
    (row,) = [row for row in tables()[2] if outcome in row[0].split(", ")]
    must = row[1].partition(",")[0]
    other = must if row[2] == "the same" else row[2]
    assert (status_of(outcome, must=True), status_of(outcome, must=False)) == (must, other)
