"""From observation to record: tensors resolved, outcome kept, digest over what was received, words for what was tried."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
import numpy as np
import pytest

from conformance.checks.support.port import Planned
from conformance.errors import HarnessError
from conformance.execution import judging
from conformance.observation import InferenceSeen, Observation, SessionSeen
from conformance.records import Attempt, Basis, Case, DeviceFault, Judgement, Measurement, Outcome, Witness
from conformance.tensors import EmptyRef, SequenceRef, StringsRef, TensorRef, to_ref
from conformance.workload import NamedValue

CASE = Case(
    id="interface/session/output-contract",
    check="session",
    requirements=("IF-001",),
    why="",
    params={"probe": "output-contract", "outputs": ["y"]},
)
Y = np.array([1, 2], np.float32)


def observed(*refs: Any, **given: Any) -> Observation:
    outputs = [NamedValue("y", ref) for ref in refs]
    return Observation(sessions=[SessionSeen(mode="strict", inferences=[InferenceSeen(outputs=outputs)], **given)])


def stores(data: bytes, needed: int) -> dict[str, memoryview]:
    if needed > len(data):
        raise HarnessError("too short")
    return {"outbox": memoryview(data)}


NOWHERE = partial(stores, b"")


def test_expected_values_stay_here_until_they_are_needed() -> None:
    asked: list[int] = []

    def expected() -> list[list[Any]]:
        asked.append(1)
        return [[Y]]

    planned = Planned(CASE, expected)
    assert judging.judge_observation(planned, observed(to_ref(Y)), NOWHERE).outcome is Outcome.PASS
    assert judging.judge_observation(planned, observed(to_ref(Y + 1)), NOWHERE).outcome is Outcome.FAIL
    assert asked == [1, 1]


def test_without_expected_values_nothing_passes() -> None:
    assert judging.judge_observation(Planned(CASE), observed(to_ref(Y)), NOWHERE).outcome is Outcome.ERROR


def test_outputs_are_read_from_shared_memory_at_any_depth() -> None:
    inner = TensorRef("float32", (2,), None, "outbox", 8, 8)
    seen = judging.resolve(observed(SequenceRef([inner, EmptyRef()])), partial(stores, b"\0" * 8 + Y.tobytes()))
    ((((name, value),),),) = seen.values
    assert name == "y"
    assert isinstance(value, list)
    assert value[0].tolist() == [1, 2]  # type: ignore[union-attr]
    assert value[1] is None


def test_a_missing_precondition_is_an_error_with_its_remedy() -> None:
    judged = judging.judge_observation(Planned(CASE), Observation(missing="no locale: install it"), NOWHERE)

    assert (judged.outcome, judged.reason, judged.remedy) == (Outcome.ERROR, "no locale", "install it")


def test_the_digest_is_of_names_types_shapes_and_bytes() -> None:
    stored = TensorRef("float32", (2,), None, "outbox", 4, 8)
    reader = partial(stores, b"\0" * 4 + Y.tobytes())
    inline = judging.digest_outputs(observed(to_ref(Y)), NOWHERE)

    assert len(inline) == 32
    assert judging.digest_outputs(observed(stored), reader) == inline, "however it travelled"
    others = [
        to_ref(Y + 1),
        to_ref(Y.reshape(1, 2)),
        to_ref(Y.view(np.int32)),
        SequenceRef([to_ref(Y)]),
        StringsRef((1,), ["a"]),
        EmptyRef(),
    ]
    digests = {judging.digest_outputs(observed(ref), NOWHERE) for ref in others}
    assert len(digests | {inline}) == 7
    assert judging.digest_outputs(observed(), NOWHERE) == ""
    renamed = msgspec.convert(msgspec.to_builtins(observed(to_ref(Y)), builtin_types=(bytes,)) | {}, type=Observation)
    assert judging.digest_outputs(renamed, NOWHERE) == inline


@pytest.mark.parametrize(("store", "offset", "nbytes"), [("outbox", -4, 4), ("outbox", 4, -4), ("inputs", 0, 4)])
def test_a_region_outside_its_store_has_no_digest(store: str, offset: int, nbytes: int) -> None:
    outside = TensorRef("float32", (1,), None, store, offset, nbytes)

    assert judging.digest_outputs(observed(to_ref(Y), outside), partial(stores, b"\0" * 16)) == ""


def test_a_record_says_all_that_is_known() -> None:
    witness = Witness(source="assignment", nodes={"P": 1})
    attempt = Attempt(outcome=Outcome.CRASH, detail="once")
    judged = Judgement(outcome=Outcome.INCONCLUSIVE, reason="r", actual="a", expected="e", context="c", remedy="m")
    record = judging.make_record(
        CASE,
        judged,
        observation=observed(to_ref(Y), witnesses=(witness,)),
        attempts=[attempt],
        started="now",
        wall_s=1.23456789,
        worker=2,
        output_digest="d",
    )

    assert (record.case, record.check, record.requirements) == (CASE.id, "session", ("IF-001",))
    assert (record.outcome, record.reason, record.remedy) == (Outcome.INCONCLUSIVE, "r", "m")
    assert (record.witnesses, record.attempts) == ((witness,), (attempt,))
    assert (record.started, record.duration_ms, record.worker, record.output_digest) == ("now", 1234.568, 2, "d")
    assert msgspec.json.decode(msgspec.json.encode(record), type=type(record)) == record


def test_a_record_survives_the_journal_whatever_it_measured() -> None:
    endless = Measurement(name="worst_error", value=float("inf"), margin=float("inf"), met=False)
    record = judging.make_record(CASE, Judgement(outcome=Outcome.FAIL, measurements=(endless,)))

    assert msgspec.json.decode(msgspec.json.encode(record), type=type(record)) == record


@pytest.mark.parametrize(
    ("value", "margin", "kept"),
    [
        (float("inf"), float("inf"), ("inf", None)),
        (float("-inf"), 0.5, ("-inf", 0.5)),
        (float("nan"), float("nan"), ("nan", None)),
        (1.5, float("inf"), (1.5, None)),
        (np.float64("inf"), np.float64("inf"), ("inf", None)),
        (1.5, None, (1.5, None)),
        ("far", None, ("far", None)),
        (None, None, (None, None)),
        (1 << 70, 0.0, (1 << 70, 0.0)),
        (True, 1.0, (True, 1.0)),
    ],
)
def test_what_has_no_number_is_spelled_in_a_record(value: Any, margin: Any, kept: tuple[Any, Any]) -> None:
    measured = Measurement(
        name="worst_error", value=value, unit="of the limit", limit="exact", margin=margin, met=False
    )
    record = judging.make_record(CASE, Judgement(outcome=Outcome.FAIL, measurements=(measured,)))
    (told,) = record.measurements

    assert (told.value, told.margin) == kept
    assert (told.name, told.unit, told.limit, told.met) == ("worst_error", "of the limit", "exact", False)
    assert b"null" not in msgspec.json.encode(told.value) or value is None, "a reading is never lost"


def test_an_unclaimed_record_tells_and_does_not_judge() -> None:
    case = msgspec.structs.replace(CASE, unsupported="nobody claims it", basis=Basis.UNCLAIMED)
    record = judging.make_record(case, Judgement(outcome=Outcome.FAIL, reason="rejected"))
    told = judging.make_unsupported(record, case, "rejects")

    assert (told.outcome, told.reason, told.context, told.observed) == (
        Outcome.UNSUPPORTED,
        "nobody claims it",
        "rejected",
        "rejects",
    )


FAULT = DeviceFault(phase="run", kind="K", message="m")
RIGHT = (Measurement(name="worst_error", value=0.0, met=True),)


@pytest.mark.parametrize(
    ("outcome", "observation", "measurements", "word"),
    [
        (Outcome.PASS, observed(), (), "works"),
        (Outcome.ERROR, observed(), (), "not tried"),
        (Outcome.FAIL, Observation(), (), "rejects"),
        (Outcome.FAIL, observed(fault=FAULT), (), "rejects"),
        (Outcome.FAIL, observed(), (), "differs"),
        (Outcome.FAIL, observed(), RIGHT, "elsewhere"),
        (Outcome.UNMEASURED, observed(), RIGHT, "elsewhere"),
    ],
)
def test_the_word_for_what_was_tried(outcome: Outcome, observation: Observation, measurements: Any, word: str) -> None:
    judged = Judgement(outcome=outcome, measurements=measurements)

    assert judging.observed_word(judged, observation) == word
