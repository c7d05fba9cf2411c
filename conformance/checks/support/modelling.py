"""Running and judging reference models: a decoder's sequences in the child, agreement and accuracy in the parent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.adapters.runtime.port import RuntimeFault, Unavailable
from conformance.checks.support.noise import find_shape_fault, find_type_fault
from conformance.checks.support.running import end_session, fault_of
from conformance.checks.support.valuing import judge_names
from conformance.numerics.intervals import CONFIDENCE, lower_bound, upper_bound
from conformance.numerics.spread import FARTHEST, judge_spread
from conformance.observation import InferenceSeen, SessionSeen
from conformance.records import Judgement, Measurement, Outcome
from conformance.reference.feeds import past_of
from conformance.reference.tasks import find_task
from conformance.tensors import Array, element_of, equal_bits
from conformance.workload import NamedValue

if TYPE_CHECKING:
    from conformance.adapters.runtime.port import Mode, RuntimeSession
    from conformance.checks.support.port import Device
    from conformance.numerics.judged import Judged, Statistic
    from conformance.numerics.spread import Spread
    from conformance.records import Case
    from conformance.tensors import Value

Outputs = list[tuple[str, "Value"]]
CACHE = "present."
TOKENS_OF = "logits"
"""The output whose greatest element, position by position, is the next token or class."""


def run_sequences(device: Device, model: bytes, datasets: list[list[NamedValue]], count: int) -> list[SessionSeen]:
    """Run `count` sequences of requests turn by turn, each in a session of its own whose caches go from step to step.

    In the end each session is asked the second step again, of the sequence beside its own where there is one, with the
    cache of that time: a device that keeps a state of its own and ignores the cache that it is given answers something else.
    Sessions are opened in the first mode that compiles; refusals of earlier modes are kept.
    """
    seen: list[SessionSeen] = []
    for mode in device.modes():
        device.enter("compile")
        sessions: list[RuntimeSession] = []
        try:
            sessions += [device.adapter.compile(model, mode) for _ in range(count)]
        except (RuntimeFault, Unavailable) as error:
            seen.append(SessionSeen(mode=mode.value, fault=fault_of(error, "compile")))
            continue
        device.enter("run")
        return [*seen, *_take_turns(device, sessions, mode, datasets)]
    return seen


def _take_turns(
    device: Device, sessions: list[RuntimeSession], mode: Mode, datasets: list[list[NamedValue]]
) -> list[SessionSeen]:
    steps = len(datasets) // len(sessions)
    past: list[dict[str, Array]] = [{} for _ in sessions]
    early: list[dict[str, Array]] = [{} for _ in sessions]
    inferences: list[list[InferenceSeen]] = [[] for _ in sessions]
    for at in range(steps):
        for which, session in enumerate(sessions):
            if inferences[which] and inferences[which][-1].fault is not None:
                continue
            inferences[which].append(_step(device, session, datasets[which * steps + at], past[which]))
            if at == 0:
                early[which] = dict(past[which])
    for which, session in enumerate(sessions if steps > 1 else ()):
        if inferences[which][-1].fault is None:
            source = (which + 1) % len(sessions)
            inferences[which].append(_step(device, session, datasets[source * steps + 1], early[source]))
    return [end_session(session, mode, done) for session, done in zip(sessions, inferences, strict=True)]


def _step(device: Device, session: RuntimeSession, feeds: list[NamedValue], past: dict[str, Array]) -> InferenceSeen:
    """Run one request; `past` holds the caches of the step before and gets those of this one."""
    device.enter("run")  # each request has the whole deadline
    values = {one.name: device.fresh(one.value) for one in feeds} | {name: one.copy() for name, one in past.items()}
    given = dict(values)
    try:
        results = session.infer(given)
    except (RuntimeFault, Unavailable) as error:
        return InferenceSeen(fault=fault_of(error, "run"))
    changed = [one.name for one in feeds if not equal_bits(values[one.name], device.pristine(one.value))]
    changed += [name for name, value in past.items() if not equal_bits(values[name], value)]
    for name, value in results:
        if name.startswith(CACHE) and isinstance(value, np.ndarray):
            past[past_of(name)] = value.copy()  # the device may use its own buffer again
    return InferenceSeen(
        outputs=[NamedValue(name, device.send(value)) for name, value in results], inputs_changed=changed
    )


def judge_agreement(case: Case, values: list[Outputs], expected: list[list[Any]]) -> Judgement:
    """Judge every output of every request by its spread; PASS with the worst of each statistic, or FAIL at the first request."""
    names: list[str] = case.params["outputs"]
    if len(values) != len(expected):
        return Judgement(
            outcome=Outcome.ERROR, reason=f"{len(values)} inferences were made, {len(expected)} are expected"
        )
    kinds = {name: element_of(kind) for name, kind in case.params["types"].items()}
    worst: dict[str, Statistic] = {}
    where = ""
    tokens = [0, 0]
    for at, (got, wanted) in enumerate(zip(values, expected, strict=True)):
        strange = judge_names(got, names)
        if strange is not None:
            return strange
        spreads = dict(zip(names, wanted, strict=True))
        judged: list[tuple[float, str, Judged]] = []
        for name, actual in got:
            fault = find_shape_fault(actual, spreads[name].reference, kinds[name])
            if fault:
                return _fail(f"{name} of inference {at}: {fault}")
            assert isinstance(actual, np.ndarray)  # noqa: S101 - the fault would say so
            one = judge_spread(spreads[name], actual, name)
            judged.append((max((s.share for s in one.statistics), default=np.inf), name, one))
            if name == TOKENS_OF and one.ok:
                tokens = [sum(pair) for pair in zip(tokens, greedy_tokens(spreads[name], actual), strict=True)]
        share, name, farthest = max(judged, key=lambda each: (not each[2].ok, each[0]))
        if share >= max((one.share for one in worst.values()), default=0.0):
            where = f"{name}, inference {at}"
        for statistic in (one for _, _, each in judged for one in each.statistics):
            if statistic.name not in worst or statistic.share > worst[statistic.name].share:
                worst[statistic.name] = statistic
        if not farthest.ok:
            reason = f"{farthest.reason}, inference {at}" if len(expected) > 1 else farthest.reason
            told = _measured(worst, met=False)
            return Judgement(outcome=Outcome.FAIL, reason=reason, context=farthest.looks_like, measurements=told)
    told = _measured(worst, met=True)
    if tokens[1]:
        told += (Measurement(name="greedy_tokens", value=tokens[0], unit=f"of {tokens[1]} decided by their margin"),)
    return Judgement(outcome=Outcome.PASS, context=f"worst: {where}" if where else "", measurements=told)


def _measured(worst: dict[str, Statistic], *, met: bool) -> tuple[Measurement, ...]:
    """Return how much of its limit the worst statistic uses, and each statistic at its worst."""
    share = max((one.share for one in worst.values()), default=0.0)
    first = Measurement(name="worst_statistic", value=round(share, 3), limit="≤ 1", margin=share, met=met)
    rest = (
        Measurement(name=one.name, value=float(f"{one.value:.4g}"), limit=f"≤ {one.limit:.3g}", margin=one.share)
        for one in worst.values()
    )
    return (first, *rest)


def greedy_tokens(spread: Spread, actual: Array) -> list[int]:
    """Return at how many positions the device's greatest logit is the reference's, and how many have a margin that decides.

    A margin decides where the two greatest logits a and b of the reference lie more than 8·(s_a + s_b) apart.
    """
    logits = spread.reference.reshape(-1, spread.reference.shape[-1])
    scale = spread.scale.astype(np.float64).reshape(logits.shape)
    first, second = np.argsort(logits, axis=1)[:, :-3:-1].T
    rows = np.arange(len(logits))
    margin = logits[rows, first] - logits[rows, second]
    decides = margin > FARTHEST * (scale[rows, first] + scale[rows, second])
    chosen = actual.astype(np.float64).reshape(logits.shape).argmax(axis=1)
    return [int(np.count_nonzero(decides & (chosen == first))), int(np.count_nonzero(decides))]


def judge_accuracy(case: Case, values: list[Outputs], expected: list[list[Value]]) -> Judgement:
    """Weigh the samples that the reference gets right and the device wrong against the margin, at 99 % confidence."""
    names: list[str] = case.params["outputs"]
    labels, reference = (np.asarray(one) for one in expected[0])
    task = find_task(case.params["task"])
    kinds = {name: element_of(kind) for name, kind in case.params["types"].items()}
    right: list[Array] = []
    done = 0
    for at, got in enumerate(values):
        strange = judge_names(got, names)
        if strange is not None:
            return strange
        outputs = {}
        for name, value in got:
            wrong = find_type_fault(value, kinds[name])
            if wrong or not isinstance(value, np.ndarray):
                return _fail(f"{name} of inference {at}: {wrong}")
            outputs[name] = value.astype(np.float64)
        batch = int(case.params["batch"])
        if len(outputs) != len(names) or any(one.ndim == 0 or one.shape[0] != batch for one in outputs.values()):
            return _fail(f"inference {at}: the outputs are no batch of {batch}")
        right.append(np.asarray(task.is_right(outputs, labels[done : done + batch]), dtype=bool))
        done += batch
    if done != len(labels):
        return Judgement(outcome=Outcome.ERROR, reason=f"{done} samples were run, {len(labels)} are expected")
    return _weigh(np.concatenate(right), reference, float(case.params["margin"]))


def _weigh(right: Array, reference: Array, margin: float) -> Judgement:
    lost, total = int(np.count_nonzero(reference & ~right)), len(reference)
    upper, lower = upper_bound(lost, total), lower_bound(lost, total)
    met = True if upper <= margin else False if lower > margin else None
    told = (
        Measurement(
            name="lost_share_upper_99", value=round(upper, 5), limit=f"≤ {margin:g}", margin=upper / margin, met=met
        ),
        Measurement(name="samples_lost", value=lost, unit=f"of {total}"),
        Measurement(name="accuracy", value=round(float(right.mean()), 4)),
        Measurement(name="accuracy_of_reference", value=round(float(reference.mean()), 4)),
    )
    if met:
        return Judgement(outcome=Outcome.PASS, measurements=told)
    told_so = f"{lost} of {total} samples that the reference gets right are wrong on the device"
    if met is None:
        reason = f"{told_so}: {CONFIDENCE:.0%} bounds {lower:.2%} to {upper:.2%} hold the margin of {margin:.1%} between them"
        return Judgement(
            outcome=Outcome.INCONCLUSIVE, reason=reason, remedy="more samples decide it", measurements=told
        )
    reason = f"{told_so}: at least {lower:.2%}, the margin is {margin:.1%}"
    return Judgement(outcome=Outcome.FAIL, reason=reason, measurements=told)


def _fail(reason: str) -> Judgement:
    return Judgement(outcome=Outcome.FAIL, reason=reason)
