"""The check of latency: what is planned, what an honest device shows, and the devices that do wrong with time, each caught by its name.

Devices run in this process, for a short while. What they add to an inference is large beside it and beside what a busy host
does, and limits lie far from both, so that no absolute time decides a test.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from conformance.adapters.runtime.support import misdeeds_of_time
from conformance.checks import latency
from conformance.checks.support import timed_plan, timed_run
from conformance.checks.support.port import Planned, Requested
from conformance.checks.support.timed_judging import by_round
from conformance.levels import CERTIFY, FULL, SMOKE
from conformance.observation import Observation, Seen
from conformance.plan import Context
from conformance.prepare import prepare, target_of
from conformance.records import Basis, Case, Judgement, Outcome
from conformance.tensors import from_ref
from conformance.timing.comparison import Comparison
from conformance.timing.samples import Samples, pack, unpack

GENEROUS = {"p50_ms": 2000, "p90_ms": 4000}
MS = 1_000_000


def context(*items: dict[str, Any], level: str = SMOKE, determinism: str | None = None) -> Context:
    loaded, _ = prepare("reference-cpu")
    made = Context(loaded, target_of(loaded), lambda: None, "", level)
    usual = {"model": "cnn-shapes", "variant": "float32", "scenario": "single-stream", "batch": 1, "warm_up_s": 0.01}
    made.latency = tuple(usual | one for one in items)
    if determinism is not None:
        made.determinism = determinism
    return made


def plan(*items: dict[str, Any], params: dict[str, Any] | None = None, **given: Any) -> list[Planned]:
    asked = Requested("LAT-001", "MUST", {"set": "all", "aspect": "declared"} | (params or {}), "asked")
    return list(latency.plan(asked, context(*items, **given)))


def short(planned: Planned, measured_s: float = 0.25, audit_s: float = 0.1) -> Case:
    """Return the case with its workload, cut to a fraction of a second."""
    case = planned.filled()
    extent = {"measured_s": measured_s, "warm_up_s": 0.01, "ranging_s": 0.05, "audit_s": audit_s, "most_s": measured_s}
    return msgspec.structs.replace(case, params=case.params | {"extent": extent})


def seen_of(observation: Observation) -> Seen:
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(observation), type=Observation)
    values = [[[(o.name, from_ref(o.value)) for o in i.outputs] for i in s.inferences] for s in sent.sessions]
    return Seen(sent, values)


def run(planned: Planned, device: Any, measured_s: float = 0.25, audit_s: float = 0.1) -> tuple[Judgement, Observation]:
    case = short(planned, measured_s, audit_s)
    seen = seen_of(latency.measure(case, device))
    return latency.judge(case, seen, planned.expected() if planned.expected else []), seen.observation


def measured(judged: Judgement) -> dict[str, Any]:
    return {one.name: one for one in judged.measurements}


# -- what is planned --------------------------------------------------------------------------------------------------


def test_each_declared_latency_is_a_case_named_by_model_variant_scenario_and_batch() -> None:
    found = plan(
        {},
        {"batch": 4},
        {"scenario": "paced", "period_ms": 20},
        {"model": "mobile-cnn", "variant": "int8-qdq", "scenario": "back-to-back"},
    )
    assert [one.case.id for one in found] == [
        "latency/cnn-shapes/single-stream",
        "latency/cnn-shapes/single-stream-batch4",
        "latency/cnn-shapes/paced",
        "latency/mobile-cnn/int8-qdq/back-to-back",
    ]
    assert all(one.case.timed and one.case.is_alone for one in found)
    assert {one.case.basis for one in found} == {Basis.DECLARED}


def test_where_nothing_is_declared_nothing_is_planned() -> None:
    assert plan() == []
    assert plan(params={"set": "all", "aspect": "drift"}) == []


def test_the_model_of_another_category_is_timed_and_judges_nobody() -> None:
    paced = {"scenario": "paced", "period_ms": 20}
    ours, other, _ = plan({}, {"model": "keyword-spotting"}, paced, params={"set": "accelerator-card"})
    assert (ours.case.basis, ours.case.unsupported) == (Basis.DECLARED, "")
    assert other.case.basis is Basis.UNCLAIMED
    assert "keyword-spotting" in other.case.unsupported


@pytest.mark.parametrize(
    ("name", "items", "missing"),
    [
        ("accelerator-card", [], ["latency/back-to-back/undeclared", "latency/paced/undeclared"]),
        ("accelerator-card", [{}], ["latency/paced/undeclared"]),
        # The paced model is another category's: it shows nothing here.
        ("accelerator-card", [{}, {"model": "keyword-spotting", "scenario": "paced"}], ["latency/paced/undeclared"]),
        ("accelerator-card", [{}, {"scenario": "paced", "period_ms": 20}], []),
        ("inference-server", [], ["latency/server/undeclared"]),
        ("all", [], []),
    ],
)
def test_a_scenario_that_the_category_wants_and_nobody_declares_stays_open(
    name: str, items: list[dict[str, Any]], missing: list[str]
) -> None:
    found = [one.case for one in plan(*items, params={"set": name}) if one.case.id.endswith("/undeclared")]
    assert [one.id for one in found] == missing
    for case in found:
        judged = latency.judge(case, seen_of(Observation()), [])
        assert judged.outcome is Outcome.UNMEASURED
        assert "the profile declares no latency in the scenario" in judged.reason
        assert judged.remedy.startswith("declare one under declares.latency")


@pytest.mark.parametrize("level", ["smoke", "full", "certify"])
def test_a_case_has_the_time_that_its_own_plan_takes(level: str) -> None:
    (planned,) = plan({"p999_ms": 5}, level=level)
    extent = planned.case.params["extent"]
    assert planned.case.lasts_s > 3 * extent["most_s"] >= 3 * extent["measured_s"]


def test_drift_has_one_case_per_model_whatever_is_declared_of_it() -> None:
    items = ({}, {"scenario": "paced", "period_ms": 20}, {"model": "decoder", "scenario": "generation"})
    assert [one.case.id for one in plan(*items, params={"set": "all", "aspect": "drift"})] == [
        "latency/cnn-shapes/sustained"
    ]


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"model": "resnet-tiny"}, "there is no reference model 'resnet-tiny'"),
        ({"variant": "float8"}, "cnn-shapes has no variant 'float8'"),
        ({"scenario": "generation"}, "cnn-shapes is no decoder"),
    ],
)
def test_what_cannot_be_measured_is_unmeasured_and_says_why(item: dict[str, Any], words: str, misbehave: Any) -> None:
    (planned,) = plan(item)
    judged, _ = run(planned, misbehave("none")) if planned.inputs else (latency.judge(planned.case, None, []), None)  # type: ignore[arg-type]
    assert judged.outcome is Outcome.UNMEASURED
    assert words in judged.reason


def test_the_level_decides_how_long_and_a_smoke_run_stays_within_a_minute() -> None:
    one = {level: plan({}, level=level)[0].case.params["extent"]["measured_s"] for level in (SMOKE, FULL, CERTIFY)}
    assert one == {SMOKE: 2.0, FULL: 10.0, CERTIFY: 630.0}  # a little longer than what a certificate asks
    many = plan(*[{"batch": at + 1} for at in range(40)])
    total = sum(planned.case.params["extent"]["measured_s"] for planned in many)
    assert total * timed_plan.OVERHEAD <= timed_plan.SMOKE_TOTAL_S + 1e-6
    longer = timed_plan.extent(CERTIFY, {"min_duration_s": 900.0}, 1)
    assert longer.measured_s == 945.0


def test_the_number_of_queries_is_what_the_tightest_limit_needs_where_there_is_time() -> None:
    assert timed_plan.queries_needed({"p90_ms": 1.0}) >= 64  # ANCHORS, one query over it; more, since queries depend
    assert timed_plan.queries_needed({"p90_ms": 1.0, "p999_ms": 2.0}) >= 6636
    assert timed_plan.queries_needed({}) == timed_plan.FEWEST
    assert timed_plan.plan_count(1 * MS, 6636, 2.0, 10.0) == 6636
    assert timed_plan.plan_count(1 * MS, 6636, 2.0, 2.0) == 2000  # no time: fills what there is, and stays open
    assert timed_plan.plan_count(1 * MS, 130, 2.0, 10.0) == 2000


# -- honest devices ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"scenario": "back-to-back", "batch": 2},
        {"scenario": "paced", "period_ms": 4},
        {"scenario": "server", "rate_per_s": 300, "streams": 2},
        {"scenario": "multi-stream", "streams": 2},
        {"scenario": "offline", "streams": 2},
    ],
    ids=lambda item: item.get("scenario", "single-stream"),
)
def test_an_honest_device_misses_no_generous_limit_in_any_scenario(item: dict[str, Any], misbehave: Any) -> None:
    (planned,) = plan(GENEROUS | item)
    judged, observation = run(planned, misbehave("none"))
    told = measured(judged)
    # A busy host makes the queries of a short run depend on one another so much that they are worth too few.
    assert judged.outcome is Outcome.PASS or "independent ones" in judged.reason, judged
    assert told["p50_ms"].met is not False
    assert told["answers_as_in_accuracy_run"].met
    assert told["worst_statistic"].met
    assert "too short to certify" in judged.context
    assert {"governor", "affinity", "clock_source"} & set(observation.facts["surroundings"])
    assert set(observation.kept) == {timed_run.QUERIES, timed_run.NULL, timed_run.BUSY, *timed_run.AUDITS}
    assert unpack(observation.kept[timed_run.QUERIES]).size == observation.facts["planned"]


def test_generation_has_a_first_token_and_the_following_ones(misbehave: Any) -> None:
    declared = {"ttft_p99_ms": 5000, "tpot_p99_ms": 5000}
    (planned,) = plan({"model": "decoder", "scenario": "generation"} | declared)
    judged, observation = run(planned, misbehave("none"))
    told = measured(judged)
    assert {"ttft_p99_ms", "tpot_p99_ms"} <= set(told)
    assert told["answers_as_in_accuracy_run"].met
    assert judged.outcome in (Outcome.PASS, Outcome.INCONCLUSIVE)  # 459 sequences do not fit into this short run
    tokens = observation.facts["tokens"]
    first, following = unpack(observation.kept["queries.samples"]), unpack(observation.kept["tokens.samples"])
    assert following.size == first.size * (tokens - 1)


def test_the_timed_session_writes_no_profile_and_the_accuracy_run_does(misbehave: Any) -> None:
    _, observation = run(plan(GENEROUS)[0], misbehave("none"))
    sources = [{one.source for one in session.witnesses} for session in observation.sessions]
    assert sources == [{"assignment", "profile"}, {"assignment"}]


def test_a_device_of_bounded_determinism_is_judged_by_the_reference_alone(misbehave: Any) -> None:
    (planned,) = plan(GENEROUS, determinism="bounded")
    judged, _ = run(planned, misbehave("none"))
    assert judged.outcome is not Outcome.FAIL
    assert measured(judged)["answers_as_in_accuracy_run"].met is None
    wrong, _ = run(planned, misbehave("tired"))
    assert wrong.outcome is Outcome.FAIL
    assert wrong.reason.startswith("outputs while timing: ")


def test_answers_that_differ_and_have_no_reference_are_no_pass(misbehave: Any) -> None:
    declared = {"ttft_p99_ms": 5000, "tpot_p99_ms": 5000}
    (planned,) = plan({"model": "decoder", "scenario": "generation"} | declared, determinism="bounded")
    judged, _ = run(planned, misbehave("tired"))
    assert judged.outcome is not Outcome.PASS
    assert "not those of the accuracy run" in judged.reason


def test_a_certifying_run_that_was_too_short_certifies_nothing(misbehave: Any) -> None:
    (planned,) = plan(GENEROUS, level=CERTIFY)
    judged, _ = run(planned, misbehave("none"))
    assert judged.outcome is Outcome.INCONCLUSIVE
    assert "too short to certify" in judged.reason


def test_times_that_are_missing_are_no_pass(misbehave: Any) -> None:
    (planned,) = plan(GENEROUS)
    case = short(planned)
    observation = latency.measure(case, misbehave("none"))
    expected = planned.expected() if planned.expected else []
    for name in (timed_run.QUERIES, timed_run.NULL):
        kept = {one: data for one, data in observation.kept.items() if one != name}
        judged = latency.judge(case, seen_of(msgspec.structs.replace(observation, kept=kept)), expected)
        assert (judged.outcome, judged.reason) == (Outcome.ERROR, "the times of the queries are missing")


# -- devices that do wrong --------------------------------------------------------------------------------------------


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough of each within a short run."""
    monkeypatch.setattr(misdeeds_of_time, "RARE_EVERY", 400)
    monkeypatch.setattr(misdeeds_of_time, "STRANGE_S", 0.0005)
    monkeypatch.setattr(misdeeds_of_time, "RARE_S", 0.3)


@pytest.mark.parametrize(
    ("behaviour", "declared", "words"),
    [
        ("rarely-late", {"p50_ms": 2000, "max_ms": 290}, "max "),
        ("result-cache", GENEROUS, "result cache: "),
        ("known-inputs", GENEROUS, "seed dependence: "),
        ("tired", GENEROUS, "outputs while timing are not those of the accuracy run: logits differs"),
        ("slow", {"p50_ms": 5}, "p50 "),
        ("slow", {"cold_start_ms": 5}, "cold start "),
        ("mutate-inputs", GENEROUS, "the device changed its inputs"),
        ("elsewhere", GENEROUS, "not on CPUExecutionProvider"),
        ("raise", GENEROUS, "rejected at run: RuntimeError: the device refuses"),
    ],
)
def test_each_is_caught_by_its_name(
    behaviour: str, declared: dict[str, Any], words: str, misbehave: Any, often: None
) -> None:
    judged, _ = run(
        plan(declared)[0], misbehave(behaviour), 0.6, {"known-inputs": 0.6, "result-cache": 1.0}.get(behaviour, 0.1)
    )
    assert judged.outcome is Outcome.FAIL, judged
    assert words in judged.reason


def test_a_device_that_becomes_slower_is_caught_under_sustained_load(misbehave: Any) -> None:
    (planned,) = plan({}, params={"set": "all", "aspect": "drift"})
    judged, _ = run(planned, misbehave("slower-and-slower"), 1.0)
    assert judged.outcome is Outcome.FAIL
    assert judged.reason.startswith(("drift: latency grows", "throttling: from "))


# -- the judge alone --------------------------------------------------------------------------------------------------


Judge = Callable[..., Judgement]


@pytest.fixture
def judge(misbehave: Any) -> Judge:
    """Measure once, and judge that with other samples, other limits, another level."""
    (planned,) = plan({"p50_ms": 1})
    case = short(planned, 0.05)
    seen = seen_of(latency.measure(case, misbehave("none")))
    assert planned.expected is not None
    expected = planned.expected()

    def build(
        queries: Any,
        declared: dict[str, Any],
        *,
        level: str = FULL,
        null_ns: int = 1000,
        scenario: str = "single-stream",
        **facts: Any,
    ) -> Judgement:
        even = np.full(2000, 100_000)
        samples = queries if isinstance(queries, Samples) else back_to_back(queries)
        kept = dict.fromkeys(timed_run.AUDITS, pack(back_to_back(even)))
        kept |= {
            timed_run.QUERIES: pack(samples),
            timed_run.NULL: pack(back_to_back(even * 0 + null_ns)),
        }
        made = seen.observation.facts | {"planned": samples.size, "busy_error_ns": 0} | facts
        observation = msgspec.structs.replace(seen.observation, kept=kept, facts=made)
        params = case.params | {"item": declared, "level": level, "scenario": scenario}
        return latency.judge(
            msgspec.structs.replace(case, params=params), seen._replace(observation=observation), expected
        )

    return build


def back_to_back(latencies_ns: Any) -> Samples:
    done = 10**9 + np.cumsum(np.asarray(latencies_ns, np.int64) + 200)
    issued = done - latencies_ns
    return Samples(issued, issued, done, is_scheduled=False)


def noisy(count: int) -> Any:
    return (np.random.default_rng(5).normal(1.0, 0.05, count) * MS).astype(np.int64)


def test_a_limit_that_is_kept_passes_and_one_that_is_not_fails(judge: Judge) -> None:
    assert judge(noisy(1000), {"p99_ms": 2.0}).outcome is Outcome.PASS
    failed = judge(noisy(1000), {"p99_ms": 0.9})
    assert failed.outcome is Outcome.FAIL
    assert measured(failed)["p99_ms"].met is False


def test_too_few_queries_are_inconclusive_with_the_number_still_needed(judge: Judge) -> None:
    judged = judge(noisy(300), {"p99_ms": 2.0})
    assert judged.outcome is Outcome.INCONCLUSIVE
    assert re.match(r"1[5-9]\d more queries are needed", judged.reason)  # 459 in all, somewhat dependent


def test_one_slow_query_in_a_thousand_fails_a_declared_maximum_and_no_p99(judge: Judge) -> None:
    latencies = noisy(5000)
    latencies[999::1000] = 30 * MS
    assert judge(latencies, {"p99_ms": 2.0}).outcome is Outcome.PASS
    assert judge(latencies, {"p99_ms": 2.0, "max_ms": 20.0}).outcome is Outcome.FAIL


def test_jitter_is_p999_less_p50(judge: Judge) -> None:
    latencies = noisy(20_000)
    latencies[::500] = 9 * MS  # two in a thousand: p99 does not see them
    failed = judge(latencies, {"jitter_ms": 5.0})
    assert failed.outcome is Outcome.FAIL
    assert measured(failed)["jitter_ms"].value == pytest.approx(8.0, abs=0.2)
    assert judge(noisy(20_000), {"jitter_ms": 5.0}).outcome is Outcome.PASS


def test_a_floor_above_a_tenth_of_the_limit_leaves_it_open(judge: Judge) -> None:
    judged = judge(noisy(1000), {"p99_ms": 2.0}, null_ns=300_000)
    assert judged.outcome is Outcome.INCONCLUSIVE
    assert "measurement floor" in judged.reason


def test_a_run_that_was_given_up_passes_nothing_and_may_fail(judge: Judge) -> None:
    assert judge(noisy(1000), {"p99_ms": 2.0}, planned=2000).outcome is Outcome.INCONCLUSIVE
    assert judge(noisy(1000), {"p99_ms": 0.5}, planned=2000).outcome is Outcome.FAIL


def test_a_declaration_without_a_limit_shows_nothing(judge: Judge) -> None:
    judged = judge(noisy(1000), {})
    assert judged.outcome is Outcome.INCONCLUSIVE
    assert "no limit" in judged.reason


def test_a_step_to_slower_under_sustained_load_is_throttling_and_a_steady_run_passes(judge: Judge) -> None:
    latencies = noisy(5000)
    assert judge(latencies, {}, scenario="sustained").outcome is Outcome.PASS
    latencies[3000:] *= 2
    judged = judge(latencies, {}, scenario="sustained")
    assert judged.outcome is Outcome.FAIL
    assert judged.reason.startswith("throttling: from ")
    assert judge(latencies, {"p99_ms": 9.0}).outcome is Outcome.INCONCLUSIVE  # what it would show later is worse


def test_what_idling_costs_is_told_beside_a_paced_run(judge: Judge) -> None:
    due = 10**9 + 20 * MS * np.arange(1000)
    judged = judge(Samples(due, due + 1000, due + noisy(1000), is_scheduled=True), {"p99_ms": 20.0}, scenario="paced")
    assert judged.outcome is Outcome.PASS
    assert (
        "idle-gap effect: paced queries take 10" in judged.context
        or "idle-gap effect: paced queries take 9.9" in judged.context
    )


def test_rounds_decide_what_pooled_queries_leave_open() -> None:
    """A host that changes its speed from round to round makes pooled queries worth little; each round stays a fair pair."""
    speed = np.repeat(np.linspace(1.0, 3.0, 16), 50)
    known = (speed * np.random.default_rng(1).normal(1.0, 0.02, 800) * MS).astype(np.int64)
    pooled = Comparison("seed dependence", "open", 1.0, 0.0, 9.0, "undecided")
    outcomes = {
        share: by_round(pooled, known, (known * share).astype(np.int64), 16, most=1 / 0.9).outcome
        for share in (1.0, 1.3, 0.7)
    }
    assert outcomes == {1.0: "pass", 1.3: "fail", 0.7: "fail"}
    assert by_round(pooled, known, known, 7, most=1.1) is pooled  # 800 queries are no 7 blocks


def test_the_stamp_says_whether_the_run_was_long_enough(judge: Judge) -> None:
    assert "too short to certify: 10 s < 600 s" in judge(noisy(1000), {"p99_ms": 2.0}, measured_s=10.0).context
    assert "too short" not in judge(noisy(1000), {"p99_ms": 2.0}, measured_s=601.0).context
    own = judge(noisy(1000), {"p99_ms": 2.0, "min_duration_s": 900.0}, measured_s=601.0)
    assert "too short to certify: 601 s < 900 s" in own.context
