"""The host's own CPU as the device under test: the category says whether that may be, whatever the witnesses show."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from conformance.checks import placement
from conformance.checks.support.witnessing import HOST_PROVIDER
from conformance.observation import SessionSeen
from conformance.records import Case, DeviceFault, Outcome, Witness
from conformance.reference import probes

DUT = "XExecutionProvider"
OUTPUT = [("y", np.array([1.0], np.float32))]
FORBIDDEN = "the device under test is the host's own CPU, which the category does not allow"


def case(provider: str, *, on_host_cpu: bool, allowed: bool) -> Case:
    params = {
        "probe": "model/device-nodes",
        "provider": provider,
        "on_host_cpu": on_host_cpu,
        "is_host_cpu_allowed": allowed,
        "allowed_host_ops": [],
    }
    return Case(id="placement/model/device-nodes", check="placement", requirements=("R",), why="", params=params)


def witnesses(provider: str) -> tuple[Witness, ...]:
    return tuple(Witness(source=source, nodes={provider: 2}) for source in ("assignment", "profile"))


@pytest.mark.parametrize(
    ("provider", "on_host_cpu", "allowed", "outcome", "reason"),
    [
        (HOST_PROVIDER, True, True, Outcome.PASS, ""),
        (HOST_PROVIDER, True, False, Outcome.FAIL, FORBIDDEN),
        # A profile that hides its hardware has named the host's provider all the same, and the other way round.
        (HOST_PROVIDER, False, True, Outcome.PASS, ""),
        (HOST_PROVIDER, False, False, Outcome.FAIL, FORBIDDEN),
        (DUT, True, True, Outcome.PASS, ""),
        (DUT, True, False, Outcome.FAIL, FORBIDDEN),
        (DUT, False, False, Outcome.PASS, ""),
        (DUT, False, True, Outcome.PASS, ""),
    ],
)
@pytest.mark.parametrize("mode", ["strict", "user"])
def test_the_category_says_whether_the_host_may_be_the_device(
    session: Any,
    see: Any,
    mode: str,
    provider: str,
    on_host_cpu: bool,
    allowed: bool,
    outcome: Outcome,
    reason: str,
) -> None:
    seen = see(session(OUTPUT, mode=mode, witnesses=witnesses(provider)))
    judged = placement.judge(case(provider, on_host_cpu=on_host_cpu, allowed=allowed), seen, [])

    if mode == "user" and outcome is Outcome.PASS:
        outcome, reason = Outcome.FAIL, "the device takes a model only when the runtime may retry elsewhere"
    assert (judged.outcome, judged.reason.startswith(reason)) == (outcome, True), judged.reason
    assert [one.name for one in judged.measurements] == ["device_nodes_assignment", "device_nodes_profile"]
    assert not judged.stops, "what the host's CPU does is measured all the same"


def test_a_host_that_runs_nothing_stops_the_run_as_any_device_does(see: Any) -> None:
    refused = (SessionSeen(mode="strict", fault=DeviceFault(phase="compile", kind="Fail", message="no")), [])
    judged = placement.judge(case(HOST_PROVIDER, on_host_cpu=True, allowed=False), see(refused), [])

    assert (judged.outcome, judged.stops) == (Outcome.FAIL, True)
    assert judged.reason.startswith("the device was found, but runs nothing")


def load_seen(session: Any, see: Any, y: Any, **given: Any) -> Any:
    params = {"probe": "host-cpu/contraction-load", "provider": HOST_PROVIDER, "on_host_cpu": True, "least_db": 90.0}
    asked = Case(
        id="placement/host-cpu/contraction-load", check="placement", requirements=("R",), why="", params=params
    )
    seen, values = session([("y", y)], [("y", y)], **given)
    busy = [msgspec.structs.replace(one, cpu_ns=100, wall_ns=100) for one in seen.inferences]
    return asked, see((msgspec.structs.replace(seen, inferences=busy), values))


@pytest.mark.parametrize(
    ("change", "outcome", "reason"),
    [
        (lambda y: y, Outcome.PASS, ""),
        (lambda y: y * np.float32(1.0001), Outcome.FAIL, "80.0 dB above the noise, want 90"),
        (np.zeros_like, Outcome.FAIL, "-0.0 dB above the noise, want 90"),
        (lambda y: y[:1], Outcome.FAIL, "shape [1, 512], want [512, 512]"),
        (lambda y: y * np.float32(np.nan), Outcome.FAIL, "262144 of 262144 elements are NaN or infinite"),
        (lambda y: y.astype(np.float64), Outcome.FAIL, "type float64, want float32"),
    ],
)
def test_the_answers_of_the_load_are_looked_at(
    session: Any, see: Any, change: Any, outcome: Outcome, reason: str
) -> None:
    asked, seen = load_seen(session, see, change(probes.contraction_answer()[0].astype(np.float32)))
    judged = placement.judge(asked, seen, placement._expected())

    assert judged.outcome is outcome
    assert judged.reason == (f"the contraction-heavy model is answered wrongly: {reason}" if reason else "")


def test_a_load_that_changes_its_inputs_or_names_is_told(session: Any, see: Any) -> None:
    y = probes.contraction_answer()[0].astype(np.float32)
    asked, seen = load_seen(session, see, y)
    renamed = seen._replace(values=[[[("z", y)], [("z", y)]]])
    assert placement.judge(asked, renamed, placement._expected()).reason.endswith("outputs z, want y")
    asked, seen = load_seen(session, see, y, changed=["a"])
    assert placement.judge(asked, seen, placement._expected()).reason.endswith("the device changed its inputs: a")
