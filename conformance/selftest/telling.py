"""The matrix as a table on the console and as Markdown: one source of lines for both."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from conformance.selftest.escapes import why
from conformance.selftest.judging import ATOL, COLUMNS, COSINE, RTOL, TIERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.selftest.matrix import Kind, Matrix, Share

TITLES = {
    "exact": "tier 1", "bound": "tier 2", "spread": "tier 3", "task": "task", "tiers": "caught",
    "onnx": "ONNX", "cosine": "cosine", "sqnr": "SQNR",
}  # fmt: skip

WIDTH = 160
"""Columns of a table that goes into a file or a pipe."""


def percent(share: Share) -> str:
    """Return `95 % [91, 98] of 76`."""
    if not share.trials:
        return "none tried"
    return f"{share.hits / share.trials:.1%} [{share.low:.1%}, {share.high:.1%}] of {share.trials}"


def cell(kind: Kind, column: str) -> str:
    """Return `3/4`, the runs that a column refused of those it was asked about; `·` where it was not asked."""
    hits, runs = kind.caught[column]
    return f"{hits}/{runs}" if runs else "·"


def summary(matrix: Matrix) -> list[tuple[str, ...]]:
    """Return the shares of kinds caught: a heading, then one row per column."""
    sets = list(matrix.shares)
    rows: list[tuple[str, ...]] = [("kinds of defect caught by", *sets)]
    for column in ("tiers", *COLUMNS):
        name = "any tier or the task" if column == "tiers" else TITLES[column]
        rows.append((name, *(percent(matrix.shares[one][column]) for one in sets)))
    return rows


def alarms(matrix: Matrix) -> list[tuple[str, ...]]:
    """Return the false alarms: a heading, then one row per column."""
    rows: list[tuple[str, ...]] = [
        ("false alarms of", "runs of correct devices", "models or operators with one", "most of a limit")
    ]
    rows += [
        (
            TITLES[one.column],
            percent(one.runs),
            percent(one.clusters),
            f"{one.worst:.0%}" if one.column in TIERS else "",
        )
        for one in matrix.alarms
    ]
    return rows


def matrix_rows(matrix: Matrix) -> list[tuple[str, ...]]:
    """Return the matrix defect × column: a heading, then one row per kind."""
    rows: list[tuple[str, ...]] = [("defect", "family", "set aside", *(TITLES[one] for one in COLUMNS), "caught")]
    for kind in sorted(matrix.kinds, key=lambda one: (one.family, one.name)):
        caught = "yes" if kind.is_caught else ("no" if kind.runs else "not tried")
        rows.append(
            (kind.name, kind.family, "yes" if kind.is_held_out else "", *(cell(kind, one) for one in COLUMNS), caught)
        )
    return rows


def escapes(matrix: Matrix) -> list[tuple[str, ...]]:
    """Return the kinds that were not caught with the reason: a heading, then one row per kind."""
    rows: list[tuple[str, ...]] = [("not caught", "set aside", "what it is", "why")]
    rows += [
        (one.name, "yes" if one.is_held_out else "", one.says, why(one)) for one in matrix.kinds if not one.is_caught
    ]
    return rows


def title(matrix: Matrix) -> str:
    """Return what was run, in one line."""
    tried = sum(bool(one.runs) for one in matrix.kinds)
    how = "quick" if matrix.is_quick else "full"
    ended = "" if matrix.is_complete else ", interrupted: what is told is what was done"
    return f"{tried} of {len(matrix.kinds)} kinds of defect tried, seed {matrix.seed}, {how}, {matrix.seconds:.0f} s{ended}"


def render(matrix: Matrix, stream: TextIO) -> None:
    """Print the tables to a console; the matrix row by row, then what escaped, the shares and the false alarms."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console(file=stream, width=None if stream.isatty() else WIDTH)
    for rows in (matrix_rows(matrix), escapes(matrix), summary(matrix), alarms(matrix)):
        table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
        for at, name in enumerate(rows[0]):
            table.add_column(name, no_wrap=at == 0)
        for row in rows[1:]:
            table.add_row(*row)
        console.print(table)
    for one in matrix.alarms:
        for text in one.which:
            console.print(f"alarm ({TITLES[one.column]}): {text}", style="red", markup=False)
    console.print(title(matrix))


def markdown(matrix: Matrix) -> str:
    """Return the page `docs/selftest.md`."""
    by_mode = [
        ("devices that declare", "false alarms of tier 3"),
        *((m, percent(s)) for m, s in matrix.alarms_by_mode.items()),
    ]
    parts = [
        "# What the harness catches",
        "Made by `conformance selftest --markdown docs/selftest.md`; do not edit by hand.",
        f"{title(matrix)[0].upper()}{title(matrix)[1:]}. Devices are simulated node by node in the precision they declare, with "
        "sums in three orders; defects are put into nodes inside the models, into outputs, or into what a device remembers. "
        "Half of the kinds are set aside by a hash of their names, and constants are never set on them. Intervals are those of "
        "Clopper and Pearson at 95 %.",
        f"Columns: tier 1 exact probes, tier 2 operator bounds, tier 3 Monte Carlo arithmetic, task the labelled samples; beside "
        f"them, deciding nothing: ONNX's tolerance (rtol {RTOL:g}, atol {ATOL:g}), cosine ≥ {COSINE}, SQNR ≥ 90, 44 or 20 dB by "
        "declared format. A cell is runs refused of runs in which the defect changed an output.",
        "## Shares of kinds caught", _table(summary(matrix)),
        "## False alarms on correct devices", _table(alarms(matrix)), _table(by_mode),
        "## What escapes", _table(escapes(matrix)),
        "## The matrix", _table(matrix_rows(matrix)),
    ]  # fmt: skip
    told = [f"- {TITLES[one.column]}: {text}" for one in matrix.alarms for text in one.which]
    if told:
        parts += ["## Alarms", "\n".join(told)]
    if matrix.not_run:
        parts += ["## Not run", f"The evaluator cannot run {len(matrix.not_run)} of the subjects drawn:"]
        parts.append("\n".join(f"- {one}" for one in matrix.not_run))
    return "\n\n".join(parts) + "\n"


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    lines = [_line(rows[0]), _line(("---",) * len(rows[0])), *map(_line, rows[1:])]
    return "\n".join(lines)


def _line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(one.replace("|", "\\|") for one in cells) + " |"
