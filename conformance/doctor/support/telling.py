"""What the doctor found, for people and for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.text import Text

from conformance import __version__
from conformance.doctor import exit_code, unmet
from conformance.doctor.port import EVERY, Finding, State
from conformance.host import describe_host
from conformance.reports.console.stream import open_console
from conformance.reports.support.text import one_line, printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from rich.console import Console

    from conformance.doctor import Examined
    from conformance.doctor.support.subject import Subject

STYLES = {State.OK: "green", State.LIMITS: "yellow", State.MISSING: "bold red", State.WRONG: "bold red"}
WEIGHT = {State.WRONG: 0, State.MISSING: 1, State.LIMITS: 2, State.OK: 3}
WIDEST_STATE = max(map(len, State))
LONGEST = 400
NAMED = 6
FORMAT = 1


def tell(done: Sequence[Examined], subject: Subject, stream: TextIO) -> None:
    """Print what was found, examination by examination, then what mends each thing that is not well."""
    console = open_console(stream)
    console.print(Text(_heading(subject), style="bold"), soft_wrap=True)
    names = max((len(one_line(one.name, LONGEST)) for each in done for one in each.findings), default=0)
    for each in done:
        if not each.findings:
            continue
        console.print()
        console.print(Text(printable(each.title), style="bold"))
        for one in each.findings:
            lead = Text.assemble(
                "  ", (f"{one.state:<{WIDEST_STATE}}", STYLES[one.state]), f"  {one_line(one.name, LONGEST):<{names}}  "
            )
            _print_hanging(lead, one_line(one.found, LONGEST), console)
    bad = sorted(
        (one for each in done for one in each.findings if one.state is not State.OK), key=lambda one: WEIGHT[one.state]
    )
    urgent = [id(one) for one in unmet(list(done), subject)]
    _tell_remedies([one for one in bad if id(one) in urgent], "To be mended before a run", subject, console)
    _tell_remedies([one for one in bad if id(one) not in urgent], "What limits a run", subject, console)
    console.print()
    console.print(Text(_summary(done, subject), style="bold"), soft_wrap=True)


def _heading(subject: Subject) -> str:
    if subject.profile is None:
        return "conformance doctor: this host, for any device (name a profile to learn what its device needs)"
    device = subject.profile.profile.device
    bench = f", bench {subject.bench.path.name}" if subject.bench is not None else ""
    named = f"{device.vendor} {device.model}"
    category = subject.profile.category.category.name
    return one_line(f"conformance doctor: {named}, category {category}{bench}", LONGEST)


def _tell_remedies(bad: Sequence[Finding], title: str, subject: Subject, console: Console) -> None:
    """Print each finding with what it means and one line that mends it, unbroken: it is meant to be copied."""
    if not bad:
        return
    console.print()
    console.print(Text(title, style="bold"))
    for remedy in dict.fromkeys(one.remedy for one in bad):
        for one in (each for each in bad if each.remedy == remedy):
            needed = _needed(one, subject)
            told = f"{one_line(one.name, LONGEST)}: {one_line(one.means or one.found, LONGEST)}"
            lead = Text.assemble("  ", (f"{one.state:<{WIDEST_STATE}}", STYLES[one.state]), "  ")
            _print_hanging(lead, told + (f" ({needed})" if needed else ""), console)
        if remedy:
            console.print(Text(" " * (WIDEST_STATE + 4) + printable(remedy), style="cyan"), soft_wrap=True)


def _print_hanging(lead: Text, body: str, console: Console) -> None:
    """Print a text behind a lead; what does not fit on the line stands below its beginning."""
    indent = lead.cell_len
    lines = Text(body).wrap(console, max(20, console.width - indent))
    for number, line in enumerate(lines):
        line.rstrip()
        console.print(Text.assemble(lead if number == 0 else " " * indent, line), soft_wrap=True)


def _needed(finding: Finding, subject: Subject) -> str:
    """Return which requirements of the profile rest on a finding, in words."""
    if not subject.is_known:
        return ""
    if EVERY in finding.needed_by:
        return "every requirement rests on it"
    ids = subject.requirements(finding)
    more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    return ", ".join(ids[:NAMED]) + more


def _summary(done: Sequence[Examined], subject: Subject) -> str:
    counts = {state: sum(one.state is state for each in done for one in each.findings) for state in State}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    missing = len(unmet(list(done), subject))
    things = "1 thing is" if missing == 1 else f"{missing} things are"
    if subject.is_known:
        after = f"{things} missing or wrong that a MUST needs" if missing else "nothing is missing that a MUST needs"
    else:
        after = (
            f"{things} missing or wrong that every run needs" if missing else "nothing is missing that every run needs"
        )
    return f"{told}; {after}"


def to_json(done: Sequence[Examined], subject: Subject) -> str:
    """Return everything as JSON: `format` 1; fields may be added, the meaning of one never changes."""
    profile = subject.profile
    told = {
        "format": FORMAT,
        "conformance": __version__,
        "host": describe_host(),
        "profile": str(profile.path) if profile is not None else None,
        "category": profile.category.category.name if profile is not None else None,
        "bench": str(subject.bench.path) if subject.bench is not None else None,
        "findings": [_as_json(each, one, subject) for each in done for one in each.findings],
        "took_s": {each.name: round(each.took_s, 3) for each in done},
        "exit_code": exit_code(list(done), subject),
    }
    return json.dumps(told, indent=2, ensure_ascii=False)


def _as_json(each: Examined, one: Finding, subject: Subject) -> dict[str, Any]:
    return {
        "examination": each.name,
        "name": one.name,
        "state": one.state.value,
        "found": one.found,
        "means": one.means,
        "remedy": one.remedy,
        "requirements": list(subject.requirements(one)),
        "musts": list(subject.requirements(one, "MUST")),
        "every_run": EVERY in one.needed_by,
    }
