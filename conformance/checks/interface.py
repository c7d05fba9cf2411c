"""Interface: sessions, threads, shapes and repeats do not disturb each other, and a thousand sessions leave nothing behind.

Every probe is float32 with small integer values, so a right device gives the same bits whatever its precision. Scope
`sessions` is about requests side by side, scope `shapes` about dimensions that change from run to run.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from conformance.checks.support.leaving import count_held, judge_growth, look_at_process, name_changes
from conformance.checks.support.port import Planned
from conformance.checks.support.using import (
    PER_THREAD,
    REPEATS,
    Use,
    again_and_again,
    closing_one,
    find_mode,
    in_turn,
    judge_first,
    kept,
    name_values,
    on_threads,
    outliving,
    stepping,
    why_unasked,
    with_first,
    with_sessions,
)
from conformance.checks.support.valuing import judge_faults, judge_values
from conformance.observation import Observation, SessionSeen
from conformance.records import SHARED, Basis, Case, Judgement, Outcome
from conformance.reference import probes
from conformance.workload import ModelRef, Workload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.adapters.runtime.port import Mode
    from conformance.checks.support.port import Device, PlanContext, Requested
    from conformance.observation import Seen
    from conformance.tensors import Array, Value
    from conformance.workload import NamedValue

THREADS = 4
STEPS = 5
MANY = 1000
LARGE = 300
"""Rows of a large batch: more than one tile of any matrix unit, and inputs that still travel inside a message."""

_USES: dict[str, Use] = {
    "in-turn": in_turn,
    "again-and-again": again_and_again,
    "kept": kept,
    "outliving": outliving,
    "closing-one": closing_one,
    "stepping": stepping,
    "on-threads": on_threads,
}
Sets = list[tuple[dict[str, "Array"], list["Array"]]]


class Probe(NamedTuple):
    """A model with data sets and exact outputs, and what is done with it."""

    name: str
    model: str
    sets: Sets
    use: str = "in-turn"
    sessions: int = 1
    outputs: tuple[str, ...] = ("y",)


def _probes(scope: str, *, zero_size: bool) -> Iterable[Probe]:
    relu = probes.matmul_relu
    if scope == "sessions":
        yield Probe("process-state", "matmul_relu", [relu(19)])
        yield Probe("two-sessions", "matmul_relu", [relu(salt) for salt in (21, 23, 25, 21)], sessions=2)
        yield Probe("threads", "matmul_relu", [relu(31 + 2 * at) for at in range(THREADS)], "on-threads")
        yield Probe("outputs-not-aliased", "matmul_relu", [relu(51 + 2 * at) for at in range(5)], "kept")
        yield Probe("outputs-outlive-session", "matmul_relu", [relu(63), relu(65)], "outliving", 2)
        yield Probe("close-one", "matmul_relu", [relu(67), relu(69), relu(67)], "closing-one", 2)
        yield _sequences("kv-cache", "kv_ring")
        yield Probe("repeats", "matmul_relu", [relu(61)], "again-and-again")
        yield Probe("many-sessions", "matmul_relu", [relu(71)])
        return
    batch = probes.matmul_relu_batch
    yield Probe("growing-batch", "matmul_relu_batch", [batch(rows, 81 + rows) for rows in (1, 2, 3, 5, 8)])
    yield Probe("shrinking-batch", "matmul_relu_batch", [batch(rows, 91 + rows) for rows in (8, 3, 1, 8)])
    yield Probe("large-batch", "matmul_relu_batch", [batch(rows, 111 + rows) for rows in (4, LARGE, 4)])
    yield _sequences("kv-cache-growing", "kv_growing")
    if zero_size:
        yield Probe("zero-size", "matmul_relu_batch", [batch(rows, 101 + rows) for rows in (2, 0, 2)])


def _sequences(name: str, model: str) -> Probe:
    """Two sequences, a step of each in turn. Only the first step brings its state along: later ones get the device's own."""
    both = [probes.sequence(model, salt, STEPS) for salt in (121, 131)]
    sets: Sets = []
    for step in range(STEPS):
        for inputs, outputs in both:
            given = inputs[step] if step == 0 else {"x": inputs[step]["x"]}
            sets.append((given, outputs[step]))
    return Probe(name, model, sets, "stepping", 2, ("y", "present"))


def plan(requested: Requested, context: PlanContext) -> Iterable[Planned]:
    """Return the cases of a scope; UNSUPPORTED where the profile does not claim what a probe uses."""
    scope = requested.params["scope"]
    for probe in _probes(scope, zero_size=context.target.takes_zero_size):
        unclaimed = why_unasked(context, probe.model)
        is_many = probe.name == "many-sessions"
        case = Case(
            id=f"interface/{scope}/{probe.name}",
            check="interface",
            requirements=(requested.id,),
            why=unclaimed or requested.why,
            basis=Basis.UNCLAIMED if unclaimed else Basis.DECLARED,
            smoke=not is_many,
            # What the first session of a process changes, no later one can be seen to change.
            order=SHARED if is_many else 0 if probe.name == "process-state" else 1,
            cost_ms=1000.0 if is_many else 10.0,
            unsupported=unclaimed,
            params={
                "probe": probe.name,
                "use": probe.use,
                "sessions": probe.sessions,
                "outputs": list(probe.outputs),
            },
            workload=Workload(
                model=ModelRef(data=probes.probe_model(probe.model, context.probe_opset())),
                datasets=[name_values(inputs) for inputs, _ in probe.sets],
            ),
        )
        yield Planned(case, partial(_expected, probe.use, [list(outputs) for _, outputs in probe.sets]))


def _expected(use: str, outputs: list[list[Value]]) -> list[list[Value]]:
    if use == "on-threads":
        return [values for values in outputs for _ in range(PER_THREAD)]
    return outputs * (REPEATS if use == "again-and-again" else 1)


def measure(case: Case, device: Device) -> Observation:
    """Find the mode in which the model runs at all, then do with it what the probe is about."""
    workload: Any = case.workload
    name, model = case.params["probe"], device.model(workload.model)
    before = look_at_process() if name == "process-state" else {}
    mode, first = find_mode(device, model, workload.datasets)
    if mode is None:
        return Observation(sessions=first)
    if name == "process-state":
        return Observation(sessions=first[-1:], facts={"changed": name_changes(before, look_at_process())})
    if name == "many-sessions":
        return with_first(first, _make_many(device, model, mode, workload.datasets[0]))
    use = partial(_USES[case.params["use"]], device, workload.datasets)
    makers = [partial(device.adapter.compile, model, mode)] * case.params["sessions"]
    return with_first(first, Observation(sessions=[with_sessions(device, mode, makers, use)]))


def _make_many(device: Device, model: bytes, mode: Mode, feeds: list[NamedValue]) -> Observation:
    """Create, run and destroy many sessions; write down what the process holds at the half and at the end."""
    held: list[dict[str, int]] = []
    last = SessionSeen(mode=mode.value)
    for half in (MANY // 2, MANY - MANY // 2):
        for _ in range(half):
            make = partial(device.adapter.compile, model, mode)
            last = with_sessions(device, mode, [make], partial(in_turn, device, [feeds]))
            if last.fault is not None or last.inferences[0].fault is not None:
                return Observation(sessions=[last], facts={"sessions": MANY, "held": held})
        held.append(count_held())
    return Observation(sessions=[last], facts={"sessions": MANY, "held": held})


def judge(case: Case, seen: Seen, expected: list[list[Value]]) -> Judgement:
    """Every answer exactly; for many sessions also what they left behind, and for one what it changed of its process."""
    wrong, seen = judge_first(seen, expected, case.params["outputs"])
    if wrong is not None:
        return wrong
    sessions, facts = seen.observation.sessions, seen.observation.facts
    fault = judge_faults(sessions)
    if fault is not None:
        return fault
    judged = judge_values(sessions[-1], seen.values[-1], expected, names=case.params["outputs"], rtol=0.0, atol=0.0)
    if judged.outcome is not Outcome.PASS:
        return judged
    if case.params["probe"] == "process-state" and facts["changed"]:
        reason = f"a session changed what belongs to its whole process: {facts['changed'][0]}"
        return Judgement(outcome=Outcome.FAIL, reason=reason, context="; ".join(facts["changed"]))
    if case.params["probe"] == "many-sessions":
        half, end = (*facts["held"], {}, {})[:2]
        return judge_growth(facts["sessions"], half, end)
    return judged
