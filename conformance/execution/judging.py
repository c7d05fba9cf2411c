"""From an observation to a record: resolve the tensors, judge, write down. No device, no process."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from conformance.checks import check_module
from conformance.errors import HarnessError
from conformance.observation import Observation, Seen
from conformance.records import Basis, Judgement, Outcome, Record
from conformance.tensors import SequenceRef, TensorRef, from_ref

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.checks.support.port import Planned
    from conformance.records import Attempt, Case
    from conformance.tensors import ValueRef

    Stores = Callable[[int], dict[str, memoryview]]


def judge_observation(planned: Planned, observation: Observation, stores: Stores) -> Judgement:
    """Return the check's judgement; ERROR where a host precondition was missing or the judging itself failed."""
    if observation.missing:
        reason, _, remedy = observation.missing.partition(": ")
        return Judgement(outcome=Outcome.ERROR, reason=reason, remedy=remedy)
    try:
        seen = resolve(observation, stores)
    except HarnessError as error:
        return Judgement(outcome=Outcome.FAIL, reason=f"the device's process sent an impossible tensor: {error}")
    expected = planned.expected() if planned.expected is not None else []
    return check_module(planned.case.check).judge(planned.case, seen, expected)


def resolve(observation: Observation, stores: Stores) -> Seen:
    """Return the observation with its tensors; HarnessError where bytes, shape and type do not fit."""
    values = []
    for session in observation.sessions:
        runs = []
        for inference in session.inferences:
            found = [(o.name, from_ref(o.value, stores(_end(o.value)))) for o in inference.outputs]
            runs.append(found)
        values.append(runs)
    return Seen(observation, values)


def _end(ref: ValueRef) -> int:
    if isinstance(ref, SequenceRef):
        return max((_end(item) for item in ref.items), default=0)
    return ref.offset + ref.nbytes if isinstance(ref, TensorRef) and ref.data is None else 0


def digest_outputs(observation: Observation, stores: Stores) -> str:
    """Return BLAKE2b over all outputs as received (names, types, shapes, bytes); empty where there were none."""
    digest = hashlib.blake2b(digest_size=16)
    any_output = False
    for session in observation.sessions:
        for inference in session.inferences:
            for output in inference.outputs:
                any_output = True
                digest.update(output.name.encode("utf-8", "surrogatepass"))
                _feed(digest, output.value, stores)
    return digest.hexdigest() if any_output else ""


def _feed(digest: hashlib.blake2b, ref: ValueRef, stores: Stores) -> None:
    if isinstance(ref, TensorRef):
        digest.update(f"{ref.dtype}{ref.shape}".encode())
        data = ref.data if ref.data is not None else stores(_end(ref))[ref.store][ref.offset : ref.offset + ref.nbytes]
        digest.update(data)
    elif isinstance(ref, SequenceRef):
        digest.update(f"sequence{len(ref.items)}".encode())
        for item in ref.items:
            _feed(digest, item, stores)
    else:
        digest.update(msgspec.msgpack.encode(ref))


def make_record(
    case: Case,
    judgement: Judgement,
    *,
    observation: Observation | None = None,
    attempts: list[Attempt] | None = None,
    started: str = "",
    wall_s: float = 0.0,
    worker: int | None = None,
    output_digest: str = "",
) -> Record:
    """Return the record of a claimed case."""
    witnesses = observation.sessions[-1].witnesses if observation is not None and observation.sessions else ()
    return Record(
        case=case.id,
        check=case.check,
        requirements=case.requirements,
        outcome=judgement.outcome,
        basis=case.basis,
        reason=judgement.reason,
        actual=judgement.actual,
        expected=judgement.expected,
        context=judgement.context,
        remedy=judgement.remedy,
        measurements=judgement.measurements,
        witnesses=witnesses,
        attempts=tuple(attempts or ()),
        started=started,
        duration_ms=round(wall_s * 1000, 3),
        worker=worker,
        output_digest=output_digest,
    )


def make_unsupported(record: Record, case: Case, observed: str) -> Record:
    """Return the record of a case that nobody claimed: what the device did with it is told, not judged."""
    return msgspec.structs.replace(
        record,
        outcome=Outcome.UNSUPPORTED,
        basis=Basis.UNCLAIMED,
        reason=case.unsupported,
        context=record.reason,
        observed=observed,
    )


def observed_word(judgement: Judgement, observation: Observation) -> str:
    """Return what the device did with an unclaimed case: `works`, `rejects`, `differs`, `elsewhere` or `not tried`.

    `elsewhere` means that the values are right and something other than the device under test computed them.
    """
    if judgement.outcome is Outcome.ERROR:
        return "not tried"
    if judgement.outcome is Outcome.PASS:
        return "works"
    session = observation.sessions[-1] if observation.sessions else None
    if session is None or session.fault is not None or any(i.fault is not None for i in session.inferences):
        return "rejects"
    has_right_values = any(one.name == "worst_error" and one.met for one in judgement.measurements)
    return "elsewhere" if has_right_values else "differs"
