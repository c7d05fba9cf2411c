"""Must-reject: models that are none and wrong inputs are refused in order, and the device goes on answering.

Each case is one bad request and the good one after it. The bad one must end in an error of the runtime's own kind, when it
is compiled or when it is run; whatever answer it gets is wrong, one that makes no sense too, and a connection that is lost
is the end of a process and no refusal. The good one, the probe `matmul_relu`, must be exactly right:
in a fresh session, and after wrong inputs first in the session that had refused them. A device that dies of either is told
as what it is, CRASH or TIMEOUT, like in any other case.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from conformance.adapters.runtime.port import BAD_ANSWER, LOST
from conformance.checks.support.port import Planned
from conformance.checks.support.running import run_on_device
from conformance.checks.support.valuing import first_line, judge_faults, judge_values
from conformance.observation import Observation, SessionSeen
from conformance.records import SHARED, UNAVAILABLE, Basis, Case, Judgement, Outcome
from conformance.reference import probes
from conformance.tensors import to_ref
from conformance.workload import ModelRef, NamedValue, Workload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.checks.support.port import Device, PlanContext, Requested
    from conformance.checks.support.valuing import OutputValues
    from conformance.observation import InferenceSeen, Seen
    from conformance.records import DeviceFault
    from conformance.tensors import Value

SALT = 23
"""Of the good request."""
SMOKE = {
    "model/random-bytes",
    "model/truncated-half",
    "model/empty",
    "model/opset-too-new",
    "model/unknown-operator",
    "model/cycle",
    "model/claims-2gb",
    "model/file-above",
    "request/input-missing",
    "request/type-float64",
    "request/rank-lower",
    "request/dimension-smaller",
}
"""One of each kind: all that the smoke level asks."""
OUT_OF_MEMORY = "MemoryError"
"""Not the runtime's own error but the interpreter's: what was claimed was asked of the host before it was looked at."""
_ANSWERS = frozenset({BAD_ANSWER, "UnknownOutput", "UnknownType", "WrongOutputCount"})
"""What the port and our adapters call an answer that cannot be one."""
_REFUSED = "an error of the runtime, and the right answer to the next request"
_AFTERWARDS = "after the rejected request the device no longer answers a good one"


def plan(requested: Requested, context: PlanContext) -> Iterable[Planned]:
    """Return one case per bad request; the probe is float32, so without it every case is UNSUPPORTED.

    So is a request that the interface, by the word of an adapter of ours, has no way to make.
    """
    from conformance.reference.malformed import malformed  # the child needs none of them

    lacks_type = "" if context.claims_type("float32") else "profile does not declare float32, which the probes use"
    opset = context.probe_opset()
    inputs, outputs = probes.matmul_relu(SALT)
    good, model = _named(dict(inputs)), ModelRef(data=probes.probe_model("matmul_relu", opset))
    for bad in malformed(opset):
        is_request = bad.name.startswith("request/")
        unclaimed = lacks_type or context.target.unsayable.get(bad.name, "")
        # What is good is the workload. A bad model travels beside it; wrong inputs are the first of two data sets.
        beside = {} if is_request else {"model": bad.model}
        case = Case(
            id=f"must-reject/{bad.name}",
            check="must-reject",
            requirements=(requested.id,),
            why=unclaimed or requested.why,
            basis=Basis.UNCLAIMED if unclaimed else Basis.DECLARED,
            smoke=bad.name in SMOKE,
            order=SHARED,
            cost_ms=3.0,
            unsupported=unclaimed,
            params={"breaks": bad.breaks, **beside},
            workload=Workload(model=model, datasets=[_named(bad.feeds), good] if is_request else [good]),
        )
        expected: list[list[Value]] = [list(outputs)]
        yield Planned(case, partial(list, expected))


def _named(inputs: dict[str, Value]) -> list[NamedValue]:
    return [NamedValue(name, to_ref(value)) for name, value in inputs.items()]


def measure(case: Case, device: Device) -> Observation:
    """Make the bad request, then the good one in a fresh session; `facts` say how many sessions the bad one took."""
    workload: Any = case.workload
    good = device.model(workload.model)
    first = run_on_device(device, case.params.get("model", good), workload.datasets)
    again = run_on_device(device, good, workload.datasets[-1:])
    return Observation(sessions=[*first, *again], facts={"bad": len(first)})


def judge(case: Case, seen: Seen, expected: list[list[Value]]) -> Judgement:
    """PASS where the bad request was refused and the good one answered to the bit."""
    count = int(seen.observation.facts["bad"])
    sessions = seen.observation.sessions
    if not 0 < count < len(sessions):
        return Judgement(outcome=Outcome.ERROR, reason=f"{len(sessions)} sessions were tried, {count} of them bad")
    bad, values = sessions[:count], seen.values[:count]
    is_request = "model" not in case.params
    said = _refusals(bad)
    for session in bad:
        for inference in session.inferences[:1]:
            if inference.fault is None:
                return _fail(case, f"accepted: {case.params['breaks']}", _answer(inference))
    if is_request and not bad[-1].inferences:  # the model is good: its refusal is another fault than the one asked for
        return judge_faults(bad) or Judgement(outcome=Outcome.ERROR, reason="the good model was not run")
    own = [fault for fault in said if fault.kind != UNAVAILABLE]
    if not own:
        reason = f"the adapter cannot make this request: {first_line(said[-1].message)}"
        return Judgement(outcome=Outcome.UNMEASURED, reason=reason, expected=_REFUSED)
    nonsense = next((fault for fault in own if fault.kind in _ANSWERS), None)
    lost = next((fault for fault in own if fault.kind == LOST), None)
    if lost is not None:
        return _fail(case, "not refused: the connection was lost", f"{lost.kind}: {first_line(lost.message)}")
    if nonsense is not None:
        told = f"{nonsense.kind}: {first_line(nonsense.message)}"
        return _fail(case, f"accepted: {case.params['breaks']}", told)
    told = f"{own[-1].kind}: {first_line(own[-1].message)}"
    if any(fault.kind == OUT_OF_MEMORY for fault in own):
        return _fail(case, "not refused: the runtime ran out of memory on it", told)
    if is_request:
        same = _judge_good([bad[-1]], values[-1][1:], bad[-1].inferences[1:], expected)
        if same is not None:
            return _fail(case, f"{_AFTERWARDS} in the same session: {same.reason}", told, same.context)
    later = _judge_good(sessions[count:], seen.values[-1], sessions[-1].inferences, expected)
    if later is not None:
        return _fail(case, f"{_AFTERWARDS}: {later.reason}", told, later.context)
    return Judgement(outcome=Outcome.PASS, actual=told, context=case.params["breaks"])


def _refusals(sessions: list[SessionSeen]) -> list[DeviceFault]:
    """Return what was said to the bad request: by the compiler in each mode, or by the first run."""
    found = []
    for session in sessions:
        if session.inferences and session.inferences[0].fault is not None:
            found.append(session.inferences[0].fault)
        elif session.fault is not None:
            found.append(session.fault)
    return found


def _answer(inference: InferenceSeen) -> str:
    outputs = ", ".join(output.name for output in inference.outputs)
    return f"an answer, {outputs}" if outputs else "an answer without outputs"


def _judge_good(
    sessions: list[SessionSeen],
    values: list[OutputValues],
    inferences: list[InferenceSeen],
    expected: list[list[Value]],
) -> Judgement | None:
    """Return what is wrong with the answers to the good request, None where nothing is."""
    last = SessionSeen(mode=sessions[-1].mode, fault=sessions[-1].fault, inferences=inferences)
    fault = judge_faults([*sessions[:-1], last])
    judged = fault or judge_values(last, values, expected, names=["y"], rtol=0.0, atol=0.0)
    return None if judged.outcome is Outcome.PASS else judged


def _fail(case: Case, reason: str, actual: str, context: str = "") -> Judgement:
    return Judgement(
        outcome=Outcome.FAIL,
        reason=reason,
        actual=actual,
        expected=_REFUSED,
        context=context or case.params["breaks"],
    )
