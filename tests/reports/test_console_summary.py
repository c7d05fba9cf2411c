"""The summary: true wording, everything that is not PASS explained, and nothing that a device can write into it."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from rich.console import Console

from conformance.records import Coverage, GivenDocument, JournalState, Outcome, OutcomeClass, Record
from conformance.reports.console import render_summary
from conformance.reports.console.grouping import group

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.records import RequirementResult, RunResult


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def shown(result: RunResult, width: int = 120, folder: Path | None = None) -> str:
    """Return the summary as a pipe of that width gets it, with trailing blanks removed."""
    stream = io.StringIO()
    render_summary(result, Console(file=stream, width=width, markup=False, emoji=False, highlight=False), folder)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def test_piped_output_has_no_escapes(typical: RunResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    stream = io.StringIO()
    render_summary(typical, stream, Path("runs/x"))
    assert "\x1b" not in stream.getvalue()
    assert not [c for c in stream.getvalue() if ord(c) < 0x20 and c != "\n"]
    assert max(map(len, stream.getvalue().splitlines())) <= 121


def test_terminal_gets_colour_unless_it_says_no(typical: RunResult, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    coloured = Terminal()
    render_summary(typical, coloured)
    assert "\x1b[1;31mNON-CONFORMANT" in coloured.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    grey = Terminal()
    render_summary(typical, grey)
    assert "NON-CONFORMANT" in grey.getvalue()
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", grey.getvalue())


def test_head(typical: RunResult) -> None:
    text = shown(typical)
    for line in (
        "device      Example Chips EC-100",
        "profile     my-card.yaml (digest abababababab)",
        "category    accelerator-card 0.1 pcie-card",
        "runtime     onnxruntime 1.32.0, ExampleEP",
        "run         0011223344556677, conformance 0.1.0",
    ):
        assert line in text


def test_head_of_a_resumed_selection(result: Callable[..., RunResult]) -> None:
    text = shown(result(info={"resumed": 2, "selection": "operators/*", "identity": None, "level": "smoke"}))
    assert "level     smoke, only cases like 'operators/*'" in text
    assert "conformance 0.1.0, resumed 2 times" in text
    assert "left no end" not in text
    assert "runtime   was never opened" in text


def test_head_tells_of_a_journal_that_was_not_closed(result: Callable[..., RunResult]) -> None:
    state = JournalState(lines=9, records=3, chain="c", unclosed=1)
    text = " ".join(shown(result(info={"resumed": 1, "journal": state})).split())
    assert "resumed 1 time, 1 of its sessions left no end in the journal (killed, or cut off)" in text


def test_requirements_with_their_first_reason(typical: RunResult) -> None:
    lines = shown(typical).splitlines()
    row = next(line for line in lines if line.startswith("OP-001"))
    assert re.fullmatch(r"OP-001 +MUST +Every declared operator computes what ONNX defines +not met +44", row)
    assert lines[lines.index(row) + 1].strip().startswith("↳operators/ai.onnx.Gelu-20/float32/test_gelu: FAIL")
    assert re.search(r"IF-002 +MUST +.* open +0\n +↳no check yet", shown(typical))
    assert re.search(r"PW-001 +SHOULD +.* not applicable +0\n +↳the profile declares no power", shown(typical))


@pytest.mark.parametrize("width", [20, 40, 69, 70, 80, 120, 200])
def test_any_width(width: int, typical: RunResult) -> None:
    text = shown(typical, width)
    for word in ("IF-002", "PW-001", "open", "exit code 20"):
        assert word in text
    squeezed = re.sub(r"\s", "", text)
    assert "operators/ai.onnx.Gelu-20/float32/test_gelu:FAIL" in squeezed, "ids are folded, never cut"
    assert "conformance run my-card.yaml --case 'operators/ai.onnx.If-19/float32/test_if'" in text, "copied as one line"


def test_failure_in_full(typical: RunResult) -> None:
    text = shown(typical)
    block = text[text.index("FAIL  1 case") : text.index("CRASH  1 case")]
    assert [line.strip() for line in block.splitlines()[1:] if line] == [
        "operators/ai.onnx.Gelu-20/float32/test_gelu",
        "2 of 120 elements differ",
        "actual    [3, 17] = 0.42",
        "expected  [3, 17] = 0.40 ± 0.01",
        "context   model test_gelu · strict session",
        "measured  worst_error 11.25 of the limit, limit ≤ 1 (1125 % of it): not met",
        "witnesses assignment: nodes: 3 on ExampleEP",
        "again     conformance run my-card.yaml --case 'operators/ai.onnx.Gelu-20/float32/test_gelu'",
    ]


def test_every_outcome_is_explained(typical: RunResult) -> None:
    text = shown(typical)
    counts = "41 PASS · 1 FAIL · 1 CRASH · 1 UNMEASURED · 1 ERROR · 1 WAIVED · 300 UNSUPPORTED"
    assert f"{counts}\n346 planned, 0 not selected" in text
    assert "remedy    install it: sudo locale-gen en_US.UTF-8" in text
    assert "1 × the host does not tell the CPU time of the child\n          placement/model/host-cpu" in text
    assert "1 × FAIL, waived until 2027-01-01 by lab" in text
    told = "the profile does not declare type float16 · tried all the same: rejects 172, works 85"
    assert f"257 × {told}\n          e.g. operators/ai.onnx.Mul-14/float16/test_mul_1" in text
    assert "Not every case is named above: cases.jsonl in the run folder has a line for each." in text
    order = [text.index(f"\n{name}  ") for name in ("FAIL", "CRASH", "ERROR", "UNMEASURED", "WAIVED", "UNSUPPORTED")]
    assert order == sorted(order)


def test_each_case_is_counted_once(record: Callable[..., Record], result: Callable[..., RunResult]) -> None:
    records = [record(f"a/b/{at}", outcome=Outcome.FAIL, reason=f"off by {at}") for at in range(500)]
    text = shown(result(records, name="NON-CONFORMANT"))
    assert text.count("    again     ") == 10
    assert "490 × such as: off by 10" in text
    assert "Not every case is named above" in text


def test_all_named_says_nothing_of_more(record: Callable[..., Record], result: Callable[..., RunResult]) -> None:
    records = [record(f"a/b/{at}", outcome=Outcome.NOT_RUN, reason="not reached: device lost") for at in range(3)]
    text = shown(result(records, name="INCOMPLETE"))
    assert "3 × not reached: device lost\n          a/b/0\n          a/b/1\n          a/b/2" in text
    assert "Not every case" not in text


def test_too_many_reasons(record: Callable[..., Record], result: Callable[..., RunResult]) -> None:
    reasons = [chr(97 + at // 26) + chr(97 + at % 26) for at in range(100)]
    records = [record(f"a/b/{why}", outcome=Outcome.INCONCLUSIVE, reason=why) for why in reasons]
    text = shown(result(records, name="INCOMPLETE"))
    assert "… and 60 cases for 60 other reasons" in text
    assert "Not every case is named above" in text


def test_grouping(record: Callable[..., Record]) -> None:
    few = group(record(f"a/b/{at}", reason=f"{at} of 12 differ") for at in range(3))
    assert [(one.reason, len(one.records), one.is_alike) for one in few] == [
        (f"{at} of 12 differ", 1, False) for at in range(3)
    ]
    varied = [record(f"a/b/{at}", reason=f"{at} of 12 differ in 'out_{at}' by 1.5e-{at}") for at in range(30)]
    many = group([record("a/b/x", reason="another"), *varied])
    assert [(one.reason, len(one.records), one.is_alike) for one in many] == [
        ("0 of 12 differ in 'out_0' by 1.5e-0", 30, True),
        ("another", 1, False),
    ]
    (silent,) = group([record(outcome=Outcome.NOT_RUN)])
    assert (silent.reason, silent.observed()) == ("NOT_RUN: no reason was given", "")


def test_operators_with_versions_are_put_together(record: Callable[..., Record]) -> None:
    """A device without a new opset lacks hundreds of operators for one reason."""
    reasons = [f"declares.opsets ai.onnx is [7, 22]; Op{chr(65 + at)}-{23 + at % 5} is newer" for at in range(26)]
    (one,) = group(record(f"a/b/{at}", reason=why, outcome=Outcome.UNSUPPORTED) for at, why in enumerate(reasons))
    assert (one.reason, len(one.records), one.is_alike) == (reasons[0], 26, True)


@pytest.mark.parametrize(
    ("observed", "told"),
    [
        (("", ""), ""),
        (("not tried", "not tried"), "not tried"),
        (("works", "rejects", "works"), "tried all the same: works 2, rejects 1"),
        (("works", "not tried", "not tried"), "tried all the same: works 1; not tried 2"),
        (("", "not tried"), "not tried 1"),
    ],
)
def test_what_was_observed(observed: tuple[str, ...], told: str, record: Callable[..., Record]) -> None:
    (one,) = group(record(f"a/b/{at}", reason="r", observed=word) for at, word in enumerate(observed))
    assert one.observed() == told


def test_long_parts_are_cut_and_say_so(record: Callable[..., Record], result: Callable[..., RunResult]) -> None:
    failed = record(
        "a/b/c",
        outcome=Outcome.FAIL,
        reason="r" * 10_000_000,
        actual="\n".join(map(str, range(100))),
        context="y" * 10_000_000,
    )
    text = shown(result([failed], name="NON-CONFORMANT"))
    assert "… 92 lines more in cases.jsonl" in text
    assert "[cut; 10,000,000 characters in all, see cases.jsonl]" in re.sub(r"\n +", " ", text)
    assert len(text) < 10_000
    assert "again     conformance run my-card.yaml --case 'a/b/c'" in text


HOSTILE = (
    "[red]x[/red] [link=http://a]b[/link] :boom: \x1b]0;title\x07\x1b[2J\x9b31m\u202eevil\u2066 \ud800 \r\n\x00 芯 🚀"
)


def test_hostile_text_everywhere(
    record: Callable[..., Record], requirement: Callable[..., RequirementResult], result: Callable[..., RunResult]
) -> None:
    fields = ("reason", "actual", "expected", "context", "remedy", "observed")
    records = [
        record(f"a/{HOSTILE}/{outcome}", outcome=outcome, **dict.fromkeys(fields, HOSTILE)) for outcome in Outcome
    ]
    stamp = dict.fromkeys(
        ("profile", "vendor", "model", "category", "subtype", "selection", "run_id", "interrupted", "profile_digest"),
        HOSTILE,
    )
    told = result(
        records,
        [requirement(HOSTILE, title_en=HOSTILE, level=HOSTILE, reason=HOSTILE, result=OutcomeClass.OPEN)],
        name="INCOMPLETE",
        info=stamp,
        summary=HOSTILE,
        eligibility=HOSTILE,
        why_not_certifiable=HOSTILE,
        coverage=(Coverage(name=HOSTILE, total=1, claimed=1, passed=1),),
    )
    stream = io.StringIO()
    render_summary(told, stream, Path("runs") / "x\x1b[31m")
    text = stream.getvalue()
    text.encode()
    assert not [c for c in text if (ord(c) < 0x20 and c != "\n") or 0x7F <= ord(c) < 0xA0 or c in "\u202e\u2066"]
    assert "[red]x[/red]" in text, "shown as it came, not obeyed"
    assert ":boom:" in text
    assert "\\x1b]0;title\\x07" in text
    assert "runs/x\\x1b[31m" in text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("CONFORMANT", ["CONFORMANT against accelerator-card 0.1", "exit code 0: every MUST that applies is met"]),
        ("CLEAN-PARTIAL", ["exit code 0: what was selected is met; a partial run is never certifiable"]),
        ("CONDITIONAL", ["exit code 10: every MUST that applies is met, some of them by a waiver only"]),
        ("NON-CONFORMANT", ["exit code 20: at least one MUST that applies is not met"]),
        ("INCOMPLETE", ["exit code 30: too little was shown"]),
        ("SOMETHING NEW", ["exit code 99: see docs/outcomes.md"]),
    ],
)
def test_verdict_comes_last(name: str, words: list[str], result: Callable[..., RunResult]) -> None:
    folder = Path("conformance-runs/a-very-long-name-" + "x" * 200)
    text = shown(result(name=name), 80, folder)
    last = text[text.index("Verdict ─") :]
    for word in words:
        assert word in last
    assert ("  certifiable" in last) == (name in ("CONFORMANT", "CONDITIONAL"))
    if name not in ("CONFORMANT", "CONDITIONAL"):
        assert f"not certifiable: the verdict is {name}" in last
    assert last.splitlines()[-1] == f"  run folder: {folder}", "unbroken: it is meant to be copied"
    assert "eligibility: named: accelerator-card" in last


@pytest.mark.parametrize("is_shown", [True, False])
def test_placement_shown_or_not(is_shown: bool, result: Callable[..., RunResult]) -> None:
    text = shown(result(placement_shown=is_shown))
    assert ("PLACEMENT NOT SHOWN: this run does not prove that the device" in text) != is_shown
    assert ("  placement shown" in text) == is_shown


def test_interrupted_run_says_so(result: Callable[..., RunResult]) -> None:
    info = {"interrupted": "interrupted by the user; continue with --resume", "pinned": (("a/b/c", "invalid"),)}
    text = shown(result(name="INCOMPLETE", info=info))
    assert "  ended early: interrupted by the user; continue with --resume" in text
    assert "1 invalid upstream and outside the plan (named in run.json)" in text
    assert "no case was planned" in text


def test_coverage_is_never_rounded_up(result: Callable[..., RunResult]) -> None:
    covers = (
        Coverage(name="operators", total=213, claimed=190, passed=189),
        Coverage(name="operator × type", total=10000, claimed=10000, passed=9999),
        Coverage(name="all", total=3, claimed=3, passed=3),
        Coverage(name="nothing", total=0, claimed=0, passed=0),
    )
    text = shown(result(coverage=covers))
    assert re.search(r"operators +189 +190 +213 +88\.7 %", text)
    assert re.search(r"operator × type +9,999 +10,000 +10,000 +99\.9 %", text)
    assert re.search(r"all +3 +3 +3 +100\.0 %", text)
    assert re.search(r"nothing +0 +0 +0 +–", text)
    assert "\nCoverage ─" in text
    assert "Coverage, by the cases of this partial run alone ─" in shown(result(name="CLEAN-PARTIAL"))
    assert "Coverage" not in shown(result(coverage=()))


def test_ascii_pipe(typical: RunResult) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    render_summary(typical, stream)
    assert b"257 x the profile does not declare type float16 - tried all the same" in raw.getvalue()
    assert b"\\u" not in raw.getvalue()


def test_documents_for_an_adjacent_type_are_listed(result: Callable[..., RunResult]) -> None:
    given = (GivenDocument(name="modes.pdf", state="there"), GivenDocument(name="lost.pdf", state="missing"))
    text = shown(result(eligibility="adjacent: x", documents_wanted=("A datasheet", "A letter"), documents_given=given))
    assert "its inclusion would need: A datasheet" in text
    assert "its inclusion would need: A letter" in text
    assert "the profile gives: modes.pdf (there), lost.pdf (missing)" in text
    none = shown(result(eligibility="adjacent: x", documents_wanted=("A datasheet",)))
    assert "the profile gives: no document" in none


def test_cases_outside_the_claims_are_not_counted_as_shown(result: Callable[..., RunResult]) -> None:
    told = result()
    one = msgspec.structs.replace(told.verdict.requirements[0], counts={"PASS": 16, "UNSUPPORTED": 2003})
    verdict = msgspec.structs.replace(told.verdict, requirements=(one,))
    assert "16 of 2,019" in shown(msgspec.structs.replace(told, verdict=verdict))
