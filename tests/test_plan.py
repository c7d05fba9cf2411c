"""The plan: what is asked for, what is selected, what is left open, and that the same question gives the same plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from conformance import plan as planning
from conformance.checks.support.port import Planned, Requested, Target
from conformance.checks.support.using import why_unasked
from conformance.errors import UsageError
from conformance.observation import Seen
from conformance.profile.conditions import Condition
from conformance.profile.declares import Operators, Precision
from conformance.profile.loader import LoadedProfile, load_device
from conformance.profile.terms import parse_term
from conformance.records import Basis, Case, Outcome

TARGET = Target(
    provider="P",
    on_host_cpu=True,
    is_host_cpu_allowed=True,
    takes_zero_size=True,
    hardware="cpu",
    driver="",
    binding={},
)
Cases = Callable[[Requested], Iterable[Planned]]


def case(name: str, requested: Requested, **changes: Any) -> Planned:
    """One planned case of the check `session`."""
    given = {"check": "session", "requirements": (requested.id,), "why": requested.why} | changes
    return Planned(Case(id=name, **given))


def requirement(
    name: str, check: str | None = "session", applies_when: Condition | None = None, excepts: tuple[str, ...] = ()
) -> Any:
    """A requirement of the category, as far as the plan looks at it."""
    return SimpleNamespace(
        id=name, level="MUST", check=check, params={"scope": name}, applies_when=applies_when, excepts=excepts
    )


@pytest.fixture(scope="module")
def reference_cpu() -> LoadedProfile:
    """The shipped profile; its category's requirements are replaced by those of a test."""
    return load_device("reference-cpu")


@pytest.fixture
def build(reference_cpu: LoadedProfile) -> Callable[..., planning.Plan]:
    """Plan requirements with a check that plans what the test says."""

    def call(requirements: list[Any], cases: Cases, *, suite: Any = None, **options: str) -> planning.Plan:
        category: Any = SimpleNamespace(requirements=requirements, caps=reference_cpu.category.caps)
        loaded = replace(reference_cpu, category=category)
        context = planning.Context(loaded, TARGET, lambda: suite)
        if suite is not None:
            context.suite()
        check: Any = SimpleNamespace(plan=lambda requested, _: cases(requested))
        return planning.build(
            loaded,
            context,
            lambda _: check,
            ["session"],
            lambda one, why: Requested(one.id, one.level, one.params, why),
            **options,
        )

    return call


def ids(plan: planning.Plan) -> list[str]:
    """The planned case ids in order."""
    return [one.case.id for one in plan.cases]


def test_a_check_gets_its_requirements_parameters_and_reason(build: Callable[..., planning.Plan]) -> None:
    seen: list[Requested] = []

    def cases(requested: Requested) -> list[Planned]:
        seen.append(requested)
        return [case("interface/session/a", requested)]

    build([requirement("R-1")], cases)
    assert seen == [Requested("R-1", "MUST", {"scope": "R-1"}, "it applies to every device of the category")]


def test_a_requirement_that_does_not_apply_is_not_asked(build: Callable[..., planning.Plan]) -> None:
    condition = Condition(field="device.hardware", equals="npu")
    plan = build([requirement("R-1"), requirement("R-2", applies_when=condition)], lambda r: [case(f"a/{r.id}", r)])
    assert ids(plan) == ["a/R-1"]
    state = plan.states[1]
    assert (state.applies, state.unplanned) == (False, "")
    assert "device.hardware" in state.why


def test_a_requirement_whose_check_does_not_exist_yet_is_named(build: Callable[..., planning.Plan]) -> None:
    states = build(
        [requirement("R-1"), requirement("R-2", None), requirement("R-3", "soak")], lambda r: [case("a/b", r)]
    ).states
    assert [one.unplanned for one in states] == [
        "",
        "no check yet",
        "no check yet: 'soak' does not exist in this version",
    ]


def test_cases_come_gate_first_then_operators(build: Callable[..., planning.Plan]) -> None:
    def cases(requested: Requested) -> list[Planned]:
        return [
            case("operators/x", requested, check="operators"),
            case("interface/late", requested, order=1),
            case("interface/first", requested, order=0),
        ]

    assert ids(build([requirement("R-1")], cases)) == ["interface/first", "interface/late", "operators/x"]


# -- one case, several requirements -----------------------------------------------------------------------------------


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("left", "right", "basis", "serves"),
    [
        (Basis.REQUIRED, Basis.DECLARED, Basis.REQUIRED, ("L", "R")),
        (Basis.REQUIRED, Basis.UNCLAIMED, Basis.REQUIRED, ("L",)),
        (Basis.DECLARED, Basis.UNCLAIMED, Basis.DECLARED, ("L",)),
        (Basis.DECLARED, Basis.DECLARED, Basis.DECLARED, ("L", "R")),
        (Basis.UNCLAIMED, Basis.UNCLAIMED, Basis.UNCLAIMED, ("L", "R")),
    ],
)
def test_a_case_is_planned_once_on_its_strongest_basis(
    build: Callable[..., planning.Plan],
    left: Basis,
    right: Basis,
    basis: Basis,
    serves: tuple[str, ...],
    *,
    reverse: bool,
) -> None:
    of = {"L": left, "R": right}
    order = [requirement(name) for name in (reversed(of) if reverse else of)]
    plan = build(order, lambda r: [case("a/b", r, basis=of[r.id], smoke=r.id == "R")])
    (planned,) = plan.cases
    assert planned.case.basis is basis
    assert planned.case.requirements == serves
    assert planned.case.smoke


# -- selection --------------------------------------------------------------------------------------------------------


def three(requested: Requested) -> list[Planned]:
    """Three cases, one of them smoke."""
    return [case("a/Add/1", requested, smoke=True), case("a/add/2", requested), case("b/Add/3", requested)]


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ({}, ["a/Add/1", "a/add/2", "b/Add/3"]),
        ({"level": "smoke"}, ["a/Add/1"]),
        ({"selection": "*/Add/*"}, ["a/Add/1", "b/Add/3"]),
        ({"selection": "a/add/2"}, ["a/add/2"]),
        ({"selection": "a/*", "level": "smoke"}, ["a/Add/1"]),
    ],
)
def test_what_is_not_selected_is_counted(
    build: Callable[..., planning.Plan], options: dict[str, str], chosen: list[str]
) -> None:
    plan = build([requirement("R-1")], three, **options)
    assert ids(plan) == chosen
    assert plan.not_selected == 3 - len(chosen)
    assert (plan.level, plan.selection) == (options.get("level", "full"), options.get("selection", ""))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"selection": "nothing*"}, "--case 'nothing*' selects none of 3 cases"),
        ({"selection": "b/*", "level": "smoke"}, "--case 'b/*' selects none of 3 cases"),
    ],
)
def test_selecting_nothing_is_a_usage_error(
    build: Callable[..., planning.Plan], options: dict[str, str], said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        build([requirement("R-1")], three, **options)
    assert str(caught.value).startswith(said)
    assert caught.value.exit_code == 2


def test_a_category_in_which_nothing_can_be_planned_is_a_usage_error(build: Callable[..., planning.Plan]) -> None:
    with pytest.raises(UsageError, match="level full selects none of 0 cases"):
        build([requirement("R-1", None)], three)


# -- the same question, the same plan ---------------------------------------------------------------------------------


def test_the_digest_is_of_what_is_planned_and_how_it_is_judged(build: Callable[..., planning.Plan]) -> None:
    def with_params(**params: Any) -> str:
        return build([requirement("R-1")], lambda r: [case("a/b", r, params=params)]).digest

    assert with_params(rtol=0.1, atol=0.0) == with_params(atol=0.0, rtol=0.1)
    assert with_params(rtol=0.1) != with_params(rtol=0.2)
    everything = build([requirement("R-1")], three)
    assert everything.digest == build([requirement("R-1")], three).digest
    assert everything.digest != build([requirement("R-1")], three, selection="a/*").digest
    assert everything.digest != build([requirement("R-2")], three).digest


def test_coverage_and_pins_come_from_the_whole_suite(build: Callable[..., planning.Plan]) -> None:
    def entry(name: str, kind: str = "node", invalid: str = "") -> Any:
        add = SimpleNamespace(
            domain="ai.onnx", op_type="Add", since_version=14, key="ai.onnx.Add-14", attributes={"axis": 1}
        )
        given = {"case_id": name, "kind": kind, "invalid": invalid, "reference": "ref"}
        return SimpleNamespace(**given, uses=[add], types=("float32",), expanded=False)

    suite = SimpleNamespace(
        entries=[
            entry("operators/ai.onnx.Add-14/float32/test_add"),
            entry("operators/ai.onnx.Add-14/float32/test_bad", invalid="judges zero"),
            entry("models/light/float32/x", kind="real"),
        ]
    )
    planned = "operators/ai.onnx.Add-14/float32/test_add"
    plan = build(
        [requirement("R-1")],
        lambda r: [case(planned, r), case("a/b", r, basis=Basis.UNCLAIMED)],
        suite=suite,
        selection="a/b",
    )
    assert plan.pinned == [("operators/ai.onnx.Add-14/float32/test_bad", "judges zero (ref)")]
    assert set(plan.denominators["operators"].values()) == {("ai.onnx.Add-14",)}
    assert set(plan.denominators["operators × type"].values()) == {("ai.onnx.Add-14/float32",)}
    valued = plan.denominators["operators × type × attribute value"]
    assert set(valued.values()) == {("ai.onnx.Add-14/float32/axis=1",)}
    assert plan.claims.is_claimed == {planned: True, "a/b": False}, "selected or not"
    assert list(plan.claims.entries) == suite.entries, "and no generated case, for no check asked for any"
    assert "float32" in plan.claims.types
    assert "ai.onnx.Add-14" in plan.claims.operators


def test_the_context_answers_from_the_declarations(reference_cpu: LoadedProfile) -> None:
    context = planning.Context(reference_cpu, TARGET, lambda: SimpleNamespace(entries=[]))
    assert context.claims_type("bfloat16")
    assert not context.claims_type("complex64")
    assert context.probe_opset() == 13
    assert context.minimum is None, "host-reference demands no operators"
    assert context.allowed_host_ops([]) == []
    assert context.loaded_suite is None
    assert context.suite() is context.suite()


def test_what_the_category_demands_is_asked_like_claims() -> None:
    context = planning.Context(load_device("cuda"), TARGET, lambda: None)
    assert context.minimum is not None


def asked(loaded: LoadedProfile, minimum: tuple[str, ...] = (), **declares: Any) -> planning.Context:
    """A context with other declarations, in a category that demands these operators."""
    changed = loaded.profile.declares.model_copy(update=declares)
    caps = loaded.category.caps.model_copy(update={"minimum_operators": [parse_term(op) for op in minimum]})
    loaded = replace(
        loaded,
        profile=loaded.profile.model_copy(update={"declares": changed}),
        category=loaded.category.model_copy(update={"caps": caps}),
    )
    return planning.Context(loaded, TARGET, lambda: None)


def test_a_probe_is_asked_where_its_operators_are_claimed_or_demanded(reference_cpu: LoadedProfile) -> None:
    some = Operators(include=(parse_term("MatMul"), parse_term("Relu(float32)"), parse_term("Add(int8)")))
    context = asked(reference_cpu, operators=some)
    assert context.why_unclaimed(["MatMul", "Relu"]) == ""
    assert context.why_unclaimed(["MatMul", "Squeeze"]) == "profile does not declare operator Squeeze"
    assert context.why_unclaimed(["Add"]) == "profile does not declare operator Add", "of float32 it says nothing"
    assert asked(reference_cpu, operators=None).why_unclaimed(["MatMul"]) == "profile declares no operators"
    held = asked(reference_cpu, ("MatMul", "Squeeze"), operators=some)
    assert (held.why_unclaimed(["MatMul", "Squeeze"]), held.why_unclaimed(["Slice"])) == (
        "", "profile does not declare operator Slice",
    )  # fmt: skip


def test_too_small_a_claim_leaves_the_session_open_and_is_never_met(reference_cpu: LoadedProfile) -> None:
    from conformance.checks import interface, lifecycle, offers, placement, session

    small = asked(reference_cpu, operators=Operators(include=(parse_term("Add"), parse_term("Sub"))))
    found = {}
    for check, params in (
        (session, {}),
        (interface, {"scope": "sessions"}),
        (interface, {"scope": "shapes"}),
        (lifecycle, {}),
        (offers, {}),
        (placement, {}),
    ):
        for one in check.plan(Requested("R", "MUST", params, ""), small):
            found[one.case.id] = one
    claimed = {name for name, one in found.items() if not one.case.unsupported}
    names = ("registration", "identity", "release", "create-run-destroy")
    assert claimed == {f"interface/session/{name}" for name in names}
    assert found["interface/sessions/kv-cache"].case.unsupported == "profile does not declare operator Concat"

    case = found["interface/session/create-run-destroy"].case
    seen = Seen(session.measure(case, None), [])  # type: ignore[arg-type]
    judged = session.judge(case, seen, [])
    assert (judged.outcome, judged.reason) == (
        Outcome.UNMEASURED, "no session was made: profile does not declare operator MatMul",
    )  # fmt: skip


def test_a_probe_that_needs_a_newer_opset_is_not_asked(reference_cpu: LoadedProfile) -> None:
    old = asked(reference_cpu, opsets={"ai.onnx": (7, 12)})
    assert why_unasked(old, "matmul_relu") == ""
    assert why_unasked(old, "one_element") == "the probe needs opset 13, which the profile does not declare"


@pytest.mark.parametrize(
    ("declared", "kind", "bits"),
    [
        ({}, "float32", 24),
        ({"float32": Precision(input="tf32")}, "float32", 11),
        ({"float16": Precision(accumulate="float16")}, "float16", 11),
        ({"float16": Precision(output="bfloat16")}, "float16", 8),
        ({"float16": Precision(output="bfloat16")}, "bfloat16", 8),
    ],
)
def test_the_coarsest_part_of_a_declared_precision_counts(
    reference_cpu: LoadedProfile, declared: dict[str, Precision], kind: str, bits: int
) -> None:
    declares = reference_cpu.profile.declares.model_copy(update={"precision": declared})
    loaded = replace(reference_cpu, profile=reference_cpu.profile.model_copy(update={"declares": declares}))

    assert planning.Context(loaded, TARGET, lambda: None).significant_bits(kind) == bits


def test_a_model_within_the_category_s_minimum_is_demanded(reference_cpu: LoadedProfile) -> None:
    context = planning.Context(reference_cpu, TARGET, lambda: None)

    def demanded(opsets: dict[str, int], types: tuple[str, ...]) -> bool:
        return context.demands(SimpleNamespace(opset_imports=opsets, types=types))

    assert demanded({"ai.onnx": 13}, ("float32", "int64", "bool"))
    assert not demanded({"ai.onnx": 14}, ("float32",))
    assert not demanded({"ai.onnx": 13, "com.microsoft": 1}, ("float32",))
    assert not demanded({"ai.onnx": 13}, ("float32", "float16"))


def test_what_a_requirement_excepts_judges_nobody_under_it_and_is_asked_by_any_other(build: Callable[..., Any]) -> None:
    def cases(requested: Requested) -> Iterable[Planned]:
        return [case("a/one", requested, smoke=True), case("a/two", requested, smoke=True)]

    alone = {one.case.id: one.case for one in build([requirement("R-1", excepts=("a/o*",))], cases).cases}
    both = [requirement("R-1", excepts=("a/o*",)), requirement("R-2")]
    beside = {one.case.id: one.case for one in build(both, cases).cases}

    assert (alone["a/one"].basis, alone["a/one"].smoke) == (Basis.UNCLAIMED, False)
    assert "R-1 excepts 'a/o*'" in alone["a/one"].unsupported
    assert alone["a/two"].basis is not Basis.UNCLAIMED
    assert beside["a/one"].requirements == ("R-2",)
    assert beside["a/one"].basis is not Basis.UNCLAIMED
