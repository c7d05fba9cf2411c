"""The harness measures itself: a device that does nothing, and one that takes a known time, under the same generator.

The null session shows what a query costs when there is nothing to wait for: it goes through the same port and gives arrays of
the same shapes. The busy-wait session spins for a given time; by how much the generator then measures more is its error.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from conformance.adapters.runtime.port import RuntimeSession

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conformance.adapters.runtime.port import PlaceOutput
    from conformance.load.quiet import Ask
    from conformance.tensors import Value
    from conformance.timing.samples import Samples

    Outputs = Sequence[tuple[str, Value]]
    Generate = Callable[[Ask], Samples]
    """A generator with all but `ask` given."""

BUSY_NS = 200_000
"""How long the busy-wait session takes where nobody says otherwise: about what a small model takes."""


class NullSession(RuntimeSession):
    """Answers at once, with arrays that were there before."""

    def __init__(self, outputs: Outputs) -> None:
        self._answer = [(name, value) for name, value in outputs]

    def _infer(self, feeds: dict[str, Value], place: PlaceOutput | None) -> list[tuple[str, Value]]:  # noqa: ARG002
        return self._answer


class BusySession(NullSession):
    """Answers after `duration_ns`, spent spinning on the clock that measures it.

    `is_polite` lets other threads run while it spins, as a runtime does that has let go of the interpreter.
    """

    def __init__(self, outputs: Outputs, duration_ns: int, *, is_polite: bool = False) -> None:
        super().__init__(outputs)
        self.duration_ns, self._is_polite = duration_ns, is_polite

    def _infer(self, feeds: dict[str, Value], place: PlaceOutput | None) -> list[tuple[str, Value]]:  # noqa: ARG002
        now, sleep = time.monotonic_ns, time.sleep
        end = now() + self.duration_ns
        if self._is_polite:
            while now() < end:
                sleep(0)
        else:
            while now() < end:
                pass
        return self._answer


class SelfMeasured(NamedTuple):
    """What the harness measured of itself, with one generator: nanoseconds."""

    null: Samples
    busy: Samples
    busy_ns: int
    """How long the busy-wait session takes by construction."""
    overshoot_ns: int
    """The median by which its own spin, without any generator, ends later than that."""

    @property
    def busy_error_ns(self) -> int:
        """The median of what was measured beyond the time that the busy-wait session takes."""
        return int(np.median(self.busy.service_ns)) - self.busy_ns - self.overshoot_ns


def measure_itself(
    generate: Generate,
    feeds: Sequence[dict[str, Value]],
    outputs: Outputs,
    busy_ns: int = BUSY_NS,
    *,
    has_streams: bool = False,
) -> SelfMeasured:
    """Run a generator on the null and on the busy-wait session, with the inputs and in the shapes of the model under test."""
    busy = BusySession(outputs, busy_ns, is_polite=has_streams)
    return SelfMeasured(
        null=generate(asking(NullSession(outputs), feeds)),
        busy=generate(asking(busy, feeds)),
        busy_ns=busy_ns,
        overshoot_ns=_overshoot_ns(busy),
    )


def asking(session: RuntimeSession, feeds: Sequence[dict[str, Value]], order: Sequence[int] = ()) -> Ask:
    """Return what makes query k of a session: with the inputs that `order` names for it, in turn where it is empty."""
    infer, count = session.infer, len(feeds)
    if order:
        length = len(order)
        return lambda at: infer(feeds[order[at % length]])
    return lambda at: infer(feeds[at % count])


def _overshoot_ns(session: BusySession, readings: int = 50) -> int:
    """Return how much later than its time the spin ends on this host, without a generator: the median of some readings."""
    now, found = time.monotonic_ns, []
    for _ in range(readings):
        begin = now()
        session._infer({}, None)
        found.append(now() - begin - session.duration_ns)
    return max(0, int(np.median(found)))
