"""The harness measures itself: the null device answers with what it was given, the busy one takes its time, and both go through the port."""

from __future__ import annotations

import numpy as np
import pytest

from conformance.load.closed import run_multi_stream, run_single_stream
from conformance.load.null_device import BusySession, NullSession, asking, measure_itself

OUTPUTS = [("y", np.arange(3, dtype=np.float32)), ("z", np.zeros((2, 2), np.int64))]
FEEDS = [{"x": np.full(4, at, np.float32)} for at in range(3)]


def test_the_null_device_answers_with_outputs_of_the_model() -> None:
    answer = NullSession(OUTPUTS).infer(FEEDS[0])
    assert [name for name, _ in answer] == ["y", "z"]
    assert all(value is wanted for (_, value), (_, wanted) in zip(answer, OUTPUTS, strict=True))


@pytest.mark.parametrize("is_polite", [False, True])
def test_the_busy_device_never_takes_less_than_it_says(is_polite: bool) -> None:
    samples = run_single_stream(asking(BusySession(OUTPUTS, 100_000, is_polite=is_polite), FEEDS), 20)
    assert (samples.latency_ns >= 100_000).all()


def test_inputs_come_in_the_order_that_is_given_or_in_turn() -> None:
    class Session(NullSession):
        seen: list[float] = []  # noqa: RUF012

        def _infer(self, feeds, place):  # type: ignore[no-untyped-def]
            self.seen.append(float(feeds["x"][0]))
            return super()._infer(feeds, place)

    session = Session(OUTPUTS)
    run_single_stream(asking(session, FEEDS), 4)
    run_single_stream(asking(session, FEEDS, [2, 2, 0]), 5)
    assert session.seen == [0, 1, 2, 0, 2, 2, 0, 2, 2]


def test_both_are_measured_with_the_generator_that_is_given() -> None:
    itself = measure_itself(lambda ask: run_single_stream(ask, 100), FEEDS, OUTPUTS, busy_ns=50_000)
    assert (itself.null.size, itself.busy.size) == (100, 100)
    assert (itself.busy.latency_ns >= 50_000).all()
    assert np.median(itself.null.latency_ns) < np.median(itself.busy.latency_ns)
    assert itself.overshoot_ns >= 0


def test_several_streams_share_the_interpreter() -> None:
    itself = measure_itself(lambda ask: run_multi_stream(ask, 20, 2), FEEDS, OUTPUTS, busy_ns=50_000, has_streams=True)
    assert (itself.busy.latency_ns >= 50_000).all()
