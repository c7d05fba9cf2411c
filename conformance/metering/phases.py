"""The phases of a load run: when the device idled, when it worked, and how often.

The child writes them down on the same clock as the meters' readings. It shares its process with vendor code, so what comes
from it is looked at before it is used. Judges ask only two things of a phase: whether the device worked in it, and its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

IDLE, STEP, GAP, RANGING, SOAK, MEASURED, COOL_DOWN = ORDER = (
    "idle",
    "step",
    "gap",
    "ranging",
    "soak",
    "measured",
    "cool-down",
)
"""Idle baseline; bursts with gaps between them, which a meter has to show; load that sets ranges, soaks, and is measured."""
WORKING = frozenset({STEP, RANGING, SOAK, MEASURED})
LATEST_NS = 1 << 62


class Phase(NamedTuple):
    """A stretch of time in which the device was either left alone or kept busy."""

    name: str
    begin_ns: int
    end_ns: int
    inferences: int

    @property
    def seconds(self) -> float:
        """Return how long it lasted."""
        return (self.end_ns - self.begin_ns) * 1e-9

    @property
    def is_busy(self) -> bool:
        """Return whether the device worked."""
        return self.name in WORKING


def read_phases(given: object) -> tuple[list[Phase], str]:
    """Return the phases that a child wrote down, with why they cannot be used; the second is empty where they can."""
    if not isinstance(given, list | tuple) or not given:
        return [], "the run wrote down no phases"
    phases: list[Phase] = []
    for row in given:
        if not (isinstance(row, list | tuple) and len(row) == 4 and isinstance(row[0], str)):
            return [], "a phase is not [name, begin_ns, end_ns, inferences]"
        if not all(isinstance(one, int) and not isinstance(one, bool) and 0 <= one <= LATEST_NS for one in row[1:]):
            return [], f"the phase {row[0]!r} holds what is no time or count"
        phase = Phase(row[0], row[1], row[2], row[3])
        if phase.name not in ORDER:
            return [], f"there is no phase {phase.name!r}"
        if phase.end_ns <= phase.begin_ns:
            return [], f"the phase {phase.name!r} ends before it begins"
        if phases and phase.begin_ns < phases[-1].end_ns:
            return [], f"the phase {phase.name!r} begins before {phases[-1].name!r} is over"
        if phase.is_busy != (phase.inferences > 0):
            told = "without an inference" if phase.is_busy else f"with {phase.inferences} inferences"
            return [], f"the phase {phase.name!r} passed {told}"
        phases.append(phase)
    return phases, ""


def named(phases: Iterable[Phase], name: str) -> list[Phase]:
    """Return the phases of that name, in order."""
    return [one for one in phases if one.name == name]


def segments(phases: Iterable[Phase]) -> list[Phase]:
    """Return the phases with neighbours of one kind joined: busy and idle stretches in turn, named `busy` and `idle`."""
    joined: list[tuple[bool, int, int, int]] = []
    for one in phases:
        if joined and joined[-1][0] == one.is_busy:
            before = joined.pop()
            joined.append((one.is_busy, before[1], one.end_ns, before[3] + one.inferences))
        else:
            joined.append((one.is_busy, one.begin_ns, one.end_ns, one.inferences))
    return [Phase(STEP if busy else IDLE, begin, end, count) for busy, begin, end, count in joined]
