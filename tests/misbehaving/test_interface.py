"""Devices that are right one request at a time, and wrong when requests meet, in whole runs: what each disturbs and what not.

Every way is looked for where it is meant to be found, without processes, in `tests/checks/test_interface_ways.py`; here are
those that change their process, and a few whose runs are looked at as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from misbehaving.harness import check_books, run, write_profile

from conformance.errors import EXIT_CONFORMANT, EXIT_NON_CONFORMANT
from conformance.records import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from misbehaving.harness import Run

AREAS = "interface/session/* interface/sessions/* interface/shapes/* interface/lifecycle/* interface/offers/*"
QUICK = AREAS.replace("sessions/*", "sessions/[!m]*")
"""All but the thousand sessions."""
MANY = "interface/sessions/many-sessions"
STATE = "interface/sessions/process-state"
CHANGED = "a session changed what belongs to its whole process: "
DEADLINES = {"open_s": 15, "compile_s": 15, "run_s": 60}
SHAPES = {"dynamic": True, "zero_size": True}


def misbehave(folder: Path, behaviour: str, selection: str) -> Run:
    profile = write_profile(
        folder,
        runtime__options={"behaviour": behaviour},
        runtime__session_options={"intra_op_num_threads": 1},
        runtime__deadlines=DEADLINES,
        declares__shapes=SHAPES,
    )
    return run(profile, selection=selection)


def test_one_that_behaves_passes_all_of_them(tmp_path: Path) -> None:
    finished = misbehave(tmp_path, "none", AREAS)

    check_books(finished)
    assert len(finished.outcomes) == 9 + 9 + 5 + 3 + 7
    assert set(finished.outcomes.values()) == {Outcome.PASS}
    assert finished.code == EXIT_CONFORMANT


@pytest.mark.parametrize(
    ("behaviour", "case", "words"),
    [
        ("leak", MANY, "kB each behind: the runtime leaks"),
        ("leak-descriptors", MANY, "1000 sessions leave 1 descriptors each behind: the runtime leaks"),
        ("leak-threads", MANY, "1000 sessions leave 0.25 threads each behind: the runtime leaks"),
        ("change-directory", STATE, f"{CHANGED}working directory: "),
        ("set-environment", STATE, f"{CHANGED}environment: DRIVER_STATE"),
        ("ignore-children", STATE, f"{CHANGED}SIGCHLD: SIG_DFL, default below became SIG_IGN, ignored below"),
        ("round-upward", STATE, f"{CHANGED}floating point: 1 + 2^-53 = "),
        ("odd-bool", "operators/ai.onnx.Less-13/float32/test_less", "= 2, want 1"),
        ("second-run-wrong", "operators/ai.onnx.Abs-13/float32/test_abs", "want"),
    ],
)
def test_what_is_left_behind_is_found(tmp_path: Path, behaviour: str, case: str, words: str) -> None:
    finished = misbehave(tmp_path, behaviour, f"{case} interface/session/release")

    check_books(finished)
    record = finished.record(case)
    assert (record.outcome, words in record.reason) == (Outcome.FAIL, True), record.reason
    assert finished.outcomes["interface/session/release"] is Outcome.PASS
    assert finished.code == EXIT_NON_CONFORMANT


@pytest.mark.parametrize(
    ("behaviour", "caught"),
    [
        ("wrong-on-thread", {"interface/sessions/threads"}),
        ("nan-large-batch", {"interface/shapes/large-batch"}),
        ("stale-compiled", {"interface/offers/compiled-other-weights"}),
        ("bound-late", {"interface/offers/binding"}),
        ("reopen-lost", {"interface/lifecycle/reopen", "interface/lifecycle/restart"}),
    ],
)
def test_each_is_caught_there_and_nowhere_else(tmp_path: Path, behaviour: str, caught: set[str]) -> None:
    finished = misbehave(tmp_path, behaviour, QUICK)

    check_books(finished)
    assert {case for case, outcome in finished.outcomes.items() if outcome is Outcome.FAIL} == caught
    assert set(finished.outcomes.values()) == {Outcome.PASS, Outcome.FAIL}
    assert finished.code == EXIT_NON_CONFORMANT


def test_a_device_that_was_lost_is_opened_again_for_the_next_case(tmp_path: Path) -> None:
    finished = misbehave(
        tmp_path, "reopen-lost", "interface/lifecycle/* interface/session/release operators/ai.onnx.Less-13/*"
    )

    check_books(finished)
    assert finished.outcomes["interface/lifecycle/reopen"] is Outcome.FAIL
    fresh = finished.record("interface/lifecycle/restart")
    assert fresh.context.startswith("when the device was bound again after a fresh process had it")
    later = {
        case: outcome for case, outcome in finished.outcomes.items() if not case.startswith("interface/lifecycle/")
    }
    assert len(later) > 2
    assert Outcome.FAIL not in later.values()


def test_what_is_not_declared_dynamic_is_not_asked(tmp_path: Path) -> None:
    finished = run(write_profile(tmp_path), selection="interface/session/identity interface/s[h]*")

    assert not any(case.startswith("interface/shapes/") for case in finished.outcomes)
