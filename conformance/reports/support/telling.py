"""What is told of one case, whoever asks: its parts in order, and the line that runs it again."""

from __future__ import annotations

import glob
import math
import shlex
import textwrap
from typing import TYPE_CHECKING

from conformance.records import CLASS_OF, Outcome, OutcomeClass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.records import Attempt, Measurement, Record, RunInfo, RunResult, Witness


def musts(result: RunResult) -> frozenset[str]:
    """Return the ids of the requirements that are a MUST and apply to this device."""
    return frozenset(one.id for one in result.verdict.requirements if one.level == "MUST" and one.applies)


def is_must(record: Record, must_ids: frozenset[str]) -> bool:
    """Return whether a case serves any MUST that applies."""
    return not must_ids.isdisjoint(record.requirements)


def run_again(info: RunInfo, case_id: str) -> str:
    """Return the command line that runs one case of a run again."""
    return run_line(info.profile, case_id, info.bench_file, info.challenge)


def run_line(profile: str, case_id: str, bench_file: str = "", challenge: str = "") -> str:
    """Return the command line that runs one case; characters that a glob or a shell would take are quoted."""
    pattern = "'" + glob.escape(case_id).replace("'", "'\\''") + "'"
    bench = f" --bench {shlex.quote(bench_file)}" if bench_file else ""
    drawn = f" --challenge {shlex.quote(challenge)}" if challenge else ""
    return f"conformance run {shlex.quote(profile)}{bench}{drawn} --case {pattern}"


def drawn_from(info: RunInfo) -> str:
    """Return where the inputs of a run come from: the certifier's challenge, or seeds that a vendor can tune to."""
    return f"drawn from the challenge '{info.challenge}'" if info.challenge else "public: no challenge was given"


def headline(record: Record) -> str:
    """Return why the case ended as it did; never empty for anything but a PASS."""
    reason = record.reason
    if record.outcome is Outcome.WAIVED and record.underlying is not None:
        return f"{record.underlying}, {reason}" if reason else f"{record.underlying}, waived without a reason"
    if record.outcome is Outcome.UNSUPPORTED and record.observed:
        return f"{reason or 'not claimed'} (observed: {record.observed})"
    return reason or ("" if record.outcome is Outcome.PASS else f"{record.outcome}: no reason was given")


def parts(record: Record) -> Iterator[tuple[str, str]]:
    """Yield label and text of everything that explains a case beyond its headline; what is empty is left out."""
    for label in ("actual", "expected", "context", "remedy"):
        text: str = getattr(record, label)
        if text:
            yield label, text
    if record.measurements:
        yield "measured", "\n".join(measured(one) for one in record.measurements)
    if record.witnesses:
        yield "witnesses", "\n".join(witnessed(one) for one in record.witnesses)
    if record.attempts:
        yield "attempts", "\n".join(attempted(at, one) for at, one in enumerate(record.attempts, 1))


def measured(one: Measurement) -> str:
    """Return a measurement with its unit, limit and how near it is: `p99 4.1 ms, limit ≤ 5.0 (82 % of it): met`."""
    text = f"{one.name} {_number(one.value)}{f' {one.unit}' if one.unit else ''}"
    if one.limit:
        text += f", limit {one.limit}"
    if one.margin is not None and math.isfinite(one.margin):
        text += f" ({one.margin * 100:.4g} % of it)"
    return text if one.met is None else f"{text}: {'met' if one.met else 'not met'}"


def _number(value: float | str | bool | None) -> str:
    if value is None:
        return "no reading"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def witnessed(one: Witness) -> str:
    """Return what one witness of the placement says."""
    nodes = ", ".join(f"{count} on {name}" for name, count in sorted(one.nodes.items()))
    said = [f"nodes: {nodes}"] if nodes else []
    if one.host_ops:
        said.append(f"on the host: {', '.join(one.host_ops)}")
    if one.refused is not None:
        said.append("accepted with fallback forbidden" if one.refused else "not accepted with fallback forbidden")
    if one.detail:
        said.append(one.detail)
    return f"{one.source}: {'; '.join(said) or 'nothing'}"


def attempted(number: int, one: Attempt) -> str:
    """Return one attempt: how it ended, of what, and the last lines it wrote."""
    facts = [fact for fact in (one.signal, f"exit code {one.exit_code}" if one.exit_code is not None else "") if fact]
    if one.peak_rss_mb is not None:
        facts.append(f"peak {one.peak_rss_mb:.0f} MB")
    text = f"{number}. {one.outcome}: {one.detail}" + (f" ({', '.join(facts)})" if facts else "")
    stderr = one.stderr_tail.strip()
    return f"{text}\n{textwrap.indent(f'stderr: {stderr}', '   ')}" if stderr else text


def is_open(outcome: Outcome) -> bool:
    """Return whether nothing was decided about the device."""
    return CLASS_OF[outcome] is OutcomeClass.OPEN


EXIT_MEANINGS = {
    "CONFORMANT": "every MUST that applies is met",
    "CONDITIONAL": "every MUST that applies is met, some of them by a waiver only",
    "NON-CONFORMANT": "at least one MUST that applies is not met",
    "INCOMPLETE": "too little was shown: a MUST that applies is open, or nothing was measured",
    "CLEAN-PARTIAL": "what was selected is met; a partial run is never certifiable",
}
"""What each verdict means, in one line."""
