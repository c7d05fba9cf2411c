"""Placement: the device under test ran the model, and not something else. With a control, once per run.

Witnesses: the runtime's assignment record and profile, its refusal to fall back, and, outside the runtime, the host CPU
time of the child; the answers of that load are looked at too. The control shows that the witnesses can say no: the same records judged against another provider
must fail, and a model forced to the host must fail where the device under test is not the host's CPU.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

from conformance.adapters.runtime.port import Mode
from conformance.checks.support.noise import LEAST_DB, find_fault, signal_to_noise_db
from conformance.checks.support.port import Planned
from conformance.checks.support.running import run_on_device, run_session
from conformance.checks.support.using import why_unasked
from conformance.checks.support.valuing import first_line
from conformance.checks.support.witnessing import HOST_PROVIDER, judge_placement
from conformance.observation import Observation
from conformance.records import UNAVAILABLE, Basis, Case, Judgement, Measurement, Outcome
from conformance.reference import probes
from conformance.tensors import to_ref
from conformance.workload import ModelRef, NamedValue, Workload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.checks.support.port import Device, PlanContext, Requested
    from conformance.observation import Seen, SessionSeen
    from conformance.tensors import Array, Value

NOBODY = "NoSuchExecutionProvider"
HOST_SHARE_PASS = 0.25
HOST_SHARE_FAIL = 0.5
"""Host CPU time of the device's run over that of the CPU provider's run of the same model (ours; docs/outcomes.md)."""
CPU_SHARE_PASS = 0.5
CPU_SHARE_FAIL = 0.1
"""CPU time over the time that the process was not kept waiting for a processor, for a device that is the host's CPU."""
LOAD_REPEATS = 3


def plan(requested: Requested, context: PlanContext) -> Iterable[Planned]:
    """Return the witness case, the controls and the host CPU case."""
    target = context.target
    opset = context.probe_opset()
    small = _workload(probes.probe_model("matmul_relu", opset), probes.matmul_relu(11)[0])
    load = _workload(probes.probe_model("contraction_load", opset), probes.contraction_load())
    cases = [("model/device-nodes", small, False), ("control/other-provider", small, False)]
    if target.provider != HOST_PROVIDER:
        cases.append(("control/forced-to-host", small, False))
    cases.append(("host-cpu/contraction-load", load, True))
    for name, workload, exclusive in cases:
        unclaimed = why_unasked(context, "contraction_load" if exclusive else "matmul_relu")
        params: dict[str, Any] = {
            "probe": name,
            "provider": target.provider,
            "on_host_cpu": target.on_host_cpu,
            "is_host_cpu_allowed": target.is_host_cpu_allowed,
            "allowed_host_ops": context.allowed_host_ops([]),
        }
        if exclusive:
            params["least_db"] = LEAST_DB  # right in any precision: which one it is, other requirements ask
        yield Planned(
            Case(
                id=f"placement/{name}",
                check="placement",
                requirements=(requested.id,),
                why=unclaimed or requested.why,
                basis=Basis.UNCLAIMED if unclaimed else Basis.DECLARED,
                smoke=True,
                order=0 if name == "model/device-nodes" else 1,
                cost_ms=500.0 if exclusive else 5.0,
                exclusive=exclusive,
                unsupported=unclaimed,
                params=params,
                workload=workload,
            ),
            _expected if exclusive else None,
        )


def _expected() -> list[list[Value]]:
    return [list(probes.contraction_answer())]


def _workload(model: bytes, inputs: dict[str, Array]) -> Workload:
    return Workload(
        model=ModelRef(data=model), datasets=[[NamedValue(name, to_ref(value)) for name, value in inputs.items()]]
    )


def measure(case: Case, device: Device) -> Observation:
    """Run the probe; for the witness case also as an ordinary user would, whose silent fallback is evidence."""
    workload = case.workload
    assert workload is not None  # noqa: S101 - planned above
    model = device.model(workload.model)
    probe = case.params["probe"]
    if probe == "control/forced-to-host":
        sessions = [run_session(device, model, workload.datasets, Mode.HOST)]
    elif probe == "host-cpu/contraction-load":
        sessions = [_load(device, model, workload, device.modes()[0])]
        if sessions[0].fault is not None and len(device.modes()) > 1:
            sessions = [_load(device, model, workload, device.modes()[1])]
        if not case.params["on_host_cpu"]:
            sessions.append(_load(device, model, workload, Mode.HOST))
    else:
        sessions = run_on_device(device, model, workload.datasets)
        if probe == "model/device-nodes" and sessions[-1].fault is not None:
            sessions.append(run_session(device, model, workload.datasets, Mode.USER))
    return Observation(sessions=sessions, has_witness=device.adapter.has_witness)


def _load(device: Device, model: bytes, workload: Workload, mode: Mode) -> SessionSeen:
    return run_session(device, model, workload.datasets, mode, repeat=1 + LOAD_REPEATS)


def judge(case: Case, seen: Seen, expected: list[list[Value]]) -> Judgement:
    """Weigh the witnesses; see the module's words."""
    probe = case.params["probe"]
    sessions = seen.observation.sessions
    if probe == "host-cpu/contraction-load":
        judged = _judge_host_cpu(case, sessions)
        wrong = None if judged.outcome is Outcome.UNMEASURED else _judge_answers(case, seen, expected)
        return wrong or judged
    if not seen.observation.has_witness:
        return Judgement(
            outcome=Outcome.UNMEASURED,
            reason="placement not shown: this adapter has no witness",
            remedy="use an adapter that records where nodes run, or a telemetry source",
        )
    if probe == "model/device-nodes":
        return _judge_device(case, sessions)
    if probe == "control/other-provider":
        return _judge_control(case, sessions[-1], NOBODY)
    return _judge_control(case, sessions[-1], case.params["provider"])


def _weigh(case: Case, session: SessionSeen, provider: str) -> Judgement:
    placed = judge_placement(
        session.witnesses,
        provider,
        allowed_host_ops=case.params["allowed_host_ops"],
    )
    return Judgement(outcome=placed.outcome, reason=placed.reason, measurements=placed.measurements)


def _judge_device(case: Case, sessions: list[SessionSeen]) -> Judgement:
    session = sessions[-1]
    refusals = "; ".join(f"{s.mode}: {s.fault.kind}: {s.fault.message}" for s in sessions if s.fault is not None)
    if session.fault is not None:
        reason = f"the device was found, but runs nothing: {session.fault.kind}: {first_line(session.fault.message)}"
        return Judgement(outcome=Outcome.FAIL, reason=reason, context=refusals, stops=True)
    broken = next((i.fault for i in session.inferences if i.fault is not None), None)
    if broken is not None:
        return Judgement(
            outcome=Outcome.FAIL, reason=f"the probe model fails at run: {broken.kind}: {first_line(broken.message)}"
        )
    weighed = _weigh(case, session, case.params["provider"])
    is_host = case.params["provider"] == HOST_PROVIDER or case.params["on_host_cpu"]
    if is_host and not case.params["is_host_cpu_allowed"]:
        reason = "the device under test is the host's own CPU, which the category does not allow"
        return Judgement(outcome=Outcome.FAIL, reason=reason, measurements=weighed.measurements)
    if session.mode != Mode.USER.value:
        return Judgement(
            outcome=weighed.outcome,
            reason=weighed.reason,
            context=f"{session.mode} session; {refusals}" if refusals else f"{session.mode} session",
            measurements=weighed.measurements,
            stops=weighed.outcome is Outcome.FAIL and not _any_node(session, case.params["provider"]),
        )
    if weighed.outcome is Outcome.PASS:
        reason = "the device takes a model only when the runtime may retry elsewhere"
        return Judgement(outcome=Outcome.FAIL, reason=reason, context=refusals, measurements=weighed.measurements)
    return Judgement(
        outcome=Outcome.FAIL,
        reason=f"an ordinary session ran elsewhere: {weighed.reason or 'no node is shown'}",
        context=f"refused when fallback is forbidden: {refusals}",
        measurements=weighed.measurements,
        stops=True,
    )


def _any_node(session: SessionSeen, provider: str) -> bool:
    return any(witness.nodes.get(provider, 0) for witness in session.witnesses)


def _judge_control(case: Case, session: SessionSeen, provider: str) -> Judgement:
    if session.fault is not None and session.fault.kind == UNAVAILABLE:
        return Judgement(outcome=Outcome.UNMEASURED, reason=f"the control cannot be made: {session.fault.message}")
    if session.fault is not None:
        return Judgement(
            outcome=Outcome.UNMEASURED, reason=f"the control did not run: {session.fault.kind}: {session.fault.message}"
        )
    weighed = _weigh(case, session, provider)
    shown = Measurement(name="control", value=weighed.outcome.value, limit="FAIL", met=weighed.outcome is Outcome.FAIL)
    if weighed.outcome is Outcome.FAIL:
        return Judgement(outcome=Outcome.PASS, context=weighed.reason, measurements=(shown,))
    if case.params["probe"] == "control/forced-to-host" and weighed.outcome is Outcome.PASS:
        reason = "a model forced to the host is shown on the device: the runtime's records cannot be believed"
        return Judgement(outcome=Outcome.FAIL, reason=reason, measurements=(shown,))
    reason = f"the control did not fail ({weighed.outcome}: {weighed.reason}): the witnesses cannot say no"
    return Judgement(outcome=Outcome.ERROR, reason=reason, measurements=(shown,))


def _judge_answers(case: Case, seen: Seen, expected: list[list[Value]]) -> Judgement | None:
    """Return FAIL where the device's answers are wrong, coarsely: as long as a sum that no other probe has."""
    session, worst = seen.observation.sessions[0], math.inf
    for at, got in enumerate(seen.values[0]):
        (reference,) = cast("list[Array]", expected[0])
        names = ", ".join(name for name, _ in got)
        found = f"outputs {names}, want y" if names != "y" else find_fault(got[0][1], reference, "float32")
        if session.inferences[at].inputs_changed:
            found = f"the device changed its inputs: {', '.join(session.inferences[at].inputs_changed)}"
        if not found:
            worst = min(worst, signal_to_noise_db(cast("Array", got[0][1]), reference))
            least = case.params["least_db"]
            found = f"{worst:.1f} dB above the noise, want {least:g}" if worst < least else ""
        if found:
            reason = f"the contraction-heavy model is answered wrongly: {found}"
            return Judgement(outcome=Outcome.FAIL, reason=reason, context=f"inference {at}; {session.mode} session")
    return None


def _judge_host_cpu(case: Case, sessions: list[SessionSeen]) -> Judgement:
    for session in sessions:
        fault = session.fault or next((i.fault for i in session.inferences if i.fault is not None), None)
        if fault is not None:
            return Judgement(
                outcome=Outcome.UNMEASURED, reason=f"{session.mode} session: {fault.kind}: {first_line(fault.message)}"
            )
    if case.params["on_host_cpu"]:
        return _judge_cpu_device(sessions[0])
    share = _steady_cpu_ns(sessions[0]) / _steady_cpu_ns(sessions[1])
    limit = f"≤ {HOST_SHARE_PASS} (≥ {HOST_SHARE_FAIL} fails)"
    shown = Measurement(
        name="host_cpu_ratio",
        value=round(share, 3),
        limit=limit,
        margin=share / HOST_SHARE_FAIL,
        met=share <= HOST_SHARE_PASS,
    )
    if share <= HOST_SHARE_PASS:
        return Judgement(outcome=Outcome.PASS, measurements=(shown,))
    if share < HOST_SHARE_FAIL:
        reason = "the host is busier during a contraction-heavy model than an accelerator should leave it"
        return Judgement(
            outcome=Outcome.INCONCLUSIVE, reason=reason, measurements=(shown,), remedy="show a device counter"
        )
    reason = "the device costs the host as much CPU time as the CPU provider does: it computes on the host"
    return Judgement(outcome=Outcome.FAIL, reason=reason, measurements=(shown,))


def _judge_cpu_device(session: SessionSeen) -> Judgement:
    """A device that is the host's CPU must cost CPU time. Of the runs after the first, the least disturbed counts."""
    share = max(one.cpu_ns / max(one.wall_ns - one.waited_ns, 1) for one in session.inferences[1:])
    limit = f"≥ {CPU_SHARE_PASS} (< {CPU_SHARE_FAIL} fails)"
    shown = Measurement(
        name="host_cpu_share", value=round(share, 3), unit="of its time", limit=limit, met=share >= CPU_SHARE_PASS
    )
    if share >= CPU_SHARE_PASS:
        return Judgement(outcome=Outcome.PASS, measurements=(shown,))
    reason = "the host's CPU is the device under test, yet a contraction-heavy model costs it little time"
    if share >= CPU_SHARE_FAIL:
        remedy = "run it again on a host that has nothing else to do"
        return Judgement(outcome=Outcome.INCONCLUSIVE, reason=reason, measurements=(shown,), remedy=remedy)
    return Judgement(outcome=Outcome.FAIL, reason=reason, measurements=(shown,))


def _steady_cpu_ns(session: SessionSeen) -> int:
    """Return the CPU time of the cheapest inference after the first, which warms up."""
    return max(min(inference.cpu_ns for inference in session.inferences[1:]), 1)
