"""What is claimed, and the sentence that says why something is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conformance.profile.claims import Claims, OperatorUse, is_host_op_allowed
from conformance.profile.declares import Declarations, Operators
from conformance.profile.terms import parse_term

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.profile.loader import LoadedProfile


def add(since: int = 14, following: int | None = None, domain: str = "ai.onnx") -> OperatorUse:
    return OperatorUse(domain=domain, op="Add", since_version=since, next_version=following)


@pytest.fixture
def claims(load: Callable[[str], LoadedProfile], minimal: str) -> Callable[[str], Claims]:
    return lambda more: load(minimal + more).claims


IMPORTS = {"ai.onnx": 17}


def test_everything_declared_is_claimed(claims: Callable[[str], Claims]) -> None:
    assert claims("  operators: all\n").why_unclaimed(IMPORTS, [add()], {"float32"}) == ""


def test_nothing_is_claimed_of_operators_that_were_left_out(claims: Callable[[str], Claims]) -> None:
    assert claims("").why_unclaimed(IMPORTS, [add()], set()) == "profile declares no operators"
    assert claims("").why_unclaimed(IMPORTS, [], {"float32"}) == "", "a model without operators needs none"


def test_types_are_named_in_order(claims: Callable[[str], Claims]) -> None:
    why = claims("  operators: all\n").why_unclaimed(IMPORTS, [add()], {"float32", "int8", "float16"})
    assert why == "profile does not declare float16, int8"


def test_a_domain_must_be_declared(claims: Callable[[str], Claims]) -> None:
    scaler = OperatorUse(domain="ai.onnx.ml", op="Scaler", since_version=1)
    assert (
        claims("  operators: all\n").why_unclaimed({}, [scaler], set()) == "profile does not declare domain ai.onnx.ml"
    )


@pytest.mark.parametrize(
    ("since", "following", "why"),
    [
        (13, 14, ""),  # active in opset 13 only
        (7, 13, "declares.opsets ai.onnx is [13, 21]; Add-7 is older"),
        (7, 14, ""),  # still active in opset 13
        (7, None, ""),  # never replaced
        (21, None, ""),
        (22, None, "declares.opsets ai.onnx is [13, 21]; Add-22 is newer"),
    ],
)
def test_a_version_is_claimed_when_some_declared_opset_has_it(
    claims: Callable[[str], Claims], since: int, following: int | None, why: str
) -> None:
    asked = claims("  operators: all\n")
    assert asked.why_unclaimed(IMPORTS, [add(since, following)], set()) == why
    assert asked.why_unclaimed(IMPORTS, [add(since, following, "")], set()) == why, "'' is ai.onnx"


@pytest.mark.parametrize(("version", "why"), [(1, ""), (3, "declares.opsets com.x is [1, 2]; com.x.Y-3 is newer")])
def test_an_operator_without_a_schema_is_claimed_by_the_import(
    load: Callable[[str], LoadedProfile], minimal: str, version: int, why: str
) -> None:
    asked = load(minimal.replace("{ai.onnx: [13, 21]}", "{com.x: [1, 2]}") + "  operators: all\n").claims
    unknown = OperatorUse(domain="com.x", op="Y", since_version=0)
    assert asked.why_unclaimed({"com.x": version}, [unknown], set()) == why


def test_an_operator_without_a_schema_below_the_range(load: Callable[[str], LoadedProfile], minimal: str) -> None:
    asked = load(minimal.replace("{ai.onnx: [13, 21]}", "{com.x: [2, 3]}") + "  operators: all\n").claims
    unknown = OperatorUse(domain="com.x", op="Y", since_version=0)
    assert asked.why_unclaimed({"com.x": 1}, [unknown], set()) == "declares.opsets com.x is [2, 3]; com.x.Y-1 is older"


def test_only_included_operators_are_claimed(claims: Callable[[str], Claims]) -> None:
    asked = claims("  operators: [Sub, Add-13]\n")
    assert asked.why_unclaimed(IMPORTS, [add(13, 14)], set()) == ""
    assert asked.why_unclaimed(IMPORTS, [add(14)], set()) == "profile does not declare operator Add"


def test_an_exclusion_gives_its_reason(claims: Callable[[str], Claims]) -> None:
    asked = claims(
        "  operators:\n    include: all\n    exclude:\n      - Sub\n"
        '      - {term: "Resize[mode=cubic]", reason: no kernel yet}\n'
    )
    cubic = OperatorUse(domain="", op="Resize", since_version=19, attributes={"mode": "cubic"})
    linear = OperatorUse(domain="", op="Resize", since_version=19, attributes={"mode": "linear"})
    sub = OperatorUse(domain="", op="Sub", since_version=14)
    assert asked.why_unclaimed(IMPORTS, [add(), cubic], set()) == "profile excludes Resize[mode=cubic]: no kernel yet"
    assert asked.why_unclaimed(IMPORTS, [sub], set()) == "profile excludes Sub"
    assert asked.why_unclaimed(IMPORTS, [linear], set()) == ""


def test_claims_can_be_made_in_code() -> None:
    """What a category demands is asked for as if a device had declared it."""
    operators = Operators(include=(parse_term("Add"),))
    asked = Claims(Declarations(opsets={"ai.onnx": (13, 17)}, types=("float32",), operators=operators))
    assert asked.why_unclaimed(IMPORTS, [add(14)], {"float32"}) == ""
    assert asked.why_unclaimed(IMPORTS, [add(21)], set()) == "declares.opsets ai.onnx is [13, 17]; Add-21 is newer"


def test_the_host_may_run_integer_arithmetic_and_no_float() -> None:
    allowed = [parse_term(text) for text in ("Shape", "Gather(int64)", "Cast-13", "Concat(int64)")]

    def gather(*types: str) -> OperatorUse:
        return OperatorUse(domain="", op="Gather", since_version=13, types=frozenset(types))

    assert is_host_op_allowed(allowed, "Gather", [gather("int64")])
    assert not is_host_op_allowed(allowed, "Gather", [gather("int64", "float32")]), "indices do not excuse float data"
    assert not is_host_op_allowed(allowed, "Gather", [gather("int64"), gather("float32", "int64")]), "every use counts"
    assert not is_host_op_allowed(allowed, "Gather", [gather()]), "types that are not known excuse nothing"
    assert not is_host_op_allowed(allowed, "MatMul", [OperatorUse(domain="", op="MatMul", since_version=13)])
    assert is_host_op_allowed(allowed, "Shape", []), "put in by the runtime"
    assert not is_host_op_allowed(allowed, "Cast", []), "a condition that cannot be looked at does not hold"
    assert not is_host_op_allowed(allowed, "Concat", [])


# -- all that is claimed ----------------------------------------------------------------------------------------------


def versions(opsets: dict[str, tuple[int, int]], include: object, *exclude: str) -> tuple[str, ...]:
    """The operator versions that such declarations claim."""
    operators = Operators.model_validate({"include": include, "exclude": list(exclude)})
    return Claims(Declarations(opsets=opsets, types=("float32",), operators=operators)).operator_versions()


@pytest.mark.parametrize(
    ("opsets", "claimed"),
    [
        ((1, 28), ("Add-1", "Add-6", "Add-7", "Add-13", "Add-14")),
        ((8, 13), ("Add-7", "Add-13")),  # 7 is in force in opset 8
        ((14, 14), ("Add-14",)),
        ((20, 28), ("Add-14",)),
    ],
)
def test_versions_in_force_within_the_opsets_are_claimed(opsets: tuple[int, int], claimed: tuple[str, ...]) -> None:
    assert versions({"ai.onnx": opsets}, ["Add"]) == tuple(f"ai.onnx.{one}" for one in claimed)


@pytest.mark.parametrize(
    ("include", "exclude", "claimed"),
    [
        ("Relu-13", (), {13}),
        ("Relu(float32)", (), {13, 14}),  # a part of each
        ("Relu", ("Relu-13",), {14}),
        ("Relu", ("Relu(float32)",), {13, 14}),  # the rest is still claimed
        ("Relu", ("Relu",), set()),
    ],
)
def test_a_version_is_claimed_unless_the_whole_of_it_is_excluded(
    include: str, exclude: tuple[str, ...], claimed: set[int]
) -> None:
    assert set(versions({"ai.onnx": (13, 17)}, [include], *exclude)) == {f"ai.onnx.Relu-{one}" for one in claimed}


def test_all_means_every_operator_of_the_declared_opsets_but_those_that_onnx_took_back() -> None:
    found = versions({"ai.onnx": (7, 28)}, "all")
    assert {"ai.onnx.Upsample-7", "ai.onnx.Upsample-9", "ai.onnx.Scatter-9"} <= set(found)
    assert not {"ai.onnx.Upsample-10", "ai.onnx.Scatter-11", "ai.onnx.ml.Scaler-1"} & set(found)
    assert len(found) == len(set(found)) > 400


def test_operators_of_a_foreign_domain_are_claimed_as_their_terms_spell_them() -> None:
    assert versions({"com.acme": (1, 1)}, ["com.acme.Fast", "com.acme.Slow-2"]) == ("com.acme.Fast", "com.acme.Slow-2")
    assert versions({"com.acme": (1, 1)}, "all") == (), "nobody knows what all of them are"


def test_without_operators_types_are_claimed_alone() -> None:
    claims = Claims(Declarations(opsets={"ai.onnx": (13, 17)}, types=("int8", "float32")))
    assert (claims.operator_versions(), claims.types) == ((), ("float32", "int8"))
