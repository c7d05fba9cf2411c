"""Coverage and claims: fixed denominators, and over-, under- and untested claims told apart by what decides them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from conformance.records import Basis, ClaimsResult, Outcome, Record
from conformance.tally import LONGEST_VALUE, Book, count_out, cover, value_text, weigh

CASE = "operators/ai.onnx.Max-13/int16/test_max"


def use(key: str, **attributes: Any) -> Any:
    """One use of an operator, spelled `ai.onnx.Max-13`."""
    name, _, since = key.rpartition("-")
    domain, _, op = name.rpartition(".")
    return SimpleNamespace(domain=domain, op_type=op, since_version=int(since), key=key, attributes=attributes)


def entry(case: str, *uses: Any, kind: str = "node", invalid: str = "") -> Any:
    """A row of the suite that holds the type of its id."""
    given = {"case_id": case, "kind": kind, "uses": uses, "types": (case.split("/")[2],), "invalid": invalid}
    return SimpleNamespace(**given, expanded=case.endswith("_expanded"))


def record(case: str = CASE, outcome: Outcome = Outcome.PASS, **changes: Any) -> Record:
    """A record of a case that the profile declares."""
    return Record(**({"case": case, "check": "operators", "requirements": ("OP-001",), "outcome": outcome} | changes))


def unclaimed(observed: str, case: str = CASE, reason: str = "profile excludes Max(int16)") -> Record:
    """A record of a case that was tried all the same."""
    return record(case, Outcome.UNSUPPORTED, basis=Basis.UNCLAIMED, observed=observed, reason=reason)


# -- coverage ---------------------------------------------------------------------------------------------------------


def test_a_node_case_covers_each_attribute_value_of_its_own_operator() -> None:
    case = "operators/ai.onnx.Conv-22/float32/test_conv"
    uses = [
        use("ai.onnx.Conv-22", auto_pad="NOTSET", pads=[1, 1], group=1),
        use("ai.onnx.Conv-22", auto_pad="VALID", group=1),
        use("ai.onnx.Conv-11", auto_pad="SAME_UPPER"),
        use("ai.onnx.Cast-13", to=1),
    ]
    counted = count_out([entry(case, *uses), entry("operators/simple/float32/test_x", *uses, kind="simple")])
    assert {name: list(members) for name, members in counted.items()} == {
        "operators": [case],
        "operators × type": [case],
        "operators × type × attribute value": [case],
    }
    start = "ai.onnx.Conv-22/float32/"
    assert counted["operators × type × attribute value"][case] == (
        f"{start}auto_pad=NOTSET",
        f"{start}pads=[1,1]",
        f"{start}group=1",
        f"{start}auto_pad=VALID",
    )


def test_a_long_value_is_data_and_a_case_without_attributes_covers_none() -> None:
    text = "x" * LONGEST_VALUE
    long, short, none = (f"operators/ai.onnx.ml.LabelEncoder-4/string/test_{name}" for name in ("l", "s", "n"))
    key = "ai.onnx.ml.LabelEncoder-4"
    counted = count_out([entry(long, use(key, keys=text + "x")), entry(short, use(key, keys=text)), entry(none)])
    assert list(counted["operators × type × attribute value"]) == [short]
    assert list(counted["operators"]) == [long, short, none]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (9.999999747378752e-06, "1e-05"),
        (0.949999988079071, "0.95"),
        ([1.5, 2.0], "[1.5,2]"),
        (-1, "-1"),
        ("a b", "a b"),
    ],
)
def test_values_read_as_people_write_them(value: object, text: str) -> None:
    assert value_text(value) == text


def test_a_case_counts_for_all_that_it_covers() -> None:
    denominators = {"values": {"a": ("x=1", "y=1"), "b": ("x=1", "y=2"), "c": ("z=1",), "not selected": ("w=1", "x=1")}}
    records = [record("a"), record("b", Outcome.FAIL), record("c", Outcome.UNSUPPORTED)]
    (one,) = cover(denominators, records)
    assert (one.total, one.claimed, one.passed) == (5, 3, 1), "x=1 has a failing case, y=1 passed, y=2 failed"


# -- over-claimed -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("basis", [Basis.DECLARED, Basis.REQUIRED])
@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.CRASH, Outcome.TIMEOUT])
def test_over_claimed_is_what_is_claimed_and_not_met(outcome: Outcome, basis: Basis) -> None:
    records = [
        record(f"{CASE}_a"),
        record(f"{CASE}_b", outcome, basis=basis, reason="off by 2"),
        record("session/x", outcome),
    ]
    (one,) = weigh(Book(), records).over_claimed
    assert (one.subject, one.basis, one.cases, one.waived) == ("ai.onnx.Max-13(int16)", basis, 2, False)
    assert one.counts == {"PASS": 1, outcome.value: 1}
    assert (one.case, one.reason) == (f"{CASE}_b", f"{outcome}: off by 2")


@pytest.mark.parametrize("outcome", [Outcome.PASS, Outcome.ERROR, Outcome.NOT_RUN, Outcome.INCONCLUSIVE])
def test_what_is_met_or_open_is_not_over_claimed(outcome: Outcome) -> None:
    assert weigh(Book(), [record(outcome=outcome)]).over_claimed == ()


def test_an_unclaimed_case_that_crashes_is_no_over_claim() -> None:
    assert weigh(Book(), [unclaimed("crashes")]).over_claimed == ()


def test_waived_is_told_apart_and_comes_last() -> None:
    waived = {"outcome": Outcome.WAIVED, "underlying": Outcome.FAIL, "reason": "waived until 2027"}
    other = "operators/ai.onnx.Min-13/int16/test_min"
    records = [record(**waived), record(f"{other}_a", **waived), record(f"{other}_b", Outcome.CRASH, reason="SIGSEGV")]
    first, last = weigh(Book(), records).over_claimed
    assert (first.subject, first.waived, first.reason) == ("ai.onnx.Min-13(int16)", False, "CRASH: SIGSEGV")
    assert (last.subject, last.waived, last.reason) == ("ai.onnx.Max-13(int16)", True, "FAIL: waived until 2027")


# -- under-claimed ----------------------------------------------------------------------------------------------------


def test_under_claimed_is_what_works_and_is_not_claimed() -> None:
    (one,) = weigh(Book(), [unclaimed("works", f"{CASE}_a"), unclaimed("works", f"{CASE}_b"), record()]).under_claimed
    assert (one.subject, one.cases, one.counts) == ("ai.onnx.Max-13(int16)", 2, {"works": 2})
    assert (one.case, one.reason) == (f"{CASE}_a", "profile excludes Max(int16)")


@pytest.mark.parametrize("observed", ["rejects", "differs", "elsewhere", "crashes", "hangs", "not tried", ""])
def test_one_case_that_does_not_work_or_was_not_tried_is_enough(observed: str) -> None:
    records = [unclaimed("works", f"{CASE}_a"), unclaimed(observed, f"{CASE}_b")]
    assert weigh(Book(), records).under_claimed == ()


def test_only_an_operator_can_be_claimed() -> None:
    assert weigh(Book(), [unclaimed("works", "operators/pytorch-converted/float32/test_x")]).under_claimed == ()


# -- claimed and not tested -------------------------------------------------------------------------------------------


def book(is_claimed: dict[str, bool], *entries: Any) -> Book:
    """The book of a profile that claims Max-13 and int16."""
    return Book(("ai.onnx.Max-13",), ("int16",), entries, is_claimed)


def whys(result: ClaimsResult) -> list[tuple[str, str, str, int]]:
    """What is said of each untested claim."""
    return [(one.name, one.kind, one.why, one.cases) for one in result.untested]


def both(why: str, cases: int) -> list[tuple[str, str, str, int]]:
    """The same said of the operator and the type."""
    return [("ai.onnx.Max-13", "operator", why, cases), ("int16", "type", why, cases)]


MAX = entry(CASE, use("ai.onnx.Max-13"))


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        (Outcome.PASS, ""),
        (Outcome.FAIL, ""),
        (Outcome.CRASH, ""),
        (Outcome.WAIVED, ""),
        (Outcome.NOT_RUN, "not reached"),
        (Outcome.ERROR, "nothing shown"),
        (Outcome.UNMEASURED, "nothing shown"),
        (Outcome.INCONCLUSIVE, "nothing shown"),
    ],
)
def test_a_claim_is_tested_when_a_case_of_it_was_decided(outcome: Outcome, why: str) -> None:
    result = weigh(book({CASE: True}, MAX), [record(outcome=outcome)])
    assert (result.operators, result.types) == (1, 1)
    assert whys(result) == (both(why, 1) if why else [])


@pytest.mark.parametrize(
    ("found", "why", "cases"),
    [
        (book({CASE: True}, MAX), "not selected", 1),
        (book({CASE: False}, MAX), "outside the claims", 1),
        (book({}, entry(CASE, use("ai.onnx.Max-13"), invalid="one draw of a generator")), "invalid upstream", 1),
        (book({}, entry("operators/ai.onnx.Add-14/int8/test_add", use("ai.onnx.Add-14"))), "no case exists", 0),
        (book({}, MAX), "no case exists", 0),  # the category has no requirement that asks for it
    ],
)
def test_how_far_a_claim_is_from_its_test(found: Book, why: str, cases: int) -> None:
    assert whys(weigh(found, [])) == both(why, cases)


def test_the_nearest_reason_is_given_and_every_case_counted() -> None:
    second, third = entry(f"{CASE}_2", use("ai.onnx.Max-13")), entry(f"{CASE}_3", use("ai.onnx.Max-13"))
    held = book({CASE: False, f"{CASE}_2": True, f"{CASE}_3": True}, MAX, second, third)
    assert whys(weigh(held, [record(f"{CASE}_2", Outcome.NOT_RUN)])) == both("not reached", 3)


def test_one_decided_case_among_open_ones_tests_the_claim() -> None:
    other = entry(f"{CASE}_2", use("ai.onnx.Max-13"))
    records = [record(outcome=Outcome.NOT_RUN), record(f"{CASE}_2")]
    assert whys(weigh(book({CASE: True, f"{CASE}_2": True}, MAX, other), records)) == []


def test_a_use_inside_the_case_of_another_operator_counts() -> None:
    case = "operators/ai.onnx.Celu-28/int16/test_celu_expanded"
    held = book({case: True}, entry(case, use("ai.onnx.Max-13")))
    assert whys(weigh(held, [record(case)])) == []
