"""The mechanics of running tasks on workers: one loop that waits on all of them, starts, feeds, times and kills.

`Pool.run` yields what happened and decides nothing: whether a fault is repeated, what it means and what is judged is the crew's.
"""

from __future__ import annotations

import itertools
import selectors
import time
from collections import deque
from typing import TYPE_CHECKING, TypeGuard

import msgspec

from conformance.errors import HarnessError, UsageError
from conformance.execution import blame, protocol
from conformance.execution.pressure import free_mb, oom_kills
from conformance.execution.remote import RemoteWorker
from conformance.execution.slot import (
    Broken,
    Event,
    Faulted,
    NotOpened,
    Observed,
    Opened,
    Slot,
    Task,
    Untaken,
)
from conformance.execution.worker import Launch, Worker, needs_inbox
from conformance.records import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conformance.observation import Observation
    from conformance.records import Attempt

HEARTBEAT_S = 0.25
SAME_HOST = ("name", "id", "system", "machine")
"""What a host may not change while it holds the device. A reset may restart it: that changes none of these."""
IDLE_ENDS = 3
"""How often in a row a child may end between two cases before the device counts as one that does not stay open."""
START_S = 60.0
"""Seconds for an interpreter to start and say hello: the host's business, so running out of them is a harness error."""


class Pool:
    """Workers by number, and the loop."""

    def __init__(self, launch: Launch) -> None:
        self.launch = self._launch = launch
        self.tick: Callable[[], None] = lambda: None
        """Called in each round of the loop."""
        self._selector = selectors.DefaultSelector()
        self._slots: list[Slot] = []
        self._queue: deque[Task] = deque()
        self._asked: list[Slot] = []
        """The slots that the tasks at hand are for; others may be opened ahead of time."""
        self.opens_early = False
        """Whether a child may open the device before there is work for it: harmless where the device is the host's CPU."""
        self._seq = 0
        self._oom_kills = oom_kills()
        self._idle_ends = 0
        self.ends: list[Attempt] = []
        """How children ended that did not end as they were asked to, while no case was running."""
        self.left = 0
        """Processes that children left behind when they ended by themselves; the keeper killed them."""
        self.host: dict[str, str] = {}
        """What is known of the host of the children, where it is another one."""

    def warm(self, count: int) -> None:
        """Start processes ahead of time. They say hello and wait; no device is opened before there are tasks."""
        self.warm_up(self.slots(count))

    def warm_up(self, slots: list[Slot]) -> None:
        """Start the processes of these slots ahead of time."""
        for slot in slots:
            if slot.state == "down":
                self._start(slot)

    def slots(self, count: int, first: int = 0) -> list[Slot]:
        """Return `count` slots from number `first` on, made on first use."""
        while len(self._slots) < first + count:
            kind = Worker if self._launch.remote is None else RemoteWorker
            self._slots.append(Slot(kind(len(self._slots), self._launch)))
        return self._slots[first : first + count]

    def run(
        self, tasks: deque[Task], slots: list[Slot], deadlines: protocol.Deadlines, started: Callable[[Task, int], None]
    ) -> Iterator[Event]:
        """Run tasks until there are none and nobody is busy. `started` is called before a case is sent."""
        try:
            yield from self._loop(tasks, slots, deadlines, started)
        finally:
            for slot in self._slots:
                slot.worker.rest()

    def _loop(
        self, tasks: deque[Task], slots: list[Slot], deadlines: protocol.Deadlines, started: Callable[[Task, int], None]
    ) -> Iterator[Event]:
        awake = time.monotonic()
        self._queue, self._asked = tasks, slots
        while True:
            for slot in slots:
                if slot.state == "down" and len(tasks) > sum(s.state in ("starting", "opening") for s in slots):
                    self._start(slot)
                self._feed(slot, tasks, deadlines, started)
            self._open_ready(self._slots if self.opens_early else slots if tasks else [])
            if all(slot.state in ("down", "ready", "idle") for slot in slots) and not tasks:
                return
            before = time.monotonic()
            wait = max(0.0, min([HEARTBEAT_S, *(slot.kill_at - before for slot in self._slots)]))
            for slot in self._slots:
                if slot.state != "down":
                    slot.worker.beat()
            ready = self._selector.select(wait)
            # Lateness is ours wherever it comes from: a host that stood still, or judging, journal and display since.
            own, awake = before - awake, time.monotonic()
            late = sum(one for one in (own, awake - before - wait) if one >= blame.LATE_S)
            for slot in self._slots:
                slot.late_s += late
            heard = {key.data[0] for key, _ in ready}
            for key, _ in ready:
                for event in self._serve(*key.data):
                    slot = key.data[0]
                    if isinstance(event, Observed) and not _uses_store(event.observation) and not _is_next_alone(tasks):
                        self._feed(slot, tasks, deadlines, started)  # keep the child busy while this one is judged
                    yield event
            for slot in self._slots:  # by the time of the select: what arrived since is heard before anybody is killed
                if awake >= slot.kill_at and slot.state != "down" and slot not in heard and not slot.has_moved_on():
                    yield self._expire(slot)
            self.tick()

    def _feed(
        self, slot: Slot, tasks: deque[Task], deadlines: protocol.Deadlines, started: Callable[[Task, int], None]
    ) -> None:
        if tasks and slot.state == "idle":
            task = self._send(slot, tasks, deadlines, started)
            slot.state = "busy"
            self._make_current(slot, task, self._seq)
        if tasks and slot.state == "busy" and slot.ahead is None and _may_wait(slot.task) and _may_wait(tasks[0]):
            slot.ahead = self._send(slot, tasks, deadlines, started), self._seq

    def _send(
        self, slot: Slot, tasks: deque[Task], deadlines: protocol.Deadlines, started: Callable[[Task, int], None]
    ) -> Task:
        task = tasks.popleft()
        self._seq += 1
        slot.deadlines = deadlines
        started(task, slot.worker.number)
        slot.worker.measure(self._seq, task.planned.filled(), deadlines)
        self._watch_writing(slot)
        return task

    def _make_current(self, slot: Slot, task: Task, seq: int) -> None:
        slot.worker.forget_stderr()
        slot.begin(task, seq)

    # -- one child ----------------------------------------------------------------------------------------------------

    def _start(self, slot: Slot) -> None:
        slot.worker.start()
        slot.state, slot.task, slot.late_s = "starting", None, 0.0
        slot.began = time.monotonic()
        slot.clock("start", START_S)
        for fd, what in (
            (slot.worker.stdout, "stdout"),
            (slot.worker.stderr, "stderr"),
            (slot.worker.status, "status"),
        ):
            self._selector.register(fd, selectors.EVENT_READ, (slot, what))

    def _open_ready(self, slots: list[Slot]) -> None:
        for slot in slots:
            if slot.state == "ready":
                slot.state, slot.late_s = "opening", 0.0
                slot.clock("open", self._launch.deadlines.open_s)
                slot.worker.open()
                self._watch_writing(slot)

    def _watch_writing(self, slot: Slot) -> None:
        if slot.worker.wants_write and slot.worker.stdin not in self._selector.get_map():
            self._selector.register(slot.worker.stdin, selectors.EVENT_WRITE, (slot, "stdin"))

    def _forget(self, slot: Slot) -> None:
        for fd in (slot.worker.stdout, slot.worker.stderr, slot.worker.status, slot.worker.stdin):
            if fd in self._selector.get_map():
                self._selector.unregister(fd)

    def _serve(self, slot: Slot, what: str) -> Iterator[Event]:
        if slot.state == "down":
            return  # it ended while an earlier event of the same round was served
        worker = slot.worker
        if what == "stdin":
            worker.flush()
            if not worker.wants_write:
                self._selector.unregister(worker.stdin)
        elif what == "stderr":
            if not worker.read_stderr():
                self._selector.unregister(worker.stderr)
        elif what == "stdout":
            try:
                messages = worker.read_messages()
            except HarnessError as error:
                yield from self._broken_protocol(slot, str(error))
                return
            if messages is None:
                self._selector.unregister(worker.stdout)
                return
            for message in messages:
                if slot.state == "down":
                    return
                yield from self._take(slot, message)
        else:
            yield from self._serve_status(slot)

    def _serve_status(self, slot: Slot) -> Iterator[Event]:
        try:  # what the child said before it ended still counts
            for message in slot.worker.read_messages() or []:
                yield from self._take(slot, message)
                if slot.state == "down":
                    return
        except HarnessError:
            pass  # a frame cut short by the crash
        if slot.state == "down":
            return
        self._forget(slot)
        has_taken = slot.worker.has_taken(1 if slot.ahead is None else 2)
        for event in self._end(slot, slot.worker.wait_status(), ""):
            if isinstance(event, Faulted) and not has_taken:
                self.ends.append(event.attempt)
                yield Untaken(event.task, event)
            else:
                yield event

    def _take(self, slot: Slot, message: protocol.ToParent) -> Iterator[Event]:
        if isinstance(message, protocol.Phase):
            slot.take_phase(message)
        elif isinstance(message, protocol.Hello) and slot.state == "starting":
            yield from self._take_hello(slot, message)
        elif isinstance(message, protocol.Opened) and slot.state == "opening":
            slot.state, slot.kill_at = "idle", float("inf")
            yield Opened(message.identity, slot.versions, message.runs_on_host_cpu, message.has_witness)
        elif isinstance(message, protocol.Refused) and slot.state == "opening":
            self.stop(slot)
            if message.kind == "not-found" and slot not in self._asked:
                return  # opened ahead of time: whoever is at work may just be taking the device down, and tells first
            if message.kind == "usage":
                raise UsageError(message.message)
            if message.kind == "harness":
                raise HarnessError(message.message)
            yield NotOpened(message.kind, message.message)
        elif slot.task is not None and _answers(message, slot.seq):
            self._idle_ends = 0
            task, wall, late_s = slot.task, time.monotonic() - slot.began, slot.late_s
            if slot.ahead is not None:
                self._make_current(slot, *slot.ahead)
                slot.ahead = None
            else:
                slot.state, slot.task, slot.kill_at = "idle", None, float("inf")
            if isinstance(message, protocol.Failed):
                yield Broken(task, slot.worker, message.message, wall)
                return
            overtime = "" if late_s >= blame.LATE_S else message.overtime
            yield Observed(task, slot.worker, message.observation, wall, message.peak_rss_kb, overtime)
        else:
            yield from self._broken_protocol(slot, "an answer that nobody waits for")

    def _take_hello(self, slot: Slot, message: protocol.Hello) -> Iterator[Event]:
        slot.versions = message.versions
        if isinstance(slot.worker, RemoteWorker):
            differs = host_differences(self.host, slot.worker.host)
            if differs:
                self.stop(slot)
                yield NotOpened("another-host", differs)
                return
            self.host = self.host or dict(slot.worker.host)
        slot.state, slot.kill_at = "ready", float("inf")

    def let_go(self) -> None:
        """End every child, since the device is about to go; what they were at goes back to the front of the queue."""
        for slot in self._slots:
            if slot.ahead is not None:
                self._queue.appendleft(slot.ahead[0])
            if slot.task is not None:
                self._queue.appendleft(slot.task)
        self.stop(*self._slots)

    # -- the end of a child -------------------------------------------------------------------------------------------

    def stop(self, *slots: Slot) -> None:
        """End children: idle ones in an orderly way and all at once, busy ones by force."""
        for slot in slots:
            if slot.state == "idle":
                slot.worker.ask_to_close()
        for slot in slots:
            if slot.state == "down":
                continue
            self._forget(slot)
            if slot.state == "idle":
                ended, is_late = slot.worker.finish_close()
                self._count_left(ended)
                if is_late or ended.signal or ended.exit_code:
                    doing = "the device was let go"
                    self.ends.append(self._blame(slot, ended, "close" if is_late else "", slot.worker.close_s, doing))
            else:
                slot.worker.kill()
            slot.state, slot.task, slot.ahead, slot.kill_at = "down", None, None, float("inf")

    def close(self, *, is_orderly: bool = True) -> None:
        """End every child, busy or not, and give back shared memory. Where it is not orderly, nobody is asked first."""
        if is_orderly:
            self.stop(*self._slots)
        for slot in self._slots:
            if slot.state != "down":
                self._forget(slot)
                slot.worker.kill()
            slot.worker.release()
        self._slots.clear()
        self._selector.close()

    def _count_left(self, ended: blame.Ended) -> None:
        """Count what a child left behind that ended by itself; where it was killed, nobody asked it to clear up."""
        if ended.cause == "ended":
            self.left += ended.reaped

    def _expire(self, slot: Slot) -> Event:
        self._forget(slot)
        phase = slot.phase
        ended = slot.worker.kill()
        events = list(self._end(slot, ended, phase))
        return events[0]

    def _broken_protocol(self, slot: Slot, why: str) -> Iterator[Event]:
        self._forget(slot)
        ended = slot.worker.kill()._replace(cause="protocol")
        yield from self._end(slot, ended, "", why)

    def _blame(
        self, slot: Slot, ended: blame.Ended, timed_out: str, budget_s: float, doing: str = blame.IN_A_CASE
    ) -> Attempt:
        killed = oom_kills()
        host = blame.Circumstances(
            parent_late_s=slot.late_s,
            oom_kills=killed - self._oom_kills if ended.oom_kills is None else ended.oom_kills,
            free_mb=free_mb(self._launch.scratch) if ended.free_mb is None else ended.free_mb,
            memory_limit_mb=self._launch.memory_mb,
        )
        self._oom_kills = killed
        return blame.blame(ended, timed_out, budget_s, slot.worker.stderr_tail, host, doing)

    def _end(self, slot: Slot, ended: blame.Ended, timed_out: str, why: str = "") -> Iterator[Event]:
        self._count_left(ended)
        state, task = slot.state, slot.task
        doing = blame.IN_A_CASE if state == "busy" else "it waited for a case" if state == "idle" else "it opened"
        attempt = self._blame(slot, ended, timed_out, slot.budget_s, doing)
        if why:
            attempt = msgspec.structs.replace(attempt, detail=f"{attempt.detail}: {why}")
        slot.state, slot.task, slot.kill_at = "down", None, float("inf")
        if slot.ahead is not None:  # never read, so nobody's fault: it goes to the next child
            self._queue.appendleft(slot.ahead[0])
            slot.ahead = None
        if state == "idle":
            self.ends.append(attempt)
            self._idle_ends += attempt.outcome is not Outcome.ERROR
            if self._idle_ends > IDLE_ENDS:
                told = (
                    f"its process ended {self._idle_ends} times in a row while it waited for a case: {attempt.detail}"
                )
                yield NotOpened("rejected", told)
        if state in ("starting", "ready") and ended.cause == "lost":
            yield NotOpened("unreachable", ended.words)
        elif state in ("starting", "ready"):
            last = slot.worker.stderr_tail.strip().splitlines()[-1:] or [attempt.detail]
            where = f" on {self._launch.remote.address.name}" if self._launch.remote is not None else ""
            raise HarnessError(f"the child process did not start with {self._launch.python}{where}: {last[0]}")
        if state == "opening":
            yield NotOpened("fault", attempt.detail, attempt)
        elif state == "busy" and task is not None:
            yield Faulted(task, slot.worker, attempt, time.monotonic() - slot.began)


def host_differences(first: dict[str, str], now: dict[str, str]) -> str:
    """Return in what a host differs from the one that answered first, empty where in nothing or where none has answered."""
    if not first:
        return ""
    told = [(name, first.get(name, ""), now.get(name, "")) for name in SAME_HOST]
    return ", ".join(f"{name} was '{was}' and is '{seen}'" for name, was, seen in told if was != seen)


def _is_next_alone(tasks: deque[Task]) -> bool:
    """Whether the next case is to run while nothing of ours is at work, the judging of the case before included."""
    return bool(tasks) and tasks[0].planned.case.is_alone


def _may_wait(task: Task | None) -> bool:
    """Whether a case may wait in the child's pipe, or be waited for there: what it needs and gives travels in messages.

    Outputs in shared memory have to be judged before the next case may overwrite them, inputs read before they are.
    """
    if task is None or task.attempt > 1:
        return False
    case = task.planned.case
    if case.is_alone:
        return False
    if case.output_nbytes is None or case.output_nbytes > protocol.INLINE_LIMIT:
        return False
    return case.workload is None or not any(map(needs_inbox, itertools.chain(*case.workload.datasets)))


def _answers(message: protocol.ToParent, seq: int) -> TypeGuard[protocol.Observed | protocol.Failed]:
    """Whether a message is the answer to case `seq`, and speaks of no phase that does not exist."""
    if isinstance(message, protocol.Observed):
        return message.seq == seq and message.overtime in ("", *protocol.PHASES)
    return isinstance(message, protocol.Failed) and message.seq == seq


def _uses_store(observation: Observation) -> bool:
    """Whether any output still lies in shared memory, which the next case would overwrite."""
    return any(_in_store(output.value) for s in observation.sessions for i in s.inferences for output in i.outputs)


def _in_store(ref: object) -> bool:
    items = getattr(ref, "items", None)
    if isinstance(items, list):
        return any(_in_store(item) for item in items)
    return bool(getattr(ref, "store", ""))
