"""From an observation to a record: resolve the tensors, judge, write down. No device, no process."""

from __future__ import annotations

import hashlib
import math
import traceback
from typing import TYPE_CHECKING

import msgspec

from conformance.checks import check_module
from conformance.errors import HarnessError
from conformance.observation import Observation, Seen
from conformance.records import UNAVAILABLE, Basis, Judgement, Outcome, Record
from conformance.tensors import SequenceRef, TensorRef, from_ref

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.checks.support.port import Planned
    from conformance.observation import SessionSeen
    from conformance.records import Attempt, Case, DeviceFault, Measurement
    from conformance.tensors import ValueRef

    Stores = Callable[[int], dict[str, memoryview]]


ABOUT_VALUES = frozenset({"worst_error", "worst_statistic", "lost_share_upper_99", "worst_answer_error"})
"""Measurements by which a check says that the values are right, wherever they were computed."""


def judge_observation(planned: Planned, observation: Observation, stores: Stores) -> Judgement:
    """Return the check's judgement; ERROR where a host precondition was missing or the judging itself failed.

    Whatever a device makes its process say, it ends no run: what the check cannot read is an error of its case.
    """
    if observation.missing:
        reason, _, remedy = observation.missing.partition(": ")
        return Judgement(outcome=Outcome.ERROR, reason=reason, remedy=remedy)
    try:
        seen = resolve(observation, stores)
    except HarnessError as error:
        return Judgement(outcome=Outcome.FAIL, reason=f"the device's process sent an impossible tensor: {error}")
    try:
        expected = planned.expected() if planned.expected is not None else []
        return check_module(planned.case.check).judge(planned.case, seen, expected)
    except Exception as error:  # noqa: BLE001 - told as what it is: the harness could not judge
        text = f"the harness could not judge what it was sent: {type(error).__name__}: {error}"
        return Judgement(outcome=Outcome.ERROR, reason=text, context=traceback.format_exc(limit=-6))


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
    """Return BLAKE2b over all outputs as received (names, types, shapes, bytes) and the raw measurements that are kept.

    Empty where there were none to read.
    """
    digest = hashlib.blake2b(digest_size=16)
    outputs = [output for session in observation.sessions for one in session.inferences for output in one.outputs]
    try:
        for output in outputs:
            digest.update(output.name.encode())
            _feed(digest, output.value, stores)
    except HarnessError:  # a region outside its store, which the judging has refused already
        return ""
    for name, data in sorted(observation.kept.items()):
        digest.update(name.encode() + b"\0" + data)
    return digest.hexdigest() if outputs or observation.kept else ""


def _feed(digest: hashlib.blake2b, ref: ValueRef, stores: Stores) -> None:
    if isinstance(ref, TensorRef):
        digest.update(f"{ref.dtype}{ref.shape}".encode())
        data = ref.data if ref.data is not None else _region(ref, stores)
        digest.update(data)
    elif isinstance(ref, SequenceRef):
        digest.update(f"sequence{len(ref.items)}".encode())
        for item in ref.items:
            _feed(digest, item, stores)
    else:
        digest.update(msgspec.msgpack.encode(ref))


def _region(ref: TensorRef, stores: Stores) -> memoryview:
    store = stores(_end(ref)).get(ref.store)
    if store is None or ref.offset < 0 or ref.nbytes < 0:
        raise HarnessError(f"tensor region {ref.store}:{ref.offset}+{ref.nbytes} lies outside its store")
    return store[ref.offset : ref.offset + ref.nbytes]


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
        measurements=tuple(map(_finite, judgement.measurements)),
        witnesses=witnesses,
        attempts=tuple(attempts or ()),
        started=started,
        duration_ms=round(wall_s * 1000, 3),
        worker=worker,
        output_digest=output_digest,
    )


def _finite(measurement: Measurement) -> Measurement:
    """Return a measurement that JSON can carry: an infinite value is spelled, an infinite margin has no number."""
    value, margin = measurement.value, measurement.margin
    if isinstance(value, float) and not math.isfinite(value):
        measurement = msgspec.structs.replace(measurement, value=str(value))
    if margin is not None and not math.isfinite(margin):
        measurement = msgspec.structs.replace(measurement, margin=None)
    return measurement


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


def _faults(session: SessionSeen) -> list[DeviceFault]:
    each = [session.fault, *(one.fault for one in session.inferences)]
    return [fault for fault in each if fault is not None]


def observed_word(judgement: Judgement, observation: Observation) -> str:
    """Return what the device did with an unclaimed case: `works`, `rejects`, `differs`, `elsewhere` or `not tried`.

    `elsewhere` means that the values are right and something other than the device under test computed them.
    """
    if judgement.outcome is Outcome.ERROR:
        return "not tried"
    if judgement.outcome is Outcome.PASS:
        return "works"
    session = observation.sessions[-1] if observation.sessions else None
    if session is not None and any(fault.kind == UNAVAILABLE for fault in _faults(session)):
        return "not tried"
    if session is None or _faults(session):
        return "rejects"
    has_right_values = any(one.name in ABOUT_VALUES and one.met for one in judgement.measurements)
    return "elsewhere" if has_right_values else "differs"
