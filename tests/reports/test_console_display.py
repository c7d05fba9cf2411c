"""Progress: live on a terminal, plain lines on a pipe, and never the reason why a run ends."""

from __future__ import annotations

import atexit
import io
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from conformance.records import Outcome
from conformance.reports.console import LiveConsole, PlainConsole, make_console
from conformance.reports.console.pace import Pace, spoken
from conformance.reports.console.stream import SafeStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conformance.records import Record

INFO = {"device": "Example [red]Chips\x1b[31m", "folder": "runs/x", "level": "full"}


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


# -- which one --------------------------------------------------------------------------------------------------------


def test_terminal_gets_the_live_display() -> None:
    assert isinstance(make_console(Terminal()), LiveConsole)
    assert isinstance(make_console(Terminal(), force_plain=True), PlainConsole)
    assert isinstance(make_console(io.StringIO()), PlainConsole)


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_terminal_that_cannot_move_its_cursor(term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", term)
    assert isinstance(make_console(Terminal()), PlainConsole)


def test_closed_stream_is_no_terminal() -> None:
    stream = io.StringIO()
    stream.close()
    assert isinstance(make_console(stream), PlainConsole)


# -- plain ------------------------------------------------------------------------------------------------------------


def run_plain(record: Callable[..., Record], clock: Clock, total: int, step_s: float, **changes: Any) -> list[str]:
    stream = io.StringIO()
    console = PlainConsole(stream, clock)
    console.start(INFO, total)
    for at in range(total):
        console.case_started(f"a/b/{at}", 1)
        clock.now_s += step_s
        console.case_finished(record(f"a/b/{at}", **changes))
    console.finish()
    assert "\x1b" not in stream.getvalue()
    return stream.getvalue().splitlines()


def test_plain_lines(record: Callable[..., Record], clock: Clock) -> None:
    lines = run_plain(record, clock, 100, 0.5)
    assert lines[0] == "100 cases · device Example [red]Chips\\x1b[31m · folder runs/x · level full"
    assert lines[1] == "10 of 100 (10 %) after 0:05, about 0:45 left: 10 PASS"
    assert lines[-1] == "100 of 100 (100 %) after 0:50: 100 PASS"
    assert len(lines) <= 12


def test_plain_is_quiet_where_a_run_is_long(record: Callable[..., Record], clock: Clock) -> None:
    """Ten hours: a line a minute, not one each ten seconds."""
    lines = run_plain(record, clock, 36_000, 1.0)
    assert 600 <= len(lines) <= 640


def test_plain_tells_that_it_lives(record: Callable[..., Record], clock: Clock) -> None:
    lines = run_plain(record, clock, 1000, 1.0)[1:]
    assert lines[0].startswith("10 of 1,000 (1 %) after 0:10, about 16:30 left")
    assert lines[1].startswith("20 of 1,000")


def test_plain_does_not_flood_where_a_run_is_short(record: Callable[..., Record], clock: Clock) -> None:
    assert len(run_plain(record, clock, 1000, 0.001)) == 2 + 1


def test_failures_as_they_come(record: Callable[..., Record], clock: Clock) -> None:
    stream = io.StringIO()
    console = PlainConsole(stream, clock)
    console.start(INFO, 10)
    for outcome in Outcome:
        console.case_finished(
            record(f"a/b/{outcome}", outcome=outcome, reason="[b]because[/b]\nof\x1b[2J " + "x" * 999)
        )
    told = [line for line in stream.getvalue().splitlines() if "because" in line]
    assert [line.split(" ")[0] for line in told] == ["FAIL", "CRASH", "TIMEOUT", "ERROR"]
    assert told[0].startswith("FAIL a/b/FAIL: [b]because[/b] of\\x1b[2J xxx")
    assert max(map(len, told)) < 400


def test_thousands_of_failures_do_not_fill_the_log(record: Callable[..., Record], clock: Clock) -> None:
    lines = run_plain(record, clock, 2000, 0.001, outcome=Outcome.FAIL, reason="r")
    assert sum(line.startswith("FAIL ") for line in lines) == 50
    assert sum("more cases are not met" in line for line in lines) == 1
    assert lines[-1].endswith(": 2,000 FAIL")


def test_notes_that_repeat_but_for_numbers(clock: Clock) -> None:
    stream = io.StringIO()
    console = PlainConsole(stream, clock)
    for at in range(100):
        console.note(f"making the cases: {at}/100")
        clock.now_s += 0.15
    console.note("another\nnote \x1b[31m")
    lines = stream.getvalue().splitlines()
    assert lines[0] == "making the cases: 0/100"
    assert len(lines) == 3
    assert lines[-1] == "another note \\x1b[31m"


def test_plain_before_and_after_the_run(record: Callable[..., Record], clock: Clock) -> None:
    stream = io.StringIO()
    console = PlainConsole(stream, clock)
    console.finish()
    console.case_finished(record(outcome=Outcome.FAIL, reason="early"))
    assert stream.getvalue().splitlines() == ["FAIL operators/ai.onnx.Add-14/float32/test_add: early"]


def test_resumed_run_counts_what_is_known(record: Callable[..., Record], clock: Clock) -> None:
    stream = io.StringIO()
    console = PlainConsole(stream, clock)
    console.start({**INFO, "done": "90"}, 100)
    console.case_finished(record())
    console.finish()
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("100 cases, 90 of them known from before · device ")
    assert lines[-1] == "91 of 100 (91 %) after 0:00: 1 PASS"


# -- live -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def live(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[LiveConsole, Terminal]]:
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    console = LiveConsole(stream, clock)
    yield console, stream
    console.finish()


def test_live_display(live: tuple[LiveConsole, Terminal], record: Callable[..., Record], clock: Clock) -> None:
    console, stream = live
    console.note("making the cases: 1/2 [red]x[/red]")
    console.start(INFO, 40)
    for at in range(20):
        console.case_started(f"a/b/case-{at}", 1)
        clock.now_s += 1.0
        console.case_finished(
            record(f"a/b/case-{at}", outcome=Outcome.FAIL if at == 7 else Outcome.PASS, reason="[i]r")
        )
    console.case_started("a/b/at\x1bhand[bold]", 1)
    console.note("[blue]noted\x1b[0;1m")
    console.finish()
    shown = stream.getvalue()
    for text in (
        "making the cases: 1/2 [red]x[/red]",
        "40 cases · device Example [red]Chips\\x1b[31m",
        "FAIL\x1b[0m a/b/case-7: [i]r",
        "20 of 40 · 0:20 · about 0:20 left",
        "19 PASS · 1 FAIL",
        "a/b/at\\x1bhand[bold]",
        "[blue]noted\\x1b[0;1m",
    ):
        assert text in shown, text
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1, "the cursor comes back"


def test_live_without_colour(monkeypatch: pytest.MonkeyPatch, record: Callable[..., Record], clock: Clock) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    console = LiveConsole(stream, clock)
    console.start(INFO, 2)
    console.case_finished(record(outcome=Outcome.CRASH, reason="r", worker=None))
    console.finish()
    coloured = [
        code for code in stream.getvalue().split("\x1b[")[1:] if code.split("m")[0] in ("31", "1;31", "36", "32")
    ]
    assert coloured == []
    assert "CRASH" in stream.getvalue()


def test_live_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, record: Callable[..., Record], clock: Clock
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    stream = Terminal()
    console = LiveConsole(stream, clock)
    console.start(INFO, 2)
    console.case_started("operators/ai.onnx.Add-14/float32/a_name_that_is_too_long", 1)
    console.case_finished(record())
    console.finish()
    assert "PASS" in stream.getvalue()


def test_error_before_the_run_gives_the_cursor_back(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """An exception between the first note and `start` reaches nobody who would call `finish`."""
    kept: list[Callable[[], None]] = []
    monkeypatch.setattr(atexit, "register", kept.append)
    stream = Terminal()
    console = LiveConsole(stream, clock)
    console.note("making the cases")
    assert stream.getvalue().count("\x1b[?25h") == 0
    for at_exit in kept:
        at_exit()
    assert stream.getvalue().count("\x1b[?25h") == 1


def test_on_a_real_terminal(tmp_path: Any) -> None:
    """Through a pseudo-terminal: the process ends by itself, with its cursor shown and its own exit code."""
    script = (
        "import sys\nfrom conformance.reports.console import make_console\n"
        "c = make_console(sys.stdout)\nc.note('x')\nc.start({'device': 'd'}, 3)\n"
        "c.case_started('a/b/c', 1)\nsys.exit(20)"
    )
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=child, stderr=child, env=os.environ | {"TERM": "xterm"}
    )
    os.close(child)
    shown = b""
    while True:
        try:
            piece = os.read(parent, 65536)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        shown += piece
    os.close(parent)
    assert process.wait(timeout=30) == 20
    assert b"3 cases" in shown
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")


# -- pace -------------------------------------------------------------------------------------------------------------


def test_estimate_follows_the_recent_speed(record: Callable[..., Record]) -> None:
    pace, now_s = Pace(1000, 0.0), 0.0
    assert pace.left_s(0.5) is None
    for _ in range(50):  # slow ones first
        now_s += 2.0
        pace.finished(record(), now_s)
    assert pace.left_s(now_s) == pytest.approx(2.0 * 950, rel=0.1)
    for _ in range(450):
        now_s += 0.1
        pace.finished(record(), now_s)
    assert pace.left_s(now_s) == pytest.approx(0.1 * 500, rel=0.2)
    assert pace.elapsed_s(now_s) == pytest.approx(145.0)


def test_pace_at_the_ends(record: Callable[..., Record]) -> None:
    empty = Pace(0, 0.0)
    assert (empty.share(), empty.left_s(1.0), empty.tally()) == (1.0, 0.0, "")
    pace = Pace(1, 0.0)
    pace.finished(record(), 1.0)
    pace.finished(record(), 2.0)
    assert pace.share() == 1.0


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03")])
def test_spoken(seconds: float, text: str) -> None:
    assert spoken(seconds) == text


# -- the stream -------------------------------------------------------------------------------------------------------


def test_text_that_the_stream_cannot_encode() -> None:
    raw = io.BytesIO()
    stream = SafeStream(io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    text = "a · b … ≤ 芯 \ud800"
    assert stream.write(text) == len(text)
    assert raw.getvalue() == b"a - b ... <= \\u82af \\ud800"
    assert not stream.isatty()


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "No space left on device"), ValueError("closed")])
@pytest.mark.parametrize("method", ["write", "flush"])
def test_reader_that_went_away(error: Exception, method: str) -> None:
    class Gone(io.StringIO):
        calls = 0

        def write(self, text: str) -> int:
            return self.fail() if method == "write" else len(text)

        def flush(self) -> None:
            if method == "flush":
                self.fail()

        def fail(self) -> int:
            type(self).calls += 1
            raise error

        def close(self) -> None:
            """Nothing to flush."""

    stream = SafeStream(Gone())
    for _ in range(3):
        stream.write("x")
        stream.flush()
    assert stream.is_lost
    assert Gone.calls == 1
    with pytest.raises(OSError, match="fileno"):
        stream.fileno()


def test_closed_pipe_changes_no_exit_code() -> None:
    """`conformance run | head -1` must not end as if the device were conformant, nor with Python's own 120."""
    script = (
        "import sys\nfrom conformance.reports.console import make_console\n"
        "c = make_console(sys.stdout)\nc.start({}, 1)\n"
        "[c.note('note ' + 'x' * 100 + chr(97 + at % 26) * at) for at in range(3000)]\nc.finish()\nsys.exit(20)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    complaint = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=30) == 20
    assert complaint == b""
