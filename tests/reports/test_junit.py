"""junit.xml: the mapping, what CI systems accept, and that it is never green where the verdict is not."""

from __future__ import annotations

import os
import re
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import junitparser
import pytest
from lxml import etree

from conformance.records import Attempt, Measurement, Outcome, OutcomeClass, Record, Witness
from conformance.reports import junit
from conformance.reports.support.junit_entries import LIMIT, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conformance.records import RequirementResult, RunResult

XSD = "jenkins-junit-10.xsd"
ALLOWED = {
    "testsuites": {"name", "time", "tests", "failures", "errors"},
    "testsuite": {"name", "tests", "failures", "errors", "time", "skipped", "timestamp"},
    "properties": set(),
    "property": {"name", "value"},
    "testcase": {"name", "time", "classname"},
    "failure": {"type", "message"},
    "error": {"type", "message"},
    "skipped": {"type", "message"},
    "system-out": set(),
}
CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"properties", "testcase"},
    "properties": {"property"},
    "testcase": {"failure", "error", "skipped", "system-out"},
}
BAD_WORDS = ("failure", "error")


def find_xsd() -> Path | None:
    """Return Jenkins' schema from the folder that the environment names, or from `shared/data` beside the checkout."""
    named = os.environ.get("CONFORMANCE_JENKINS_XSD")
    if named:
        assert (Path(named) / XSD).is_file(), f"CONFORMANCE_JENKINS_XSD={named} has no {XSD}"
        return Path(named) / XSD
    beside = (parent / "shared" / "data" / XSD for parent in Path(__file__).resolve().parents)
    return next((path for path in beside if path.is_file()), None)


def parse(raw: bytes) -> ET.Element:
    """Parse what we have just written."""
    return ET.fromstring(raw)


def structural_defects(root: ET.Element) -> list[str]:
    """Return what Jenkins' schema would refuse, by the same facts: attributes, children, numbers, times."""
    defects = []
    for element in root.iter():
        tag = element.tag
        if tag not in ALLOWED:
            defects.append(f"<{tag}>")
            continue
        defects += [f"{tag}@{key}" for key in element.attrib if key not in ALLOWED[tag]]
        defects += [f"{tag}/{child.tag}" for child in element if child.tag not in CHILDREN.get(tag, set())]
        if tag in ("testsuite", "testsuites"):
            defects += [f"{tag} without {key}" for key in ("tests", "failures", "errors") if key not in element.attrib]
        if tag in ("testsuite", "testsuites", "testcase") and not re.fullmatch(r"\d+\.\d{3}", element.get("time", "")):
            defects.append(f"{tag}@time={element.get('time')}")
        if tag in ("testsuite", "testcase", "property") and not element.get("name"):
            defects.append(f"{tag} without name")
    return defects


def render(result: RunResult) -> bytes:
    """Render, and hold the whole against everything that is true of every report."""
    raw = b"".join(junit.render(result))
    root = parse(raw)
    assert structural_defects(root) == []
    xsd = find_xsd()
    if xsd is not None:
        schema = etree.XMLSchema(etree.parse(str(xsd)))
        assert schema.validate(etree.fromstring(raw, etree.XMLParser(huge_tree=True))), schema.error_log
    counted = Counter(child.tag for case in root.iter("testcase") for child in case if child.tag != "system-out")
    assert int(root.get("tests", "")) == len(list(root.iter("testcase")))
    assert int(root.get("failures", "")) == counted["failure"]
    assert int(root.get("errors", "")) == counted["error"]
    for suite in root:
        own = Counter(child.tag for case in suite.iter("testcase") for child in case if child.tag != "system-out")
        told = tuple(int(suite.get(key, "")) for key in ("tests", "failures", "errors", "skipped"))
        assert told == (len(suite.findall("testcase")), own["failure"], own["error"], own["skipped"])
    keys = [(case.get("classname"), case.get("name")) for case in root.iter("testcase")]
    assert len(keys) == len(set(keys))
    return raw


def case_of(raw: bytes, suite: str, name: str) -> ET.Element:
    root = parse(raw)
    return next(c for s in root if s.get("name") == suite for c in s.findall("testcase") if c.get("name") == name)


def status(case: ET.Element) -> str:
    return next((child.tag for child in case if child.tag != "system-out"), "passed")


def words(raw: bytes, suite: str) -> dict[str, str]:
    """Return name → status of a suite's cases."""
    root = parse(raw)
    return {c.get("name", ""): status(c) for s in root if s.get("name") == suite for c in s.findall("testcase")}


# -- the mapping ------------------------------------------------------------------------------------------------------

MAPPING = [
    (Outcome.PASS, "passed", "passed"),
    (Outcome.FAIL, "failure", "failure"),
    (Outcome.CRASH, "failure", "failure"),
    (Outcome.TIMEOUT, "failure", "failure"),
    (Outcome.INCONCLUSIVE, "error", "skipped"),
    (Outcome.UNMEASURED, "error", "skipped"),
    (Outcome.NOT_RUN, "error", "skipped"),
    (Outcome.ERROR, "error", "error"),
    (Outcome.WAIVED, "skipped", "skipped"),
    (Outcome.UNSUPPORTED, "skipped", "skipped"),
]


def test_mapping_is_complete() -> None:
    assert [row[0] for row in MAPPING] == list(Outcome)


@pytest.mark.parametrize(("outcome", "for_must", "for_should"), MAPPING)
def test_mapping(
    outcome: Outcome,
    for_must: str,
    for_should: str,
    *,
    record: Callable[..., Record],
    requirement: Callable[..., RequirementResult],
    result: Callable[..., RunResult],
) -> None:
    served = {
        "must": ("M",),
        "should": ("S",),
        "both": ("S", "M"),
        "not-applying": ("N",),
        "nothing": (),
    }
    records = [
        record(f"area/subject/{name}", requirements=ids, outcome=outcome, reason="because")
        for name, ids in served.items()
    ]
    requirements = [
        requirement("M"),
        requirement("S", level="SHOULD"),
        requirement("N", applies=False, result=OutcomeClass.NOT_APPLICABLE),
    ]
    raw = render(result(records, requirements))
    assert words(raw, "area") == {
        "must": for_must,
        "should": for_should,
        "both": for_must,
        "not-applying": for_should,
        "nothing": for_should,
    }
    for child in case_of(raw, "area", "must"):
        assert child.get("type") == outcome.value
        assert "because" in child.get("message", "")


@pytest.mark.parametrize(
    ("folded", "applies", "for_must", "for_should"),
    [
        (OutcomeClass.MET, True, "passed", "passed"),
        (OutcomeClass.NOT_MET, True, "failure", "failure"),
        (OutcomeClass.OPEN, True, "error", "skipped"),
        (OutcomeClass.CONDITIONAL, True, "skipped", "skipped"),
        (OutcomeClass.NOT_APPLICABLE, True, "skipped", "skipped"),
        (OutcomeClass.NOT_APPLICABLE, False, "skipped", "skipped"),
    ],
)
def test_requirements(
    folded: OutcomeClass,
    applies: bool,
    for_must: str,
    for_should: str,
    *,
    requirement: Callable[..., RequirementResult],
    result: Callable[..., RunResult],
) -> None:
    given = [
        requirement("M", result=folded, applies=applies, reason="no check yet", origin=("G5", "ours")),
        requirement("S", level="SHOULD", result=folded, applies=applies, reason="no check yet"),
    ]
    raw = render(result([], given))
    told = words(raw, "requirements")
    assert (told["M"], told["S"]) == (for_must, for_should)
    for child in case_of(raw, "requirements", "M"):
        assert child.get("type") == folded.value
        assert child.get("message") == f"MUST {folded.value}: no check yet"
        assert "origin: G5, ours" in (child.text or "")


def test_open_must_without_a_case_is_an_error(typical: RunResult) -> None:
    assert words(render(typical), "requirements") == {
        "IF-001": "passed",
        "IF-002": "error",
        "PL-001": "error",
        "OP-001": "failure",
        "PW-001": "skipped",
        "verdict": "failure",
    }


def test_partial_run_does_not_hold_what_it_left_out(
    record: Callable[..., Record], requirement: Callable[..., RequirementResult], result: Callable[..., RunResult]
) -> None:
    left_out = requirement("M", result=OutcomeClass.OPEN, reason="no case of it was selected")
    seen = requirement("N", result=OutcomeClass.OPEN, reason="x: ERROR: y", counts={"ERROR": 1})
    clean = render(result([record()], [requirement(), left_out], name="CLEAN-PARTIAL"))
    assert words(clean, "requirements") == {"OP-001": "passed", "M": "skipped", "verdict": "skipped"}
    assert "never certifiable" in case_of(clean, "requirements", "verdict")[0].get("message", "")
    assert "outside this partial run" in case_of(clean, "requirements", "M")[0].get("message", "")
    broken = render(result([record()], [left_out, seen], name="INCOMPLETE", partial=True))
    assert words(broken, "requirements") == {"M": "skipped", "N": "error", "verdict": "error"}


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("CONFORMANT", "passed"),
        ("CONDITIONAL", "skipped"),
        ("CLEAN-PARTIAL", "skipped"),
        ("NON-CONFORMANT", "failure"),
        ("INCOMPLETE", "error"),
    ],
)
def test_verdict_is_an_entry(name: str, word: str, result: Callable[..., RunResult]) -> None:
    """Even with nothing else in the report, it is red exactly where the exit code says so."""
    told = result([], [], name=name, why_not_certifiable="the category is never certifiable", certifiable=False)
    raw = render(told)
    assert words(raw, "requirements") == {"verdict": word}
    assert (word in BAD_WORDS) == (told.verdict.exit_code not in (0, 10))
    if word != "passed":
        (child,) = case_of(raw, "requirements", "verdict")
        assert child.get("type") == name
        assert child.get("message", "").startswith(f"{name} (exit code {told.verdict.exit_code}): ")
        assert "not certifiable: the category is never certifiable" in (child.text or "")


def test_unknown_verdict_is_red(result: Callable[..., RunResult]) -> None:
    raw = render(result([], [], name="SOMETHING NEW"))
    assert words(raw, "requirements") == {"verdict": "error"}


# -- texts ------------------------------------------------------------------------------------------------------------


def test_failure_in_full(typical: RunResult) -> None:
    case = case_of(render(typical), "operators", "float32/test_gelu")
    assert case.get("classname") == "Example-Chips/EC-100.operators.ai.onnx.Gelu-20"
    assert case.get("time") == "0.001"
    (failure,) = case
    assert (failure.get("type"), failure.get("message")) == ("FAIL", "2 of 120 elements differ")
    assert (failure.text or "").splitlines() == [
        "actual: [3, 17] = 0.42",
        "expected: [3, 17] = 0.40 ± 0.01",
        "context: model test_gelu · strict session",
        "measured: worst_error 11.25 of the limit, limit ≤ 1 (1125 % of it): not met",
        "witnesses: assignment: nodes: 3 on ExampleEP",
        "again: conformance run my-card.yaml --case 'operators/ai.onnx.Gelu-20/float32/test_gelu'",
    ]


def test_every_attempt_is_told(typical: RunResult) -> None:
    (failure,) = case_of(render(typical), "operators", "float32/test_if")
    text = failure.text or ""
    assert "1. CRASH: the child died of SIGSEGV (SIGSEGV, peak 412 MB)" in text
    assert "2. CRASH: the child died of SIGSEGV (SIGSEGV)" in text
    assert "   stderr: driver: [red]fault[/red] at 0x0\n   \\x1b[2Jcleared\n" in text


def test_a_pass_does_not_hide_its_attempts(record: Callable[..., Record], result: Callable[..., RunResult]) -> None:
    attempt = Attempt(outcome=Outcome.ERROR, detail="killed by the host's out-of-memory killer", exit_code=-9)
    raw = render(result([record("a/b/c", attempts=(attempt,), actual="not shown")]))
    case = case_of(raw, "a", "c")
    assert [child.tag for child in case] == ["system-out"]
    assert case[0].text == "attempts: 1. ERROR: killed by the host's out-of-memory killer (exit code -9)"


def test_waived_keeps_what_was_seen(typical: RunResult) -> None:
    (skipped,) = case_of(render(typical), "operators", "float16/test_cast")
    assert skipped.get("type") == "WAIVED"
    assert skipped.get("message", "").startswith("FAIL, waived until 2027-01-01 by lab")


def test_unsupported_tells_what_was_observed(typical: RunResult) -> None:
    (skipped,) = case_of(render(typical), "operators", "float16/test_mul_1")
    assert skipped.get("message") == "the profile does not declare type float16 (observed: rejects)"


def test_no_reason_is_never_green(record: Callable[..., Record], result: Callable[..., RunResult]) -> None:
    """junit-xml drops a failure that has neither message nor output, and the case with it would be green."""
    records = [record(f"a/b/{outcome}", outcome=outcome) for outcome in Outcome]
    told = words(render(result(records)), "a")
    assert {name: word for name, word in told.items() if word == "passed"} == {"PASS": "passed"}


INFINITE = Measurement(name="error", value=float("inf"), limit="1", margin=float("inf"), met=False)


def test_witnesses_and_measurements(record: Callable[..., Record], result: Callable[..., RunResult]) -> None:
    failed = record(
        "a/b/c",
        outcome=Outcome.UNMEASURED,
        reason="r",
        measurements=(
            Measurement(name="p99", value=None, unit="ms"),
            Measurement(name="ok", value=True, met=True),
            INFINITE,
        ),
        witnesses=(
            Witness(source="refusal", refused=True),
            Witness(source="refusal", refused=False, detail="no kernel"),
            Witness(source="profile", host_ops=("Shape", "If")),
            Witness(source="host-cpu"),
        ),
    )
    text = case_of(render(result([failed])), "a", "c")[0].text or ""
    assert "measured: p99 no reading ms\nok True: met\nerror inf, limit 1: not met\n" in text
    assert "refusal: accepted with fallback forbidden\nrefusal: not accepted with fallback forbidden; no kernel" in text
    assert "profile: on the host: Shape, If\nhost-cpu: nothing\n" in text


# -- hostile input ----------------------------------------------------------------------------------------------------

HOSTILE = "\x00\x08\x0b\x1b[31m\x7f\x9b\ud800\udfff\ufffe\uffff\u202e ]]> <x a='1'>&amp;\r\n\t\"'[red] 芯 🚀 \U0010ffff"


def test_hostile_text_everywhere(
    record: Callable[..., Record], requirement: Callable[..., RequirementResult], result: Callable[..., RunResult]
) -> None:
    text_fields = ("reason", "actual", "expected", "context", "remedy", "observed")
    hostile = record(
        f"a/{HOSTILE}/{HOSTILE}",
        outcome=Outcome.FAIL,
        attempts=(Attempt(outcome=Outcome.CRASH, detail=HOSTILE, stderr_tail=HOSTILE),),
        witnesses=(Witness(source=HOSTILE, nodes={HOSTILE: 1}, detail=HOSTILE),),
        measurements=(Measurement(name=HOSTILE, value=float("nan"), unit=HOSTILE, limit=HOSTILE, margin=float("inf")),),
        duration_ms=float("nan"),
        **dict.fromkeys(text_fields, HOSTILE),
    )
    stamp = dict.fromkeys(("run_id", "profile", "vendor", "model", "device_key", "started", "selection"), HOSTILE)
    named = requirement(
        HOSTILE, reason=HOSTILE, result=OutcomeClass.OPEN, title_en=HOSTILE, origin=(HOSTILE,), why=HOSTILE
    )
    raw = render(result([hostile], [named], name="INCOMPLETE", info={**stamp, "versions": {HOSTILE: HOSTILE}}))
    root = parse(raw)
    (case,) = next(suite for suite in root if suite.get("name") == "a").findall("testcase")
    assert case.get("classname", "").isascii()
    assert case.get("name", "").isascii()
    assert "\\x00" in case[0].get("message", "")
    assert "芯 🚀" in case[0].get("message", "")
    assert not [c for c in raw.decode() if ord(c) < 0x20 and c not in "\n\t"]
    assert "timestamp" not in next(iter(root)).attrib


@pytest.mark.parametrize("filler", ["x", "芯", "\x1b", "🚀"])
def test_huge_texts_are_cut_and_say_so(
    filler: str, record: Callable[..., Record], result: Callable[..., RunResult]
) -> None:
    huge = filler * 10_000_000
    failed = record("a/b/c", outcome=Outcome.FAIL, reason=huge, actual=huge, expected="0.40", context=huge)
    raw = render(result([failed]))
    (failure,) = case_of(raw, "a", "c")
    message, text = failure.get("message", ""), failure.text or ""
    assert len(message.encode()) <= LIMIT
    assert len(text.encode()) <= LIMIT
    assert message.endswith("[cut; 10,000,000 characters in all, see cases.jsonl]")
    assert "\nexpected: 0.40\n" in text, "a long part must not hide a short one"
    assert text.endswith("again: conformance run my-card.yaml --case 'a/b/c'")


@pytest.mark.parametrize(
    ("case", "classname", "name"),
    [
        ("operators/ai.onnx.Add-14/float32/test_add", "v/m.operators.ai.onnx.Add-14", "float32/test_add"),
        ("placement/model", "v/m.placement", "model"),
        ("placement", "v/m", "placement"),
        ("a/b/", "v/m.a", "b"),
        ("", "v/m", "-"),
        ("a/芯/c", "v/m.a.\\u82af", "c"),
    ],
)
def test_names(case: str, classname: str, name: str) -> None:
    assert name_of("v/m", case) == (classname, name)
    assert name_of("", case)[0].startswith("device")


def test_run_again_line_survives_shell_and_glob(
    record: Callable[..., Record], result: Callable[..., RunResult]
) -> None:
    failed = record("a/b/x[0]*'?", outcome=Outcome.FAIL)
    raw = render(result([failed], info={"profile": "my card.yaml"}))
    text = case_of(raw, "a", "x[0]*'?")[0].text or ""
    assert text == "again: conformance run 'my card.yaml' --case 'a/b/x[[]0][*]'\\''[?]'"


# -- as CI systems see it ---------------------------------------------------------------------------------------------


def test_properties_and_time(typical: RunResult) -> None:
    root = parse(render(typical))
    for suite in root:
        told = {one.get("name"): one.get("value") for one in suite.iterfind("properties/property")}
        assert told["run_id"] == "0011223344556677"
        assert (told["verdict"], told["exit_code"], told["placement_shown"]) == ("NON-CONFORMANT", "20", "no")
        assert told["certifiable"] == "no: the verdict is NON-CONFORMANT"
        assert told["profile_digest"] == "ab" * 32
        assert told["version.onnxruntime"] == "1.32.0"
        assert suite.get("timestamp") == "2026-11-24T08:00:00"
    assert [suite.get("name") for suite in root] == ["session", "operators", "placement", "requirements"]


def test_read_back_by_junitparser(typical: RunResult, tmp_path: Path) -> None:
    path = tmp_path / "junit.xml"
    path.write_bytes(render(typical))
    read = junitparser.JUnitXml.fromfile(str(path))
    cases = [case for suite in read for case in suite]
    assert len(cases) == read.tests == len(typical.records) + len(typical.verdict.requirements) + 1
    found = Counter(type(one).__name__ for case in cases for one in case.result)
    seen = Counter(record.outcome for record in typical.records)
    assert found["Failure"] == read.failures == seen[Outcome.FAIL] + seen[Outcome.CRASH] + 2
    assert found["Error"] == read.errors == seen[Outcome.ERROR] + seen[Outcome.UNMEASURED] + 2
    assert found["Skipped"] == seen[Outcome.WAIVED] + seen[Outcome.UNSUPPORTED] + 1


def test_memory_does_not_grow_with_the_run(record: Callable[..., Record], result: Callable[..., RunResult]) -> None:
    def peak(records: Sequence[Record]) -> int:
        told = result(records)
        tracemalloc.start()
        pieces = sum(len(piece) > 0 for piece in junit.render(told))
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert pieces > len(records) // 1000
        return used

    failed = [record(f"a/b/{at}", outcome=Outcome.FAIL, actual="x" * 1000) for at in range(4000)]
    assert peak(failed) < 2 * peak(failed[:1000])


def test_structural_check_has_teeth() -> None:
    """Where Jenkins' schema is not at hand, our own check must refuse what the plain library writes."""
    from junit_xml import TestCase, TestSuite

    case = TestCase("n", "c", 0.12345, assertions=1, status="s", category="x", timestamp="t")
    plain = ET.Element("testsuites")
    plain.append(TestSuite("s", [case]).build_xml_doc())
    ET.SubElement(plain[0][0], "properties")
    defects = structural_defects(plain)
    for defect in ("testsuite@disabled", "testcase@assertions", "testcase@status", "testcase@timestamp"):
        assert defect in defects
    assert "testcase/properties" in defects
    assert "testcase@time=0.123450" in defects
    assert "testsuites without tests" in defects
    assert structural_defects(ET.Element("testsuites-of-others")) == ["<testsuites-of-others>"]
