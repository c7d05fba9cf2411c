"""Conducting a run: from a profile on the command line to a verdict and a run folder. The rooms do the work.

The books close here: every planned case ends with exactly one record, and what was not reached is NOT_RUN with the cause.
"""

from __future__ import annotations

import gc
import os
import secrets
import shutil
import time
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from conformance import __version__
from conformance.errors import HarnessError, UsageError
from conformance.execution.crew import Crew, Watcher, in_order
from conformance.execution.interrupts import Interrupts
from conformance.execution.journal import RunLine, open_run
from conformance.execution.judging import make_record, make_unsupported
from conformance.execution.lock import DeviceLock
from conformance.execution.pool import Pool
from conformance.execution.sampling import Sampling
from conformance.execution.stores import fill_and_seal
from conformance.host import describe_host
from conformance.levels import FULL
from conformance.paths import cache_folder
from conformance.prepare import (
    commands_of,
    count_workers,
    device_name,
    make_launch,
    make_plan,
    meters_of,
    prepare,
    standing_of,
    target_of,
    waivers_of,
)
from conformance.profile.bench import Bench
from conformance.records import Basis, Judgement, Outcome, Record, RunInfo, RunResult
from conformance.reference.ahead import call_ahead
from conformance.reference.made.ahead import LimitsAhead, Wanted
from conformance.tensors import unicode_only
from conformance.verdict import apply_waivers, conclude

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterator

    from conformance import plan as planning
    from conformance.checks.support.port import Planned
    from conformance.execution.journal import Known
    from conformance.profile.loader import LoadedBench, LoadedProfile
    from conformance.records import JournalState

RUNS_FOLDER = "conformance-runs"
SCRATCH = "scratch"
TELL_S = 2.0
"""How long something may take in silence before a run begins."""


class Request(NamedTuple):
    """What the user asked for."""

    profile: str
    bench: str | None = None
    out: Path | None = None
    level: str = FULL
    selection: str = ""
    resume: bool = False
    challenge: str = ""
    """What inputs are drawn from, as `read_challenge` takes it; empty for the public seeds."""


class Display(Watcher, Protocol):
    """Who shows the progress."""

    def start(self, info: dict[str, str], total: int) -> None:
        """Tell what will be run."""

    def finish(self) -> None:
        """Tell that nothing more will come."""


def run(request: Request, display: Display) -> tuple[RunResult, Path]:
    """Run everything and return the result with its folder; the caller writes the reports.

    UsageError and ProfileError before anything is run; HarnessError where the host or the harness fails. An interrupt ends
    the run early with a valid result.
    """
    with Run(request, display) as one:
        for _ in one.records():
            pass
        return one.conclude(), one.folder


class Run:
    """One run, step by step, for those who want to see the records as they come.

    Entered, it holds the device's lock, its children's interpreters start, and `plan` is there. `choose` may narrow it,
    `records` runs it, `conclude` folds what was reached. Left, no process of it is left.
    """

    plan: planning.Plan
    folder: Path

    def __init__(self, request: Request, display: Display) -> None:
        self._request, self._display = request, display
        self._records: dict[str, Record] = {}
        self._crew: Crew | None = None
        self._stack = ExitStack()
        self._interrupts = Interrupts()
        self.cause = ""
        """Why not everything was reached, empty as long as nothing stopped it."""

    def __enter__(self) -> Run:
        request = self._request
        self.loaded, self._bench = prepare(request.profile, request.bench)
        self._meters = meters_of(self._bench)
        with ExitStack() as stack:
            stack.enter_context(self._interrupts)
            self.folder = stack.enter_context(_run_folder(request, self.loaded))
            stack.enter_context(DeviceLock(cache_folder(), device_name(self.loaded, self._bench)))
            self._prepare_pool(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _prepare_pool(self, stack: ExitStack) -> None:
        request, display = self._request, self._display
        self._workers = count_workers(self._bench)
        scratch = (
            self.folder.resolve() / f"{SCRATCH}-{secrets.token_hex(4)}"
        )  # ours alone, whoever else uses the folder
        self._scratch = scratch
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        launch = make_launch(self.loaded, self._bench, scratch)
        stack.callback(os.close, launch.inputs_fd)
        self._pool = Pool(launch)
        stack.callback(self._pool.close, is_orderly=False)
        # The children's interpreters start while the plan is made; nobody has spoken to a device by then.
        self._pool.warm(self._workers if target_of(self.loaded).on_host_cpu else 1)
        self.plan, context = make_plan(
            self.loaded,
            level=request.level,
            selection=request.selection,
            bench=self._bench,
            challenge=request.challenge,
            progress=lambda *at: display.note(_cache_note(*at)),
        )
        suite = context.loaded_suite
        if suite:
            if suite.notice:
                display.note(suite.notice)
            if any(
                planned.case.check == "operators" for planned in self.plan.cases
            ):  # nobody else asks what they should give
                suite.hold(lambda *at: display.note(_cache_note(*at)))
        fill_and_seal(launch.inputs_fd, suite.inputs_path.read_bytes() if suite else b"")

    def hold_answers(self) -> None:
        """Compute, or read, what reference models should answer before any device is open; told while it takes time."""
        began, done, has_help = time.monotonic(), 0, False
        tell = self._teller(sum(map(_has_to_be_held, self.plan.cases)))
        cases = []
        for at, planned in enumerate(self.plan.cases):
            one = planned
            if one.expected is not None and _has_to_be_held(one):
                if not has_help and time.monotonic() - began > TELL_S:  # they are not in the cache: all processors help
                    has_help = True
                    rest = filter(_has_to_be_held, self.plan.cases[at:])
                    call_ahead((two.expected for two in rest if two.expected), partial(tell, done))
                tell(done)
                # Held from here on: a child runs as the same user and could rewrite the cache that they came from.
                one = one._replace(expected=partial(list, one.expected()))
                done += 1
            cases.append(one)
        self.plan = self.plan._replace(cases=cases)

    def _teller(self, total: int) -> Callable[..., None]:
        """Return what tells now and then how many references are there; it takes how many by parts."""
        told = time.monotonic()

        def tell(*done: int) -> None:
            nonlocal told
            if time.monotonic() - told > TELL_S:
                told = time.monotonic()
                self._display.note(f"first run with these models and inputs, computing references: {sum(done)}/{total}")

        return tell

    def choose(self, ids: Collection[str], selection: str) -> None:
        """Run only these cases: the run is a partial one, and `selection` says who chose."""
        chosen = [planned for planned in self.plan.cases if planned.case.id in ids]
        left_out = len(self.plan.cases) - len(chosen)
        if left_out:
            self.plan = self.plan._replace(
                cases=chosen, not_selected=self.plan.not_selected + left_out, selection=selection
            )

    @property
    def must_ids(self) -> frozenset[str]:
        """The requirements that are a MUST and apply to this device."""
        states = self.plan.states
        return frozenset(one.requirement.id for one in states if one.applies and one.requirement.level == "MUST")

    def has(self, case_id: str) -> bool:
        """Return whether a case has its record by now."""
        return case_id in self._records

    def record_of(self, case_id: str) -> Record:
        """Return the record of a planned case as it stands, waivers applied: NOT_RUN where it was not reached."""
        known = self._records.get(case_id)
        record = known or _not_run(next(one for one in self.plan.cases if one.case.id == case_id), self.cause)
        return self._with_waivers([record])[0]

    def _with_waivers(self, records: list[Record]) -> list[Record]:
        return apply_waivers(records, waivers_of(self._bench), datetime.now(UTC).date())

    def info(self) -> RunInfo:
        """Return the stamp of the run as it stands."""
        if self._crew is None:
            raise HarnessError("a run was asked for its stamp before it was run")
        finished = datetime.now(UTC)
        given = (self._request, self.loaded, self._bench, self.plan, self._crew, self._known)
        state = msgspec.structs.replace(self._journal.state, unclosed=self._known.unclosed)
        return _info(*given, finished, self.cause, self._pool.host, state)

    def records(self) -> Generator[Record, None, None]:
        """Run the plan and yield records in the order in which cases end; Ctrl-C and SIGTERM end it early and quietly."""
        self.hold_answers()  # of what `choose` left, and before anything opens the device
        plan, display, profile = self.plan, self._display, self.loaded.profile
        line = _run_line(plan, self.loaded, self._bench, self._request.challenge)
        journal, self._known = open_run(self.folder, line, resume=self._request.resume)
        with ExitStack() as stack:
            stack.callback(journal.close)
            self._journal = journal
            if self._request.resume:
                _remove_stale(self.folder, self._scratch)
            self._records = dict(self._known.records)
            self._check_known()
            gc.freeze()  # the plan stays as it is to the end: no collection needs to walk it
            stack.callback(gc.unfreeze)
            told = {"device": f"{profile.device.vendor} {profile.device.model}", "folder": str(self.folder)}
            display.start(told | {"level": plan.level}, len(plan.cases) - len(self._records))
            stack.callback(display.finish)
            if self._records:
                display.note(f"resumed: {len(self._records)} of {len(plan.cases)} cases have their record already")
            crew = self._crew = Crew(self._pool, journal, display, self._workers)
            plan = stack.enter_context(self._foreseeing(plan))
            known, budget = self._known, self._bench.bench.bench.crash_budget if self._bench is not None else None
            crew.restore(known.attempts, known.identity, known.versions, known.host)
            crew.equip(commands_of(self._bench), budget, known.hooks, known.crashes)
            if self._meters:
                crew.read_meters(self._begin_sampling)
            try:
                for record in crew.run([one for one in plan.cases if one.case.id not in self._records]):
                    self._records[record.case] = record
                    yield record
            except KeyboardInterrupt:
                self.cause = "interrupted by the user; continue with --resume"
            finally:
                self._interrupts.settle()
                self._records |= crew.kept
                self.cause = self.cause or crew.lost
            journal.end(datetime.now(UTC).isoformat(timespec="milliseconds"), self.cause)

    def _begin_sampling(self) -> Sampling:
        """Begin to read the lab's meters, in processes of ours on this host."""
        sampling = Sampling(self._meters, self._scratch)
        sampling.start()
        return sampling

    @contextmanager
    def _foreseeing(self, plan: planning.Plan) -> Iterator[planning.Plan]:
        """Let other processors work out the limits of generated cases while the device runs those before them."""
        left = [one for one in plan.cases if one.foreseen is not None and one.case.id not in self._records]
        with LimitsAhead([Wanted(*one.foreseen) for one in in_order(left) if one.foreseen is not None]) as ahead:
            yield plan._replace(
                cases=[
                    one._replace(expected=partial(ahead.limits_of, Wanted(*one.foreseen))) if one.foreseen else one
                    for one in plan.cases
                ]
            )

    def _check_known(self) -> None:
        """Refuse records that are not those of the plan: then the journal is not this run's, or was edited."""
        planned = {one.case.id: one.case for one in self.plan.cases}
        for record in self._records.values():
            case = planned.get(record.case)
            if case is None or (record.check, record.requirements) != (case.check, case.requirements):
                raise UsageError(
                    f"{self.folder}: the journal's record of {record.case} is not of this plan; start a new run"
                )

    def conclude(self) -> RunResult:
        """Close the books: every planned case has one record, waivers are applied, the verdict is folded."""
        if self._crew is None:
            raise HarnessError("a run was concluded before it was run")
        plan = self.plan
        ordered = [self._records.get(one.case.id) or _not_run(one, self.cause) for one in plan.cases]
        judged = self._with_waivers(ordered)
        verdict = conclude(plan, judged, standing_of(self.loaded))
        return RunResult(info=self.info(), verdict=verdict, records=tuple(judged))


def _has_to_be_held(planned: Planned) -> bool:
    """Whether what a case should give comes by way of the cache, which children could rewrite."""
    return planned.inputs is not None and planned.expected is not None and not planned.is_from_code


def _not_run(planned: Planned, cause: str) -> Record:
    judged = Judgement(outcome=Outcome.NOT_RUN, reason=f"not reached: {cause or 'the run ended early'}")
    record = make_record(planned.case, judged)
    if planned.case.basis is Basis.UNCLAIMED:
        return make_unsupported(record, planned.case, "not tried")
    return record


# -- the pieces of a run ----------------------------------------------------------------------------------------------


@contextmanager
def _run_folder(request: Request, loaded: LoadedProfile) -> Iterator[Path]:
    """Make the run folder where it is missing; afterwards it is gone again if it is empty."""
    folder = _name_folder(request, loaded)
    try:
        is_new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: the run folder cannot be made: {error.strerror}; give another --out") from error
    try:
        yield folder
    finally:
        if is_new:
            with suppress(OSError):  # not empty: there is a journal, so the run has begun
                folder.rmdir()


def _name_folder(request: Request, loaded: LoadedProfile) -> Path:
    if request.out is not None:
        return request.out
    base, name = Path(RUNS_FOLDER), loaded.path.stem
    if request.resume:
        known = sorted(base.glob(f"{name}-*/journal.jsonl"), key=lambda path: path.stat().st_mtime)
        if not known:
            raise UsageError(f"there is no run of {name} below {base}/ to resume; name its folder with --out")
        return known[-1].parent
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return base / f"{name}-{stamp}-{secrets.token_hex(2)}"


def _remove_stale(folder: Path, own: Path) -> None:
    """Remove what runs that were killed left; the caller holds the folder's journal, so none of them is at work."""
    for path in folder.glob(f"{SCRATCH}-{'[0-9a-f]' * 8}"):
        if path.name != own.name:
            shutil.rmtree(path, ignore_errors=True)


def _run_line(plan: planning.Plan, loaded: LoadedProfile, bench: LoadedBench | None, challenge: str) -> RunLine:
    lab = bench.bench.bench if bench is not None else Bench()
    return RunLine(
        run_id=secrets.token_hex(8),
        started=datetime.now(UTC).isoformat(timespec="milliseconds"),
        harness_version=__version__,
        plan_digest=plan.digest,
        profile_digest=loaded.digest,
        planned=len(plan.cases),
        bench_digest=lab.digest(str(bench.python or "") if bench is not None else ""),
        challenge=challenge,
    )


def _cache_note(stage: str, done: int, total: int) -> str:
    return f"first run on this host, making the operator cases: {stage} {done}/{total}"


def _info(
    request: Request,
    loaded: LoadedProfile,
    bench: LoadedBench | None,
    plan: planning.Plan,
    crew: Crew,
    known: Known,
    finished_at: datetime,
    cause: str,
    device_host: dict[str, str],
    journal: JournalState,
) -> RunInfo:
    device, head = loaded.profile.device, loaded.category.category
    return RunInfo(
        run_id=known.first.run_id,
        harness_version=__version__,
        started=known.first.started,
        finished=finished_at.isoformat(timespec="milliseconds"),
        level=plan.level,
        selection=plan.selection,
        profile=unicode_only(request.profile),
        profile_digest=loaded.digest,
        sources=(*loaded.sources, *(bench.sources if bench is not None else [])),
        vendor=device.vendor,
        model=device.model,
        category=head.name,
        category_version=head.version,
        subtype=device.subtype or "",
        device_key=device.key,
        identity=crew.identity,
        host=describe_host(),
        device_host=device_host,
        hooks=tuple(crew.hooks),
        journal=journal,
        versions={"conformance": __version__, **crew.versions},
        bench=bench.bench.bench.settings() if bench is not None else {},
        challenge=request.challenge,
        bench_file=unicode_only(request.bench or ""),
        planned=len(plan.cases),
        not_selected=plan.not_selected,
        resumed=known.resumed,
        interrupted=cause,
        pinned=tuple(plan.pinned),
    )
