"""Conducting a run: from a profile on the command line to a verdict and a run folder. The rooms do the work.

The books close here: every planned case ends with exactly one record, and what was not reached is NOT_RUN with the cause.
"""

from __future__ import annotations

import gc
import os
import secrets
import shutil
import signal
import sys
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from conformance import __version__
from conformance import plan as planning
from conformance.adapters.runtime import adapter_class
from conformance.checks import check_module, check_names
from conformance.checks.support.port import Requested, Target
from conformance.errors import HarnessError, UsageError
from conformance.execution.crew import Crew, Watcher
from conformance.execution.journal import Known, RunLine, open_run
from conformance.execution.judging import make_record
from conformance.execution.lock import DeviceLock
from conformance.execution.pool import Pool
from conformance.execution.protocol import Deadlines
from conformance.execution.stores import fill_and_seal, unsealed
from conformance.execution.worker import Launch
from conformance.host import describe_host
from conformance.paths import cache_folder
from conformance.profile.loader import LoadedBench, LoadedProfile, load_bench, load_device
from conformance.records import Basis, Judgement, Outcome, Record, RunInfo, RunResult
from conformance.tensors import unicode_only
from conformance.verdict import Standing, Waiver, apply_waivers, conclude

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.checks.support.port import Planned

RUNS_FOLDER = "conformance-runs"
SCRATCH = "scratch"
DROPPED_PREFIXES = ("CONFORMANCE_", "PYTEST_")
"""Environment variables that are the parent's own business; a child inherits the others."""


class Request(NamedTuple):
    """What the user asked for."""

    profile: str
    bench: str | None = None
    out: Path | None = None
    level: str = "full"
    selection: str = ""
    resume: bool = False


class Display(Watcher, Protocol):
    """Who shows the progress."""

    def start(self, info: dict[str, str], total: int) -> None:
        """Tell what will be run."""

    def finish(self) -> None:
        """Tell that nothing more will come."""


def prepare(profile: str, bench: str | None = None) -> tuple[LoadedProfile, LoadedBench | None]:
    """Load and validate the files of a run, the adapter's own options included; ProfileError with every defect."""
    loaded = load_device(profile)
    runtime = loaded.profile.runtime
    try:
        adapter_class(runtime.adapter).read_options(runtime_options(loaded))
    except UsageError as error:
        raise loaded.error(("runtime",), str(error).removeprefix("runtime: ")) from error
    return loaded, load_bench(bench) if bench is not None else None


def runtime_options(loaded: LoadedProfile) -> dict[str, Any]:
    """Return the `runtime:` mapping as adapters take it, with the binding of the one unit and absolute paths."""
    options = {
        key: value for key, value in loaded.profile.runtime.as_options().items() if key not in ("adapter", "deadlines")
    }
    if "library" in options:
        options["library"] = str((loaded.folder / options["library"]).resolve())
    binding = loaded.profile.device.binding
    if binding is not None:
        given = binding.model_dump(exclude_none=True)
        flat = {**given.pop("metadata", {}), **{key: str(value) for key, value in given.items()}}
        if flat:
            options["binding"] = flat
    return options


def make_plan(
    loaded: LoadedProfile, *, level: str = "full", selection: str = "", progress: Any = None
) -> tuple[planning.Plan, planning.Context]:
    """Plan a run; UsageError where nothing is selected."""
    from conformance.reference.suite import load_suite

    context = planning.Context(loaded, target_of(loaded), lambda: load_suite(progress))
    plan = planning.build(
        loaded,
        context,
        check_module,
        check_names(),
        lambda requirement, why: Requested(requirement.id, str(requirement.level), dict(requirement.params), why),
        level=level,
        selection=selection,
    )
    return plan, context


def target_of(loaded: LoadedProfile) -> Target:
    """Return what the checks need to know about the device under test."""
    profile = loaded.profile
    hardware = str(profile.device.hardware or "")
    return Target(
        provider=profile.runtime.provider or profile.runtime.device or "",
        on_host_cpu=hardware == "cpu",
        is_host_cpu_allowed=loaded.category.caps.host_cpu == "allowed",
        hardware=hardware,
        driver=profile.device.driver or "",
        binding=dict(runtime_options(loaded).get("binding", {})),
    )


def run(request: Request, display: Display) -> tuple[RunResult, Path]:
    """Run everything and return the result with its folder; the caller writes the reports.

    UsageError and ProfileError before anything is run; HarnessError where the host or the harness fails. An interrupt ends
    the run early with a valid result.
    """
    loaded, bench = prepare(request.profile, request.bench)
    folder, is_new = _run_folder(request, loaded)
    device = f"{loaded.profile.runtime.adapter}:{target_of(loaded).provider}:{_binding_text(loaded)}"
    try:
        with DeviceLock(cache_folder(), device):
            return _run_locked(request, loaded, bench, folder, display), folder
    finally:
        shutil.rmtree(folder / SCRATCH, ignore_errors=True)
        if is_new:
            with suppress(OSError):  # not empty: there is a journal, so the run has begun
                folder.rmdir()


def _run_locked(
    request: Request, loaded: LoadedProfile, bench: LoadedBench | None, folder: Path, display: Display
) -> RunResult:
    workers = _worker_count(bench)
    launch = _launch(loaded, bench, folder)
    pool = Pool(launch)
    try:
        # The children's interpreters start while the plan is made; nobody has spoken to a device by then.
        pool.warm(workers if target_of(loaded).on_host_cpu else 1)
        plan, context = make_plan(
            loaded,
            level=request.level,
            selection=request.selection,
            progress=lambda *at: display.note(_cache_note(*at)),
        )
        fill_and_seal(launch.inputs_fd, context.loaded_suite.inputs_path.read_bytes() if context.loaded_suite else b"")
        journal, known = open_run(folder, _run_line(plan, loaded), resume=request.resume)
    except BaseException:
        pool.close(is_orderly=False)
        os.close(launch.inputs_fd)
        raise
    records = known.records
    gc.freeze()  # the plan stays as it is to the end: no collection needs to walk it
    try:
        display.start(
            {
                "device": f"{loaded.profile.device.vendor} {loaded.profile.device.model}",
                "folder": str(folder),
                "level": plan.level,
            },
            len(plan.cases) - len(records),
        )
        if records:
            display.note(f"resumed: {len(records)} of {len(plan.cases)} cases have their record already")
        crew = Crew(pool, journal, display, workers)
        crew.restore(known.attempts, known.identity, known.versions)
        interrupted = _run_crew(crew, [one for one in plan.cases if one.case.id not in records], records)
    finally:
        gc.unfreeze()
        pool.close(is_orderly=False)
        os.close(launch.inputs_fd)
        journal.close()
        display.finish()
    cause = interrupted or crew.lost
    for planned in plan.cases:
        if planned.case.id not in records:
            records[planned.case.id] = _not_run(planned, cause)
    ordered = [records[planned.case.id] for planned in plan.cases]
    finished_at = datetime.now(UTC)
    judged = apply_waivers(ordered, _waivers(bench), finished_at.date())
    verdict = conclude(plan, judged, _standing(loaded))
    info = _info(request, loaded, bench, plan, crew, known, finished_at, cause)
    return RunResult(info=info, verdict=verdict, records=tuple(judged))


def _run_crew(crew: Crew, planned: list[Planned], records: dict[str, Record]) -> str:
    """Run the crew into `records`; return why it was interrupted, empty where it was not."""
    try:
        with _termination_as_interrupt():
            for record in crew.run(planned):
                records[record.case] = record
    except KeyboardInterrupt:
        records.update(crew.kept)
        return "interrupted by the user; continue with --resume"
    return ""


@contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end the run as Ctrl-C does: with children gone and a valid report."""

    def interrupt(number: int, frame: object) -> None:  # noqa: ARG001 - the signature is Python's
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread: whoever embeds us handles signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _not_run(planned: Planned, cause: str) -> Record:
    judged = Judgement(outcome=Outcome.NOT_RUN, reason=f"not reached: {cause or 'the run ended early'}")
    record = make_record(planned.case, judged)
    if planned.case.basis is Basis.UNCLAIMED:
        from conformance.execution.judging import make_unsupported

        return make_unsupported(record, planned.case, "not tried")
    return record


# -- the pieces of a run ----------------------------------------------------------------------------------------------


def _run_folder(request: Request, loaded: LoadedProfile) -> tuple[Path, bool]:
    """Return the run folder, made where it is missing, and whether this made it."""
    if request.out is not None:
        folder = request.out
    elif request.resume:
        base = Path(RUNS_FOLDER)
        name = loaded.path.stem
        known = (
            sorted(base.glob(f"{name}-*/journal.jsonl"), key=lambda path: path.stat().st_mtime) if base.is_dir() else []
        )
        if not known:
            raise UsageError(f"there is no run of {name} below {base}/ to resume; name its folder with --out")
        return known[-1].parent, False
    else:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        folder = Path(RUNS_FOLDER) / f"{loaded.path.stem}-{stamp}-{secrets.token_hex(2)}"
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: the run folder cannot be made: {error.strerror}; give another --out") from error
    return folder, is_new


def _run_line(plan: planning.Plan, loaded: LoadedProfile) -> RunLine:
    return RunLine(
        run_id=secrets.token_hex(8),
        started=datetime.now(UTC).isoformat(timespec="milliseconds"),
        harness_version=__version__,
        plan_digest=plan.digest,
        profile_digest=loaded.digest,
        planned=len(plan.cases),
    )


def _launch(loaded: LoadedProfile, bench: LoadedBench | None, folder: Path) -> Launch:
    if sys.platform != "linux":
        raise HarnessError("running devices needs Linux (child subreaper, memfd); use transport ssh from elsewhere")
    deadlines = loaded.deadlines
    environment = {key: value for key, value in os.environ.items() if not key.startswith(DROPPED_PREFIXES)}
    environment["ORT_DISABLE_TELEMETRY"] = "1"
    if bench is not None and bench.bench.bench.env:
        environment |= bench.bench.bench.env
    scratch = folder.resolve() / SCRATCH
    scratch.mkdir(parents=True, exist_ok=True)
    return Launch(
        python=str(bench.python) if bench is not None and bench.python is not None else sys.executable,
        adapter=loaded.profile.runtime.adapter,
        runtime=runtime_options(loaded),
        deadlines=Deadlines(open_s=deadlines["open_s"], compile_s=deadlines["compile_s"], run_s=deadlines["run_s"]),
        scratch=scratch,
        env=environment,
        memory_mb=loaded.category.caps.host_memory_mb,
        inputs_fd=unsealed("inputs"),
    )


def _worker_count(bench: LoadedBench | None) -> int:
    asked = bench.bench.bench.workers if bench is not None else None
    return asked or min(4, len(os.sched_getaffinity(0)))


def _waivers(bench: LoadedBench | None) -> list[Waiver]:
    given = bench.bench.waivers if bench is not None else ()
    return [Waiver(one.case, one.reason, one.owner, one.expires) for one in given]


def _standing(loaded: LoadedProfile) -> Standing:
    head, device = loaded.category.category, loaded.profile.device
    why = "" if head.certifiable else f"the category {head.name} is never certifiable"
    if device.adjacent_type is not None:
        return Standing(head.certifiable, why, f"adjacent: {device.adjacent_type}")
    return Standing(head.certifiable, why, "none: a pseudo-category" if not head.certifiable else f"named: {head.name}")


def _binding_text(loaded: LoadedProfile) -> str:
    runtime, binding = loaded.profile.runtime, loaded.profile.device.binding
    return f"{runtime.device or ''}:{binding.model_dump_json(exclude_none=True) if binding is not None else ''}"


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
        versions={"conformance": __version__, **crew.versions},
        bench=bench.bench.bench.settings() if bench is not None else {},
        bench_file=unicode_only(request.bench or ""),
        planned=len(plan.cases),
        not_selected=plan.not_selected,
        resumed=known.resumed,
        interrupted=cause,
        pinned=tuple(plan.pinned),
    )
