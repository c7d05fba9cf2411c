"""A stage on which the crew runs children made of a script: what each message, silence and end amounts to."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conformance.checks.support.port import Planned
from conformance.execution import protocol, stores, worker
from conformance.execution.crew import Crew
from conformance.execution.hooks import Commands
from conformance.execution.journal import Journal, RunLine
from conformance.execution.pool import Pool
from conformance.records import Attempt, Basis, Case, Identity, Record
from conformance.reference import probes

Make = Callable[..., Case]
FIRST = RunLine(run_id="r", started="s", harness_version="0", plan_digest="p", profile_digest="d", planned=0)
PRELUDE = """
import os, select, sys, time
from conformance.execution import protocol
from conformance.observation import InferenceSeen, Observation, SessionSeen
from conformance.records import DeviceFault, Identity, TensorInfo
from conformance.tensors import SequenceRef, TensorRef
from conformance.workload import NamedValue

OUT = os.dup(1)
def say(message):
    os.write(OUT, protocol.encode(message))
def hear():
    body = protocol.read_frame(0)
    if body is None:
        sys.exit(0)
    return protocol.TO_CHILD.decode(body)
def hello():
    say(protocol.Hello(protocol=1, harness_version="0", pid=os.getpid(), versions={"python": "3"}))
def opened(**changes):
    identity = Identity(**({"runtime": "r", "runtime_version": "1", "provider": "P"} | changes))
    say(protocol.Opened(identity=identity, runs_on_host_cpu=True, has_witness=False))
def observed(asked, **changes):
    fault = DeviceFault(phase="compile", kind="K", message="refused")
    seen = Observation(sessions=[SessionSeen(mode="strict", fault=fault)])
    return protocol.Observed(**({"seq": asked.seq, "observation": seen} | changes))
def begin():
    hello(); hear(); opened()
def is_first():
    # Whether this is the first child of the run that asks.
    try:
        os.close(os.open(os.environ["STATE"], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True
def await_untaken():
    # Wait until the parent has sent something, and leave it there.
    select.select([0], [], [])
def serve(closing=lambda: sys.exit(0)):
    while True:
        asked = hear()
        if isinstance(asked, protocol.Close):
            closing()
        say(observed(asked))
"""
"""What every script may use: the protocol, spoken on the descriptors that the keeper gave it."""
ORDERLY = "begin()\nserve()"


class Notes:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.started: list[tuple[str, int]] = []
        self.finished: list[Record] = []

    def case_started(self, case_id: str, worker: int) -> None:
        self.started.append((case_id, worker))

    def case_finished(self, record: Record) -> None:
        self.finished.append(record)

    def note(self, text: str) -> None:
        self.notes.append(text)


class Stage:
    """Runs cases with children made of a script."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.watcher = Notes()
        self.lost = ""
        self.python = folder / "python"
        self.deadlines = protocol.Deadlines(open_s=5, compile_s=0.2, run_s=0.2)
        self.crew: Crew | None = None
        self._inputs_fd = -1
        self.meters: Callable[[], Any] | None = None
        self._equipment: tuple[Any, Any] = ((Commands(), None), {})

    def equip(self, commands: Commands, crash_budget: int | None = None, **before: Any) -> None:
        """Give the crew what a lab would."""
        self._equipment = ((commands, crash_budget), before)

    def child(self, script: str) -> None:
        """Let children run a script, after `PRELUDE`."""
        body = textwrap.dedent(script)
        self.python.write_text(f"#!{sys.executable}\n{PRELUDE}\n{body}", encoding="utf-8")
        self.python.chmod(0o755)

    def launch(self) -> worker.Launch:
        """Return how the children of this stage are started."""
        return worker.Launch(
            python=str(self.python),
            adapter="misbehaving",
            runtime={},
            deadlines=self.deadlines,
            scratch=self.folder / "scratch",
            env=dict(os.environ) | {"STATE": str(self.folder / "state")},
            memory_mb=0,
            inputs_fd=self._inputs_fd,
        )

    def run(
        self,
        cases: list[Case],
        workers: int = 1,
        attempts: dict[str, list[Attempt]] | None = None,
        identity: Identity | None = None,
        warm: int = 0,
    ) -> list[Record]:
        """Run cases and return their records; `attempts` and `identity` are those of a run that is resumed.

        `warm` processes are started ahead of time.
        """
        kept = Journal.create(self.folder, FIRST)
        self._inputs_fd = stores.sealed_copy("inputs", b"")
        pool = Pool(self.launch())
        pool.warm(warm)
        self.crew = Crew(pool, kept, self.watcher, workers)
        self.crew.restore(attempts or {}, identity)
        self.crew.equip(*self._equipment[0], **self._equipment[1])
        if self.meters is not None:
            self.crew.read_meters(self.meters)
        values = [list(probes.four_outputs(3)[1])]
        try:
            return list(self.crew.run([Planned(case, lambda: values) for case in cases]))
        finally:
            kept.close()
            os.close(self._inputs_fd)
            self.lost = self.crew.lost


def short(case_id: str) -> str:
    """Return the last word of a case id."""
    return case_id.rsplit("/", 1)[1]


def unclaimed(make: Make, name: str) -> Case:
    """Return a case that nobody claims."""
    return make(name, basis=Basis.UNCLAIMED, unsupported="nobody claims it")
