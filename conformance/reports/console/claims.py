"""Claims beside what the device did: how many, and the first few of each; run.json has them all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.text import Text

from conformance.reports.support.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from conformance.records import ClaimResult, ClaimsResult, UntestedClaim

NAMED = 3
NAME_LIMIT = 120
REASON_LIMIT = 240
WHY = {
    "no case exists": "no case exists",
    "invalid upstream": "every case is invalid upstream",
    "outside the claims": "every case needs something else that is not claimed",
    "not selected": "not selected",
    "not reached": "not reached",
    "nothing shown": "run, and nothing shown",
}


def is_empty(claims: ClaimsResult) -> bool:
    """Return whether there is nothing to tell: no operator and no type takes part."""
    return not (claims.operators or claims.types or claims.over_claimed or claims.under_claimed)


def render_claims(claims: ClaimsResult, console: Console) -> None:
    """Print over-claimed, under-claimed, and claimed without a test; each with its number, even where it is 0."""
    over, waived = len(claims.over_claimed), sum(one.waived for one in claims.over_claimed)
    told = f"over-claimed, that is claimed or required and not met: {over:,}"
    console.print(Text(told + (f", {waived:,} of them waived" if waived else ""), style="bold red" if over else ""))
    _differing(claims.over_claimed, console)
    console.print(Text(f"under-claimed, that is not claimed though it works: {len(claims.under_claimed):,}"))
    _differing(claims.under_claimed, console)
    operators = [one for one in claims.untested if one.kind == "operator"]
    types = [one for one in claims.untested if one.kind == "type"]
    console.print(
        Text(
            f"claimed and not tested: {len(operators):,} of {claims.operators:,} operator versions, "
            f"{len(types):,} of {claims.types:,} types"
        )
    )
    for why, text in WHY.items():
        group = [one for one in (*types, *operators) if one.why == why]
        if group:
            _line(f"{len(group):,} {text}: {_first(group)}", console)


def _differing(found: Sequence[ClaimResult], console: Console) -> None:
    for one in found[:NAMED]:
        counts = ", ".join(f"{count:,} {word}" for word, count in one.counts.items())
        _line(f"{one_line(one.subject, NAME_LIMIT)}: {counts} · {one_line(one.reason, REASON_LIMIT)}", console)
    if len(found) > NAMED:
        _line(f"… and {len(found) - NAMED:,} more in run.json", console)


def _first(group: Sequence[UntestedClaim]) -> str:
    named = ", ".join(one_line(one.name, NAME_LIMIT) for one in group[:NAMED])
    return named + (f" … and {len(group) - NAMED:,} more in run.json" if len(group) > NAMED else "")


def _line(text: str, console: Console) -> None:
    console.print(Padding(Text(text, style="dim"), (0, 0, 0, 4), expand=False))
