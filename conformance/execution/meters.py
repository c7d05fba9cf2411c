"""The lab's meters beside one case at a time: read while it runs, and put beside what the child saw, over whatever it wrote there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.metering.trace import Trace
    from conformance.observation import Observation
    from conformance.records import Case

TELEMETRY, TRACE_FILE = "telemetry", "telemetry.json"
"""Where an observation has the trace of the lab's meters, and the file in which the run folder keeps it."""


class Sampling(Protocol):
    """The lab's meters, read from when it is made until `stop`, in processes of their own."""

    def stop(self) -> Trace:
        """Return all that they said."""


class Meters:
    """Reads the meters for the case that asks for it; without `begin` there are none, and nobody gets a trace."""

    def __init__(self, begin: Callable[[], Sampling] | None = None) -> None:
        self._begin = begin
        self._sampling: Sampling | None = None

    def start(self, case: Case) -> None:
        """Begin with a case, whatever was read before it."""
        self.stop()
        if case.telemetry and self._begin is not None:
            self._sampling = self._begin()

    def stop(self) -> Trace | None:
        """Stop, and return what was said since `start`; None where nothing was read."""
        sampling, self._sampling = self._sampling, None
        return sampling.stop() if sampling is not None else None

    def attach(self, case: Case, observation: Observation) -> Observation:
        """Stop, and return the observation with what the meters said."""
        trace = self.stop()
        if not case.telemetry:
            return observation
        facts = {name: value for name, value in observation.facts.items() if name != TELEMETRY}
        kept = {name: value for name, value in observation.kept.items() if name != TRACE_FILE}
        if trace is not None:
            facts[TELEMETRY] = msgspec.to_builtins(trace)
            kept[TRACE_FILE] = msgspec.json.encode(trace)
        return msgspec.structs.replace(observation, facts=facts, kept=kept)
