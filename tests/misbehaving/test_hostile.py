"""Devices that mean harm, as ONNX Backend modules: none may take the harness down, hide a fault, or outlive the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from misbehaving.harness import DEADLINES, MARK, PROBES, TRIGGER, VICTIM, check_books, marked, run, start, write_profile

from conformance.errors import EXIT_NON_CONFORMANT
from conformance.records import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from misbehaving.harness import Run

CASES = "interface/session/*"


def backend(folder: Path, behaviour: str, module: str = "hostile_backend") -> Path:
    options = {"behaviour": behaviour} if behaviour else {}
    runtime = {"adapter": "onnx-backend", "module": module, "device": "CPU", "deadlines": DEADLINES, "options": options}
    return write_profile(folder, runtime=runtime)


def meet(folder: Path, behaviour: str) -> Run:
    environment = {"HOSTILE_STATE": str(folder / "state")}
    return start(backend(folder, behaviour), env=environment, selection=CASES).finish()


def check_victim(finished: Run, outcome: Outcome, reason: str) -> None:
    check_books(finished)
    record = finished.record(VICTIM)
    assert (record.outcome, reason in record.reason) == (outcome, True), record
    assert {o for case, o in finished.outcomes.items() if case != VICTIM} == {Outcome.PASS}
    assert finished.code == EXIT_NON_CONFORMANT


def test_a_runtime_we_never_heard_of_needs_no_code_of_ours(tmp_path: Path) -> None:
    finished = run(backend(tmp_path, "", "reference_backend"), selection=PROBES)

    check_books(finished)
    assert {o for case, o in finished.outcomes.items() if case.startswith("interface/")} == {Outcome.PASS}
    assert finished.outcomes["placement/model/device-nodes"] is Outcome.UNMEASURED
    assert finished.outcomes["placement/control/other-provider"] is Outcome.UNMEASURED
    assert not finished.result.verdict.placement_shown
    assert finished.result.verdict.name == "INCOMPLETE"


def test_operators_pass_with_a_note_that_placement_is_not_shown(tmp_path: Path) -> None:
    finished = run(backend(tmp_path, "", "reference_backend"), selection="operators/ai.onnx.Relu-*/*/test_*")

    assert set(finished.outcomes.values()) == {Outcome.PASS}
    assert {record.context for record in finished.result.records} == {"placement not shown"}


def test_a_module_that_is_not_there_is_not_run(tmp_path: Path) -> None:
    finished = run(backend(tmp_path, "", "no_such_backend"), selection=CASES)

    check_books(finished)
    assert set(finished.outcomes.values()) == {Outcome.NOT_RUN}
    assert "no_such_backend" in finished.result.info.interrupted
    assert finished.result.verdict.name == "INCOMPLETE"


def test_a_signal_without_a_name_is_a_crash_like_any_other(tmp_path: Path) -> None:
    check_victim(meet(tmp_path, "real-time-signal"), Outcome.CRASH, "the child died of signal 40")


def test_a_child_that_kills_its_keeper_does_not_outlive_it(tmp_path: Path) -> None:
    check_victim(meet(tmp_path, "kill-keeper"), Outcome.CRASH, "the child died of SIGKILL")


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("too-many", "run() returned 5 outputs, the model has 4"),
        ("batch-dropped", "the runtime returned a float, which is no tensor, sequence or None"),
    ],
)
def test_results_that_are_none_of_onnx_s_kinds_are_failures(tmp_path: Path, behaviour: str, reason: str) -> None:
    check_victim(meet(tmp_path, behaviour), Outcome.FAIL, reason)


def test_prepare_that_returns_nothing_is_a_rejection(tmp_path: Path) -> None:
    finished = meet(tmp_path, "nothing")

    check_books(finished)
    assert "NoneReturned: prepare() returned None" in finished.record(VICTIM).reason
    assert finished.outcomes[VICTIM] is Outcome.FAIL


def test_a_result_that_fails_when_it_is_looked_at_is_the_device_s_failure(tmp_path: Path) -> None:
    check_victim(meet(tmp_path, "lazy"), Outcome.FAIL, "the result was lost on the way")


def test_a_device_that_is_out_of_memory_has_failed_the_request(tmp_path: Path) -> None:
    check_victim(meet(tmp_path, "memory-error"), Outcome.FAIL, "the device's memory is full")


def test_a_type_that_onnx_does_not_have_is_the_device_s_failure(tmp_path: Path) -> None:
    check_victim(meet(tmp_path, "long-double"), Outcome.FAIL, "float128")


def test_the_byte_order_of_a_result_does_not_matter(tmp_path: Path) -> None:
    finished = meet(tmp_path, "big-endian")

    assert set(finished.outcomes.values()) == {Outcome.PASS}


def test_text_that_is_no_unicode_is_a_wrong_answer_and_no_crash(tmp_path: Path) -> None:
    check_victim(meet(tmp_path, "surrogates"), Outcome.FAIL, "")


def test_a_device_that_crashes_and_is_gone_is_not_excused(tmp_path: Path) -> None:
    finished = meet(tmp_path, "vanish")

    check_books(finished)
    record = finished.record(VICTIM)
    assert record.outcome is Outcome.CRASH
    assert record.attempts[0].signal == "SIGSEGV"
    assert finished.code == EXIT_NON_CONFORMANT


def test_a_device_that_crashes_when_it_is_let_go_is_not_clean(tmp_path: Path) -> None:
    finished = meet(tmp_path, "crash-at-exit")

    assert finished.result.verdict.name != "CLEAN-PARTIAL"


def test_a_device_that_is_another_one_in_every_child_is_lost_and_the_difference_named(tmp_path: Path) -> None:
    bench = tmp_path / "bench.yaml"
    bench.write_text("conformance: 1\nbench: {workers: 2}\n")
    selection = "interface/session/identity operators/ai.onnx.A*/*/test_*"
    finished = run(backend(tmp_path, "", "changing_backend"), selection=selection, bench=str(bench))

    check_books(finished)
    told = "the device that opens now is not the one that was opened first: runtime_version was '"
    assert finished.result.info.interrupted.startswith(told)
    rest = [record for record in finished.result.records if record.outcome is Outcome.NOT_RUN]
    assert rest
    assert all(record.reason.startswith(f"not reached: {told}") for record in rest)
    assert finished.outcomes["interface/session/identity"] is Outcome.PASS
    assert finished.result.verdict.name == "INCOMPLETE"


def test_the_environment_is_on_nobody_s_command_line(tmp_path: Path) -> None:
    profile = write_profile(tmp_path, runtime__options={"behaviour": "hang", "trigger": TRIGGER})
    started = start(profile, env={"VENDOR_TOKEN": "s3cr3t-of-the-lab"}, selection=VICTIM)
    seen: list[str] = []
    while started.process.poll() is None and not any("keeper" in line for line in seen):
        seen = marked(started.mark)
    finished = started.finish()

    assert finished.left == []
    assert any("keeper" in line for line in seen)
    assert not any("s3cr3t" in line for line in seen)


def test_a_large_environment_is_no_obstacle(tmp_path: Path) -> None:
    environment = {f"SERVICE_{number}": "x" * 1000 for number in range(150)}
    finished = start(write_profile(tmp_path), env=environment, selection=VICTIM).finish()

    assert finished.outcomes == {VICTIM: Outcome.PASS}


def test_a_parent_that_was_busy_cannot_blame_the_device(tmp_path: Path) -> None:
    profile = write_profile(tmp_path, runtime__deadlines={"open_s": 15, "compile_s": 1, "run_s": 1})
    finished = run(profile, selection="interface/session/[io]*", pause_s=1.9)

    check_books(finished)
    assert set(finished.outcomes.values()) == {Outcome.PASS}


def test_the_stock_cpu_provider_is_no_accelerator_card(tmp_path: Path) -> None:
    device = {"vendor": "Lab", "model": "A card, they say", "category": "accelerator-card", "hardware": "cpu"}
    runtime = {"adapter": "onnxruntime", "provider": "CPUExecutionProvider"}
    finished = run(write_profile(tmp_path, device=device, runtime=runtime), selection=PROBES)

    assert finished.outcomes["placement/model/device-nodes"] is Outcome.FAIL


def test_a_cpu_that_claims_to_be_an_npu_is_found_out_twice(tmp_path: Path) -> None:
    device = {"vendor": "Lab", "model": "A card, they say", "category": "accelerator-card", "hardware": "npu"}
    runtime = {"adapter": "onnxruntime", "provider": "CPUExecutionProvider"}
    finished = run(write_profile(tmp_path, device=device, runtime=runtime), selection="interface/session/* placement/*")

    assert finished.outcomes["interface/session/identity"] is Outcome.FAIL
    load = finished.record("placement/host-cpu/contraction-load")
    assert (load.outcome, "it computes on the host" in load.reason) == (Outcome.FAIL, True)


def test_an_absent_provider_is_not_run_and_nothing_is_green(tmp_path: Path) -> None:
    runtime = {"adapter": "onnxruntime", "provider": "CUDAExecutionProvider"}
    finished = run(write_profile(tmp_path, runtime=runtime), selection=PROBES)

    check_books(finished)
    assert set(finished.outcomes.values()) == {Outcome.NOT_RUN}
    assert "has no CUDAExecutionProvider" in finished.result.info.interrupted
    assert finished.result.verdict.name == "INCOMPLETE"


def test_probes_in_a_type_that_was_not_declared_judge_nobody(tmp_path: Path) -> None:
    finished = run(write_profile(tmp_path, declares__types=["int8"]), selection=PROBES)

    check_books(finished)
    record = finished.record(VICTIM)
    assert (record.outcome, record.observed) == (Outcome.UNSUPPORTED, "works")
    assert record.reason == "profile does not declare float32, which the probes use"
    assert finished.outcomes["interface/session/registration"] is Outcome.PASS
    assert finished.outcomes["placement/model/device-nodes"] is Outcome.UNSUPPORTED
    assert not finished.result.verdict.placement_shown


@pytest.mark.parametrize(
    "options",
    [
        {"no_such_option": 1},
        {"graph_optimization_level": "ORT_ENABLE_SOME"},
        {"intra_op_num_threads": "two"},
    ],
)
def test_a_wrong_session_option_is_a_usage_error_and_no_word_about_the_device(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    runtime = {"adapter": "onnxruntime", "provider": "CPUExecutionProvider", "session_options": options}
    finished = run(write_profile(tmp_path, runtime=runtime), selection=CASES)

    assert finished.code == 2
    assert "runtime.session_options" in finished.stderr


def test_a_behaviour_that_does_not_exist_is_a_usage_error(tmp_path: Path) -> None:
    finished = run(write_profile(tmp_path, runtime__options={"behaviour": "sgev"}), selection=CASES)

    assert finished.code == 2
    assert "there is no 'sgev'; known are" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert finished.left == []


def test_the_mark_by_which_leftovers_are_found_reaches_the_child(tmp_path: Path) -> None:
    started = start(
        write_profile(tmp_path, runtime__options={"behaviour": "hang", "trigger": TRIGGER}), selection=VICTIM
    )
    seen: list[str] = []
    while started.process.poll() is None and not any("execution.child" in line for line in seen):
        seen = marked(started.mark)
    finished = started.finish()

    assert any("execution.child" in line for line in seen), f"{MARK} would not find what is left"
    assert any("keeper.py" in line for line in seen)
    assert finished.left == []
