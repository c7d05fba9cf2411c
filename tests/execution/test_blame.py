"""Whose fault it was, as truth tables; and what attempts amount to."""

from __future__ import annotations

import itertools
import signal
from pathlib import Path

import pytest

from conformance.execution import blame, pressure
from conformance.execution.blame import Circumstances, Ended
from conformance.records import Attempt, Judgement, Measurement, Outcome

CALM = Circumstances(free_mb=1000.0)


@pytest.mark.parametrize(
    ("ended", "timed_out", "host", "outcome", "detail"),
    [
        (Ended("ended", signal.SIGSEGV), "", CALM, Outcome.CRASH, "the child died of SIGSEGV"),
        (Ended("ended", 40), "", CALM, Outcome.CRASH, "the child died of signal 40"),
        (Ended("ended", exit_code=0), "", CALM, Outcome.CRASH, "the child exited with code 0"),
        (Ended("ended", exit_code=3), "", CALM, Outcome.CRASH, "the child exited with code 3"),
        (Ended("protocol", signal.SIGKILL), "", CALM, Outcome.CRASH, "broke the protocol"),
        (
            Ended("memory", signal.SIGKILL),
            "",
            CALM._replace(memory_limit_mb=77),
            Outcome.CRASH,
            "took more than 77 MB of host memory",
        ),
        (Ended("told", signal.SIGKILL), "run", CALM, Outcome.TIMEOUT, "no answer within 5 s in phase run"),
        (Ended("told", signal.SIGKILL), "open", CALM, Outcome.TIMEOUT, "in phase open"),
        (Ended("ended", signal.SIGKILL), "", CALM, Outcome.CRASH, "the child died of SIGKILL"),
        (Ended("ended", signal.SIGKILL), "", CALM._replace(oom_kills=1), Outcome.ERROR, "out-of-memory killer"),
        # The killer was at work, but this child died of something else.
        (Ended("ended", signal.SIGSEGV), "", CALM._replace(oom_kills=1), Outcome.CRASH, "SIGSEGV"),
        (Ended("memory", signal.SIGKILL), "", CALM._replace(oom_kills=1), Outcome.CRASH, "of host memory"),
        (
            Ended("told", signal.SIGKILL),
            "run",
            CALM._replace(parent_late_s=1.0),
            Outcome.ERROR,
            "stood still for 1.0 s",
        ),
        (Ended("told", signal.SIGKILL), "run", CALM._replace(parent_late_s=0.9), Outcome.TIMEOUT, "no answer"),
        # A late parent excuses a deadline, never a crash.
        (Ended("ended", signal.SIGSEGV), "", CALM._replace(parent_late_s=9.0), Outcome.CRASH, "SIGSEGV"),
        (Ended("ended", signal.SIGBUS), "", CALM._replace(free_mb=15.9), Outcome.ERROR, "full (16 MB free)"),
        (Ended("ended", signal.SIGBUS), "", CALM._replace(free_mb=16.0), Outcome.CRASH, "SIGBUS"),
        (Ended("ended", signal.SIGBUS), "", CALM._replace(free_mb=None), Outcome.CRASH, "SIGBUS"),
        (Ended("told", signal.SIGKILL), "run", CALM._replace(free_mb=0.0), Outcome.ERROR, "disk"),
    ],
)
def test_who_is_to_blame(ended: Ended, timed_out: str, host: Circumstances, outcome: Outcome, detail: str) -> None:
    attempt = blame.blame(ended, timed_out, 5.0, "last words", host)

    assert (attempt.outcome, detail in attempt.detail) == (outcome, True), attempt.detail
    assert attempt.exit_code == ended.exit_code
    assert bool(attempt.signal) == bool(ended.signal)


def test_every_signal_can_be_blamed() -> None:
    for number in range(1, signal.NSIG):
        assert blame.blame(Ended("ended", number), "", 1.0, "", CALM).signal


def test_an_attempt_keeps_the_end_of_what_was_said_and_the_peak() -> None:
    attempt = blame.blame(Ended("ended", 6, peak_rss_kb=2048), "", 1.0, "a" * 9000 + "the end", CALM)

    assert len(attempt.stderr_tail) == blame.STDERR_KEPT
    assert attempt.stderr_tail.endswith("the end")
    assert attempt.peak_rss_mb == 2.0
    assert blame.blame(Ended("ended", 6), "", 1.0, "", CALM).peak_rss_mb is None, "no reading is not 0"


def attempt(outcome: Outcome) -> Attempt:
    return Attempt(outcome=outcome, detail=f"saw {outcome}")


@pytest.mark.parametrize(
    ("seen", "judged", "expected"),
    [
        ([], Outcome.PASS, Outcome.PASS),
        ([], Outcome.FAIL, Outcome.FAIL),
        ([], None, None),
        ([Outcome.CRASH], None, None),
        ([Outcome.TIMEOUT], None, None),
        ([Outcome.ERROR], None, None),
        ([Outcome.CRASH, Outcome.CRASH], None, Outcome.CRASH),
        ([Outcome.CRASH, Outcome.TIMEOUT], None, Outcome.TIMEOUT),
        ([Outcome.ERROR, Outcome.ERROR], None, Outcome.ERROR),
        ([Outcome.ERROR, Outcome.CRASH], None, None),
        ([Outcome.CRASH, Outcome.ERROR], None, None),
        ([Outcome.ERROR, Outcome.CRASH, Outcome.CRASH], None, Outcome.CRASH),
        ([Outcome.CRASH, Outcome.ERROR, Outcome.ERROR], None, Outcome.ERROR),
        ([Outcome.CRASH], Outcome.PASS, Outcome.INCONCLUSIVE),
        ([Outcome.TIMEOUT], Outcome.PASS, Outcome.INCONCLUSIVE),
        ([Outcome.CRASH], Outcome.UNMEASURED, Outcome.INCONCLUSIVE),
        ([Outcome.CRASH], Outcome.FAIL, Outcome.FAIL),
        ([Outcome.CRASH], Outcome.ERROR, Outcome.ERROR),
        ([Outcome.ERROR], Outcome.PASS, Outcome.PASS),
    ],
)
def test_what_attempts_amount_to(seen: list[Outcome], judged: Outcome | None, expected: Outcome | None) -> None:
    settled = blame.settle([attempt(one) for one in seen], None if judged is None else Judgement(outcome=judged))

    assert (None if settled is None else settled.outcome) == expected


def test_a_case_always_comes_to_an_end() -> None:
    kinds = (Outcome.CRASH, Outcome.TIMEOUT, Outcome.ERROR)
    for seen in itertools.product(kinds, repeat=3):
        assert blame.settle([attempt(one) for one in seen], None) is not None, "three attempts are always enough"


def test_a_crash_that_did_not_repeat_keeps_what_the_repeat_showed() -> None:
    shown = Measurement(name="worst_error", value=0.5)
    settled = blame.settle([attempt(Outcome.CRASH)], Judgement(outcome=Outcome.PASS, measurements=(shown,)))

    assert settled is not None
    assert settled.measurements == (shown,)
    assert settled.reason == "CRASH once (saw CRASH), then PASS when repeated alone"
    assert settled.remedy


def test_two_crashes_count_whatever_comes_after_them() -> None:
    crash = Attempt(outcome=Outcome.CRASH, detail="died")
    judged = blame.settle([crash, crash], Judgement(outcome=Outcome.PASS))

    assert judged is not None
    assert (judged.outcome, judged.reason, judged.context) == (
        Outcome.CRASH,
        "died",
        "2 times; then PASS when repeated",
    )


def test_a_lost_connection_is_the_lab_s_whatever_else_was_seen() -> None:
    ended = Ended("lost", words="lab-host: Broken pipe")
    for late in ("", "run"):
        attempt = blame.blame(ended, late, 1.0, "", Circumstances())
        assert attempt.outcome is Outcome.ERROR
        assert attempt.detail == (
            "the connection to the device's host was lost while the device ran the case: lab-host: Broken pipe"
        )


def test_a_message_that_takes_too_long_is_no_time_out_of_the_device() -> None:
    attempt = blame.blame(Ended("told", 9), "transfer", 120.0, "", Circumstances())

    assert attempt.outcome is Outcome.ERROR
    assert "still on its way" in attempt.detail


@pytest.mark.parametrize(
    ("text", "count"),
    [("nr_free 1\noom_kill 12\nother 3\n", 12), ("nr_free 1\n", 0), ("oom_kill \n", 0), ("oom_kill many\n", 0)],
)
def test_the_host_s_count_of_kills(tmp_path: Path, text: str, count: int) -> None:
    (tmp_path / "vmstat").write_text(text)

    assert pressure.oom_kills(tmp_path / "vmstat") == count


def test_a_host_that_tells_nothing(tmp_path: Path) -> None:
    assert pressure.oom_kills(tmp_path / "none") == 0
    assert pressure.free_mb(tmp_path / "none") is None
    free = pressure.free_mb(tmp_path)
    assert free is not None
    assert free > 0
