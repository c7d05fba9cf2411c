"""Twelve ways to misbehave and a dozen more, each through the real port: who catches it, and that nothing is left of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from misbehaving.harness import PROBES, TRIGGER, VICTIM, check_books, run, write_category, write_profile

from conformance.errors import EXIT_CONFORMANT, EXIT_NON_CONFORMANT
from conformance.records import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from misbehaving.harness import Run

LITTLE_MB = 1200
FIRST = "interface/session/registration"
ON_RELU = {
    "interface/session/create-run-destroy",
    "interface/session/inputs-unchanged",
    "interface/session/fresh-outputs",
    "placement/model/device-nodes",
    "placement/control/other-provider",
}
"""The probes whose model has a Relu."""


def misbehave(folder: Path, behaviour: str, trigger: str = TRIGGER, *, selection: str = PROBES, **options: Any) -> Run:
    given = {"behaviour": behaviour, "trigger": trigger, **options}
    return run(write_profile(folder, runtime__options=given), selection=selection)


def check_only(finished: Run, outcome: Outcome, *, case: str = VICTIM) -> None:
    """One case has this outcome, all others PASS, and the verdict says so."""
    check_books(finished)
    expected = {one: outcome if one == case else Outcome.PASS for one in finished.outcomes}
    assert finished.outcomes == expected
    assert case in expected
    assert finished.code == finished.result.verdict.exit_code == EXIT_NON_CONFORMANT


@pytest.mark.parametrize(
    ("behaviour", "outcome", "signal", "code", "reason"),
    [
        ("segv", Outcome.CRASH, "SIGSEGV", None, "the child died of SIGSEGV"),
        ("abort", Outcome.CRASH, "SIGABRT", None, "the child died of SIGABRT"),
        ("exit0", Outcome.CRASH, "", 0, "the child exited with code 0"),
        ("hang", Outcome.TIMEOUT, "SIGKILL", None, "no answer within 1 s in phase run"),
        ("spin", Outcome.TIMEOUT, "SIGKILL", None, "no answer within 1 s in phase run"),
        ("babble", Outcome.CRASH, "SIGKILL", None, "broke the protocol"),
    ],
)
def test_a_child_that_does_not_come_back(
    tmp_path: Path, behaviour: str, outcome: Outcome, signal: str, code: int | None, reason: str
) -> None:
    finished = misbehave(tmp_path, behaviour)

    check_only(finished, outcome)
    record = finished.record(VICTIM)
    assert reason in record.reason
    assert [attempt.outcome for attempt in record.attempts] == [outcome, outcome]
    assert [attempt.signal for attempt in record.attempts] == [signal, signal]
    assert [attempt.exit_code for attempt in record.attempts] == [code, code]
    stages = [(line["type"], line.get("attempt")) for line in finished.lines if line.get("case") == VICTIM]
    assert [kind for kind, _ in stages] == ["started", "attempt", "started", "attempt"]


def test_a_crash_keeps_the_last_words_of_the_child(tmp_path: Path) -> None:
    attempt = misbehave(tmp_path, "segv", selection="interface/session/*").record(VICTIM).attempts[0]

    assert "Fatal Python error: Segmentation fault" in attempt.stderr_tail
    assert attempt.peak_rss_mb
    assert attempt.peak_rss_mb > 10


def test_an_endless_loop_shows_where_it_was(tmp_path: Path) -> None:
    attempt = misbehave(tmp_path, "spin", selection="interface/session/output-contract").record(VICTIM).attempts[0]

    assert "in spin" in attempt.stderr_tail


@pytest.mark.parametrize(
    ("behaviour", "outcome", "reason"),
    [
        ("open-hang", Outcome.TIMEOUT, "no answer within 1 s in phase open"),
        ("open-crash", Outcome.CRASH, "the child died of SIGSEGV"),
        ("open-refuse", Outcome.FAIL, "the device refuses to open: RuntimeError: the driver refuses to load"),
    ],
)
def test_a_device_that_does_not_open(tmp_path: Path, behaviour: str, outcome: Outcome, reason: str) -> None:
    profile = write_profile(
        tmp_path,
        runtime__options={"behaviour": behaviour},
        runtime__deadlines={"open_s": 1, "compile_s": 10, "run_s": 10},
    )
    finished = run(profile, selection=PROBES)

    check_books(finished)
    assert finished.code == EXIT_NON_CONFORMANT
    first = finished.record(FIRST)
    assert (first.outcome, first.reason) == (outcome, first.reason)
    assert reason in first.reason
    assert len(first.attempts) == (0 if behaviour == "open-refuse" else 2)
    others = [record for record in finished.result.records if record.case != FIRST]
    assert {record.outcome for record in others} == {Outcome.NOT_RUN}
    assert all(reason in record.reason for record in others), "the first cause is told in every case not reached"
    assert reason in finished.result.info.interrupted


def test_shouting_a_hundred_megabytes_on_standard_error_changes_nothing(tmp_path: Path) -> None:
    profile = write_profile(
        tmp_path,
        runtime__options={"behaviour": "shout", "trigger": TRIGGER},
        runtime__deadlines={"open_s": 15, "compile_s": 15, "run_s": 30},
    )
    finished = run(profile, selection=PROBES)

    check_books(finished)
    assert set(finished.outcomes.values()) == {Outcome.PASS}
    assert finished.code == EXIT_CONFORMANT


def test_taking_all_memory_is_stopped_at_the_category_s_limit(tmp_path: Path) -> None:
    category = write_category(tmp_path, LITTLE_MB)
    profile = write_profile(
        tmp_path,
        device__category=f"./{category.name}",
        runtime__options={"behaviour": "allocate", "trigger": TRIGGER},
        runtime__deadlines={"open_s": 15, "compile_s": 15, "run_s": 30},
    )
    finished = run(profile, selection=PROBES)

    check_only(finished, Outcome.CRASH)
    record = finished.record(VICTIM)
    assert f"took more than {LITTLE_MB} MB of host memory" in record.reason
    assert all((attempt.peak_rss_mb or 0) > LITTLE_MB * 0.9 for attempt in record.attempts)


def test_grandchildren_in_sessions_of_their_own_do_not_outlive_the_run(tmp_path: Path) -> None:
    finished = misbehave(tmp_path, "grandchildren", "Relu")

    check_books(finished)
    assert set(finished.outcomes.values()) == {Outcome.PASS}


def test_printing_on_standard_output_is_harmless(tmp_path: Path) -> None:
    finished = misbehave(tmp_path, "print", "")

    check_books(finished)
    assert set(finished.outcomes.values()) == {Outcome.PASS}


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("mutate-inputs", "the device changed its inputs: a, b"),
        ("swap-outputs", "want"),
        ("wrong-type", "sum: type float64, want float32"),
        ("wrong-value", "want"),
        ("wrong-shape", "sum: shape [1, 4, 6], want [4, 6]"),
        ("drop-output", "the outputs are not those of the model, in its order"),
        ("raise", "rejected at run: RuntimeError: the device refuses"),
    ],
)
def test_a_wrong_answer_is_found_by_the_output_contract(tmp_path: Path, behaviour: str, reason: str) -> None:
    finished = misbehave(tmp_path, behaviour)

    check_only(finished, Outcome.FAIL)
    assert reason in finished.record(VICTIM).reason


def test_changed_inputs_are_found_by_their_own_probe(tmp_path: Path) -> None:
    finished = misbehave(tmp_path, "mutate-inputs", "Relu", selection="interface/session/inputs-unchanged")

    assert finished.outcomes == {"interface/session/inputs-unchanged": Outcome.FAIL}
    assert finished.record("interface/session/inputs-unchanged").reason == "the device changed its inputs: a, b"


def test_stale_outputs_are_found_by_their_own_probe(tmp_path: Path) -> None:
    finished = misbehave(tmp_path, "stale-outputs", "Relu", selection="interface/session/fresh-outputs")

    check_only(finished, Outcome.FAIL, case="interface/session/fresh-outputs")


def test_stale_outputs_are_found_among_the_operators(tmp_path: Path) -> None:
    finished = misbehave(tmp_path, "stale-outputs", "", selection="operators/ai.onnx.Add-*/*/test_*")

    check_books(finished)
    outcomes = list(finished.outcomes.values())
    assert Outcome.FAIL in outcomes, "of several cases with the same names and shapes, one gets another's outputs"
    assert finished.code == EXIT_NON_CONFORMANT


def test_a_wrong_value_is_found_among_the_operators_and_nowhere_else(tmp_path: Path) -> None:
    finished = misbehave(tmp_path, "wrong-value", "Relu", selection="operators/ai.onnx.[RA][eb][ls][u]*/*/test_*")

    check_books(finished)
    assert len(finished.outcomes) >= 2
    assert {case.split("/")[1].split("-")[0] for case, o in finished.outcomes.items() if o is Outcome.FAIL} == {
        "ai.onnx.Relu"
    }


def test_models_that_ran_elsewhere_stop_the_run_with_the_evidence(tmp_path: Path) -> None:
    finished = misbehave(tmp_path, "elsewhere", "")

    check_books(finished)
    record = finished.record("placement/model/device-nodes")
    assert record.outcome is Outcome.FAIL
    assert "SomewhereElseExecutionProvider" in record.reason
    assert record.witnesses[0].nodes == {"SomewhereElseExecutionProvider": 2}
    later = finished.record(VICTIM)
    assert later.outcome is Outcome.NOT_RUN
    assert "SomewhereElseExecutionProvider" in later.reason
    assert not finished.result.verdict.placement_shown


def test_a_device_without_witness_is_unmeasured_where_it_should_have_one(tmp_path: Path) -> None:
    finished = misbehave(tmp_path, "no-witness", "", selection=PROBES)

    check_books(finished)
    assert finished.outcomes["placement/model/device-nodes"] is Outcome.UNMEASURED
    assert finished.result.verdict.name == "INCOMPLETE"
    assert not finished.result.verdict.placement_shown


def test_an_operator_without_witness_is_no_pass_either(tmp_path: Path) -> None:
    finished = misbehave(tmp_path, "no-witness", "", selection="operators/ai.onnx.Relu-*/*/test_*")

    assert set(finished.outcomes.values()) == {Outcome.UNMEASURED}


@pytest.mark.parametrize("behaviour", ["segv", "hang"])
def test_a_fault_that_does_not_repeat_proves_neither(tmp_path: Path, behaviour: str) -> None:
    finished = misbehave(tmp_path, behaviour, once=True)

    check_books(finished)
    record = finished.record(VICTIM)
    assert record.outcome is Outcome.INCONCLUSIVE
    word = "CRASH" if behaviour == "segv" else "TIMEOUT"
    assert record.reason.startswith(f"{word} once (")
    assert record.reason.endswith("then PASS when repeated alone")
    assert [str(attempt.outcome) for attempt in record.attempts] == [word]
    started = [line["attempt"] for line in finished.lines if line["type"] == "started" and line["case"] == VICTIM]
    assert started == [1, 2]
    assert {o for case, o in finished.outcomes.items() if case != VICTIM} == {Outcome.PASS}


def test_a_wrong_answer_that_comes_once_is_no_pass(tmp_path: Path) -> None:
    finished = misbehave(tmp_path, "wrong-value", once=True, selection="interface/session/*")

    assert finished.record(VICTIM).outcome is Outcome.FAIL, "an orderly wrong answer is not repeated"


def test_crashes_among_parallel_operators_are_blamed_on_the_right_cases(tmp_path: Path) -> None:
    finished = misbehave(tmp_path, "segv", "Acosh", selection="operators/ai.onnx.A[cs]*/*/test_*")

    check_books(finished)
    crashed = {case for case, outcome in finished.outcomes.items() if outcome is Outcome.CRASH}
    assert crashed
    assert all("Acosh" in case for case in crashed)
    others = {o for case, o in finished.outcomes.items() if "Acosh" not in case}
    assert others <= {Outcome.PASS, Outcome.UNSUPPORTED}


def test_a_device_that_always_crashes_is_given_up_and_the_books_close(tmp_path: Path) -> None:
    finished = misbehave(tmp_path, "segv", "", selection="operators/ai.onnx.A[ds][di]*/*/test_*")

    check_books(finished)
    assert "the device was given up after 15 crashes in a row" in finished.result.info.interrupted
    assert set(finished.outcomes.values()) <= {Outcome.CRASH, Outcome.NOT_RUN, Outcome.UNSUPPORTED}
    assert finished.code == EXIT_NON_CONFORMANT


def test_one_that_behaves_passes_everything(tmp_path: Path) -> None:
    finished = misbehave(tmp_path, "none")

    check_books(finished)
    assert set(finished.outcomes) > ON_RELU
    assert set(finished.outcomes.values()) == {Outcome.PASS}
    assert finished.result.verdict.name == "CLEAN-PARTIAL"
