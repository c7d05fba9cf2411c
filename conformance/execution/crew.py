"""Running the planned cases: the gate first, the operators on all workers, repeats alone, then what nobody claimed.

`Crew.run` yields one record per case that it reached, in the order in which they ended. Nothing that a device does makes
it raise; it raises for faults of the harness (HarnessError) and of the profile (UsageError).
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import msgspec

from conformance.errors import HarnessError, UsageError
from conformance.execution.blame import settle
from conformance.execution.hooks import Commands, Recovery
from conformance.execution.journal import FAULTS, AttemptLine, HookLine, OpenedLine, RecordLine, StartedLine
from conformance.execution.judging import (
    digest_outputs,
    judge_observation,
    make_record,
    make_unsupported,
    observed_word,
)
from conformance.execution.meters import Meters
from conformance.execution.protocol import Deadlines
from conformance.execution.raw import keep_raw
from conformance.execution.slot import Broken, Faulted, NotOpened, Observed, Opened, Task, Untaken
from conformance.records import SHARED, Attempt, Basis, Identity, Judgement, Outcome, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from conformance.checks.support.port import Planned
    from conformance.execution.journal import Journal
    from conformance.execution.meters import Sampling
    from conformance.execution.pool import Pool
    from conformance.execution.slot import Slot
    from conformance.observation import Observation
    from conformance.records import HookUse

FAULT_BUDGET = 15
"""Crashes in a row after which the device counts as lost."""
TIMEOUT_BUDGET = 10
"""Time-outs in all after which the device counts as lost."""
UNCLAIMED_DEADLINE_S = 10.0
"""Nobody asked for an unclaimed case, so it does not get the category's patience."""


class Watcher(Protocol):
    """Who is told what happens, while it happens."""

    def case_started(self, case_id: str, worker: int) -> None:
        """Tell that a case is about to run."""

    def case_finished(self, record: Record) -> None:
        """Tell that a case has its record."""

    def note(self, text: str) -> None:
        """Tell something else that is worth a line."""


class DeviceLost(Exception):
    """Nothing more can be learned from the device in this run."""


class Crew:
    """The workers of one run, and the rules by which they are used."""

    def __init__(self, pool: Pool, journal: Journal, watcher: Watcher, workers: int) -> None:
        self._launch = pool.launch
        self._journal = journal
        self._watcher = watcher
        self._wanted = workers
        self._pool = pool
        pool.tick = journal.tick
        self._attempts: dict[str, list[Attempt]] = {}
        self._is_resumed = self._has_opened = False
        self._started: dict[str, str] = {}
        self._repeats: deque[Task] = deque()
        self._crashes_in_row = 0
        self._timeouts = 0
        self._open_faults: list[Attempt] = []
        self._spared: set[str] = set()
        self._on_host_cpu = False
        self._recovery = Recovery(Commands(), self._take_hook)
        self._meters = Meters()
        self._crash_budget: int | None = None
        self._crashes = 0
        self.hooks: list[HookUse] = []
        """Each use of the lab's commands, those before an interruption included."""
        self.identity: Identity | None = None
        self.versions: dict[str, str] = {}
        self.kept: dict[str, Record] = {}
        """Every record that the journal has, also one that an interrupt kept from being yielded."""
        self.lost = ""
        """Why the rest was not reached; empty where everything was."""

    def restore(
        self,
        attempts: dict[str, list[Attempt]],
        identity: Identity | None = None,
        versions: dict[str, str] | None = None,
        host: dict[str, str] | None = None,
    ) -> None:
        """Take over what a run that is being resumed knows: attempts, who the device was, and on which host."""
        self._pool.host = dict(host or {})
        self._attempts = {case: list(known) for case, known in attempts.items()}
        self.identity, self.versions = identity, dict(versions or {})
        self._is_resumed = identity is not None

    def equip(
        self, commands: Commands, crash_budget: int | None, used: tuple[HookUse, ...] = (), crashes: int = 0
    ) -> None:
        """Take what the lab gives: commands that bring the device back, and how many crashes and time-outs it pays for.

        `used` and `crashes` are those of a run that is being resumed.
        """
        self._recovery = Recovery(commands, self._take_hook)
        self._crash_budget, self._crashes = crash_budget, crashes
        self.hooks = list(used)

    def read_meters(self, meters: Callable[[], Sampling]) -> None:
        """Take what begins to read the lab's meters, for cases that ask for it; without it they get no trace."""
        self._meters = Meters(meters)

    def run(self, planned: Iterable[Planned]) -> Iterator[Record]:
        """Run everything and yield records; no child is left afterwards, whatever happens."""
        tasks = [Task(one, len(self._attempts.get(one.case.id, [])) + 1) for one in planned]
        claimed = [task for task in tasks if task.planned.case.basis is not Basis.UNCLAIMED]
        unclaimed = [task for task in tasks if task.planned.case.basis is Basis.UNCLAIMED]
        is_orderly = False
        try:
            yield from self._run_claimed(claimed, has_unclaimed=bool(unclaimed))
            yield from self._run_unclaimed(unclaimed)
            is_orderly = True
        except DeviceLost as lost:
            self.lost = str(lost)
        finally:
            self._meters.stop()
            self._pool.close(is_orderly=is_orderly)

    def _run_claimed(self, tasks: list[Task], *, has_unclaimed: bool) -> Iterator[Record]:
        last = [task for task in tasks if task.planned.case.at_end]
        timed = [task for task in tasks if task.planned.case.timed]
        kept_back = {
            task.id for task in (*last, *timed)
        }  # by id: fourteen thousand tasks compared in pairs take half a minute
        others = [task for task in tasks if task.id not in kept_back]
        rest: list[Task] = []
        gate: list[Task] = []
        for task in others:
            case = task.planned.case
            (rest if case.check == "operators" or case.order >= SHARED else gate).append(task)
        yield from self._work([task for task in gate if not task.planned.case.may_lose_device], 1)
        for task in gate:
            if task.planned.case.may_lose_device:
                yield from self._work([task], 1)
                if task.id in self.kept and self.kept[task.id].outcome is not Outcome.PASS:
                    self._pool.stop(*self._pool.slots(1))
        yield from self._work_repeats()
        by_id = {task.id: task for task in rest}
        rest = [by_id[one.case.id] for one in in_order(task.planned for task in rest)]
        if rest and not self._has_opened:  # nothing has said yet whether several workers may share the device
            yield from self._work([rest.pop()], 1)
        if has_unclaimed and self._on_host_cpu:
            self._pool.warm_up(self._pool.slots(self._wanted, self._wanted))
        yield from self._work(rest, self._wanted if self._on_host_cpu else 1)
        yield from self._work_repeats()
        if timed:  # nothing else of ours may be at work beside the clock
            self._pool.stop(*self._pool.slots(self._wanted))
        yield from self._work(timed, 1)
        yield from self._work_repeats()
        yield from self._work(last, 1)
        yield from self._work_repeats()

    def _run_unclaimed(self, tasks: list[Task]) -> Iterator[Record]:
        """Try what nobody claimed, last: its children may be sacrificed, since nothing comes after them."""
        if not tasks:
            return
        self._pool.stop(*self._pool.slots(self._wanted))
        self._crashes_in_row = self._timeouts = 0
        reached: set[str] = set()
        tasks.sort(key=lambda task: -task.planned.case.cost_ms)
        try:
            for record in self._work(tasks, self._wanted if self._on_host_cpu else 1, self._wanted):
                reached.add(record.case)
                yield record
        except DeviceLost as lost:
            self._watcher.note(f"unclaimed cases: {lost}; the rest of them is not tried")
            for task in tasks:
                if task.id not in reached:
                    yield self._keep(_untried(task, str(lost)))

    def _work_repeats(self) -> Iterator[Record]:
        """Repeat each case that crashed or hung once, alone, in a fresh child."""
        while self._repeats:
            self._pool.stop(*self._pool.slots(self._wanted))
            yield from self._work([self._repeats.popleft()], 1)

    def _work(self, tasks: list[Task], workers: int, first: int = 0) -> Iterator[Record]:
        queue = deque(tasks)
        slots: list[Slot] = self._pool.slots(max(1, min(workers, len(tasks))), first)
        for event in self._pool.run(queue, slots, self._deadlines(tasks), self._start):
            if isinstance(event, Opened):
                yield from self._take_opened(event, queue)
            elif isinstance(event, NotOpened):
                yield from self._take_not_opened(event, queue)
            elif isinstance(event, Observed):
                yield from self._take_observed(event)
            elif isinstance(event, Untaken):
                yield from self._take_untaken(event, queue)
            elif isinstance(event, Faulted):
                yield from self._take_fault(event.task, event.attempt, event.wall_s, event.worker.number)
            else:
                yield self._take_broken(event)

    def _deadlines(self, tasks: list[Task]) -> Deadlines:
        given = self._launch.deadlines
        if tasks and tasks[0].planned.case.basis is Basis.UNCLAIMED:
            limit = UNCLAIMED_DEADLINE_S
            return Deadlines(open_s=given.open_s, compile_s=min(given.compile_s, limit), run_s=min(given.run_s, limit))
        return given

    def _start(self, task: Task, worker: int) -> None:
        self._started[task.id] = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._meters.start(task.planned.case)
        self._journal.write(StartedLine(case=task.id, worker=worker, attempt=task.attempt))
        self._watcher.case_started(task.id, worker)

    # -- what happened ------------------------------------------------------------------------------------------------

    def _take_opened(self, event: Opened, queue: deque[Task]) -> Iterator[Record]:
        self._open_faults.clear()
        self._recovery.note_opened()
        self._has_opened = True
        self._on_host_cpu = self._pool.opens_early = event.runs_on_host_cpu
        if self.identity is None:
            self.identity, self.versions = event.identity, event.versions
            told = OpenedLine(identity=event.identity, versions=event.versions, host=self._pool.host)
            self._journal.write(told)
            return
        differs = _differences(self.identity, event.identity)
        if differs and self._is_resumed:
            raise UsageError(f"cannot be resumed, the device is another one: {differs}; start a new run")
        if differs:
            yield from self._settle_repeats(queue)
            raise DeviceLost(f"the device that opens now is not the one that was opened first: {differs}")
        self._is_resumed = False

    def _take_not_opened(self, event: NotOpened, queue: deque[Task]) -> Iterator[Record]:
        """A device that is not there is NOT_RUN; one that refuses, crashes or hangs at open is not met, on one case."""
        if event.kind == "another-host":
            if self._is_resumed:
                raise UsageError(f"cannot be resumed, the device is on another host: {event.message}; start a new run")
            yield from self._settle_repeats(queue)
            raise DeviceLost(f"the host that answers now is not the one that answered first: {event.message}")
        is_fault = event.attempt is not None and event.attempt.outcome is not Outcome.ERROR
        if (is_fault or self._recovery.was_tried) and self._recovery.has_more:
            if event.attempt is not None:
                self._open_faults.append(event.attempt)
            yield from self._bring_back(queue[0].id if queue else "", event.message, queue)
            return
        if event.kind == "unreachable":
            raise DeviceLost(f"the device's host was not reached: {event.message}; see bench.ssh, then use --resume")
        if event.kind == "not-found":
            if self.identity is None or self._is_resumed:
                raise DeviceLost(f"device not found: {event.message}")
            yield from self._settle_repeats(queue)
            raise DeviceLost(f"the device was there and is gone: {event.message}")
        if event.attempt is not None:
            self._open_faults.append(event.attempt)
            judged = settle(self._open_faults, None)
            if judged is None:
                return
        else:
            judged = Judgement(outcome=Outcome.FAIL, reason=f"the device refuses to open: {event.message}")
        before = len(self.kept)
        yield from self._settle_repeats(queue)
        if queue and len(self.kept) == before:
            task = queue.popleft()
            record = make_record(task.planned.case, judged, attempts=self._open_faults)
            yield self._keep(make_unsupported(record, task.planned.case, "crashes") if _is_unclaimed(task) else record)
        raise DeviceLost(f"the device could not be opened: {judged.reason}")

    def _take_observed(self, event: Observed) -> Iterator[Record]:
        self._crashes_in_row = 0
        task = event.task
        if event.overtime and not _is_unclaimed(task):
            budget = self._launch.deadlines.of(event.overtime)
            text = f"phase {event.overtime} came back after its deadline of {budget:g} s"
            attempt = Attempt(outcome=Outcome.TIMEOUT, detail=text, stderr_tail=event.worker.stderr_tail[-4000:])
            yield from self._take_fault(task, attempt, event.wall_s, event.worker.number)
            return
        attempts = self._attempts.get(task.id, [])
        observation = self._meters.attach(task.planned.case, event.observation)
        if task.planned.case.at_end:
            observation = self._end_children(observation)
        judged = judge_observation(task.planned, observation, event.worker.stores)
        try:
            keep_raw(self._journal.path.parent, task.id, observation.kept)
        except HarnessError as error:  # a PASS whose evidence is lost is none
            judged = Judgement(outcome=Outcome.ERROR, reason=str(error))
        settled = settle(attempts, judged) or judged
        record = make_record(
            task.planned.case,
            settled,
            observation=observation,
            attempts=attempts,
            started=self._started[task.id],
            wall_s=event.wall_s,
            worker=event.worker.number,
            output_digest=digest_outputs(observation, event.worker.stores),
        )
        if _is_unclaimed(task):
            record = make_unsupported(record, task.planned.case, observed_word(judged, event.observation))
        yield self._keep(record)
        if judged.stops:
            raise DeviceLost(f"{task.id}: {judged.reason}")

    def _end_children(self, observation: Observation) -> Observation:
        """Let the device go in every child, and add to the observation how those of this run ended."""
        self._pool.stop(*self._pool.slots(self._wanted))
        left = self._pool.left
        if left:
            self._watcher.note(f"processes that the device left behind, and that were killed: {left}")
        return msgspec.structs.replace(
            observation, facts=observation.facts | {"ends": msgspec.to_builtins(self._pool.ends), "left": left}
        )

    def _take_untaken(self, event: Untaken, queue: deque[Task]) -> Iterator[Record]:
        """A child that died before it read its case is no fault of the case; twice at the same one, the case is in doubt."""
        task = event.task
        if task.id in self._spared:
            yield from self._take_fault(task, event.fault.attempt, event.fault.wall_s, event.fault.worker.number)
            return
        self._spared.add(task.id)
        self._watcher.note(f"a child ended between two cases: {event.fault.attempt.detail}")
        queue.appendleft(task)
        if event.fault.attempt.outcome is not Outcome.ERROR:
            yield from self._bring_back(task.id, event.fault.attempt.detail, queue)

    def _take_fault(self, task: Task, attempt: Attempt, wall_s: float, worker: int) -> Iterator[Record]:
        attempts = self._attempts.setdefault(task.id, [])
        attempts.append(attempt)
        self._journal.write(AttemptLine(case=task.id, attempt=attempt))
        if attempt.outcome is Outcome.TIMEOUT:
            self._timeouts += 1
        elif attempt.outcome is Outcome.CRASH:
            self._crashes_in_row += 1
        self._crashes += attempt.outcome in FAULTS and not _is_unclaimed(task)
        judged = settle(attempts, None)
        if _is_unclaimed(task):
            judged = Judgement(outcome=attempt.outcome, reason=attempt.detail)
        if judged is None:
            self._watcher.note(f"{attempt.outcome} in {task.id}: {attempt.detail}; it will be repeated once, alone")
            self._repeats.append(Task(task.planned, task.attempt + 1))
        else:
            started = self._started.get(task.id, "")
            record = make_record(
                task.planned.case, judged, attempts=attempts, started=started, wall_s=wall_s, worker=worker
            )
            if _is_unclaimed(task):
                record = make_unsupported(
                    record, task.planned.case, "hangs" if attempt.outcome is Outcome.TIMEOUT else "crashes"
                )
            yield self._keep(record)
        if self._crashes_in_row >= FAULT_BUDGET or self._timeouts >= TIMEOUT_BUDGET:
            yield from self._settle_repeats(deque())
            count = (
                f"{self._crashes_in_row} crashes in a row"
                if self._crashes_in_row >= FAULT_BUDGET
                else f"{self._timeouts} time-outs"
            )
            raise DeviceLost(f"the device was given up after {count}, first cause: {self._first_cause()}")
        if self._crash_budget is not None and self._crashes > self._crash_budget and not _is_unclaimed(task):
            yield from self._settle_repeats(deque())
            told = f"{self._crashes} crashes and time-outs are more than crash_budget allows: {self._crash_budget}"
            raise DeviceLost(f"{told}; first cause: {self._first_cause()}")
        if attempt.outcome is not Outcome.ERROR:
            yield from self._bring_back(task.id, attempt.detail, deque())

    def _bring_back(self, case: str, why: str, queue: deque[Task]) -> Iterator[Record]:
        """Let the lab bring the device back. Where it cannot, what waits for its repeat is ERROR, and the run ends."""
        if not self._recovery.has_more:
            return
        self._pool.let_go()
        failure = self._recovery.bring_back(case, why)
        if failure:
            reason = f"the lab could not bring the device back: {failure}"
            remedy = "mend the hook of the bench file, then start a new run"
            yield from self._settle_repeats(queue, Judgement(outcome=Outcome.ERROR, reason=reason, remedy=remedy))
            raise DeviceLost(reason)

    def _take_hook(self, use: HookUse) -> None:
        self.hooks.append(use)
        self._journal.write(HookLine(use=use))
        done = use.failure or f"done in {use.seconds:.1f} s"
        self._watcher.note(f"{use.hook.replace('_', ' ')} after {use.case or 'opening'} ({use.why}): {done}")

    def _settle_repeats(self, queue: deque[Task], instead: Judgement | None = None) -> Iterator[Record]:
        """A device that is given up has shown its faults often enough: those that still wait for a repeat count.

        `instead` is what they are where it is not the device that was given up.
        """
        waiting = [task for task in queue if self._attempts.get(task.id) and not _is_unclaimed(task)]
        for task in waiting:
            queue.remove(task)
        for task in (*waiting, *self._repeats):
            attempts = self._attempts[task.id]
            last = attempts[-1]
            judged = Judgement(
                outcome=last.outcome, reason=last.detail, context="not repeated: the device was given up"
            )
            started = self._started.get(task.id, "")
            yield self._keep(make_record(task.planned.case, instead or judged, attempts=attempts, started=started))
        self._repeats.clear()

    def _first_cause(self) -> str:
        case, attempts = next(iter(self._attempts.items()))
        return f"{case}: {attempts[0].detail}"

    def _take_broken(self, event: Broken) -> Record:
        text = event.message.strip().splitlines()[-1] if event.message.strip() else "no message"
        judged = Judgement(outcome=Outcome.ERROR, reason=f"the harness failed: {text}", context=event.message)
        record = make_record(event.task.planned.case, judged, started=self._started[event.task.id], wall_s=event.wall_s)
        return self._keep(
            make_unsupported(record, event.task.planned.case, "not tried") if _is_unclaimed(event.task) else record
        )

    def _keep(self, record: Record) -> Record:
        self._journal.write(RecordLine(record=record))
        self.kept[record.case] = record
        self._watcher.case_finished(record)
        return record


def _differences(first: Identity, now: Identity) -> str:
    """Return in which fields two identities differ; `details` may hold what changes from moment to moment."""
    told = []
    for name in first.__struct_fields__:
        was, seen = getattr(first, name), getattr(now, name)
        if was != seen and name != "details":
            told.append(f"{name} was '{was}' and is '{seen}'")
    return ", ".join(told)


def in_order(planned: Iterable[Planned]) -> list[Planned]:
    """Return cases that may share the workers in the order in which they are run: the longest first."""
    return sorted(planned, key=lambda one: -one.case.cost_ms)


def _is_unclaimed(task: Task) -> bool:
    return task.planned.case.basis is Basis.UNCLAIMED


def _untried(task: Task, cause: str) -> Record:
    judged = Judgement(outcome=Outcome.UNSUPPORTED, reason=cause)
    return make_unsupported(make_record(task.planned.case, judged), task.planned.case, "not tried")
