"""What the probes of the interface do with one or more sessions: side by side, in turn, on threads, past each other's end.

Each use gets the device, the data sets and open sessions, and returns one `InferenceSeen` per inference. A session that it
closes it takes out of the list; the others are closed after it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from conformance.adapters.runtime.port import Mode, RuntimeFault, Unavailable
from conformance.checks.support.running import fault_of, infer_once, run_on_device
from conformance.checks.support.valuing import judge_values
from conformance.observation import InferenceSeen, Seen, SessionSeen
from conformance.records import Outcome
from conformance.reference.probes import OLDEST, OPERATORS
from conformance.tensors import equal_bits, to_ref
from conformance.workload import NamedValue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conformance.adapters.runtime.port import RuntimeSession
    from conformance.checks.support.port import Device, PlanContext
    from conformance.observation import Observation
    from conformance.records import DeviceFault, Judgement
    from conformance.tensors import Array, Value


Feeds: TypeAlias = list[NamedValue]
Use: TypeAlias = "Callable[[Device, list[Feeds], list[RuntimeSession]], list[InferenceSeen]]"
PER_THREAD = 8
REPEATS = 50
FIRST = "mode found"
"""The fact which says that the first session is that of `find_mode`."""


def name_values(inputs: dict[str, Array]) -> list[NamedValue]:
    """Return inputs as a data set of a workload."""
    return [NamedValue(name, to_ref(value)) for name, value in inputs.items()]


def find_mode(device: Device, model: bytes, datasets: list[Feeds]) -> tuple[Mode | None, list[SessionSeen]]:
    """Run the first data set in the modes of the device; return the mode in which it ran, or None, and what was seen."""
    seen = run_on_device(device, model, datasets[:1])
    mode = next((one for one in device.modes() if one.value == seen[-1].mode), None)
    if seen[-1].fault is not None or any(one.fault for one in seen[-1].inferences):
        return None, seen
    return mode, seen


def why_unasked(context: PlanContext, model: str) -> str:
    """Return why a probe model is not asked of the device, by what it claims; empty where it is."""
    if not context.claims_type("float32"):
        return "profile does not declare float32, which the probes use"
    unclaimed = context.why_unclaimed(OPERATORS[model])
    oldest = OLDEST.get(model, 0)
    if not unclaimed and context.probe_opset() < oldest:
        return f"the probe needs opset {oldest}, which the profile does not declare"
    return unclaimed


def with_first(first: list[SessionSeen], seen: Observation) -> Observation:
    """Put the inference by which `find_mode` found the mode before what was seen after it: it is judged too."""
    return msgspec.structs.replace(seen, sessions=[first[-1], *seen.sessions], facts={**seen.facts, FIRST: True})


def judge_first(seen: Seen, expected: list[list[Value]], names: list[str]) -> tuple[Judgement | None, Seen]:
    """Return what is wrong with the inference of `find_mode`, None where nothing is, and what was seen after it."""
    if not seen.observation.facts.get(FIRST):
        return None, seen
    sessions = seen.observation.sessions
    facts = {name: value for name, value in seen.observation.facts.items() if name != FIRST}
    rest = Seen(msgspec.structs.replace(seen.observation, sessions=sessions[1:], facts=facts), seen.values[1:])
    judged = judge_values(sessions[0], seen.values[0], expected[:1], names=names, rtol=0.0, atol=0.0)
    if judged.outcome is Outcome.PASS:
        return None, rest
    context = "; ".join(filter(None, ("the first run of all, before what the case is about", judged.context)))
    return msgspec.structs.replace(judged, context=context), rest


def with_sessions(
    device: Device,
    mode: Mode,
    makers: Sequence[Callable[[], RuntimeSession]],
    use: Callable[[list[RuntimeSession]], list[InferenceSeen]],
) -> SessionSeen:
    """Make sessions, use them, close them; what the first of them declares and the first fault are kept."""
    device.enter("compile")
    sessions: list[RuntimeSession] = []
    fault = None
    try:
        for make in makers:
            sessions.append(make())  # noqa: PERF401 - those that were made have to be closed where one is refused
    except (RuntimeFault, Unavailable) as error:
        fault = fault_of(error, "compile")
    inputs, outputs = (sessions[0].inputs, sessions[0].outputs) if sessions else ((), ())
    inferences: list[InferenceSeen] = []
    if fault is None:
        device.enter("run")
        inferences = use(sessions)
    for session in sessions:
        fault = close(session) or fault
    return SessionSeen(mode=mode.value, fault=fault, inputs=inputs, outputs=outputs, inferences=inferences)


def close(session: RuntimeSession) -> DeviceFault | None:
    """Close a session and return the fault that it ended with, if any."""
    try:
        session.close()
    except (RuntimeFault, Unavailable) as error:
        return fault_of(error, "run")
    return None


def in_turn(device: Device, datasets: list[Feeds], sessions: list[RuntimeSession]) -> list[InferenceSeen]:
    """Run the data sets in turn, session after session: A, B, A, B."""
    return [infer_once(device, sessions[at % len(sessions)], feeds) for at, feeds in enumerate(datasets)]


def again_and_again(device: Device, datasets: list[Feeds], sessions: list[RuntimeSession]) -> list[InferenceSeen]:
    """Run the first data set many times."""
    return [infer_once(device, sessions[0], datasets[0]) for _ in range(REPEATS)]


def kept(device: Device, datasets: list[Feeds], sessions: list[RuntimeSession]) -> list[InferenceSeen]:
    """Run all data sets, and look at the outputs only after the last run: they have to be the caller's own."""
    return _send(device, [_answer(device, sessions[0], feeds) for feeds in datasets])


def outliving(device: Device, datasets: list[Feeds], sessions: list[RuntimeSession]) -> list[InferenceSeen]:
    """Run once, close the session, run another, close that, and look at both outputs only then."""
    answers = []
    for feeds in datasets:
        session = sessions.pop(0)
        answers.append(_answer(device, session, feeds))
        fault = close(session)
        if fault is not None:
            return [InferenceSeen(fault=fault)]
    return _send(device, answers)


def closing_one(device: Device, datasets: list[Feeds], sessions: list[RuntimeSession]) -> list[InferenceSeen]:
    """Run both sessions, close the first, and run the second again."""
    first, second, third = datasets
    seen = [infer_once(device, sessions[0], first), infer_once(device, sessions[1], second)]
    fault = close(sessions.pop(0))
    if fault is not None:
        return [*seen, InferenceSeen(fault=fault)]
    return [*seen, infer_once(device, sessions[0], third)]


def stepping(device: Device, datasets: list[Feeds], sessions: list[RuntimeSession]) -> list[InferenceSeen]:
    """Step one sequence per session, in turn: each step gets the state `present` that its own sequence gave last, as `past`."""
    states: list[Value] = [None] * len(sessions)
    seen: list[InferenceSeen] = []
    for at, feeds in enumerate(datasets):
        own = at % len(sessions)
        given = {one.name: device.fresh(one.value) for one in feeds}
        past = given.setdefault("past", states[own])
        before = past.copy() if not isinstance(past, list) and past is not None else past
        try:
            outputs = sessions[own].infer(dict(given))
        except (RuntimeFault, Unavailable) as error:
            return [*seen, InferenceSeen(fault=fault_of(error, "run"))]
        changed = [] if equal_bits(past, before) else ["past"]
        states[own] = dict(outputs).get("present")
        sent = [NamedValue(name, device.send(value)) for name, value in outputs]
        seen.append(InferenceSeen(outputs=sent, inputs_changed=changed))
    return seen


def on_threads(device: Device, datasets: list[Feeds], sessions: list[RuntimeSession]) -> list[InferenceSeen]:
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
    return _send(device, [outputs for one in found for outputs in one])


def _answer(
    device: Device, session: RuntimeSession, feeds: Feeds
) -> list[tuple[str, Value]] | RuntimeFault | Unavailable:
    try:
        return session.infer({one.name: device.fresh(one.value) for one in feeds})
    except (RuntimeFault, Unavailable) as error:
        return error


def _send(device: Device, answers: list[list[tuple[str, Value]] | RuntimeFault | Unavailable]) -> list[InferenceSeen]:
    """Send answers as they are now; where one was refused, only that is told."""
    for answer in answers:
        if not isinstance(answer, list):
            return [InferenceSeen(fault=fault_of(answer, "run"))]
    return [
        InferenceSeen(outputs=[NamedValue(name, device.send(value)) for name, value in one])
        for one in answers
        if isinstance(one, list)
    ]
