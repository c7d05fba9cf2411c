"""The child's half of a timed case of generation: time to first token and time per output token of a decoder.

Sequences follow one another, each a prefill and then one request per token with the cache of the one before. Kept are the
logits of random steps, to be compared with those of an accuracy run of the same sequences.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.adapters.runtime.port import RuntimeFault, Unavailable
from conformance.checks.support.modelling import CACHE, run_sequences
from conformance.checks.support.running import end_session, fault_of
from conformance.checks.support.timed_plan import SLACK, plan_count
from conformance.checks.support.timed_run import AUDITS, BUSY, NULL, QUERIES, ROUNDS, joined, open_timed
from conformance.load import closed, surroundings
from conformance.load.llm import Prompt, run_generation
from conformance.load.null_device import measure_itself
from conformance.load.quiet import quiet
from conformance.observation import InferenceSeen, Observation
from conformance.reference.feeds import past_of
from conformance.timing.samples import Samples, pack
from conformance.workload import NamedValue

if TYPE_CHECKING:
    from conformance.adapters.runtime.port import RuntimeSession
    from conformance.checks.support.port import Device
    from conformance.load.llm import Generated
    from conformance.records import Case
    from conformance.tensors import Value

TOKENS = "tokens.samples"
"""Beside `queries.samples`, which here are the first tokens: the times per output token after the first."""
SEQUENCES = 16
"""In the workload: two lots of eight."""
LOGITS = "logits"
KEPT_STEPS = 24


def measure_generation(case: Case, device: Device) -> Observation:
    """Measure the scenario `generation`."""
    workload: Any = case.workload
    model = device.model(workload.model)
    prompts = _prompts(device, workload.datasets)
    first = {**prompts[0].steps[0], **prompts[0].past}
    opened, refused = open_timed(device, model, first)
    has_witness = device.adapter.has_witness
    if opened is None:
        return Observation(sessions=refused, has_witness=has_witness)
    steps = len(workload.datasets) // SEQUENCES
    sessions = run_sequences(device, model, workload.datasets[:steps], 1)  # the accuracy run, with all witnesses
    facts: dict[str, Any] = {
        "compile_ns": opened.compile_ns,
        "first_ns": opened.first_ns,
        "surroundings": surroundings.describe(),
    }
    kept: dict[str, bytes] = {}
    inferences: list[InferenceSeen] = []
    try:
        with quiet():
            inferences = _measure(case, device, opened.session, prompts, facts, kept)
    except (RuntimeFault, Unavailable) as error:
        inferences = [InferenceSeen(fault=fault_of(error, "run"))]
    timed = end_session(opened.session, opened.mode, inferences, opened.compile_ns)
    return Observation(sessions=[*sessions, timed], has_witness=has_witness, facts=facts, kept=kept)


def _prompts(device: Device, datasets: list[list[NamedValue]]) -> list[Prompt]:
    """Return the sequences of a workload."""
    steps = len(datasets) // SEQUENCES
    found = []
    for at in range(SEQUENCES):
        given = [
            {one.name: device.fresh(one.value) for one in step} for step in datasets[at * steps : (at + 1) * steps]
        ]
        past = {name: value for name, value in given[0].items() if name.startswith("past_key_values.")}
        given[0] = {name: value for name, value in given[0].items() if name not in past}
        found.append(Prompt(given, past))
    return found


def _measure(
    case: Case,
    device: Device,
    session: RuntimeSession,
    prompts: list[Prompt],
    facts: dict[str, Any],
    kept: dict[str, bytes],
) -> list[InferenceSeen]:
    params, lot = case.params, len(prompts) // 2
    extent = params["extent"]
    cache_of = {info.name: past_of(info.name) for info in session.outputs if info.name.startswith(CACHE)}
    run = partial(run_generation, session, cache_of=cache_of, tick=lambda: device.enter("run"))
    run(prompts[:lot], 1 << 16, give_up_ns=int(extent["warm_up_s"] * 1e9))
    ranged = _per_sequence_ns(run(prompts[:lot], 1 << 16, give_up_ns=int(extent["ranging_s"] * 1e9)))
    first = {**prompts[0].steps[0], **prompts[0].past}
    outputs = session.infer(dict(first))
    for name, count, busy_ns in ((NULL, 5000, 1000), (BUSY, 400, 200_000)):
        itself = measure_itself(lambda ask, n=count: closed.run_single_stream(ask, n), [first], outputs, busy_ns)  # type: ignore[misc]
        kept[name] = pack(itself.null if name == NULL else itself.busy)
        facts |= {
            "busy_ns": itself.busy_ns,
            "busy_overshoot_ns": itself.overshoot_ns,
            "busy_error_ns": itself.busy_error_ns,
        }
    count = plan_count(ranged, params["needed"], extent["measured_s"], extent["most_s"])
    random = np.random.default_rng(params["seed"])
    steps = len(prompts[0].steps)
    sequences = lot * random.integers(0, max(1, count // lot), KEPT_STEPS)  # those of the first prompt
    chosen = set(zip(sequences.tolist(), random.integers(0, steps, KEPT_STEPS).tolist(), strict=True))
    answers: dict[tuple[int, int], Value] = {}

    def keep(sequence: int, step: int, answer: list[tuple[str, Value]]) -> None:
        if (sequence, step) in chosen:
            answers[sequence, step] = next(v.copy() for n, v in answer if n == LOGITS and isinstance(v, np.ndarray))

    before = surroundings.counters()
    generated = run(prompts[:lot], count, after=keep, give_up_ns=int(SLACK * count * ranged + 2e9))
    facts |= {
        "planned": count,
        "per_query_ns": ranged,
        "changes": surroundings.changes(before, surroundings.counters()),
        "answered": [step for _, step in answers],
        "measured_s": count_s(generated),
        "tokens": generated.tokens,
    }
    kept[QUERIES], kept[TOKENS] = pack(generated.first), pack(generated.following)
    block = max(1, round(extent["audit_s"] * 1e9 / ROUNDS / ranged))
    lots = (prompts[:lot], prompts[lot:], prompts[:1])
    runs: list[list[Samples]] = [[], [], []]
    for at in range(ROUNDS):
        for which in np.roll(np.arange(3), at).tolist():
            runs[which].append(run(lots[which], block).following)
    for name, parts in zip(AUDITS, runs, strict=True):
        kept[name] = pack(joined(parts))
    facts |= {"audit_rounds": ROUNDS, "audit_block": block * (steps - 1)}
    return [InferenceSeen(outputs=[NamedValue(LOGITS, device.send(value))]) for value in answers.values()]


def _per_sequence_ns(generated: Generated) -> float:
    return count_s(generated) * 1e9 / generated.sequences


def count_s(generated: Generated) -> float:
    """Return the seconds from the start of the first sequence to the end of the last."""
    ends = [int(one.done_ns.max()) for one in (generated.first, generated.following) if one.size]
    return (max(ends) - int(generated.first.issued_ns[0])) / 1e9
