"""What a bench file adds to a whole run: commands that bring the device back, and the end of the lab's patience."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from misbehaving.harness import DEADLINES, TRIGGER, VICTIM, check_books, start, write_profile

from conformance.errors import EXIT_NON_CONFORMANT
from conformance.records import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from misbehaving.harness import Run

CASES = "interface/session/*"


def bench(folder: Path, **given: Any) -> str:
    path = folder / "bench.yaml"
    path.write_text(json.dumps({"conformance": 1, "bench": given}), encoding="utf-8")
    return str(path)


def vanish(folder: Path, **given: Any) -> Run:
    """Run a device that crashes and is gone until its state is removed."""
    runtime = {"adapter": "onnx-backend", "module": "hostile_backend", "device": "CPU", "deadlines": DEADLINES}
    profile = write_profile(folder, runtime=runtime | {"options": {"behaviour": "vanish"}})
    environment = {"HOSTILE_STATE": str(folder / "state")}
    return start(profile, env=environment, selection=CASES, bench=bench(folder, **given)).finish()


def test_a_reset_brings_the_device_back_and_every_use_is_in_the_result(tmp_path: Path) -> None:
    finished = vanish(tmp_path, hooks={"reset": ["rm", "-v", "state"], "settle_s": 0.1, "timeout_s": 10})

    check_books(finished)
    assert finished.code == EXIT_NON_CONFORMANT
    assert Outcome.NOT_RUN not in finished.outcomes.values(), "without the reset all that comes later is not reached"
    assert finished.outcomes[VICTIM] is Outcome.CRASH
    assert len(finished.record(VICTIM).attempts) == 2
    uses = finished.result.info.hooks
    assert [(one.hook, one.case, one.exit_code, one.failure) for one in uses] == [("reset", VICTIM, 0, "")] * 2
    assert uses[0].why == "the child died of SIGSEGV"
    assert uses[0].output == "removed 'state'"
    assert [line["use"]["hook"] for line in finished.lines if line["type"] == "hook"] == ["reset", "reset"]
    assert finished.result.info.bench["hooks"].startswith("reset: rm (words: sha256 ")


def test_a_reset_that_does_nothing_is_followed_by_a_power_cycle(tmp_path: Path) -> None:
    finished = vanish(tmp_path, hooks={"reset": ["true"], "power_cycle": ["rm", "state"]})

    assert finished.outcomes[VICTIM] is Outcome.CRASH
    assert Outcome.NOT_RUN not in finished.outcomes.values()
    assert [one.hook for one in finished.result.info.hooks] == ["reset", "power_cycle"] * 2


def test_a_hook_that_fails_is_no_verdict_about_the_device(tmp_path: Path) -> None:
    finished = vanish(tmp_path, hooks={"reset": ["false"]})

    check_books(finished)
    record = finished.record(VICTIM)
    assert (record.outcome, record.reason) == (
        Outcome.ERROR,
        "the lab could not bring the device back: reset: ended with code 1",
    )
    assert finished.result.verdict.name == "INCOMPLETE"


def test_the_crash_budget_ends_the_run_and_the_crashes_count(tmp_path: Path) -> None:
    profile = write_profile(tmp_path, runtime__options={"behaviour": "segv", "trigger": TRIGGER})
    finished = start(
        profile, selection="operators/ai.onnx.Transpose*/*/test_*", bench=bench(tmp_path, crash_budget=2)
    ).finish()

    check_books(finished)
    assert finished.code == EXIT_NON_CONFORMANT
    assert (
        "3 crashes and time-outs are more than crash_budget allows: 2; first cause: "
        in finished.result.info.interrupted
    )
    rest = [record for record in finished.result.records if record.outcome is Outcome.NOT_RUN]
    assert rest
    assert all("first cause: operators/ai.onnx.Transpose" in record.reason for record in rest)
