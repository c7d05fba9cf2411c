"""What the pool and the crew speak of: a case on its way, a worker with what it is doing, and what happened."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from conformance.execution import protocol
from conformance.execution.worker import Worker, margin_s

if TYPE_CHECKING:
    from conformance.checks.support.port import Planned
    from conformance.observation import Observation
    from conformance.records import Attempt, Identity


class Task(NamedTuple):
    """A case on its way."""

    planned: Planned
    attempt: int = 1

    @property
    def id(self) -> str:
        """The case id."""
        return self.planned.case.id


class Opened(NamedTuple):
    """A child bound the device."""

    identity: Identity
    versions: dict[str, str]
    runs_on_host_cpu: bool
    has_witness: bool


class NotOpened(NamedTuple):
    """A child could not bind the device: `kind` is of `protocol.Refused`, or `fault` with an attempt."""

    kind: str
    message: str
    attempt: Attempt | None = None


class Observed(NamedTuple):
    """A case came back."""

    task: Task
    worker: Worker
    observation: Observation
    wall_s: float
    peak_rss_kb: int
    overtime: str


class Faulted(NamedTuple):
    """A case did not come back: the child crashed, hung or was killed."""

    task: Task
    worker: Worker
    attempt: Attempt
    wall_s: float


class Untaken(NamedTuple):
    """A child died before it read the case it was given: whatever killed it, the case did not."""

    task: Task
    fault: Faulted


class Broken(NamedTuple):
    """The harness's own code failed on a case."""

    task: Task
    worker: Worker
    message: str
    wall_s: float


Event = Opened | NotOpened | Observed | Faulted | Untaken | Broken


class Slot:
    """A worker and what it is doing: `down`, `starting`, `ready` (no device opened yet), `opening`, `idle` or `busy`."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.state = "down"
        self.task: Task | None = None
        self.seq = 0
        self.ahead: tuple[Task, int] | None = None
        """The case that waits in the child's pipe, so that the child need not wait for us between two short ones."""
        self.phase = ""
        self.deadlines = protocol.Deadlines()
        self.began = 0.0
        self.kill_at = float("inf")
        self.late_s = 0.0
        self.versions: dict[str, str] = {}

    def clock(self, phase: str, budget: float, since: float | None = None) -> None:
        """Start the clock of a phase, which began at `since` (monotonic seconds; now where not given)."""
        self.phase = phase
        self.kill_at = (time.monotonic() if since is None else since) + budget + margin_s(budget)

    def has_moved_on(self) -> bool:
        """Whether the child has entered a later phase since the clock was started, whose deadline is still ahead."""
        if self.state != "busy":
            return False
        phase, since = self.worker.entered(self.seq)
        if not phase:
            phase, since = "compile", self.began
        self.clock(phase, self.deadlines.of(phase), since)
        is_in_time = time.monotonic() < self.kill_at
        if is_in_time:
            self.look_soon()
        return is_in_time

    def look_soon(self) -> None:
        """Look again no later than the shortest deadline from now: the child may enter another phase without a message."""
        shortest_s = min(self.deadlines.compile_s, self.deadlines.run_s)
        self.kill_at = min(self.kill_at, time.monotonic() + shortest_s + margin_s(shortest_s))
