"""What a process is left with: growth over the second half of many sessions, and what is the whole process's to keep."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from conformance.checks.support import leaving
from conformance.records import Outcome

HELD = {"resident_kb": 100_000, "descriptors": 20, "threads": 4}


@pytest.mark.parametrize(
    ("end", "outcome", "reason"),
    [
        ({}, Outcome.PASS, ""),
        ({"resident_kb": 90_000}, Outcome.PASS, ""),
        ({"resident_kb": 100_000 + 500 * 64}, Outcome.PASS, ""),
        ({"resident_kb": 100_000 + 500 * 65}, Outcome.FAIL, "1000 sessions leave 65 kB each behind: the runtime leaks"),
        ({"descriptors": 20 + 50}, Outcome.PASS, ""),
        (
            {"descriptors": 20 + 51},
            Outcome.FAIL,
            "1000 sessions leave 0.102 descriptors each behind: the runtime leaks",
        ),
        ({"threads": 4 + 500}, Outcome.FAIL, "1000 sessions leave 1 threads each behind: the runtime leaks"),
        ({"resident_kb": 0}, Outcome.UNMEASURED, "the host does not tell the resident memory of the child"),
        ({"threads": 0}, Outcome.UNMEASURED, "the host does not tell the threads of the child"),
    ],
)
def test_a_leak_is_growth_over_the_second_half(end: dict[str, int], outcome: Outcome, reason: str) -> None:
    judged = leaving.judge_growth(1000, HELD, HELD | end)

    assert (judged.outcome, judged.reason) == (outcome, reason)


def test_what_was_not_counted_is_unmeasured() -> None:
    assert leaving.judge_growth(1000, HELD, {}).outcome is Outcome.UNMEASURED
    assert leaving.judge_growth(1000, {}, HELD).outcome is Outcome.UNMEASURED


def test_a_host_without_proc_counts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> list[str]:
        raise FileNotFoundError

    monkeypatch.setattr(os, "listdir", refuse)
    assert leaving.count_held()["descriptors"] == 0


def test_changes_are_named_and_values_of_the_environment_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = leaving.look_at_process()
    assert leaving.name_changes(before, leaving.look_at_process()) == []

    monkeypatch.setenv("TOKEN_OF_THE_LAB", "s3cr3t")
    monkeypatch.chdir(tmp_path)
    mask, handler = os.umask(0o077), signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        found = leaving.name_changes(before, leaving.look_at_process())
    finally:
        os.umask(mask)
        signal.signal(signal.SIGHUP, handler)

    assert f"working directory: {before['working directory']} became {tmp_path}" in found
    assert "environment: TOKEN_OF_THE_LAB" in found
    assert f"umask: {mask:03o} became 077" in found
    assert any(line.startswith("SIGHUP: ") and line.endswith("SIG_IGN, ignored below") for line in found)
    assert "s3cr3t" not in str(found)


def test_a_working_directory_that_is_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()

    assert leaving.look_at_process()["working directory"] == "gone"
