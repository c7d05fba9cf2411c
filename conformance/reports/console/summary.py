"""The summary of a run: what was tested, requirement by requirement, what is not PASS and why, and the verdict last."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from conformance.records import Outcome, OutcomeClass
from conformance.reports.console.claims import is_empty, render_claims
from conformance.reports.console.notpassed import render_not_passed
from conformance.reports.console.stream import open_console
from conformance.reports.console.style import CLASS_STYLES, STYLES, VERDICT_STYLES
from conformance.reports.support.telling import EXIT_MEANINGS, drawn_from
from conformance.reports.support.text import clip, one_line

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TextIO

    from conformance.records import Coverage, HookUse, RequirementResult, RunInfo, RunResult

NAME_LIMIT = 120
REASON_LIMIT = 240
NARROW = 70
"""Columns below which the table of requirements has no room for its five columns."""


def render_summary(result: RunResult, target: TextIO | Console, folder: Path | None = None) -> None:
    """Print the summary to a stream or a console of rich; `folder` is where the reports were written."""
    console = target if isinstance(target, Console) else open_console(target)
    _head(result, console)
    _title("Requirements", console)
    console.print(_requirements(result.verdict.requirements, console.width))
    _title("Cases", console)
    console.print(_counts(result))
    render_not_passed(result, console)
    # in a partial run a thing counts as passed, or as over-claimed, by the cases that were selected
    scope = ", by the cases of this partial run alone" if result.verdict.partial else ""
    if result.verdict.coverage:
        _title(f"Coverage{scope}", console)
        console.print(_coverage(result.verdict.coverage))
    if not is_empty(result.verdict.claims):
        _title(f"Claims{scope}", console)
        render_claims(result.verdict.claims, console)
    _title("Verdict", console)
    _verdict(result, console, folder)


def _title(text: str, console: Console) -> None:
    console.print()
    console.print(Rule(Text(text), align="left", style="dim"))


def _head(result: RunResult, console: Console) -> None:
    info, identity = result.info, result.info.identity
    told = [
        ("device", f"{info.vendor} {info.model}"),
        ("profile", f"{info.profile} (digest {info.profile_digest[:12]})"),
        ("category", " ".join(part for part in (info.category, info.category_version, info.subtype) if part)),
        ("runtime", _runtime(result)),
        ("reports as", " ".join(part for part in (identity.vendor, identity.device_name) if part) if identity else ""),
        ("lab", _lab(info.bench)),
        ("brought back", _hooks(info.hooks)),
        ("level", info.level + (f", only cases like '{info.selection}'" if info.selection else "")),
        ("inputs", drawn_from(info)),
        ("run", f"{info.run_id}, conformance {info.harness_version}" + _resumed(info)),
    ]
    console.print()
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    for label, text in told:
        if text:
            grid.add_row(label, Text(one_line(text, REASON_LIMIT)))
    console.print(grid)


def _lab(bench: dict[str, str]) -> str:
    """Return who tested which unit, how warm it was there, and where the device was."""
    words = [
        bench.get("lab", ""),
        f"operator {bench['operator']}" if "operator" in bench else "",
        f"unit {bench['unit_serial']}" if "unit_serial" in bench else "",
        f"{bench['ambient_c']} °C" if "ambient_c" in bench else "",
        f"device on {bench['ssh']}" if "ssh" in bench else "",
    ]
    return ", ".join(word for word in words if word)


def _hooks(uses: tuple[HookUse, ...]) -> str:
    """Return how often the lab's commands were used, and how often in vain."""
    if not uses:
        return ""
    failed = sum(bool(use.failure) for use in uses)
    counts = ", ".join(
        f"{sum(use.hook == hook for use in uses)} × {hook.replace('_', ' ')}"
        for hook in dict.fromkeys(u.hook for u in uses)
    )
    return counts + (f", {failed} failed" if failed else "")


def _runtime(result: RunResult) -> str:
    identity = result.info.identity
    if identity is None:
        return "was never opened"
    return f"{identity.runtime} {identity.runtime_version}, {identity.provider}"


def _resumed(info: RunInfo) -> str:
    """Return how often the run was continued, and how many of its sessions did not close their journal."""
    if not info.resumed:
        return ""
    unclosed = info.journal.unclosed if info.journal is not None else 0
    cut = f", {unclosed} of its sessions left no end in the journal (killed, or cut off)" if unclosed else ""
    return f", resumed {info.resumed} time{'' if info.resumed == 1 else 's'}{cut}"


def _requirements(requirements: tuple[RequirementResult, ...], width: int) -> Table:
    """Return the table; on a narrow terminal its columns but the first stand below each other."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim", show_header=width >= NARROW)
    table.add_column("id", no_wrap=True)
    if width >= NARROW:
        table.add_column("level", no_wrap=True)
    table.add_column("requirement, and the first reason", ratio=1, overflow="fold")
    if width >= NARROW:
        table.add_column("result", no_wrap=True)
        table.add_column("cases", justify="right", no_wrap=True)
    for one in requirements:
        key, level = Text(one_line(one.id, 24)), Text(one_line(one.level, 8))
        ended, cases = Text(one.result.value, CLASS_STYLES[one.result]), _cases(one)
        if width >= NARROW:
            table.add_row(key, level, _why(one), ended, cases)
        else:
            table.add_row(key, Text("\n").join([Text.assemble(ended, f" · {level} · {cases} cases"), _why(one)]))
    return table


def _cases(one: RequirementResult) -> str:
    """Return how many cases there are, and of how many where some of them were outside the claims."""
    total = sum(one.counts.values())
    outside = one.counts.get(Outcome.UNSUPPORTED, 0)
    return f"{total - outside:,} of {total:,}" if outside else f"{total:,}"


def _why(one: RequirementResult) -> Text:
    told = Text(one_line(one.title_en, NAME_LIMIT))
    reason = one.reason or ("" if one.result is OutcomeClass.MET else one.why)
    if reason:
        told.append(f"\n↳{one_line(reason, REASON_LIMIT)}", style="dim")  # no space: a long case id would break there
    return told


def _counts(result: RunResult) -> Text:
    counts = result.verdict.counts
    shown = [Text(f"{counts[outcome]:,} {outcome}", STYLES[outcome]) for outcome in Outcome if counts.get(outcome)]
    info = result.info
    told = Text(" · ").join(shown) if shown else Text("no case was planned")
    told.append(f"\n{info.planned:,} planned, {info.not_selected:,} not selected", style="dim")
    if info.pinned:
        told.append(f", {len(info.pinned):,} invalid upstream and outside the plan (named in run.json)", style="dim")
    return told


def _coverage(covers: tuple[Coverage, ...]) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    table.add_column("of a fixed total")
    for name in ("passed", "claimed", "total"):
        table.add_column(name, justify="right")
    table.add_column("passed of total", justify="right")
    for one in covers:
        title = Text(one_line(one.name, NAME_LIMIT))
        table.add_row(title, f"{one.passed:,}", f"{one.claimed:,}", f"{one.total:,}", _percent(one.passed, one.total))
    return table


def _percent(part: int, whole: int) -> str:
    """Return a percentage that is never rounded up: 100 % means all."""
    return f"{math.floor(part * 1000 / whole) / 10:.1f} %" if whole else "–"


def _verdict(result: RunResult, console: Console, folder: Path | None) -> None:
    verdict, info = result.verdict, result.info
    against = f"{info.category} {info.category_version}".strip()
    console.print(
        Text.assemble(
            (one_line(verdict.name, NAME_LIMIT), VERDICT_STYLES.get(verdict.name, "bold")),
            f" against {one_line(against, NAME_LIMIT)}",
        )
    )
    lines = [Text(f"exit code {verdict.exit_code}: {EXIT_MEANINGS.get(verdict.name, 'see docs/outcomes.md')}")]
    lines.append(Text(one_line(verdict.summary, 2 * REASON_LIMIT)))
    if verdict.certifiable:
        lines.append(Text("certifiable"))
    else:
        lines.append(Text(f"not certifiable: {one_line(verdict.why_not_certifiable, REASON_LIMIT)}"))
    placement = Text("placement shown") if verdict.placement_shown else Text("PLACEMENT NOT SHOWN", style="bold yellow")
    if not verdict.placement_shown:
        placement.append(": this run does not prove that the device under test did the work", style="not bold")
    lines.append(placement)
    if verdict.eligibility:
        lines.append(Text(f"eligibility: {one_line(verdict.eligibility, NAME_LIMIT)}"))
        lines += [
            Text(f"  its inclusion would need: {one_line(one, REASON_LIMIT)}") for one in verdict.documents_wanted
        ]
        given = [f"{one_line(one.name, NAME_LIMIT)} ({one.state})" for one in verdict.documents_given]
        if verdict.documents_wanted:
            lines.append(Text(f"  the profile gives: {', '.join(given) or 'no document'}"))
    if info.interrupted:
        lines.append(Text(f"ended early: {one_line(info.interrupted, REASON_LIMIT)}", style="bold yellow"))
    for line in lines:
        console.print(Padding(line, (0, 0, 0, 2), expand=False))
    if folder is not None:
        console.print(Text(f"  run folder: {clip(str(folder), 4096)}"), soft_wrap=True)
