"""Latency under load as a row per beat: how the device's pace went while meters watched, short enough to travel with a case.

A beat is a stretch of half a second or more; its row holds when it ended, how many inferences it holds, and their median and
longest time. Every single time goes into a file of the run folder; judges of power and temperature need only the pace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from conformance.tensors import Array

SLOWER = 0.05
"""A slower pace counts from five percent on: below lies what schedulers and caches do."""
LEAST_SIDE = 4
"""Beats that either side of a change has to have."""
CLEAR = 6.0
"""How many standard errors a change has to be worth: the best of all places is looked for."""


class Beats(NamedTuple):
    """The beats of a run, in order."""

    end_ns: Array
    """int64[n]."""
    inferences: Array
    """int64[n]."""
    median_ns: Array
    """float64[n]."""
    longest_ns: Array
    """float64[n]."""

    def within(self, begin_ns: float, end_ns: float) -> Beats:
        """Return the beats that ended between two times."""
        chosen = (self.end_ns > begin_ns) & (self.end_ns <= end_ns)
        return Beats(*(one[chosen] for one in self))


class Slowing(NamedTuple):
    """Where the pace became slower and stayed so."""

    at_ns: int
    share: float
    """How much longer an inference took afterwards: 0.2 is 20 %."""
    before_ms: float
    after_ms: float
    errors: float


def read_beats(given: object) -> Beats:
    """Return the rows that a child wrote down; what is no row of four whole numbers ≥ 0 in rising time is left out."""
    rows: list[tuple[int, ...]] = []
    for row in given if isinstance(given, list | tuple) else ():
        if not isinstance(row, list | tuple) or len(row) != 4:
            continue
        if all(isinstance(one, int) and not isinstance(one, bool) and 0 <= one < 1 << 62 for one in row) and (
            not rows or row[0] >= rows[-1][0]
        ):
            rows.append(tuple(row))
    array = np.array(rows, dtype=np.int64).reshape(-1, 4)
    return Beats(array[:, 0], array[:, 1], array[:, 2].astype(np.float64), array[:, 3].astype(np.float64))


def find_slowing(beats: Beats) -> Slowing | None:
    """Return the change to a slower pace that explains the beats best; None where none is clear and worth five percent.

    At each place the medians of both sides are held against their standard errors, the scatter taken from neighbours so that the
    change itself does not count as scatter.
    """
    value, n = beats.median_ns, beats.median_ns.size
    if n < 2 * LEAST_SIDE:
        return None
    scatter = 1.4826 * float(np.median(np.abs(np.diff(value)))) / np.sqrt(2)
    scatter = max(scatter, 1e-3 * float(np.median(value)))
    best: tuple[float, int, float, float] | None = None
    for at in range(LEAST_SIDE, n - LEAST_SIDE + 1):
        before, after = float(np.median(value[:at])), float(np.median(value[at:]))
        errors = (after - before) / (1.2533 * scatter * np.sqrt(1 / at + 1 / (n - at)))
        left = float(np.abs(value[:at] - before).sum() + np.abs(value[at:] - after).sum())
        if best is None or left < best[0]:
            best = (left, at, float(errors), after / before - 1.0 if before > 0 else 0.0)
    if best is None or best[2] < CLEAR or best[3] < SLOWER:
        return None
    at = best[1]
    before, after = float(np.median(value[:at])), float(np.median(value[at:]))
    return Slowing(int(beats.end_ns[at - 1]), best[3], before * 1e-6, after * 1e-6, best[2])
