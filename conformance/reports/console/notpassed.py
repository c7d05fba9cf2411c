"""Every case that is not PASS, explained: failures in full, what is open or unclaimed by its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from conformance.records import Outcome
from conformance.reports.console.grouping import Group, group
from conformance.reports.console.style import STYLES
from conformance.reports.support.telling import headline, parts, run_again
from conformance.reports.support.text import clip, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, RenderableType

    from conformance.records import Record, RunInfo, RunResult

IN_FULL = 10
"""Failures told with actual, expected and context, for each outcome; the others get their line."""
NAMED = 3
"""Cases named one by one within a group."""
GROUPS = 40
"""Reasons told for one outcome."""
REASON_LIMIT = 300
PART_LIMIT = 1200
PART_LINES = 8
DETAILED = (Outcome.FAIL, Outcome.CRASH, Outcome.TIMEOUT, Outcome.ERROR)
GROUPED = (Outcome.INCONCLUSIVE, Outcome.UNMEASURED, Outcome.NOT_RUN, Outcome.WAIVED, Outcome.UNSUPPORTED)


def render_not_passed(result: RunResult, console: Console) -> None:
    """Print the cases that are not PASS, worst outcome first."""
    by_outcome: dict[Outcome, list[Record]] = {}
    for record in result.records:
        by_outcome.setdefault(record.outcome, []).append(record)
    left_out = False
    for outcome in (*DETAILED, *GROUPED):
        records = by_outcome.get(outcome, [])
        if not records:
            continue
        console.print()
        console.print(Text.assemble((outcome.value, STYLES[outcome]), f"  {_cases(len(records))}"))
        full = records[:IN_FULL] if outcome in DETAILED else []
        for record in full:
            _print_in_full(record, result.info, console)
        left_out |= _print_groups(records[len(full) :], outcome, console)
    if left_out:
        console.print()
        console.print(
            Text("Not every case is named above: cases.jsonl in the run folder has a line for each.", style="dim")
        )


def _print_in_full(record: Record, info: RunInfo, console: Console) -> None:
    console.print(_indented(Text(one_line(record.case, REASON_LIMIT), style="bold"), 2))
    console.print(_indented(Text(one_line(headline(record), REASON_LIMIT)), 4))
    grid = _grid(len("witnesses"))
    for label, text in parts(record):
        grid.add_row(Text(label, style="dim"), Text(_few_lines(text)))
    if grid.row_count:
        console.print(_indented(grid, 4))
    # one unbroken line: it is meant to be copied
    again = Text.assemble(("    again     ", "dim"), one_line(run_again(info, record.case), 2000))
    console.print(again, soft_wrap=True)


def _grid(min_width: int = 0) -> Table:
    """Return a grid of two columns: whatever wraps in the second stays below it."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True, min_width=min_width)
    grid.add_column(overflow="fold")
    return grid


def _indented(content: RenderableType, by: int) -> Padding:
    return Padding(content, (0, 0, 0, by), expand=False)


def _few_lines(text: str) -> str:
    lines = clip(text, PART_LIMIT).splitlines()
    if len(lines) <= PART_LINES:
        return "\n".join(lines)
    return "\n".join([*lines[:PART_LINES], f"… {len(lines) - PART_LINES} lines more in cases.jsonl"])


def _print_groups(records: Sequence[Record], outcome: Outcome, console: Console) -> bool:
    """Print the groups; return whether cases or reasons were left out."""
    groups = group(records)
    grid = _grid()
    left_out = False
    for one in groups[:GROUPS]:
        grid.add_row(Text(f"{len(one.records):>5,} ×"), _told(one, outcome))
        left_out |= len(one.records) > NAMED
    if groups:
        console.print(_indented(grid, 2))
    rest = groups[GROUPS:]
    if rest:
        count = sum(len(one.records) for one in rest)
        console.print(_indented(Text(f"… and {_cases(count)} for {len(rest):,} other reasons"), 2))
    return left_out or bool(rest)


def _told(one: Group, outcome: Outcome) -> Text:
    """Return the reason, what unclaimed cases did when tried, and the ids of a few."""
    reason = one_line(one.reason if outcome is Outcome.UNSUPPORTED else headline(one.records[0]), REASON_LIMIT)
    told = Text(f"such as: {reason}" if one.is_alike else reason)
    if one.observed():
        told.append(f" · {one_line(one.observed(), REASON_LIMIT)}")
    is_short = len(one.records) <= NAMED
    for record in one.records[: NAMED if is_short else 1]:
        told.append(f"\n{'' if is_short else 'e.g. '}{one_line(record.case, REASON_LIMIT)}", style="dim")
    return told


def _cases(count: int) -> str:
    return f"{count:,} case{'' if count == 1 else 's'}"
