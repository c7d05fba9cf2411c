"""What the pool and the crew speak of: a case on its way, a worker with what it is doing, and what happened."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from conformance.execution import protocol
from conformance.execution.worker import margin_s

if TYPE_CHECKING:
    from conformance.checks.support.port import Planned
    from conformance.execution.line import Line
    from conformance.observation import Observation
    from conformance.records import Attempt, Identity

TRANSFER = "transfer"
TRANSFER_S = 120.0
"""Seconds that a case may be on its way to another host, and its answer on its way back: a lab's matter, no device's."""
ALL_PHASES = "all phases"
LOOK_AGAIN_S = 0.05
ROUNDS = 20
"""A case may enter its phases again and again, each with its own deadline, but all together take no longer than so many
times one of each."""


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
    """A child could not bind the device: `kind` is of `protocol.Refused`, `fault` with an attempt, `unreachable` where the
    device's host was not reached at all, or `another-host` where another one answered than at first."""

    kind: str
    message: str
    attempt: Attempt | None = None


class Observed(NamedTuple):
    """A case came back."""

    task: Task
    worker: Line
    observation: Observation
    wall_s: float
    peak_rss_kb: int
    overtime: str


class Faulted(NamedTuple):
    """A case did not come back: the child crashed, hung or was killed."""

    task: Task
    worker: Line
    attempt: Attempt
    wall_s: float


class Untaken(NamedTuple):
    """A child died before it read the case it was given: whatever killed it, the case did not."""

    task: Task
    fault: Faulted


class Broken(NamedTuple):
    """The harness's own code failed on a case."""

    task: Task
    worker: Line
    message: str
    wall_s: float


Event = Opened | NotOpened | Observed | Faulted | Untaken | Broken


class Slot:
    """A worker and what it is doing: `down`, `starting`, `ready` (no device opened yet), `opening`, `idle` or `busy`."""

    def __init__(self, worker: Line) -> None:
        self.worker = worker
        self.state = "down"
        self.task: Task | None = None
        self.seq = 0
        self.ahead: tuple[Task, int] | None = None
        """The case that waits in the child's pipe, so that the child need not wait for us between two short ones."""
        self.phase = ""
        self.deadlines = protocol.Deadlines()
        self.began = 0.0
        self.budget_s = self.total_s = 0.0
        self.kill_at = float("inf")
        self.late_s = 0.0
        self.versions: dict[str, str] = {}

    def begin(self, task: Task, seq: int) -> None:
        """Start the clock of a case. On another host it has to arrive first; the child says when it has."""
        self.task, self.seq, self.late_s = task, seq, 0.0
        self.began = time.monotonic()
        rounds_s = ROUNDS * (self.deadlines.open_s + self.deadlines.compile_s + self.deadlines.run_s)
        self.total_s = rounds_s + task.planned.case.lasts_s + (2 * TRANSFER_S if self.worker.is_remote else 0.0)
        if self.worker.is_remote:
            self.clock(TRANSFER, TRANSFER_S)
        else:
            self.clock("compile", self.deadlines.compile_s)
            self.look_soon()

    def clock(self, phase: str, budget: float, since: float | None = None) -> None:
        """Start the clock of a phase, which began at `since` (monotonic seconds; now where not given)."""
        self.phase, self.budget_s = phase, budget
        self.kill_at = (time.monotonic() if since is None else since) + budget + margin_s(budget)
        latest = self.began + self.total_s + margin_s(self.total_s)
        if self.state == "busy" and latest < self.kill_at:
            self.phase, self.budget_s, self.kill_at = ALL_PHASES, self.total_s, latest
        self.worker.forget_doubt()

    def take_phase(self, message: protocol.Phase) -> None:
        """Start the clock of the phase that the child says its case has entered."""
        if message.seq != self.seq or self.state != "busy":
            return
        if self.worker.is_remote and message.phase == protocol.DONE:
            self.clock(TRANSFER, TRANSFER_S)
        elif message.phase in protocol.PHASES:
            self.worker.mark(self.seq, message.phase)
            self.clock(message.phase, self.deadlines.of(message.phase))

    def has_moved_on(self) -> bool:
        """Whether the child has entered a later phase since the clock was started, whose deadline is still ahead.

        What a child on another host has done may not have arrived: then it is in doubt, and looked at again soon.
        """
        if self.worker.is_remote:
            if self.state not in ("busy", "opening") or self.phase == TRANSFER or not self.worker.is_in_doubt():
                return False
            self.kill_at = time.monotonic() + LOOK_AGAIN_S
            return True
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
        shortest_s = min(self.deadlines.compile_s, self.deadlines.run_s, self.deadlines.open_s)
        self.kill_at = min(self.kill_at, time.monotonic() + shortest_s + margin_s(shortest_s))
