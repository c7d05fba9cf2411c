"""Weighing witnesses: truth tables of who says what, and how a wrong device might slip through."""

from __future__ import annotations

import pytest

from conformance.checks.support.witnessing import HOST_PROVIDER, judge_placement
from conformance.records import Outcome, Witness

DUT = "XExecutionProvider"
CPU = HOST_PROVIDER


def assignment(nodes: dict[str, int], *host_ops: str) -> Witness:
    return Witness(source="assignment", nodes=nodes, host_ops=host_ops)


def profile(nodes: dict[str, int], *host_ops: str) -> Witness:
    return Witness(source="profile", nodes=nodes, host_ops=host_ops)


REFUSAL = Witness(source="refusal", refused=True)


@pytest.mark.parametrize(
    ("witnesses", "outcome", "reason"),
    [
        ([assignment({DUT: 2}), profile({DUT: 1})], Outcome.PASS, ""),
        ([assignment({DUT: 2}), profile({DUT: 1}), REFUSAL], Outcome.PASS, ""),
        ([assignment({DUT: 2})], Outcome.PASS, ""),
        ([profile({DUT: 5})], Outcome.PASS, ""),
        ([assignment({DUT: 2, CPU: 1}, "Shape"), profile({DUT: 1, CPU: 1}, "Shape")], Outcome.PASS, ""),
        ([], Outcome.UNMEASURED, "placement not shown: the runtime offers no witness"),
        ([REFUSAL], Outcome.UNMEASURED, "placement not shown"),
        ([Witness(source="host-cpu", nodes={DUT: 9})], Outcome.UNMEASURED, "placement not shown"),
        ([assignment({}), profile({})], Outcome.UNMEASURED, "folded the whole graph"),
        ([assignment({DUT: 0}), profile({DUT: 0})], Outcome.UNMEASURED, "folded the whole graph"),
        ([assignment({DUT: 2}), profile({})], Outcome.UNMEASURED, "do not agree: profile shows no node at all"),
        ([assignment({}), profile({DUT: 2})], Outcome.UNMEASURED, "do not agree: assignment shows no node at all"),
        (
            [assignment({CPU: 2}), profile({CPU: 2})],
            Outcome.FAIL,
            f"not on {DUT}: the assignment shows 2 nodes on {CPU}",
        ),
        ([assignment({DUT: 2}), profile({CPU: 1})], Outcome.FAIL, f"the profile shows 1 node on {CPU}"),
        ([assignment({CPU: 2}), profile({DUT: 1})], Outcome.FAIL, "the assignment shows"),
        ([assignment({CPU: 1}, "Shape")], Outcome.FAIL, f"not on {DUT}"),
        ([assignment({"Y": 2}), profile({"Y": 2})], Outcome.FAIL, "2 nodes on Y"),
        ([assignment({DUT: 1, "Y": 1}), profile({DUT: 1})], Outcome.FAIL, "nodes on Y, which is not the device"),
        ([assignment({DUT: 1}), profile({DUT: 1, "Z": 1, "Y": 1})], Outcome.FAIL, "nodes on Y, Z, which"),
        (
            [assignment({DUT: 9, CPU: 1}, "MatMul")],
            Outcome.FAIL,
            "MatMul ran on the host; allowed_host_ops: Shape, Size",
        ),
        ([assignment({DUT: 9, CPU: 1}, "Shape"), profile({DUT: 9, CPU: 2}, "Conv", "Shape")], Outcome.FAIL, "Conv ran"),
    ],
)
def test_who_says_what(witnesses: list[Witness], outcome: Outcome, reason: str) -> None:
    placed = judge_placement(witnesses, DUT, allowed_host_ops=["Shape", "Size"])

    assert (placed.outcome, reason in placed.reason) == (outcome, True), placed.reason


def test_no_order_of_witnesses_matters_for_the_outcome() -> None:
    told = [assignment({DUT: 2}), profile({CPU: 1}), REFUSAL]
    outcomes = {judge_placement([told[i], told[j]], DUT, allowed_host_ops=[]).outcome for i, j in ((0, 1), (1, 0))}

    assert outcomes == {Outcome.FAIL}


def test_nothing_is_allowed_unless_it_is_named() -> None:
    placed = judge_placement([assignment({DUT: 1, CPU: 1}, "Shape")], DUT, allowed_host_ops=[])

    assert placed.outcome is Outcome.FAIL
    assert "Shape ran on the host; allowed_host_ops: none (1 node on CPUExecutionProvider, 1 node on X" in placed.reason


def test_the_cpu_itself_may_be_the_device() -> None:
    assert judge_placement([assignment({CPU: 3})], CPU, allowed_host_ops=[]).outcome is Outcome.PASS
    assert judge_placement([assignment({CPU: 3, "Y": 1})], CPU, allowed_host_ops=[]).outcome is Outcome.FAIL


def test_each_count_is_measured() -> None:
    measured = judge_placement([assignment({DUT: 3}), profile({CPU: 1})], DUT, allowed_host_ops=[]).measurements

    assert [(one.name, one.value, one.met) for one in measured] == [
        ("device_nodes_assignment", 3, True),
        ("device_nodes_profile", 0, False),
    ]


@pytest.mark.parametrize("nodes", [{DUT: 1, CPU: 50}, {DUT: 1, CPU: 1}])
def test_host_nodes_that_have_no_name_are_no_pass(nodes: dict[str, int]) -> None:
    told = [assignment(nodes), profile(nodes)]

    assert judge_placement(told, DUT, allowed_host_ops=["Shape"]).outcome is not Outcome.PASS


def test_witnesses_that_name_different_providers_are_no_pass() -> None:
    told = [assignment({DUT: 2}), profile({DUT: 2, CPU: 1}, "Shape")]

    assert judge_placement(told, DUT, allowed_host_ops=["Shape"]).outcome is not Outcome.PASS


@pytest.mark.parametrize(
    "refusal",
    [
        Witness(source="refusal", refused=False),
        Witness(source="refusal", refused=None),
    ],
)
def test_a_runtime_that_fell_back_although_it_was_forbidden_is_no_pass(refusal: Witness) -> None:
    assert judge_placement([assignment({DUT: 2}), refusal], DUT, allowed_host_ops=[]).outcome is not Outcome.PASS


def test_host_nodes_in_a_session_that_forbade_them_are_no_pass() -> None:
    told = [assignment({DUT: 2, CPU: 1}, "Shape"), REFUSAL]

    assert judge_placement(told, DUT, allowed_host_ops=["Shape"]).outcome is not Outcome.PASS


@pytest.mark.parametrize(
    ("witnesses", "provider", "reason"),
    [
        (
            [assignment({DUT: 2}), profile({DUT: 0})],
            DUT,
            "the witnesses do not agree: profile shows no node at all",
        ),
        (
            [assignment({DUT: 1, CPU: 2}), profile({DUT: 1, CPU: 2}, "Shape")],
            DUT,
            "the assignment shows nodes on the host and does not name their operators",
        ),
        (
            [assignment({DUT: 1, CPU: 2}, "Shape"), profile({DUT: 1, CPU: 2})],
            DUT,
            "the profile shows nodes on the host and does not name their operators",
        ),
        (
            [assignment({DUT: 2}), profile({DUT: 2, CPU: 1}, "Shape")],
            DUT,
            f"the witnesses do not agree on the providers: assignment: 2 nodes on {DUT}; "
            f"profile: 1 node on {CPU}, 2 nodes on {DUT} (Shape)",
        ),
        (
            [assignment({DUT: 2}), Witness(source="refusal", refused=None)],
            DUT,
            "the runtime did not say whether it refuses to fall back",
        ),
        (
            [assignment({DUT: 2, CPU: 1}, "Shape"), profile({DUT: 2, CPU: 1}, "Shape"), REFUSAL],
            DUT,
            "the runtime was forbidden to fall back and accepted, yet shows nodes on the host "
            f"(1 node on {CPU}, 2 nodes on {DUT} (Shape))",
        ),
        ([assignment({CPU: 2}), Witness(source="refusal", refused=None)], CPU, "the runtime did not say whether"),
    ],
)
def test_witnesses_that_do_not_bear_each_other_out_leave_it_open(
    witnesses: list[Witness], provider: str, reason: str
) -> None:
    placed = judge_placement(witnesses, provider, allowed_host_ops=["Shape"])

    assert (placed.outcome, placed.reason[: len(reason)]) == (Outcome.UNMEASURED, reason)
    assert placed.measurements


@pytest.mark.parametrize(
    ("witnesses", "provider"),
    [
        ([assignment({DUT: 3}), profile({DUT: 1})], DUT),  # fused
        ([assignment({DUT: 3, CPU: 0}), profile({DUT: 1})], DUT),
        ([assignment({DUT: 3, CPU: 1}, "Shape"), profile({DUT: 1, CPU: 4}, "Shape", "Size")], DUT),
        ([assignment({CPU: 3}), profile({CPU: 3})], CPU),
        ([assignment({CPU: 3}), REFUSAL], CPU),
    ],
)
def test_witnesses_that_differ_in_counts_alone_agree(witnesses: list[Witness], provider: str) -> None:
    placed = judge_placement(witnesses, provider, allowed_host_ops=["Shape", "Size"])

    assert (placed.outcome, placed.reason) == (Outcome.PASS, "")


def test_a_fault_is_told_before_a_doubt() -> None:
    told = [assignment({DUT: 2, CPU: 1}, "MatMul"), profile({}), Witness(source="refusal", refused=None)]
    assert judge_placement(told, DUT, allowed_host_ops=["Shape"]).outcome is Outcome.FAIL

    broken = [assignment({DUT: 2}), profile({}), Witness(source="refusal", refused=False)]
    placed = judge_placement(broken, DUT, allowed_host_ops=[])
    assert (placed.outcome, placed.reason) == (Outcome.FAIL, "the runtime fell back although it was forbidden")
