"""Weighing the witnesses of placement: did the device under test run the model, or did something else? Pure.

Witnesses agree on the set of providers and on at least one node of the device under test, never on node names, since
graphs are fused and renamed (ARCHITECTURE, "Placement"). Zero device nodes is never PASS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from conformance.checks.support.valuing import judge_faults
from conformance.records import Judgement, Measurement, Outcome, Witness

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conformance.checks.support.valuing import OutputValues
    from conformance.observation import Observation, Seen, SessionSeen
    from conformance.records import Case

    JudgeValues = Callable[[SessionSeen, list[OutputValues]], Judgement]

HOST_PROVIDER = "CPUExecutionProvider"


class Placement(NamedTuple):
    """PASS, FAIL or UNMEASURED, why, and how many nodes each source counted for the device under test."""

    outcome: Outcome
    reason: str
    measurements: tuple[Measurement, ...]


def judge_sessions(case: Case, seen: Seen, judge_values: JudgeValues) -> Judgement:
    """Rejected, wrong values, wrong place: the first that holds decides; `judge_values` judges the inferences of one session."""
    sessions = seen.observation.sessions
    values = Judgement(outcome=Outcome.ERROR, reason="no inference was made")
    ran = [at for at, session in enumerate(sessions) if session.inferences]
    for at in ran or [len(sessions) - 1]:  # two where the first had every node folded away: both must be right
        fault = judge_faults(sessions[: at + 1])
        if fault is not None:
            return fault
        values = judge_values(sessions[at], seen.values[at])
        if values.outcome is not Outcome.PASS:
            return values
    return place_judgement(case, seen.observation, values)


def place_judgement(case: Case, observation: Observation, values: Judgement) -> Judgement:
    """Return the judgement of a case whose values are right: PASS only where its last session with witnesses ran in place."""
    if not observation.has_witness:
        note = Measurement(name="placement", value="not shown", limit="shown")
        return Judgement(outcome=Outcome.PASS, context="placement not shown", measurements=(*values.measurements, note))
    last = [session for session in observation.sessions if session.inferences][-1]
    placed = judge_placement(last.witnesses, case.params["provider"], allowed_host_ops=case.params["allowed_host_ops"])
    refused = observation.sessions[-1].fault
    context = f"{observation.sessions[-1].mode} session" + (f": {refused.kind}: {refused.message}" if refused else "")
    measurements = (*values.measurements, *placed.measurements)
    return Judgement(outcome=placed.outcome, reason=placed.reason, context=context, measurements=measurements)


def judge_placement(witnesses: Sequence[Witness], provider: str, *, allowed_host_ops: Sequence[str]) -> Placement:
    """Weigh the witnesses of one session against the provider that should have run it."""
    counting = [w for w in witnesses if w.source in ("assignment", "profile")]
    measurements = tuple(_measure(witness, provider) for witness in counting)
    if not counting:
        return Placement(Outcome.UNMEASURED, "placement not shown: the runtime offers no witness", ())
    with_nodes = [w for w in counting if sum(w.nodes.values()) > 0]
    if not with_nodes:
        return Placement(
            Outcome.UNMEASURED, "no node was left to place: the runtime folded the whole graph", measurements
        )
    for witness in with_nodes:
        if witness.nodes.get(provider, 0) == 0:
            return Placement(
                Outcome.FAIL, f"not on {provider}: the {witness.source} shows {_spread(witness)}", measurements
            )
    for witness in with_nodes:
        strangers = sorted({name for name, count in witness.nodes.items() if count} - {provider, HOST_PROVIDER})
        if strangers:
            text = f"the {witness.source} shows nodes on {', '.join(strangers)}, which is not the device under test"
            return Placement(Outcome.FAIL, text, measurements)
    if provider != HOST_PROVIDER:
        excess = sorted({op for witness in with_nodes for op in witness.host_ops} - set(allowed_host_ops))
        if excess:
            allowed = ", ".join(allowed_host_ops) or "none"
            text = f"{', '.join(excess)} ran on the host; allowed_host_ops: {allowed} ({_spread(with_nodes[0])})"
            return Placement(Outcome.FAIL, text, measurements)
    refusals = [w for w in witnesses if w.source == "refusal"]
    if any(w.refused is False for w in refusals):
        return Placement(Outcome.FAIL, "the runtime fell back although it was forbidden", measurements)
    doubt = _doubt(counting, with_nodes, refusals, is_host=provider == HOST_PROVIDER)
    return Placement(Outcome.UNMEASURED if doubt else Outcome.PASS, doubt, measurements)


def _doubt(counting: list[Witness], with_nodes: list[Witness], refusals: list[Witness], *, is_host: bool) -> str:
    """Return where the witnesses do not bear each other out; empty where they do."""
    if len(with_nodes) < len(counting):
        silent = ", ".join(witness.source for witness in counting if witness not in with_nodes)
        return f"the witnesses do not agree: {silent} shows no node at all"
    nameless = [w for w in with_nodes if w.nodes.get(HOST_PROVIDER, 0) and not w.host_ops]
    if nameless and not is_host:
        return f"the {nameless[0].source} shows nodes on the host and does not name their operators"
    sets = [{name for name, count in w.nodes.items() if count} for w in with_nodes]
    if any(one != sets[0] for one in sets):
        told = "; ".join(f"{w.source}: {_spread(w)}" for w in with_nodes)
        return f"the witnesses do not agree on the providers: {told}"
    if any(w.refused is None for w in refusals):
        return "the runtime did not say whether it refuses to fall back"
    if refusals and not is_host and HOST_PROVIDER in sets[0]:
        return f"the runtime was forbidden to fall back and accepted, yet shows nodes on the host ({_spread(with_nodes[0])})"
    return ""


def _measure(witness: Witness, provider: str) -> Measurement:
    on_device = witness.nodes.get(provider, 0)
    return Measurement(
        name=f"device_nodes_{witness.source}", value=on_device, unit="nodes", limit="≥ 1", met=on_device >= 1
    )


def _spread(witness: Witness) -> str:
    parts = [f"{count} node{'s' if count != 1 else ''} on {name}" for name, count in sorted(witness.nodes.items())]
    ops = f" ({', '.join(witness.host_ops)})" if witness.host_ops else ""
    return ", ".join(parts) + ops
