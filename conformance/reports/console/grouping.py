"""Cases that ended alike, put together, so that hundreds of them can be read. Pure."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from conformance.reports.support.telling import headline

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from conformance.records import Record

MANY = 12
"""More reasons than this, and those that differ in numbers, versioned operators or quoted names are put together."""
NOT_TRIED = "not tried"
_VARYING = re.compile(r"'[^']*'|\"[^\"]*\"|[A-Za-z]\w*-\d+|[-+]?\d[\d.,]*(?:e[-+]?\d+)?")


class Group(NamedTuple):
    """Cases with one reason. `is_alike`: their reasons differ in numbers or names; `reason` is the first one's."""

    reason: str
    records: list[Record]
    is_alike: bool

    def observed(self) -> str:
        """Return what unclaimed cases did: `tried all the same: works 12, rejects 3; not tried 1`; empty where unknown."""
        counted = Counter(record.observed for record in self.records if record.observed)
        untried = counted.pop(NOT_TRIED, 0)
        tried = ", ".join(f"{word} {count}" for word, count in counted.most_common())
        told = [f"tried all the same: {tried}"] if tried else []
        if untried:
            told.append(f"{NOT_TRIED} {untried}" if untried < len(self.records) else NOT_TRIED)
        return "; ".join(told)


def group(records: Iterable[Record]) -> list[Group]:
    """Return the cases by reason, most frequent first, then in plan order."""
    exact: dict[str, list[Record]] = {}
    for record in records:
        exact.setdefault(record.reason or headline(record), []).append(record)
    if len(exact) <= MANY:
        return _sorted([Group(reason, found, is_alike=False) for reason, found in exact.items()])
    alike: dict[str, list[tuple[str, list[Record]]]] = {}
    for reason, found in exact.items():
        alike.setdefault(_VARYING.sub("#", reason[:2000]), []).append((reason, found))
    merged = (_merge(members) for members in alike.values())
    return _sorted(merged)


def _merge(members: Sequence[tuple[str, list[Record]]]) -> Group:
    return Group(members[0][0], [record for _, found in members for record in found], is_alike=len(members) > 1)


def _sorted(groups: Iterable[Group]) -> list[Group]:
    return sorted(groups, key=lambda one: -len(one.records))
