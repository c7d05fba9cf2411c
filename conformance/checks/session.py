"""Session basics: register, enumerate, identify; create, run, destroy; exact outputs; untouched inputs; fresh results; let go.

All probes are float32 with small integer values, so that a right device gives the same bits whatever its precision.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from conformance.checks.support.port import Planned
from conformance.checks.support.running import run_on_device, run_session
from conformance.checks.support.using import why_unasked
from conformance.checks.support.valuing import judge_faults, judge_values
from conformance.observation import Observation
from conformance.records import Attempt, Basis, Case, Judgement, Measurement, Outcome
from conformance.reference import probes
from conformance.tensors import to_ref
from conformance.workload import ModelRef, NamedValue, Workload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.checks.support.port import Device, PlanContext, Requested
    from conformance.observation import Seen
    from conformance.records import Identity
    from conformance.tensors import Array, Value

SERIAL = "unit_serial"
"""What the lab calls the unit that it tests."""
SESSIONS = 5
"""How often create, run and destroy are walked through in a row."""
_PROBES: dict[str, tuple[str, list[str], list[int], str]] = {
    # case: model, outputs, salts of the data sets, what it shows
    "create-run-destroy": ("matmul_relu", ["y"], [1], f"{SESSIONS} sessions in a row are created, run and destroyed"),
    "output-contract": (
        "four_outputs",
        ["sum", "difference", "product", "turned"],
        [3],
        "outputs come under the model's names, in its order, with its shapes and types",
    ),
    "one-element": (
        "one_element",
        ["matrix", "vector", "scalar"],
        [13],
        "one element as matrix, vector and scalar keeps its shape",
    ),
    "long-contraction": (
        "long_contraction",
        [f"y{length}" for length in probes.LENGTHS],
        [15],
        f"every element of sums of {', '.join(map(str, probes.LENGTHS))} products counts, once",
    ),
    "inputs-unchanged": ("matmul_relu", ["y"], [5], "inputs are bit for bit the same after the run"),
    "fresh-outputs": ("matmul_relu", ["y"], [7, 9, 7], "each run answers its own inputs"),
}


def plan(requested: Requested, context: PlanContext) -> Iterable[Planned]:
    """Return the cases of the session area; UNSUPPORTED where the profile does not claim what a probe uses.

    Where it claims too little for any session, `create-run-destroy` is UNMEASURED: that a device names itself is no conformance.
    """
    target = context.target
    facts = {
        "provider": target.provider,
        "hardware": target.hardware,
        "driver": target.driver,
        "binding": dict(target.binding),
        "unit_serial": target.unit_serial,
    }
    for name in ("registration", "identity", "release"):
        yield Planned(_case(requested, name, {"probe": name, **facts}, None, ""))
    for name, (model, outputs, salts, what) in _PROBES.items():
        made = [getattr(probes, model)(salt) for salt in salts]
        workload = Workload(
            model=ModelRef(data=probes.probe_model(model, context.probe_opset())),
            datasets=[_named(inputs) for inputs, _ in made],
        )
        expected: list[list[Value]] = [list(values) for _, values in made]
        if name == "create-run-destroy":
            expected = expected * SESSIONS
        unclaimed = why_unasked(context, model)
        params = {"probe": name, "outputs": outputs, "what": what}
        if name == "create-run-destroy" and unclaimed:
            params["unasked"], unclaimed = unclaimed, ""
        yield Planned(_case(requested, name, params, workload, unclaimed), partial(list, expected))


def _case(requested: Requested, name: str, params: dict[str, Any], workload: Workload | None, unclaimed: str) -> Case:
    return Case(
        id=f"interface/session/{name}",
        check="session",
        requirements=(requested.id,),
        why=unclaimed or requested.why,
        basis=Basis.UNCLAIMED if unclaimed else Basis.DECLARED,
        smoke=True,
        order=2 if name == "release" else 0 if workload is None else 1,
        at_end=name == "release",
        cost_ms=5.0,
        unsupported=unclaimed,
        params=params,
        workload=workload,
    )


def _named(inputs: dict[str, Array]) -> list[NamedValue]:
    return [NamedValue(name, to_ref(value)) for name, value in inputs.items()]


def measure(case: Case, device: Device) -> Observation:
    """Run the probe in the child."""
    workload = case.workload
    if workload is None:
        return Observation(identity=device.identity)
    if case.params.get("unasked"):
        return Observation()
    model = device.model(workload.model)
    if case.params["probe"] != "create-run-destroy":
        return Observation(sessions=run_on_device(device, model, workload.datasets))
    first = run_on_device(device, model, workload.datasets)
    mode = next((m for m in device.modes() if m.value == first[-1].mode), device.modes()[0])
    further = [run_session(device, model, workload.datasets, mode) for _ in range(SESSIONS - 1)]
    return Observation(sessions=[first[-1], *further])


def judge(case: Case, seen: Seen, expected: list[list[Value]]) -> Judgement:
    """Identity against the declaration; probes exactly."""
    probe = case.params["probe"]
    if probe == "release":
        facts = seen.observation.facts
        judged = _judge_release(msgspec.convert(facts["ends"], list[Attempt]))
        left = Measurement(name="processes left behind", value=facts.get("left", 0))
        return msgspec.structs.replace(judged, measurements=(*judged.measurements, left))
    if probe in ("registration", "identity"):
        identity = seen.observation.identity
        if identity is None:
            return Judgement(outcome=Outcome.UNMEASURED, reason="the runtime gave no identity")
        return _judge_registration(case, identity) if probe == "registration" else _judge_identity(case, identity)
    if case.params.get("unasked"):
        reason = f"no session was made: {case.params['unasked']}"
        return Judgement(
            outcome=Outcome.UNMEASURED, reason=reason, remedy="declare what the probe uses, or ask for another"
        )
    wanted, sessions = SESSIONS if probe == "create-run-destroy" else 1, seen.observation.sessions
    if len(sessions) < wanted:
        return Judgement(outcome=Outcome.ERROR, reason=f"{len(sessions)} sessions were tried, {wanted} are expected")
    per_session = len(expected) // wanted
    result = Judgement(outcome=Outcome.ERROR, reason="no session was tried")
    for at, session in enumerate(sessions):
        if probe != "create-run-destroy" and session is not sessions[-1]:
            continue
        fault = judge_faults(sessions[: at + 1])
        if fault is not None:
            return fault
        result = judge_values(
            session, seen.values[at], expected[:per_session], names=case.params["outputs"], rtol=0.0, atol=0.0
        )
        if result.outcome is not Outcome.PASS:
            return result
    return result


def _judge_release(ends: list[Attempt]) -> Judgement:
    """Weigh how the children ended that did not end as they were asked to, while no case was running.

    Two are the device's fault; one alone proves neither, as with a case; ends that the host brought about say nothing.
    """
    faults = [end for end in ends if end.outcome is not Outcome.ERROR]
    if not ends:
        return Judgement(outcome=Outcome.PASS)
    if not faults:
        return Judgement(outcome=Outcome.ERROR, reason=ends[-1].detail, remedy="mend the host and run again")
    told = faults[-1].stderr_tail
    if len(faults) > 1:
        reason = f"{len(faults)} processes of the device ended badly: {faults[-1].detail}"
        return Judgement(outcome=faults[-1].outcome, reason=reason, context=told)
    return Judgement(
        outcome=Outcome.INCONCLUSIVE,
        reason=f"{faults[0].outcome} once: {faults[0].detail}",
        context=told,
        remedy="run it again; a device that ends badly now and then is not conformant",
    )


def _judge_registration(case: Case, identity: Identity) -> Judgement:
    wanted = case.params["provider"]
    shown = Measurement(name="provider", value=identity.provider, limit=wanted, met=identity.provider == wanted)
    if identity.provider != wanted:
        return Judgement(
            outcome=Outcome.FAIL,
            reason="another provider was registered than the profile names",
            actual=identity.provider,
            expected=wanted,
            measurements=(shown,),
        )
    return Judgement(outcome=Outcome.PASS, measurements=(shown,))


def _judge_identity(case: Case, identity: Identity) -> Judgement:
    binding: dict[str, str] = case.params["binding"]
    reported = {"hardware": identity.hardware, "driver": identity.driver}
    reported |= {key: identity.details.get(key, "") for key in binding}
    declared_of = {"hardware": case.params["hardware"], "driver": case.params["driver"], **binding}
    if case.params.get(SERIAL):
        reported |= {SERIAL: identity.details.get("serial", "")}
        declared_of |= {SERIAL: case.params[SERIAL]}
    told = tuple(Measurement(name=key, value=value) for key, value in {**reported, **identity.details}.items() if value)
    silent = []
    for key, actual in reported.items():
        declared = declared_of[key]
        if not declared:
            continue
        if not actual:
            silent.append(key)
        elif actual != declared:
            return Judgement(
                outcome=Outcome.FAIL,
                reason=f"the runtime reports another {key} than the {'bench file' if key == SERIAL else 'profile'} declares",
                actual=actual,
                expected=declared,
                measurements=told,
            )
    if not identity.runtime or not identity.provider:
        return Judgement(outcome=Outcome.UNMEASURED, reason="the runtime does not say what it is", measurements=told)
    unverified = f"unverified, the runtime does not report it: {', '.join(silent)}" if silent else ""
    if (
        set(silent)
        - {
            "hardware",
            SERIAL,
        }
    ):  # a runtime that does not name the kind of hardware is common; a serial is the lab's note, and the rest was declared to be one unit
        return Judgement(outcome=Outcome.UNMEASURED, reason=unverified, measurements=told)
    return Judgement(outcome=Outcome.PASS, context=unverified, measurements=told)
