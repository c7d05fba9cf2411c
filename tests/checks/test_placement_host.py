"""The host's own CPU as the device under test: the category says whether that may be, whatever the witnesses show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from conformance.checks import placement
from conformance.checks.support.witnessing import HOST_PROVIDER
from conformance.observation import SessionSeen
from conformance.records import Case, DeviceFault, Outcome, Witness

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
