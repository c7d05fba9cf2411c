"""Interface: sessions, threads, shapes and repeats do not disturb each other, and a thousand sessions leave nothing behind.

Every probe is float32 with small integer values, so a right device gives the same bits whatever its precision. Scope
`sessions` is about requests side by side, scope `shapes` about dimensions that change from run to run.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from conformance.adapters.runtime.port import Mode, RuntimeFault, Unavailable
from conformance.checks.support.port import Planned
from conformance.checks.support.running import fault_of, infer_once, resident_kb, run_on_device
from conformance.checks.support.valuing import judge_faults, judge_values
from conformance.observation import InferenceSeen, Observation, SessionSeen
from conformance.records import SHARED, Basis, Case, Judgement, Measurement, Outcome
from conformance.reference import probes
from conformance.tensors import to_ref
from conformance.workload import ModelRef, NamedValue, Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from conformance.adapters.runtime.port import RuntimeSession
    from conformance.checks.support.port import Device, PlanContext, Requested
    from conformance.observation import Seen
    from conformance.tensors import Value

THREADS = 4
PER_THREAD = 8
REPEATS = 50
MANY = 1000
LEAK_KB = 64.0
"""Resident memory per session, over the second half of them, that counts as a leak (ours: an allocator's noise is far below)."""

Probe = tuple[str, str, list[tuple[dict[str, Any], list[Any]]]]


def _probes(scope: str, *, zero_size: bool) -> Iterable[Probe]:
    """Yield name, model and data sets (inputs with exact outputs) of each probe of a scope."""
    if scope == "sessions":
        pair = [probes.matmul_relu(salt) for salt in (21, 23, 25, 21)]
        yield "two-sessions", "matmul_relu", pair
        yield "threads", "matmul_relu", [probes.matmul_relu(31 + 2 * at) for at in range(THREADS)]
        yield "outputs-not-aliased", "matmul_relu", [probes.matmul_relu(51), probes.matmul_relu(53)]
        yield "repeats", "matmul_relu", [probes.matmul_relu(61)]
        yield "many-sessions", "matmul_relu", [probes.matmul_relu(71)]
        return
    yield "growing-batch", "matmul_relu_batch", [probes.matmul_relu_batch(rows, 81 + rows) for rows in (1, 2, 3, 5, 8)]
    yield "shrinking-batch", "matmul_relu_batch", [probes.matmul_relu_batch(rows, 91 + rows) for rows in (8, 3, 1, 8)]
    if zero_size:
        yield "zero-size", "matmul_relu_batch", [probes.matmul_relu_batch(rows, 101 + rows) for rows in (2, 0, 2)]


def plan(requested: Requested, context: PlanContext) -> Iterable[Planned]:
    """Return the cases of a scope; UNSUPPORTED where float32 is not declared, which the probes use."""
    scope = requested.params["scope"]
    unclaimed = "" if context.claims_type("float32") else "profile does not declare float32, which the probes use"
    for name, model, sets in _probes(scope, zero_size=context.target.takes_zero_size):
        workload = Workload(
            model=ModelRef(data=probes.probe_model(model, context.probe_opset())),
            datasets=[[NamedValue(key, to_ref(value)) for key, value in inputs.items()] for inputs, _ in sets],
        )
        case = Case(
            id=f"interface/{scope}/{name}",
            check="interface",
            requirements=(requested.id,),
            why=unclaimed or requested.why,
            basis=Basis.UNCLAIMED if unclaimed else Basis.DECLARED,
            smoke=name != "many-sessions",
            order=SHARED if name == "many-sessions" else 1,
            cost_ms=1000.0 if name == "many-sessions" else 10.0,
            unsupported=unclaimed,
            params={"probe": name, "outputs": ["y"]},
            workload=workload,
        )
        yield Planned(case, partial(_expected, name, [list(outputs) for _, outputs in sets]))


def _expected(probe: str, outputs: list[list[Value]]) -> list[list[Value]]:
    if probe == "threads":
        return [values for values in outputs for _ in range(PER_THREAD)]
    return outputs * (REPEATS if probe == "repeats" else 1)


def measure(case: Case, device: Device) -> Observation:
    """Find the mode in which the model runs at all, then do with it what the probe is about."""
    workload = case.workload
    assert workload is not None  # noqa: S101 - planned above
    model = device.model(workload.model)
    first = run_on_device(device, model, workload.datasets[:1])
    mode = next((one for one in device.modes() if one.value == first[-1].mode), None)
    if mode is None or first[-1].fault is not None or any(one.fault for one in first[-1].inferences):
        return Observation(sessions=first)
    if case.params["probe"] == "many-sessions":
        return _make_many(device, model, mode, workload.datasets[0])
    use = _USES.get(case.params["probe"], _in_turn)
    count = 2 if case.params["probe"] == "two-sessions" else 1
    return Observation(sessions=[_with_sessions(device, model, mode, count, partial(use, device, workload.datasets))])


def _with_sessions(
    device: Device, model: bytes, mode: Mode, count: int, use: Callable[[list[RuntimeSession]], list[InferenceSeen]]
) -> SessionSeen:
    device.enter("compile")
    try:
        sessions = [device.adapter.compile(model, mode) for _ in range(count)]
    except (RuntimeFault, Unavailable) as error:
        return SessionSeen(mode=mode.value, fault=fault_of(error, "compile"))
    device.enter("run")
    inferences = use(sessions)
    fault = None
    for session in sessions:
        try:
            session.close()
        except (RuntimeFault, Unavailable) as error:
            fault = fault or fault_of(error, "run")
    return SessionSeen(mode=mode.value, fault=fault, inferences=inferences)


def _in_turn(device: Device, datasets: list[list[NamedValue]], sessions: list[RuntimeSession]) -> list[InferenceSeen]:
    """Run the data sets in turn, session after session: A, B, A, B."""
    return [infer_once(device, sessions[at % len(sessions)], feeds) for at, feeds in enumerate(datasets)]


def _again_and_again(
    device: Device, datasets: list[list[NamedValue]], sessions: list[RuntimeSession]
) -> list[InferenceSeen]:
    return [infer_once(device, sessions[0], datasets[0]) for _ in range(REPEATS)]


def _kept(device: Device, datasets: list[list[NamedValue]], sessions: list[RuntimeSession]) -> list[InferenceSeen]:
    """Run twice, and look at the first outputs only after the second run: they have to be the caller's own."""
    seen: list[list[tuple[str, Value]]] = []
    for feeds in datasets:
        try:
            seen.append(sessions[0].infer({one.name: device.fresh(one.value) for one in feeds}))
        except (RuntimeFault, Unavailable) as error:
            return [InferenceSeen(fault=fault_of(error, "run"))]
    return [InferenceSeen(outputs=[NamedValue(name, device.send(value)) for name, value in one]) for one in seen]


def _on_threads(
    device: Device, datasets: list[list[NamedValue]], sessions: list[RuntimeSession]
) -> list[InferenceSeen]:
    """Run one data set on each thread, all at once; outputs are sent afterwards, from this thread."""
    found: list[list[list[tuple[str, Value]]]] = [[] for _ in datasets]
    faults: list[RuntimeFault | Unavailable] = []
    inputs = [{one.name: device.fresh(one.value) for one in feeds} for feeds in datasets]
    together = threading.Barrier(len(datasets))

    def work(at: int) -> None:
        together.wait()
        for _ in range(PER_THREAD):
            try:
                found[at].append(sessions[0].infer(dict(inputs[at])))
            except (RuntimeFault, Unavailable) as error:
                faults.append(error)
                return

    threads = [threading.Thread(target=work, args=(at,)) for at in range(len(datasets))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        return [InferenceSeen(fault=fault_of(faults[0], "run"))]
    return [
        InferenceSeen(outputs=[NamedValue(name, device.send(value)) for name, value in outputs])
        for one in found
        for outputs in one
    ]


_USES = {"repeats": _again_and_again, "outputs-not-aliased": _kept, "threads": _on_threads}


def _make_many(device: Device, model: bytes, mode: Mode, feeds: list[NamedValue]) -> Observation:
    """Create, run and destroy many sessions; write down the resident memory at the half and at the end."""
    held: list[int] = []
    last = SessionSeen(mode=mode.value)
    for half in (MANY // 2, MANY - MANY // 2):
        for _ in range(half):
            last = _with_sessions(device, model, mode, 1, partial(_in_turn, device, [feeds]))
            if last.fault is not None or last.inferences[0].fault is not None:
                return Observation(sessions=[last], facts={"sessions": MANY, "resident_kb": held})
        held.append(resident_kb())
    return Observation(sessions=[last], facts={"sessions": MANY, "resident_kb": held})


def judge(case: Case, seen: Seen, expected: list[list[Value]]) -> Judgement:
    """Every answer exactly; for many sessions also what they left behind."""
    sessions = seen.observation.sessions
    fault = judge_faults(sessions)
    if fault is not None:
        return fault
    judged = judge_values(sessions[-1], seen.values[-1], expected, names=case.params["outputs"], rtol=0.0, atol=0.0)
    if judged.outcome is not Outcome.PASS or case.params["probe"] != "many-sessions":
        return judged
    return _judge_growth(seen.observation.facts)


def _judge_growth(facts: dict[str, Any]) -> Judgement:
    held = facts.get("resident_kb", [])
    if len(held) != 2 or not all(one > 0 for one in held):
        return Judgement(outcome=Outcome.UNMEASURED, reason="the host does not tell the resident memory of the child")
    per_session = (held[1] - held[0]) / (facts["sessions"] / 2)
    shown = Measurement(
        name="growth_per_session",
        value=round(per_session, 3),
        unit="kB",
        limit=f"≤ {LEAK_KB:g}",
        margin=per_session / LEAK_KB,
        met=per_session <= LEAK_KB,
    )
    if per_session > LEAK_KB:
        reason = f"{facts['sessions']} sessions leave {per_session:.0f} kB each behind: the runtime leaks"
        return Judgement(outcome=Outcome.FAIL, reason=reason, measurements=(shown,))
    return Judgement(outcome=Outcome.PASS, measurements=(shown,))
