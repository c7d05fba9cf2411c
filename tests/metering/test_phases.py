"""Phases come from a child that holds vendor code: what is no sequence of phases is refused by name."""

from __future__ import annotations

import pytest

from conformance.metering.phases import Phase, named, read_phases, segments

GOOD = [["idle", 0, 10, 0], ["step", 10, 20, 3], ["gap", 20, 30, 0], ["ranging", 30, 35, 1], ["soak", 35, 50, 2]]


def test_good_phases_are_read_and_joined_by_what_the_device_did() -> None:
    phases, wrong = read_phases(GOOD)
    assert not wrong
    assert [one.name for one in phases] == ["idle", "step", "gap", "ranging", "soak"]
    joined = segments(phases)
    assert [(one.is_busy, one.begin_ns, one.end_ns, one.inferences) for one in joined] == [
        (False, 0, 10, 0),
        (True, 10, 20, 3),
        (False, 20, 30, 0),
        (True, 30, 50, 3),
    ]
    assert named(phases, "soak") == [Phase("soak", 35, 50, 2)]


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (None, "no phases"),
        ([], "no phases"),
        ([["idle", 0, 10]], "not [name"),
        ([["idle", 0.0, 10, 0]], "no time or count"),
        ([["idle", True, 10, 0]], "no time or count"),
        ([["idle", -1, 10, 0]], "no time or count"),
        ([["idle", 0, 1 << 63, 0]], "no time or count"),
        ([["tea", 0, 10, 0]], "no phase 'tea'"),
        ([["idle", 10, 10, 0]], "ends before it begins"),
        ([["idle", 0, 10, 0], ["step", 9, 20, 1]], "before 'idle' is over"),
        ([["step", 0, 10, 0]], "without an inference"),
        ([["idle", 0, 10, 4]], "with 4 inferences"),
    ],
)
def test_what_is_no_sequence_of_phases_is_refused(rows: object, why: str) -> None:
    phases, wrong = read_phases(rows)
    assert phases == []
    assert why in wrong
