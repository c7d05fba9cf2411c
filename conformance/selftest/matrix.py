"""Rows counted: which kinds of defect each column catches, with intervals, and the false alarms on correct devices.

A kind counts as tried where it changed an output at least once, and as caught by a column that refused at least one such run.
Rates of kinds have two-sided intervals of Clopper and Pearson at 95 % over the kinds. Runs of one model are not independent, so
that false alarms are also told per cluster: how many models (operators) had one at all.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from conformance.numerics.intervals import lower_bound, upper_bound
from conformance.selftest.judging import COLUMNS, TIERS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.selftest.injection import Defect
    from conformance.selftest.units import Row

SIDED = 0.975
"""One-sided confidence of each end of a 95 % interval."""
FORMAT = 1
"""Version of the JSON."""


class Share(msgspec.Struct, frozen=True):
    """A share with its interval."""

    hits: int
    trials: int
    low: float
    high: float


class Kind(msgspec.Struct, frozen=True):
    """One kind of defect: what each column made of it."""

    name: str
    family: str
    says: str
    level: str
    is_held_out: bool
    runs: int
    """Runs in which it changed an output."""
    unchanged: int
    """Runs in which it was there and changed nothing."""
    caught: dict[str, tuple[int, int]]
    """By column: runs that it refused, of those it was asked about."""
    is_caught: bool
    """Whether a tier or the task metric refused a run."""
    nearest: float
    """Where nothing did: the largest share of a limit that was used."""


class Alarms(msgspec.Struct, frozen=True):
    """What one column made of correct devices."""

    column: str
    runs: Share
    clusters: Share
    worst: float
    """The largest share of a limit that a correct device used."""
    which: list[str]
    """Subjects with an alarm, at most twenty."""


class Matrix(msgspec.Struct, frozen=True):
    """What the self-test says."""

    format: int
    version: str
    seed: int
    is_quick: bool
    is_complete: bool
    """False where it was interrupted: what is here was done."""
    seconds: float
    kinds: list[Kind]
    alarms: list[Alarms]
    alarms_by_mode: dict[str, Share]
    """Of tier 3, by what the devices declare."""
    shares: dict[str, dict[str, Share]]
    """By set (`all`, `set-aside`, `open`) and column, `tiers` for all deciding ones together: the share of kinds caught."""
    not_run: list[str]
    """Subjects that the evaluator cannot run, with the reason."""


def share(hits: int, trials: int) -> Share:
    """Return a share with its two-sided 95 % interval."""
    if not trials:
        return Share(0, 0, 0.0, 1.0)
    low = 0.0 if not hits else lower_bound(hits, trials, SIDED)
    return Share(hits, trials, round(low, 4), round(upper_bound(hits, trials, SIDED), 4))


def count(
    rows: Iterable[Row], defects: Iterable[Defect], *, seed: int, is_quick: bool, is_complete: bool, seconds: float
) -> Matrix:
    """Return the matrix of the rows that were brought back."""
    from conformance import __version__

    every = sorted(rows, key=lambda row: (row.tier, row.subject, row.mode, row.salt, row.device, row.defect, row.place))
    by_defect: dict[str, list[Row]] = defaultdict(list)
    for row in every:
        by_defect[row.defect].append(row)
    correct = by_defect.pop("", [])
    kinds = [_kind(one, by_defect.get(one.name, [])) for one in defects]
    judged = [row for row in correct if row.asked]
    return Matrix(
        FORMAT, __version__, seed, is_quick, is_complete, round(seconds, 1), kinds,
        [_alarms(column, judged) for column in COLUMNS],
        {
            mode: share(*_counted("spread", [row for row in judged if row.mode == mode and row.tier == "spread"]))
            for mode in dict.fromkeys(row.mode for row in judged if row.tier == "spread")
        },
        {
            "all": _shares(kinds),
            "set-aside": _shares([one for one in kinds if one.is_held_out]),
            "open": _shares([one for one in kinds if not one.is_held_out]),
        },
        sorted({f"{row.subject}: {row.reason}" for row in correct if not row.asked}),
    )  # fmt: skip


def _kind(defect: Defect, rows: list[Row]) -> Kind:
    changed = [row for row in rows if row.changed]
    caught = {}
    for column in COLUMNS:
        own = [row for row in changed if _is_asked(column, row)]
        caught[column] = (sum(column in row.refused for row in own), len(own))
    is_caught = any(caught[tier][0] for tier in TIERS)
    nearest = 0.0 if is_caught else max((row.share for row in changed), default=0.0)
    return Kind(
        defect.name, defect.family, defect.says, defect.level, defect.is_held_out, len(changed), len(rows) - len(changed),
        caught, is_caught, nearest,
    )  # fmt: skip


def _is_asked(column: str, row: Row) -> bool:
    return column in row.asked if column in TIERS else row.tier != "task"


def _counted(column: str, rows: list[Row]) -> tuple[int, int]:
    own = [row for row in rows if _is_asked(column, row)]
    return sum(column in row.refused for row in own), len(own)


def _alarms(column: str, rows: list[Row]) -> Alarms:
    own = [row for row in rows if _is_asked(column, row)]
    refused = [row for row in own if column in row.refused]
    worst = max((row.share for row in own), default=0.0) if column in TIERS else 0.0
    return Alarms(
        column,
        share(len(refused), len(own)),
        share(len({row.cluster for row in refused}), len({row.cluster for row in own})),
        worst,
        sorted({f"{row.subject} under {row.mode}: {row.reason}"[:200] for row in refused})[:20]
        if column in TIERS
        else [],
    )


def _shares(kinds: list[Kind]) -> dict[str, Share]:
    found = {"tiers": share(sum(one.is_caught for one in kinds), sum(bool(one.runs) for one in kinds))}
    for column in COLUMNS:
        tried = [one for one in kinds if one.caught[column][1]]
        found[column] = share(sum(bool(one.caught[column][0]) for one in tried), len(tried))
    return found
