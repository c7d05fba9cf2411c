"""The pytest door: `pytest my-device.yaml` runs the cases of a device profile as test items, by the same rooms as `conformance run`.

Only YAML with the keys `conformance:` and `device:` is claimed. Items are named by their case ids and marked with their area, so
`-k`, `-m`, `-x` and `--collect-only` mean what they always mean; what they leave out makes the run a partial one. A session
fails whenever `conformance run` would not exit 0: the last item, `verdict`, says so, and where it was left out, the exit status.

pytest loads this module at every start, so it imports nothing but pytest and the standard library until a profile is met.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from conformance.conduct import Run
    from conformance.device import Device, ReferenceModel
    from conformance.records import Record, RunInfo, RunResult
    from conformance.reports.support.junit_entries import Entry

LEVELS = ("smoke", "full", "certify")
"""`conformance.levels`, which a session without a profile does not load."""
HEAD_BYTES = 1024 * 1024
_KEY = rb"""(?:^|[{,\r]|\xef\xbb\xbf)[ \t]*["']?%s["']?[ \t]*:"""
XDIST = (
    "a device is tested by one process at a time, and pytest-xdist would make several: run without -n "
    "(the harness has workers of its own: `bench: {workers: N}` in a file for --conformance-bench)"
)


TOLD: pytest.StashKey[bool] = pytest.StashKey()
STARTED: pytest.StashKey[list[ProfileFile]] = pytest.StashKey()
"""The profiles whose device was taken, in that order."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of `conformance run` that are not the profile's."""
    group = parser.getgroup("conformance", "device profiles (pytest my-device.yaml)")
    group.addoption("--conformance-bench", metavar="FILE", help="bench file of the lab")
    group.addoption(
        "--conformance-level",
        choices=LEVELS,
        default=LEVELS[1],
        help="smoke: one case per operator; certify: timed cases in full length",
    )
    group.addoption(
        "--conformance-profile", metavar="FILE", help="device profile (path or shipped name) for the fixture `device`"
    )
    group.addoption("--conformance-challenge", metavar="TEXT", help="the certifier's text, from which inputs are drawn")
    group.addoption("--conformance-out", metavar="DIR", help="run folder (default: a new one below conformance-runs/)")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Claim device profiles, and no other YAML."""
    if file_path.suffix not in (".yaml", ".yml"):
        return None
    try:
        with file_path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    except OSError:
        return None
    return ProfileFile.from_parent(parent, path=file_path) if is_claimed(head) else None


def is_claimed(head: bytes) -> bool:
    """Return whether YAML that begins so is a device profile: it has the keys `conformance` and `device`."""
    return all(re.search(_KEY % key, head, re.MULTILINE) for key in (b"conformance", b"device"))


@pytest.fixture(scope="session")
def device(pytestconfig: pytest.Config) -> Iterator[Device]:
    """The device of --conformance-profile for tests of one's own, held while the session lasts: `device.run(model, inputs)`."""
    from conformance.device import Device
    from conformance.errors import ConformanceError

    profile = pytestconfig.getoption("--conformance-profile")
    if not profile:
        pytest.fail("the fixture `device` needs --conformance-profile FILE", pytrace=False)
    try:
        opened = Device.open(profile, pytestconfig.getoption("--conformance-bench"))
    except ConformanceError as error:
        pytest.fail(str(error), pytrace=False)
    with opened:
        yield opened


@pytest.fixture(scope="session")
def reference_model() -> Callable[[str], ReferenceModel]:
    """A function that returns a model with inputs and expected outputs by case id."""
    from conformance.device import load_reference

    return load_reference


@pytest.fixture(scope="session")
def judge() -> Callable[..., None]:
    """A function that compares outputs as the harness does: `judge(answer.outputs, reference.expected[0])`."""
    from conformance.device import judge as compare

    return compare


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tell each profile which of its items are left to run."""
    for item in session.items:
        if isinstance(item, CaseItem):
            item.parent.chosen.append(item.name)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Close the books of every run; a session is no greener than its verdicts."""
    for file in _started(session.config):
        result = file.finish()
        is_red = bool(file.broken) or (result is not None and result.verdict.exit_code != 0)
        if is_red and exitstatus in (pytest.ExitCode.OK, 0):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Show each verdict, what kept it from being better, and where the reports are."""
    for file in _started(config):
        if file.result is None or file.run is None:
            continue
        from conformance.reports.support.telling import EXIT_MEANINGS, drawn_from

        verdict = file.result.verdict
        terminalreporter.section(f"conformance: {file.path.name}")
        terminalreporter.line(f"{verdict.name} (exit code {verdict.exit_code}): {EXIT_MEANINGS.get(verdict.name, '')}")
        for one in verdict.requirements:
            if one.applies and one.result.value in ("not met", "open") and (one.counts or not verdict.partial):
                terminalreporter.line(f"{one.id} {one.level} {one.result.value}: {one.reason or one.why}")
        if not verdict.certifiable:
            terminalreporter.line(f"not certifiable: {verdict.why_not_certifiable}")
        terminalreporter.line(f"inputs: {drawn_from(file.result.info)}")
        terminalreporter.line("placement shown" if verdict.placement_shown else "PLACEMENT NOT SHOWN")
        terminalreporter.line(f"run folder: {file.run.folder}")


def _started(config: pytest.Config) -> list[ProfileFile]:
    return config.stash.get(STARTED, [])


class ProfileFile(pytest.File):
    """A device profile: its cases in the order of the plan, then what has no case, then the verdict."""

    run: Run | None = None
    result: RunResult | None = None
    broken = ""
    """Why the run could not be started or went wrong, told by every item."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.chosen: list[str] = []
        self._info: RunInfo | None = None
        self._stream: Generator[Record, None, None] | None = None

    def collect(self) -> Iterable[pytest.Item]:
        """Plan the run; nothing is started and no device is touched."""
        if hasattr(self.config, "workerinput"):
            raise self.CollectError(XDIST)
        from conformance.errors import ConformanceError
        from conformance.prepare import make_plan, prepare

        try:
            option = self.config.getoption
            loaded, _ = prepare(str(self.path), option("--conformance-bench"))
            level, challenge = option("--conformance-level"), self._challenge()
            plan, _ = make_plan(loaded, level=level, progress=self._tell_once, challenge=challenge)
        except ConformanceError as error:
            raise self.CollectError(str(error)) from error
        marks: dict[str, pytest.MarkDecorator] = {}
        for area in sorted({planned.case.area for planned in plan.cases}):
            self.config.addinivalue_line("markers", f"{area}: cases of that area of a device profile")
            marks[area] = getattr(pytest.mark, area)
        for planned in plan.cases:
            item = CaseItem.from_parent(self, name=planned.case.id)
            item.add_marker(marks[planned.case.area])
            yield item
        for state in plan.states:
            if state.unplanned and state.requirement.level == "MUST":
                yield RequirementItem.from_parent(
                    self, name=f"requirements/{state.requirement.id}", reason=state.unplanned
                )
        yield VerdictItem.from_parent(self, name="verdict")

    def _challenge(self) -> str:
        """Return the challenge, empty where there is none; UsageError where it is none that can be told."""
        from conformance.reference.challenges import read_challenge

        given = self.config.getoption("--conformance-challenge")
        return "" if given is None else read_challenge(given)

    def _tell_once(self, *_: object) -> None:
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None and not self.config.stash.get(TOLD, False):
            self.config.stash[TOLD] = True
            reporter.write_line("conformance: first run on this host, making the operator cases; this takes seconds")

    # -- running ------------------------------------------------------------------------------------------------------

    def entry_of(self, case_id: str) -> Entry:
        """Return how a case ended, running on until it has."""
        from conformance.reports.support.junit_entries import case_entry

        run = self._taken()
        while self._stream is not None and not run.has(case_id):
            if next(self._stream, None) is None:
                self._stream = None
        if self._info is None:
            self._info = run.info()
        return case_entry(run.record_of(case_id), self._info, run.must_ids)

    def run_on(self) -> None:
        """Run whatever was chosen and not asked for: an item that was deselected after the collection, or reordered."""
        self._taken()
        for _ in self._stream or ():
            pass
        self._stream = None

    def _taken(self) -> Run:
        """Return the run; the first to ask takes the device."""
        if self.broken:
            pytest.fail(self.broken, pytrace=False)
        if self.run is None:
            from conformance.errors import ConformanceError

            for other in _started(self.config):
                other.finish()
            try:
                self.run = self._start()
            except ConformanceError as error:
                self.broken = str(error)
                pytest.fail(self.broken, pytrace=False)
        return self.run

    def _start(self) -> Run:
        from conformance.conduct import Request, Run

        option = self.config.getoption
        out = option("--conformance-out")
        bench, level = option("--conformance-bench"), option("--conformance-level")
        request = Request(str(self.path), bench, Path(out) if out else None, level, challenge=self._challenge())
        run = Run(request, Silent())
        run.__enter__()
        self.config.stash.setdefault(STARTED, []).append(self)
        run.choose(set(self.chosen), "chosen by pytest")
        self._stream = run.records()
        return run

    def finish(self) -> RunResult | None:
        """Conclude, write the reports, let the device go; None where nothing was run."""
        if self.run is None or self.result is not None or self.broken:
            return self.result
        from conformance.errors import ConformanceError
        from conformance.reports import write_all

        try:
            if self._stream is not None:
                self._stream.close()
            self.result = self.run.conclude()
            write_all(self.result, self.run.folder)
        except ConformanceError as error:
            self.broken = str(error)
        finally:
            self.run.__exit__(None, None, None)
        return self.result


class CaseItem(pytest.Item):
    """One case. What is not met fails; what is open for a MUST is an error; what is waived or unclaimed is skipped."""

    parent: ProfileFile

    def setup(self) -> None:
        """Get the record; an outcome that says nothing about the device is an error of the setup."""
        self._entry = self.parent.entry_of(self.name)
        self._name_in_junit(self._entry)
        if self._entry.status == "error":
            self._fail()

    def runtest(self) -> None:
        """Fail or skip as the outcome says."""
        if self._entry.status == "failure":
            self._fail()
        if self._entry.status == "skipped":
            pytest.skip(self._entry.message)

    def _fail(self) -> NoReturn:
        pytest.fail(f"{self._entry.type}: {self._entry.message}\n{self._entry.body}", pytrace=False)

    def _name_in_junit(self, entry: Entry) -> None:
        """Put the device into the class name, as junit.xml of the run folder has it; pytest would put the file there."""
        try:
            from _pytest.junitxml import xml_key
        except ImportError:
            return
        report = self.config.stash.get(xml_key, None)
        if report is not None:
            reporter = report.node_reporter(self.nodeid)
            reporter.add_attribute("classname", entry.classname)
            reporter.add_attribute("name", entry.name)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Return the profile and the case id."""
        return self.path, None, self.name


class RequirementItem(pytest.Item):
    """A MUST that no case can show yet: never green."""

    def __init__(self, *, reason: str, **given: Any) -> None:
        super().__init__(**given)
        self._reason = reason

    def setup(self) -> None:
        """Say why."""
        pytest.fail(f"open: {self._reason}", pytrace=False)

    def runtest(self) -> None:
        """Never reached."""

    def reportinfo(self) -> tuple[Path, None, str]:
        """Return the profile and the requirement's id."""
        return self.path, None, self.name


class VerdictItem(pytest.Item):
    """The last item: fails unless `conformance run` would exit 0."""

    parent: ProfileFile

    def runtest(self) -> None:
        """Conclude the run."""
        if not self.parent.chosen:
            pytest.fail("no case of the profile was chosen, so nothing was shown", pytrace=False)
        self.parent.run_on()
        result = self.parent.finish()
        if self.parent.broken or result is None:
            pytest.fail(self.parent.broken or "nothing was run", pytrace=False)
        if result.verdict.exit_code:
            pytest.fail(result.verdict.summary, pytrace=False)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Return the profile."""
        return self.path, None, self.name


class Silent:
    """A display for a run whose progress pytest shows."""

    def start(self, info: dict[str, str], total: int) -> None:
        """Say nothing."""

    def finish(self) -> None:
        """Say nothing."""

    def case_started(self, case_id: str, worker: int) -> None:
        """Say nothing."""

    def case_finished(self, record: Record) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""
