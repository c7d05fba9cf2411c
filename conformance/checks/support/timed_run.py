"""The child's half of a timed case: compile, accuracy run, warm-up, the harness's own floor, ranging, measured run, audits.

Timed is a session that profiles nothing. What it answered while it was timed is kept for a random sample of the queries, and
beside it the answers of an accuracy run of a session of its own. A query's clock stops when `RuntimeSession.infer` has returned
outputs that lie in the host's memory.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from conformance.adapters.runtime.port import RuntimeFault, Unavailable
from conformance.checks.support.running import end_session, fault_of, run_on_device
from conformance.checks.support.timed_plan import SLACK, plan_count
from conformance.load import closed, paced, server, surroundings
from conformance.load.null_device import asking, measure_itself
from conformance.load.quiet import quiet
from conformance.observation import InferenceSeen, Observation, SessionSeen
from conformance.tensors import equal_bits
from conformance.timing.samples import Samples, pack
from conformance.workload import NamedValue

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.adapters.runtime.port import Mode, RuntimeSession
    from conformance.checks.support.port import Device
    from conformance.load.null_device import SelfMeasured
    from conformance.load.quiet import After, Ask
    from conformance.records import Case
    from conformance.tensors import Value
    from conformance.workload import Workload

    Outputs = list[tuple[str, Value]]
    Feeds = list[dict[str, Value]]

QUERIES, NULL, BUSY = "queries.samples", "null.samples", "busy.samples"
AUDITS = ("audit-known.samples", "audit-other.samples", "audit-repeated.samples")
"""Blocks in turn: the inputs of the measured run, those of another seed, and one input again and again."""
ROUNDS = 16
"""Blocks of each of the three."""
KEPT = 24
"""Queries of the measured run whose outputs are kept."""
FLOOR_S = 0.3
FLOOR_QUERIES = (200, 5000)


class Opened(NamedTuple):
    """The timed session and how it came to be."""

    session: RuntimeSession
    mode: Mode
    compile_ns: int
    first_ns: int


class Kept:
    """Takes a copy of the outputs of some queries, chosen beforehand: a device may use its buffers again."""

    def __init__(self, chosen: set[int]) -> None:
        self._chosen = chosen
        self.outputs: dict[int, Outputs] = {}

    def __call__(self, at: int, outputs: Any) -> None:
        """Keep the outputs of query `at` where it was chosen."""
        if at in self._chosen:
            self.outputs[at] = [(n, v.copy() if isinstance(v, np.ndarray) else v) for n, v in outputs]


def open_timed(device: Device, model: bytes, feeds: dict[str, Value]) -> tuple[Opened | None, list[SessionSeen]]:
    """Compile for timing in the first mode that works and make the first inference: the cold start of this process."""
    refused: list[SessionSeen] = []
    for mode in device.modes():
        device.enter("compile")
        begin = time.monotonic_ns()
        try:
            session = device.adapter.compile(model, mode, timed=True)
        except (RuntimeFault, Unavailable) as error:
            refused.append(SessionSeen(mode=mode.value, fault=fault_of(error, "compile")))
            continue
        compiled = time.monotonic_ns()
        device.enter("run")
        try:
            session.infer(dict(feeds))
        except (RuntimeFault, Unavailable) as error:
            failed = InferenceSeen(fault=fault_of(error, "run"))
            return None, [*refused, end_session(session, mode, [failed], compiled - begin)]
        return Opened(session, mode, compiled - begin, time.monotonic_ns() - compiled), refused
    return None, refused


def measure_queries(case: Case, device: Device) -> Observation:
    """Measure a scenario of single queries."""
    workload = case.workload
    assert workload is not None  # noqa: S101 - the plan gives every timed case one
    model = device.model(workload.model)
    feeds = [{one.name: device.fresh(one.value) for one in dataset} for dataset in workload.datasets]
    opened, refused = open_timed(device, model, feeds[0])
    if opened is None:
        return Observation(sessions=refused, has_witness=device.adapter.has_witness)
    sessions = run_on_device(device, model, workload.datasets)  # the accuracy run, with all witnesses
    lot = len(feeds) // 2
    facts: dict[str, Any] = {
        "compile_ns": opened.compile_ns,
        "first_ns": opened.first_ns,
        "surroundings": surroundings.describe(),
    }
    kept: dict[str, bytes] = {}
    try:
        with quiet():
            _measure(case, device, opened, feeds, facts, kept)
    except (RuntimeFault, Unavailable) as error:
        failed = InferenceSeen(fault=fault_of(error, "run"))
        timed = end_session(opened.session, opened.mode, [failed], opened.compile_ns)
        return Observation(sessions=[*sessions, timed], has_witness=device.adapter.has_witness, facts=facts, kept=kept)
    outputs: dict[int, Outputs] = facts.pop("outputs")
    facts["answered"] = [_input_of(at, facts["order"], lot) for at in outputs]
    del facts["order"]
    inferences = [InferenceSeen(outputs=[NamedValue(n, device.send(v)) for n, v in one]) for one in outputs.values()]
    changed = changed_inputs(device, workload, feeds)
    if inferences and changed:
        inferences[0] = InferenceSeen(outputs=inferences[0].outputs, inputs_changed=changed)
    timed = end_session(opened.session, opened.mode, inferences, opened.compile_ns)
    return Observation(sessions=[*sessions, timed], has_witness=device.adapter.has_witness, facts=facts, kept=kept)


def _measure(
    case: Case, device: Device, opened: Opened, feeds: Feeds, facts: dict[str, Any], kept: dict[str, bytes]
) -> None:
    """Do everything that is timed; add to `facts` and `kept` as it goes."""
    params, session, lot = case.params, opened.session, len(feeds) // 2
    tick = _ticking(device)
    random = np.random.default_rng(params["seed"])
    order = random.integers(0, lot, 4096).tolist()
    known = asking(session, feeds[:lot], order)
    outputs = session.infer(dict(feeds[0]))
    extent = params["extent"]
    closed.run_single_stream(known, 1 << 20, tick=tick, give_up_ns=int(extent["warm_up_s"] * 1e9))
    ranged = _range(params, known, tick)
    itself = _measure_itself(params, feeds[:lot], outputs, ranged, tick)
    kept[NULL], kept[BUSY] = pack(itself.null), pack(itself.busy)
    facts |= {
        "busy_ns": itself.busy_ns,
        "busy_overshoot_ns": itself.overshoot_ns,
        "busy_error_ns": itself.busy_error_ns,
    }
    count = plan_count(ranged, params["needed"], extent["measured_s"], extent["most_s"])
    chosen = _chosen(random, count * params["asks_per_query"], order, lot)
    keep = Kept(chosen)
    before = surroundings.counters()
    samples = generate(params, known, count, ranged, after=keep, tick=tick)
    facts |= {
        "planned": count,
        "per_query_ns": ranged,
        "changes": surroundings.changes(before, surroundings.counters()),
        "outputs": keep.outputs,
        "order": order,
        "measured_s": _span_s(samples),
    }
    kept[QUERIES] = pack(samples)
    _audit(params, session, feeds, facts, kept, tick)


def generate(
    params: dict[str, Any],
    ask: Ask,
    count: int,
    per_query_ns: float,
    *,
    after: After | None = None,
    tick: Callable[[], None] | None = None,
) -> Samples:
    """Run the generator of a scenario for `count` queries."""
    scenario, streams = params["scenario"], params["streams"]
    give_up_ns = int(SLACK * count * per_query_ns + 2e9)
    if scenario == "paced":
        return paced.run_paced(ask, count, params["period_ms"] * 1e6, after=after, tick=tick, give_up_ns=give_up_ns)
    if scenario == "server":
        rate, seed = params["rate_per_s"], params["seed"]
        return server.run_server(ask, count, rate, seed, streams, after=after, tick=tick, give_up_ns=give_up_ns)
    if scenario == "multi-stream":
        return closed.run_multi_stream(ask, count, streams, after=after, tick=tick, give_up_ns=give_up_ns)
    if scenario == "offline":
        return closed.run_offline(ask, count, streams, after=after, tick=tick, give_up_ns=give_up_ns)
    return closed.run_single_stream(ask, count, after=after, tick=tick, give_up_ns=give_up_ns)


def _range(params: dict[str, Any], ask: Ask, tick: Callable[[], None]) -> float:
    """Return how long one query takes by the clock on the wall, in nanoseconds: measured, or given by the schedule."""
    if params["scenario"] == "paced":
        return float(params["period_ms"] * 1e6)
    if params["scenario"] == "server":
        return 1e9 / float(params["rate_per_s"])
    limit_ns = int(params["extent"]["ranging_s"] * 1e9)
    first = generate(params, ask, 5, 1e6, tick=tick)
    count = max(5, round(limit_ns / max(1.0, _per_query_ns(first))))
    return _per_query_ns(generate(params, ask, min(count, 200_000), 1e6 + limit_ns / count, tick=tick))


def _per_query_ns(samples: Samples) -> float:
    return max(1.0, (int(samples.done_ns.max()) - int(samples.issued_ns[0])) / samples.size)


def _measure_itself(
    params: dict[str, Any], feeds: Feeds, outputs: Outputs, per_query_ns: float, tick: Callable[[], None]
) -> SelfMeasured:
    """Measure the floor with the same generator, at the pace of the schedule where there is one."""
    is_scheduled = params["scenario"] in ("paced", "server")
    fewest, most = FLOOR_QUERIES
    count = int(np.clip(FLOOR_S * 1e9 / per_query_ns, 20, most)) if is_scheduled else most
    busy_ns = 200_000

    def run(ask: Ask) -> Samples:
        return generate(params, ask, count, per_query_ns if is_scheduled else 1e6, tick=tick)

    if not is_scheduled:
        count = most
        itself = measure_itself(run, feeds, outputs, 1_000, has_streams=params["streams"] > 1)
        count = fewest * 2
        busy = measure_itself(run, feeds, outputs, busy_ns, has_streams=params["streams"] > 1)
        return busy._replace(null=itself.null)
    return measure_itself(run, feeds, outputs, busy_ns, has_streams=params["streams"] > 1)


def _chosen(random: np.random.Generator, count: int, order: list[int], lot: int) -> set[int]:
    """Return the numbers of `KEPT` queries at random, and of one query of each input beside them."""
    found = set(random.integers(0, count, KEPT).tolist())
    length = len(order)
    for wanted in range(lot):
        start = int(random.integers(0, count))
        beside = next((at for at in (*range(start, count), *range(start)) if order[at % length] == wanted), None)
        found |= set() if beside is None else {beside}
    return found


def _input_of(at: int, order: list[int], lot: int) -> int:
    return int(order[at % len(order)]) % lot


def _audit(
    params: dict[str, Any],
    session: RuntimeSession,
    feeds: Feeds,
    facts: dict[str, Any],
    kept: dict[str, bytes],
    tick: Callable[[], None],
) -> None:
    """Time, block by block in turn: inputs that the device knows by now, inputs of another seed, one input again and again."""
    lot = len(feeds) // 2
    random = np.random.default_rng(params["seed"] + 1)
    asks = (
        asking(session, feeds[:lot], random.integers(0, lot, 512).tolist()),
        asking(session, feeds[lot:], random.integers(0, lot, 512).tolist()),
        asking(session, feeds[:1]),
    )
    trial = closed.run_single_stream(asks[0], 5, tick=tick)
    block = int(np.clip(params["extent"]["audit_s"] * 1e9 / ROUNDS / _per_query_ns(trial), 5, 20_000))
    runs: list[list[Samples]] = [[], [], []]
    for at in range(ROUNDS):
        for which in np.roll(np.arange(3), at).tolist():  # whoever comes first is another one each time
            runs[which].append(closed.run_single_stream(asks[which], block, tick=tick))
    for name, parts in zip(AUDITS, runs, strict=True):
        kept[name] = pack(joined(parts))
    facts |= {"audit_rounds": ROUNDS, "audit_block": block}


def joined(parts: list[Samples]) -> Samples:
    """Return runs that followed one another as one."""
    due, issued, done = (np.concatenate([one[which] for one in parts]) for which in range(3))
    return Samples(due, issued, done, parts[0].is_scheduled)


def _span_s(samples: Samples) -> float:
    return (int(samples.done_ns.max()) - int(samples.due_ns[0])) / 1e9


def changed_inputs(device: Device, workload: Workload, feeds: Feeds) -> list[str]:
    """Return the names of the inputs that the device wrote on, each once."""
    pairs = zip(workload.datasets, feeds, strict=True)
    named = ((one, given[one.name]) for dataset, given in pairs for one in dataset)
    return sorted({one.name for one, value in named if not equal_bits(value, device.pristine(one.value))})


def _ticking(device: Device) -> Callable[[], None]:
    return lambda: device.enter("run")
