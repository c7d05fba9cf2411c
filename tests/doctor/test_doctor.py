"""The doctor as a whole: found by folder scan, held against the profile's MUSTs, told to people and to programs."""

from __future__ import annotations

import io
import json
import re
import types
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from click.testing import CliRunner

from conformance import doctor
from conformance.cli import main
from conformance.doctor import Examined
from conformance.doctor.port import EVERY, Finding, Host, State
from conformance.doctor.support.subject import Subject
from conformance.doctor.support.telling import tell, to_json
from conformance.errors import UsageError

Conformance = Callable[..., "object"]
POWER = Finding(
    name="meter", state=State.MISSING, found="none", means="no power", remedy="buy one", needed_by=("power",)
)
CLOCK = Finding(name="clock", state=State.LIMITS, found="hpet", means="slow", remedy="use tsc", needed_by=("latency",))
WHEEL = Finding(name="wheel", state=State.WRONG, found="two", means="mixed", remedy="pip …", needed_by=(EVERY,))
FINE = Finding(name="disk", state=State.OK, found="free", needed_by=(EVERY,))
ALONE = Finding(name="RAPL", state=State.MISSING, found="none", remedy="modprobe x")


def done(*findings: Finding) -> list[Examined]:
    return [Examined("some", "some things", findings, 0.01)]


def text_of(examined: list[Examined], subject: Subject) -> str:
    stream = io.StringIO()
    tell(examined, subject, stream)
    return stream.getvalue()


def module(**members: object) -> types.ModuleType:
    made = types.ModuleType("made")
    made.__dict__.update(members)
    return made


def test_examinations_are_the_modules_of_the_folder() -> None:
    folder = Path(doctor.__file__).parent
    names = sorted(path.stem for path in folder.glob("*.py") if path.stem not in ("__init__", "port"))
    assert sorted(doctor.find_examinations()) == names
    assert {"busy", "caches", "cgroup", "clock", "drivers", "packages", "permissions", "wheels"} <= set(names)


def test_an_examination_that_breaks_costs_its_own_findings_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def examine(host: Host, subject: Subject) -> Iterable[Finding]:
        yield FINE
        raise ZeroDivisionError("strange host")

    modules = {"broken": module(TITLE="b", examine=examine), "fine": module(TITLE="f", examine=lambda *_: [FINE])}
    monkeypatch.setattr(doctor.registry, "scan", lambda *_: modules)
    broken, fine = doctor.examine(Host(), Subject())
    assert broken.findings[0].state is State.LIMITS
    assert "ZeroDivisionError: strange host" in broken.findings[0].found
    assert fine.findings == (FINE,)


def test_an_added_examination_without_its_members_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.registry, "scan", lambda *_: {"acme": module(TITLE="x")})
    with pytest.raises(UsageError, match="'acme' has no TITLE and examine"):
        doctor.find_examinations()


@pytest.mark.parametrize(
    ("profile", "finding", "code"),
    [
        ("cuda", POWER, 1),  # PWR-001 is a MUST of cards
        ("cuda", CLOCK, 0),  # what limits is no obstacle
        ("cuda", WHEEL, 1),
        ("cuda", FINE, 0),
        ("cuda", ALONE, 0),
        ("reference-cpu", POWER, 0),  # the host reference asks for no power
        ("reference-cpu", WHEEL, 1),
        (None, POWER, 0),
        (None, WHEEL, 1),
        (None, ALONE, 0),
    ],
)
def test_the_exit_code_is_that_of_the_musts(profile: str | None, finding: Finding, code: int) -> None:
    assert doctor.exit_code(done(finding), Subject.load(profile)) == code


def test_what_a_must_needs_stands_before_what_limits() -> None:
    text = text_of(done(CLOCK, FINE, POWER, WHEEL), Subject.load("cuda"))
    urgent, _, limits = text.partition("What limits a run")
    assert "To be mended before a run" in urgent
    assert re.search(r"wrong +wheel: mixed \(every requirement rests on it\)\n +pip …", urgent)
    assert re.search(r"missing +meter: no power \(PWR-001, PWR-003\)\n +buy one", urgent)
    assert re.search(r"limits +clock: slow \(LAT-001, LAT-002\)\n +use tsc", limits)
    assert text.endswith("1 ok, 1 limits, 1 missing, 1 wrong; 2 things are missing or wrong that a MUST needs\n")


def test_output_is_aligned_plain_and_without_trailing_white_space() -> None:
    text = text_of(done(CLOCK, FINE, POWER), Subject())
    rows = re.findall(r"^  (?:ok|limits|missing) +\w+ +\S+$", text, re.MULTILINE)
    assert [row.index(word) for row, word in zip(rows, ("hpet", "free", "none"), strict=True)] == [18, 18, 18]
    assert "\x1b" not in text
    assert not re.search(r"[ \t]$", text, re.MULTILINE)


def test_one_remedy_of_several_findings_is_told_once() -> None:
    other = Finding(name="nodes", state=State.MISSING, found="none", means="no device", remedy="buy one")
    assert text_of(done(POWER, other), Subject()).count("buy one") == 1


def test_remedies_stay_on_one_line_and_strange_texts_are_harmless() -> None:
    long = "sudo " + "word " * 60 + "end"
    strange = Finding(name="x\x1b[31m", state=State.LIMITS, found="a\nb\x07", means="c", remedy=long)
    text = text_of(done(strange), Subject())
    assert long in text
    assert "\x1b" not in text
    assert "\x07" not in text


def test_a_terminal_gets_colours_and_narrow_ones_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    tell(done(Finding(name="a", state=State.OK, found="word " * 20)), Subject(), stream)
    assert "\x1b[" in stream.getvalue()
    assert "\n" + " " * 14 + "word" in stream.getvalue()


def test_json_has_every_finding_with_the_requirements_that_rest_on_it() -> None:
    told = json.loads(to_json(done(POWER, WHEEL, FINE), Subject.load("cuda")))
    power, wheel, _ = told["findings"]
    assert (power["requirements"], power["musts"], power["every_run"]) == (["PWR-001", "PWR-003"], ["PWR-001"], False)
    assert (wheel["state"], wheel["every_run"]) == ("wrong", True)
    assert (told["format"], told["exit_code"], told["category"]) == (1, 1, "accelerator-card")
    assert set(told["took_s"]) == {"some"}


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command_works_without_a_profile_and_leaves_nothing(conformance: Conformance, tmp_path: Path) -> None:
    run = conformance("doctor", "--json")
    told = json.loads(run.stdout)  # type: ignore[attr-defined]
    assert run.returncode == told["exit_code"] == 0  # type: ignore[attr-defined]
    assert {one["examination"] for one in told["findings"]} >= {"busy", "cgroup", "clock", "wheels", "room"}
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_for_a_device_what_is_missing(conformance: Conformance) -> None:
    run = conformance("doctor", "qnn-htp")
    assert run.returncode == 1  # type: ignore[attr-defined]
    assert "install onnxruntime-qnn" in run.stdout  # type: ignore[attr-defined]
    assert run.stderr == ""  # type: ignore[attr-defined]


@pytest.mark.parametrize("arguments", [("no-such-profile",), ("cuda", "--bench", "none.yaml"), ("--level", "smoke")])
def test_usage_errors_end_with_2(arguments: tuple[str, ...]) -> None:
    assert CliRunner().invoke(main, ["doctor", *arguments]).exit_code == 2
