"""The fold, case by case: worst class wins, waivers end, nothing executed is never a pass, and the books close."""

from __future__ import annotations

import itertools
from datetime import date
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.plan import Plan, State
from conformance.records import (
    CLASS_OF,
    ClaimsResult,
    Outcome,
    OutcomeClass,
    Record,
    RequirementResult,
    UntestedClaim,
    Verdict,
)
from conformance.tally import Book
from conformance.verdict import (
    ORDER,
    PLACEMENT_CASE,
    Standing,
    Waiver,
    _with_untested,
    apply_waivers,
    conclude,
    fold,
)

CERTIFIABLE = Standing(certifiable=True, why_not="", eligibility="named: accelerator-card")
NOT_MET, OPEN, CONDITIONAL, MET, NOT_APPLICABLE = ORDER
TODAY = date(2026, 11, 24)


def requirement(name: str = "R-1", level: str = "MUST", *, applies: bool = True, unplanned: str = "") -> State:
    """A requirement as the plan leaves it."""
    body = SimpleNamespace(
        id=name,
        check="session",
        params={},
        level=level,
        title=SimpleNamespace(en="Title", zh="标题"),
        area="session",
        status="draft",
        origin=["ours"],
    )
    return State(body, applies, "it applies to every device" if applies else "power is not given", unplanned)


def record(case: str, outcome: Outcome = Outcome.PASS, *requirements: str, reason: str = "because") -> Record:
    """A record of a case that serves R-1 unless told otherwise."""
    return Record(case=case, check="session", requirements=requirements or ("R-1",), outcome=outcome, reason=reason)


def plan_of(records: list[Record], states: list[State], **changes: Any) -> Plan:
    """A plan of exactly those cases."""
    cases: list[Any] = [
        SimpleNamespace(case=SimpleNamespace(id=one.case, timed=one.check == "latency")) for one in records
    ]
    plan = Plan(cases, states, not_selected=0, pinned=[], denominators={}, level="full", selection="")
    return plan._replace(**changes)


def judged(
    records: list[Record], states: list[State] | None = None, standing: Standing = CERTIFIABLE, **changes: Any
) -> Verdict:
    """The verdict on those records."""
    return conclude(plan_of(records, states or [requirement()], **changes), records, standing)


# -- fold -------------------------------------------------------------------------------------------------------------


def test_the_order_is_the_written_one() -> None:
    assert [one.value for one in ORDER] == ["not met", "open", "conditional", "met", "not applicable"]
    assert set(ORDER) == set(OutcomeClass)
    assert set(CLASS_OF) == set(Outcome)


@pytest.mark.parametrize(("left", "right"), list(itertools.product(ORDER, ORDER)))
def test_the_worse_of_two_classes_wins(left: OutcomeClass, right: OutcomeClass) -> None:
    assert fold([left, right]) is ORDER[min(ORDER.index(left), ORDER.index(right))]


def test_folding_nothing_is_not_applicable() -> None:
    assert fold([]) is NOT_APPLICABLE


@given(st.lists(st.sampled_from(ORDER), min_size=1))
def test_folding_is_the_same_in_any_order_and_grouping(classes: list[OutcomeClass]) -> None:
    assert fold(classes) is fold(reversed(classes))
    assert fold([fold(classes[:1]), fold(classes[1:] or classes[:1])]) is fold(classes)


# -- one requirement --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "alone", "beside_a_pass"),
    [
        (Outcome.PASS, MET, MET),
        (Outcome.FAIL, NOT_MET, NOT_MET),
        (Outcome.CRASH, NOT_MET, NOT_MET),
        (Outcome.TIMEOUT, NOT_MET, NOT_MET),
        (Outcome.INCONCLUSIVE, OPEN, OPEN),
        (Outcome.UNMEASURED, OPEN, OPEN),
        (Outcome.NOT_RUN, OPEN, OPEN),
        (Outcome.ERROR, OPEN, OPEN),
        (Outcome.WAIVED, OPEN, CONDITIONAL),
        (Outcome.UNSUPPORTED, OPEN, MET),
    ],
)
def test_every_outcome_alone_and_beside_a_pass(
    outcome: Outcome, alone: OutcomeClass, beside_a_pass: OutcomeClass
) -> None:
    """The truth table of a MUST: without one PASS it is never better than open."""
    assert judged([record("a", outcome)]).requirements[0].result is alone
    assert judged([record("a", outcome), record("b")]).requirements[0].result is beside_a_pass


@pytest.mark.parametrize(
    ("level", "outcome", "result"),
    [
        ("SHOULD", Outcome.UNSUPPORTED, NOT_APPLICABLE),
        ("MAY", Outcome.WAIVED, CONDITIONAL),
        ("SHOULD", Outcome.FAIL, NOT_MET),
    ],
)
def test_what_is_no_must_needs_no_pass(level: str, outcome: Outcome, result: OutcomeClass) -> None:
    verdict = judged(
        [record("a", outcome), record("b", Outcome.PASS, "R-2")], [requirement(level=level), requirement("R-2")]
    )
    assert verdict.requirements[0].result is result
    assert verdict.name == "CONFORMANT"


def test_a_must_whose_cases_are_all_unsupported_is_open_and_says_so() -> None:
    verdict = judged(
        [record("a", Outcome.UNSUPPORTED, reason="profile does not declare int4"), record("b", Outcome.UNSUPPORTED)]
    )
    assert (verdict.name, verdict.exit_code) == ("INCOMPLETE", 30)
    assert verdict.requirements[0].reason == "not one PASS among 2 cases: profile does not declare int4"


def test_a_must_without_a_check_or_a_case_is_open() -> None:
    verdict = judged([record("a")], [requirement(), requirement("R-2", unplanned="no check yet"), requirement("R-3")])
    assert [one.result for one in verdict.requirements] == [MET, OPEN, OPEN]
    assert [one.reason for one in verdict.requirements] == ["", "no check yet", "no case could be planned for it"]
    assert verdict.exit_code == 30


def test_a_requirement_that_does_not_apply_says_why_and_holds_nothing_up() -> None:
    verdict = judged([record("a")], [requirement(), requirement("R-2", applies=False)])
    assert verdict.requirements[1].result is NOT_APPLICABLE
    assert verdict.requirements[1].reason == "power is not given"
    assert verdict.name == "CONFORMANT"


def test_a_requirement_names_the_case_that_decides_it() -> None:
    verdict = judged(
        [record("a"), record("b", Outcome.ERROR, reason="disk full"), record("c", Outcome.CRASH, reason="SIGSEGV")]
    )
    assert verdict.requirements[0].reason == "c: CRASH: SIGSEGV"
    assert verdict.requirements[0].counts == {"PASS": 1, "CRASH": 1, "ERROR": 1}


# -- the device -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcomes", "name", "code"),
    [
        ([Outcome.PASS], "CONFORMANT", 0),
        ([Outcome.PASS, Outcome.UNSUPPORTED], "CONFORMANT", 0),
        ([Outcome.PASS, Outcome.WAIVED], "CONDITIONAL", 10),
        ([Outcome.PASS, Outcome.WAIVED, Outcome.NOT_RUN], "INCOMPLETE", 30),
        ([Outcome.PASS, Outcome.ERROR, Outcome.FAIL], "NON-CONFORMANT", 20),
        ([Outcome.TIMEOUT, Outcome.WAIVED], "NON-CONFORMANT", 20),
        ([Outcome.WAIVED], "INCOMPLETE", 30),
    ],
)
def test_verdicts_and_exit_codes_of_a_full_run(outcomes: list[Outcome], name: str, code: int) -> None:
    verdict = judged([record(f"case/{at}", outcome) for at, outcome in enumerate(outcomes)])
    assert (verdict.name, verdict.exit_code) == (name, code)
    assert verdict.summary.startswith(f"{name}: 1 MUST requirements apply: 1 ")


def test_only_musts_that_apply_decide() -> None:
    states = [requirement("R-1"), requirement("R-2", "SHOULD"), requirement("R-3", applies=False)]
    records = [record("a"), record("b", Outcome.CRASH, "R-2"), record("c", Outcome.FAIL, "R-3")]
    assert judged(records, states).name == "CONFORMANT"


def test_a_category_without_musts_shows_nothing() -> None:
    assert judged([record("a")], [requirement(level="SHOULD")]).name == "INCOMPLETE"


def test_zero_cases_are_never_a_pass() -> None:
    verdict = judged([], [requirement()])
    assert (verdict.name, verdict.exit_code, verdict.certifiable) == ("INCOMPLETE", 30, False)


def test_one_case_serves_every_requirement_that_asked_for_it() -> None:
    verdict = judged([record("a", Outcome.FAIL, "R-1", "R-2")], [requirement("R-1"), requirement("R-2")])
    assert [one.result for one in verdict.requirements] == [NOT_MET, NOT_MET]
    assert verdict.counts == {"FAIL": 1}


# -- partial runs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"level": "smoke"}, {"selection": "a*"}])
@pytest.mark.parametrize(
    ("outcomes", "name", "code"),
    [
        ([Outcome.PASS], "CLEAN-PARTIAL", 0),
        ([Outcome.PASS, Outcome.UNSUPPORTED], "CLEAN-PARTIAL", 0),
        ([Outcome.UNSUPPORTED], "INCOMPLETE", 30),
        ([Outcome.PASS, Outcome.WAIVED], "CONDITIONAL", 10),
        ([Outcome.WAIVED], "INCOMPLETE", 30),
        ([Outcome.PASS, Outcome.UNMEASURED], "INCOMPLETE", 30),
        ([Outcome.PASS, Outcome.CRASH], "NON-CONFORMANT", 20),
    ],
)
def test_a_partial_run_is_never_certifiable(
    changes: dict[str, Any], outcomes: list[Outcome], name: str, code: int
) -> None:
    records = [record(f"a{at}", outcome) for at, outcome in enumerate(outcomes)]
    verdict = judged(records, [requirement(), requirement("R-2")], **changes)
    assert (verdict.name, verdict.exit_code) == (name, code)
    assert verdict.partial
    assert not verdict.certifiable
    assert verdict.why_not_certifiable == "a smoke or selected run is never certifiable"
    assert "partial run" in verdict.summary
    assert verdict.requirements[1].reason == "no case of it was selected"


def test_a_partial_run_of_optional_cases_alone_is_not_clean() -> None:
    records = [record("a", Outcome.PASS, "R-2")]
    assert judged(records, [requirement(), requirement("R-2", "MAY")], selection="a").name == "INCOMPLETE"


# -- certifiable ------------------------------------------------------------------------------------------------------


def test_what_takes_time_certifies_only_where_it_was_given_time() -> None:
    timed = msgspec.structs.replace(record("latency/cnn/paced"), check="latency")
    short, long = judged([record("a"), timed]), judged([record("a"), timed], level="certify")
    assert (short.name, short.certifiable) == ("CONFORMANT", False)
    assert short.why_not_certifiable.endswith("were measured for a short while only: --level certify takes the time")
    assert (long.name, long.certifiable, long.partial) == ("CONFORMANT", True, False)
    assert judged([record("a"), timed], level="smoke").partial


def test_certifiable_needs_category_completeness_and_verdict() -> None:
    assert judged([record("a")]).certifiable
    assert judged([record("a"), record("b", Outcome.WAIVED)]).certifiable
    failed = judged([record("a", Outcome.FAIL)])
    assert (failed.certifiable, failed.why_not_certifiable) == (False, "the verdict is NON-CONFORMANT")
    pseudo = judged([record("a")], standing=Standing(certifiable=False, why_not="never", eligibility="none"))
    assert (pseudo.name, pseudo.certifiable, pseudo.why_not_certifiable) == ("CONFORMANT", False, "never")


def test_placement_is_shown_by_its_own_case_and_nothing_else() -> None:
    assert judged([record(PLACEMENT_CASE)]).placement_shown
    assert not judged([record(PLACEMENT_CASE, Outcome.UNMEASURED)]).placement_shown
    assert not judged([record(PLACEMENT_CASE, Outcome.WAIVED), record("placement/model/control")]).placement_shown


# -- waivers ----------------------------------------------------------------------------------------------------------


def waiver(case: str, expires: date = TODAY) -> Waiver:
    """A waiver by the lab."""
    return Waiver(case, "known since firmware 1.2", "lab@example", expires)


@pytest.mark.parametrize("outcome", Outcome)
def test_only_what_is_not_met_can_be_waived(outcome: Outcome) -> None:
    (after,) = apply_waivers([record("a", outcome)], [waiver("*")], TODAY)
    is_waived = outcome in (Outcome.FAIL, Outcome.CRASH, Outcome.TIMEOUT)
    assert after.outcome is (Outcome.WAIVED if is_waived else outcome)
    assert after.underlying is (outcome if is_waived else None)


def test_a_waiver_holds_through_its_last_day_and_not_after() -> None:
    failing = [record("a", Outcome.FAIL, reason="off by one")]
    assert apply_waivers(failing, [waiver("a")], TODAY)[0].outcome is Outcome.WAIVED
    assert apply_waivers(failing, [waiver("a", date(2026, 11, 23))], TODAY) == failing


def test_an_expired_waiver_does_not_hide_one_that_holds() -> None:
    (after,) = apply_waivers([record("a", Outcome.FAIL)], [waiver("a", date(2020, 1, 1)), waiver("?")], TODAY)
    assert after.outcome is Outcome.WAIVED


def test_a_waiver_keeps_what_was_seen_and_who_allowed_it() -> None:
    (after,) = apply_waivers([record("a", Outcome.CRASH, reason="SIGSEGV")], [waiver("a")], TODAY)
    assert after.reason == "waived until 2026-11-24 by lab@example: known since firmware 1.2; seen: SIGSEGV"


def test_a_waivers_glob_minds_case_and_reaches_no_further() -> None:
    records = [record("operators/Add/x", Outcome.FAIL), record("operators/add/x", Outcome.FAIL)]
    after = apply_waivers(records, [waiver("operators/Add/*")], TODAY)
    assert [one.outcome for one in after] == [Outcome.WAIVED, Outcome.FAIL]


# -- the books --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kept",
    [["a"], ["a", "b", "b"], ["a", "b", "c"], ["a", "c"], []],
    ids=["one missing", "one twice", "one too many", "another", "none"],
)
def test_books_that_do_not_close_are_a_bug(kept: list[str]) -> None:
    plan = plan_of([record("a"), record("b")], [requirement()])
    with pytest.raises(AssertionError, match="the books do not close"):
        conclude(plan, [record(case) for case in kept], CERTIFIABLE)


def test_coverage_counts_over_the_whole_suite_whatever_was_selected() -> None:
    members = {"a": ("Add",), "b": ("Add", "Pow"), "c": ("Mul",), "d": ("Sub",), "not-selected": ("Div",)}
    records = [record("a"), record("b", Outcome.FAIL), record("c"), record("d", Outcome.UNSUPPORTED)]
    (coverage,) = judged(records, denominators={"operators": members}).coverage
    assert (coverage.total, coverage.claimed, coverage.passed) == (5, 3, 1)


def test_claims_are_weighed_by_the_plans_book_and_decide_nothing() -> None:
    failing = record("operators/ai.onnx.Add-14/int8/x", Outcome.FAIL, reason="off by one")
    use = SimpleNamespace(domain="ai.onnx", op_type="Add", since_version=14, key="ai.onnx.Add-14")
    entry = SimpleNamespace(case_id=failing.case, uses=[use], types=("int8",), invalid="")
    book = Book(operators=("ai.onnx.Add-14", "ai.onnx.Mul-14"), entries=[entry], is_claimed={failing.case: True})
    claims = judged([failing], claims=book).claims
    assert [one.subject for one in claims.over_claimed] == ["ai.onnx.Add-14(int8)"]
    assert [(one.name, one.why) for one in claims.untested] == [("ai.onnx.Mul-14", "no case exists")]
    assert judged([record("a")], claims=book).name == "CONFORMANT", "what was not tested is told, not judged"
    assert judged([record("a")]).claims == ClaimsResult()


def test_a_verdict_survives_json() -> None:
    verdict = judged([record("a"), record("b", Outcome.WAIVED)])
    assert msgspec.json.decode(msgspec.json.encode(verdict), type=Verdict) == verdict


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        ({}, Outcome.WAIVED),
        ({"issued": date(2026, 11, 24)}, Outcome.WAIVED),
        ({"issued": date(2026, 11, 25)}, Outcome.FAIL),
        ({"expires": date(2026, 11, 23)}, Outcome.FAIL),
        ({"requirement": "R-1"}, Outcome.WAIVED),
        ({"requirement": "R-2"}, Outcome.FAIL),
        ({"case": "b*"}, Outcome.FAIL),
    ],
)
def test_a_waiver_covers_what_it_names_while_it_is_in_force(given: dict[str, Any], outcome: Outcome) -> None:
    waiver = Waiver(**({"case": "a*", "reason": "r", "owner": "o", "expires": date(2026, 12, 1)} | given))

    (judged,) = apply_waivers([record("a1", Outcome.FAIL)], [waiver], date(2026, 11, 24))
    assert judged.outcome is outcome


def test_a_waiver_of_one_requirement_does_not_cover_a_case_that_serves_two() -> None:
    both = msgspec.structs.replace(record("a1", Outcome.FAIL), requirements=("R-1", "R-2"))
    waiver = Waiver("a*", "r", "o", date(2026, 12, 1), None, "R-1")

    assert apply_waivers([both], [waiver], date(2026, 11, 24))[0].outcome is Outcome.FAIL


def test_what_no_case_shows_is_said_beside_what_is_met() -> None:
    state = SimpleNamespace(requirement=SimpleNamespace(check="operators", params={"scope": "declared"}))
    claims = ClaimsResult(operators=5, untested=(UntestedClaim(name="ai.onnx.X-1", kind="operator", why="", cases=0),))
    met = RequirementResult(
        id="OP-001", level="MUST", title_en="t", title_zh="t", area="operators", status="draft", origin=("ours",),
        applies=True, why="", result=OutcomeClass.MET,
    )  # fmt: skip
    missed = msgspec.structs.replace(met, result=OutcomeClass.NOT_MET, reason="first cause")

    assert "1 of 5 declared operator versions have no case" in _with_untested(state, met, claims).reason
    assert _with_untested(state, missed, claims).reason == "first cause"
    assert _with_untested(state, met, ClaimsResult(operators=5)).reason == ""
