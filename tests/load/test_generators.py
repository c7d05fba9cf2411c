"""The generators: every query is made once, its times are in order, waiting is counted where it belongs, and nothing is left changed.

Time is a clock of ours where what is tested is arithmetic on it; no real duration is asserted.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from conformance.load import closed, paced, quiet, schedule, server
from conformance.timing.samples import Samples, find_defect

MS = 1_000_000


class Clock:
    """A monotonic clock that stands still unless somebody works or sleeps."""

    def __init__(self) -> None:
        self.ns = 10 * MS

    def monotonic_ns(self) -> int:
        self.ns += 1
        return self.ns

    def sleep(self, seconds: float) -> None:
        self.ns += max(1, round(seconds * 1e9))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in (closed, paced, schedule):
        monkeypatch.setattr(module, "time", made)
    return made


Generator = Callable[..., Samples]
GENERATORS: dict[str, Generator] = {
    "single-stream": closed.run_single_stream,
    "multi-stream of 1": lambda ask, n, **more: closed.run_multi_stream(ask, n, 1, **more),
    "offline": lambda ask, n, **more: closed.run_offline(ask, n, 1, **more),
    "offline of 3": lambda ask, n, **more: closed.run_offline(ask, n, 3, **more),
    "paced": lambda ask, n, **more: paced.run_paced(ask, n, 20_000, **more),
    "server": lambda ask, n, **more: server.run_server(ask, n, 50_000, 1, **more),
    "server of 3": lambda ask, n, **more: server.run_server(ask, n, 50_000, 1, 3, **more),
}


@pytest.mark.parametrize("name", GENERATORS)
def test_every_query_is_made_once_and_its_outputs_are_handed_on(name: str) -> None:
    asked: list[int] = []
    given: dict[int, Any] = {}

    def ask(at: int) -> str:
        asked.append(at)
        return f"answer {at}"

    samples = GENERATORS[name](ask, 200, after=given.__setitem__)
    assert sorted(asked) == list(range(200))
    assert given == {at: f"answer {at}" for at in range(200)}
    assert samples.size == 200
    assert find_defect(samples) == ""


def test_a_query_of_several_streams_has_that_many_samples_and_waits_for_the_last() -> None:
    asked: list[int] = []
    given: list[int] = []
    threads: set[int] = set()
    together = threading.Barrier(3, timeout=20)

    def ask(at: int) -> int:
        asked.append(at)
        threads.add(threading.get_ident())
        together.wait()  # none comes through unless all three are under way
        return at

    samples = closed.run_multi_stream(ask, 50, 3, after=lambda at, _: given.append(at))
    assert sorted(asked) == given == list(range(150))
    assert samples.size == 50
    assert len(threads) == 3
    assert find_defect(samples) == ""


@pytest.mark.parametrize("name", GENERATORS)
def test_what_the_device_raises_comes_out(name: str) -> None:
    def ask(at: int) -> None:
        if at == 7:
            raise RuntimeError("the device is gone")

    with pytest.raises(RuntimeError, match="the device is gone"):
        GENERATORS[name](ask, 50)
    assert gc.isenabled()
    assert not [one for one in threading.enumerate() if one.name.startswith("stream-")]


@pytest.mark.parametrize("name", GENERATORS)
def test_the_parent_is_told_and_a_run_that_takes_too_long_is_given_up(name: str) -> None:
    told: list[float] = []
    samples = GENERATORS[name](lambda at: time.sleep(0.001), 10**5, tick=lambda: told.append(1), give_up_ns=20 * MS)
    assert told
    assert 0 < samples.size < 10**5
    assert find_defect(samples) == ""


def test_the_clock_stops_before_anything_else_is_done(clock: Clock) -> None:
    def work(ns: int) -> Callable[..., None]:
        return lambda *_: clock.sleep(ns * 1e-9)

    samples = closed.run_single_stream(work(3 * MS), 20, after=work(50 * MS), tick=work(70 * MS))
    assert set((samples.latency_ns // MS).tolist()) == {3}
    assert not samples.is_scheduled


def test_a_late_frame_stays_late_and_no_quick_ones_make_it_good(clock: Clock) -> None:
    """Frame 3 takes 25 ms at a period of 10: the two behind it wait 15 and 6 ms, and their waiting counts."""
    service = [1, 1, 1, 25, 1, 1, 1, 1]
    samples = paced.run_paced(lambda at: clock.sleep(service[at] * 1e-3), len(service), 10 * MS)
    assert (np.rint(samples.latency_ns / MS)).astype(int).tolist() == [1, 1, 1, 25, 16, 7, 1, 1]
    assert np.diff(samples.due_ns).tolist() == [10 * MS] * 7
    # The generator was not late: the device was.
    assert (samples.lateness_ns < MS // 100).all()


def test_a_generator_that_is_late_itself_says_so(clock: Clock) -> None:
    def after(at: int, _: object) -> None:
        if at == 2:
            clock.sleep(0.013)  # the harness stands still, the device is idle

    samples = paced.run_paced(lambda at: clock.sleep(0.001), 6, 10 * MS, after=after)
    late = (np.rint(samples.lateness_ns / MS)).astype(int).tolist()
    assert late == [0, 0, 0, 4, 0, 0]
    assert (np.rint(samples.latency_ns / MS)).astype(int).tolist() == [1, 1, 1, 5, 1, 1]


def test_requests_that_find_the_server_busy_are_queued_from_when_they_were_due(clock: Clock) -> None:
    due = np.array([20, 21, 22, 60], dtype=np.int64) * MS
    samples = paced.run_scheduled(lambda at: clock.sleep(0.005), due)
    assert (np.rint(samples.latency_ns / MS)).astype(int).tolist() == [5, 9, 13, 5]
    assert (samples.lateness_ns < MS // 100).all()


def test_the_interpreter_is_as_it_was_afterwards() -> None:
    switch, slack = sys.getswitchinterval(), quiet.timer_slack_ns()
    seen: list[tuple[bool, float]] = []
    with quiet.quiet():
        closed.run_single_stream(lambda at: seen.append((gc.isenabled(), sys.getswitchinterval())), 3)
        assert not gc.isenabled()
    assert {one[0] for one in seen} == {False}
    assert all(one[1] < switch for one in seen)
    assert gc.isenabled()
    assert (sys.getswitchinterval(), quiet.timer_slack_ns()) == (switch, slack)


def test_the_loop_itself_keeps_no_object_per_query() -> None:
    answer: list[object] = []
    closed.run_single_stream(lambda at: answer, 10)
    before = sys.getrefcount(answer)
    closed.run_single_stream(lambda at: answer, 1000)
    assert sys.getrefcount(answer) == before
