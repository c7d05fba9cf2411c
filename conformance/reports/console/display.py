"""Progress: a live display for a terminal, plain lines for everything else."""

from __future__ import annotations

import atexit
import re
import time
from typing import TYPE_CHECKING, Protocol

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from conformance.records import CLASS_OF, Outcome, OutcomeClass
from conformance.reports.console.pace import Pace, spoken
from conformance.reports.console.stream import SafeStream, is_terminal, open_console
from conformance.reports.console.style import STYLES
from conformance.reports.support.telling import headline
from conformance.reports.support.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from conformance.records import Record

SHOWN_AT_ONCE = 50
"""Cases that are not met and shown as they come; the summary has them all."""
LINE_LIMIT = 300
NOTE_PAUSE_S = 10.0
"""Notes that differ in numbers alone are repeated at most this often on plain output."""


class Display(Protocol):
    """What a run tells while it goes on."""

    def start(self, info: dict[str, str], total: int) -> None:
        """Tell what will be run: `device`, `level`, `folder`, and `done`, the cases known from before a resume."""

    def case_started(self, case_id: str, worker: int) -> None:
        """Tell that a worker begins a case."""

    def case_finished(self, record: Record) -> None:
        """Tell that a case has its record."""

    def note(self, text: str) -> None:
        """Tell something else that is worth a line."""

    def finish(self) -> None:
        """Tell that nothing more will come."""


def make_console(stream: TextIO, force_plain: bool = False) -> Display:
    """Return the display that fits a stream: live on a terminal, plain on a pipe or where `force_plain` asks for it."""
    return LiveConsole(stream) if is_terminal(stream) and not force_plain else PlainConsole(stream)


def _opening(info: dict[str, str], total: int) -> str:
    cases = f"{total:,} cases" + (f", {info['done']} of them known from before" if info.get("done", "0") != "0" else "")
    told = [f"{key} {one_line(value, 200)}" for key, value in info.items() if value and key != "done"]
    return " · ".join([cases, *told])


class _Failures:
    """The cases that are not met, as they come, up to a number that a person reads."""

    def __init__(self) -> None:
        self._shown = 0

    def line(self, record: Record) -> Text | None:
        """Return the line to show for a case, None for none."""
        is_bad = CLASS_OF[record.outcome] is OutcomeClass.NOT_MET or record.outcome is Outcome.ERROR
        if not is_bad or self._shown > SHOWN_AT_ONCE:
            return None
        self._shown += 1
        if self._shown > SHOWN_AT_ONCE:
            return Text("more cases are not met; the summary and cases.jsonl have them")
        told = f" {one_line(record.case, LINE_LIMIT)}: {one_line(headline(record), LINE_LIMIT)}"
        return Text.assemble((record.outcome.value, STYLES[record.outcome]), told)


class PlainConsole:
    """Lines for a pipe: no colour, no control sequence, progress about every 10 s or 10 % at most."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = SafeStream(stream)
        self._clock = clock
        self._failures = _Failures()
        self._pace: Pace | None = None
        self._next_share = 0.0
        self._told_s = 0.0
        self._noted: dict[str, float] = {}

    def start(self, info: dict[str, str], total: int) -> None:
        """Print what will be run."""
        now_s = self._clock()
        self._pace = Pace(total, now_s, int(info.get("done", "0")))
        self._next_share, self._told_s = self._pace.share() + 0.1, now_s
        self._print(_opening(info, total))

    def case_started(self, case_id: str, worker: int) -> None:
        """Say nothing: what began is of interest only where it can be overwritten."""

    def case_finished(self, record: Record) -> None:
        """Count the case; print it where it is not met, and the progress where it is time."""
        line = self._failures.line(record)
        if line is not None:
            self._print(line.plain)
        pace = self._pace
        if pace is None:
            return
        now_s = self._clock()
        pace.finished(record, now_s)
        waited_s = now_s - self._told_s
        if waited_s >= self._longest_silence_s(pace, now_s) or (pace.share() >= self._next_share and waited_s >= 1.0):
            self._told_s = now_s
            self._next_share = pace.share() + 0.1
            self._print(self._progress(pace, now_s))

    def note(self, text: str) -> None:
        """Print a line, unless it repeats an earlier one but for its numbers."""
        key, now_s = re.sub(r"\d+", "#", text[:LINE_LIMIT]), self._clock()
        if now_s - self._noted.get(key, -NOTE_PAUSE_S) >= NOTE_PAUSE_S:
            self._noted[key] = now_s
            self._print(one_line(text, LINE_LIMIT))

    def finish(self) -> None:
        """Print how it went."""
        if self._pace is not None:
            self._print(self._progress(self._pace, self._clock()))
            self._pace = None

    @staticmethod
    def _longest_silence_s(pace: Pace, now_s: float) -> float:
        return 10.0 if pace.elapsed_s(now_s) < 120 else 60.0  # a night of soak must not fill a log

    @staticmethod
    def _progress(pace: Pace, now_s: float) -> str:
        left_s = pace.left_s(now_s)
        left = f", about {spoken(left_s)} left" if left_s else ""
        tally = pace.tally()
        return (
            f"{pace.done:,} of {pace.total:,} ({int(pace.share() * 100)} %) after {spoken(pace.elapsed_s(now_s))}{left}"
            + (f": {tally}" if tally else "")
        )

    def _print(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


class LiveConsole:
    """A bar with an estimate, the outcomes so far and the case at hand, redrawn in place."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = open_console(stream)
        self._clock = clock
        self._failures = _Failures()
        self._pace: Pace | None = None
        self._status = ""
        self._running: dict[int, str] = {}
        self._live: Live | None = None

    def start(self, info: dict[str, str], total: int) -> None:
        """Show what will be run, and the bar."""
        self._status = ""
        self._pace = Pace(total, self._clock(), int(info.get("done", "0")))
        self._open().console.print(Text(_opening(info, total), style="bold"))

    def case_started(self, case_id: str, worker: int) -> None:
        """Show the case."""
        self._running[worker] = case_id

    def case_finished(self, record: Record) -> None:
        """Count the case, and leave a line where it is not met."""
        if record.worker is not None:
            self._running.pop(record.worker, None)
        if self._pace is not None:
            self._pace.finished(record, self._clock())
        line = self._failures.line(record)
        if line is not None:
            self._console.print(line)

    def note(self, text: str) -> None:
        """Show what goes on before the run; later, leave a line."""
        if self._pace is None:
            self._status = one_line(text, LINE_LIMIT)
            self._open()
        else:
            self._console.print(Text(one_line(text, LINE_LIMIT), style="dim"))

    def finish(self) -> None:
        """Take the display away; what it left behind stays."""
        if self._live is not None:
            self._live.stop()
            self._live = None
            atexit.unregister(self.finish)
        self._pace = None

    def _open(self) -> Live:
        if self._live is None:
            # an error before the run must not leave a terminal without its cursor
            atexit.register(self.finish)
            self._live = Live(
                console=self._console,
                get_renderable=self._draw,
                refresh_per_second=5,
                transient=True,
                redirect_stdout=False,
            )
            self._live.start()
        return self._live

    def _draw(self) -> Group | Text:
        pace = self._pace
        if pace is None:
            return Text(self._status, no_wrap=True, overflow="ellipsis", style="dim")
        now_s = self._clock()
        left_s = pace.left_s(now_s)
        left = f"about {spoken(left_s)} left" if left_s is not None else "estimating"
        bar = Table.grid(padding=(0, 1), expand=True)
        bar.add_column(ratio=1)
        bar.add_column(no_wrap=True, justify="right")
        counts = f"{pace.done:,} of {pace.total:,} · {spoken(pace.elapsed_s(now_s))} · {left}"
        bar.add_row(
            ProgressBar(
                total=max(1, pace.total),
                completed=min(pace.done, pace.total),
                complete_style="cyan",  # the default is red, which would say that something failed
                finished_style="cyan",
            ),
            Text(counts),
        )
        running = "  ".join(one_line(case, LINE_LIMIT) for case in list(self._running.values()))
        return Group(
            bar,
            Text(pace.tally(), no_wrap=True, overflow="ellipsis"),
            Text(running, no_wrap=True, overflow="ellipsis", style="dim"),
        )
