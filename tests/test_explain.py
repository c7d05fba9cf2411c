"""`conformance explain`: what is known of a requirement or a case, and the nearest ids for what is neither."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from conformance.checks.support.port import Planned
from conformance.cli import main
from conformance.errors import UsageError
from conformance.explain import Known, explain
from conformance.plan import Plan, State
from conformance.profile.loader import load_device
from conformance.records import Basis, Case

CONV = "operators/ai.onnx.Conv-22/float32/test_conv"


def requirement(name: str = "R-001", check: str | None = "operators", **changes: Any) -> Any:
    """A MUST of the category."""
    given = {
        "id": name,
        "level": "MUST",
        "title": SimpleNamespace(en="Operators compute", zh="算子计算"),
        "area": "operators",
        "check": check,
        "params": {"scope": "declared"},
        "applies_when": None,
        "status": "draft",
        "origin": ("G5", "ours"),
        "since": "0.1",
    }
    return SimpleNamespace(**(given | changes))


def case(name: str = CONV, basis: Basis = Basis.DECLARED, **changes: Any) -> Case:
    """A case of R-001."""
    given = {"check": "operators", "requirements": ("R-001",), "why": "it applies to every device", "basis": basis}
    return Case(id=name, **(given | changes))


def entry(name: str = CONV, **changes: Any) -> Any:
    """A row of the suite."""
    use = SimpleNamespace(key="ai.onnx.Conv-22", types=("float32",), attributes={"auto_pad": "VALID", "group": 1})
    given = {
        "case_id": name,
        "name": "test_conv",
        "kind": "node",
        "opset_imports": {"ai.onnx": 22},
        "ir_version": 10,
        "datasets": [()],
        "uses": [use],
        "types": ("float32",),
        "rtol": 1e-3,
        "atol": 1e-7,
        "needs": (),
        "invalid": "",
        "reference": "",
        "tolerance_note": "",
    }
    return SimpleNamespace(**(given | changes))


def told(key: str, cases: list[Case], entries: list[Any] | None = None, state: State | None = None) -> dict[str, str]:
    """Explain with such a plan and suite of reference-cpu; lines of one label are joined."""
    loaded = load_device("reference-cpu")
    states = [state or State(requirement(), True, "it applies to every device", "")]
    plan = Plan([Planned(one) for one in cases], states, 0, [], {}, "full", "")
    suite = None if entries is None else SimpleNamespace(entries=entries)
    found: dict[str, str] = {}
    label = ""
    for line in explain(key, Known("my card.yaml", loaded, plan, suite)):
        label = line[:13].strip() or label
        found[label] = line[13:] if label not in found else f"{found[label]}\n{line[13:]}"
    return found


# -- a requirement ----------------------------------------------------------------------------------------------------


def test_a_requirement_tells_where_it_comes_from_and_why_it_applies() -> None:
    facts = told("R-001", [case(), case("a/b", Basis.UNCLAIMED), case("a/c", requirements=("R-002",))])
    assert facts["title"] == "Operators compute\n算子计算"
    assert facts["level"] == "MUST"
    assert facts["origin"] == "G5, ours (G1 to G12 are points of the published guidance; ours: this project's)"
    assert facts["since"] == "version 0.1 of the category"
    assert facts["applies"] == "yes, to my card.yaml: it applies to every device"
    assert facts["check"] == "operators"
    assert facts["parameter"] == "scope: declared"
    assert facts["cases"] == f"2 on the level full: 1 declared, 1 unclaimed\n{CONV}\na/b"
    assert "deadlines: open_s 60, compile_s 120, run_s 60" in facts["cap"]


def test_a_requirement_without_a_check_stays_open_and_says_so() -> None:
    state = State(requirement(check=None, params={}, area="numerics"), True, "always", "no check yet")
    facts = told("R-001", [], state=state)
    assert facts["check"] == "no check yet, so this MUST stays open"
    assert facts["cases"] == "0 on the level full"
    assert facts["cap"].startswith("coarsest_precision: ")


def test_a_requirement_that_does_not_apply_gives_the_facts() -> None:
    condition = SimpleNamespace(model_dump=lambda **_: {"field": "device.hardware", "equals": "npu"})
    state = State(requirement(applies_when=condition), False, "device.hardware is cpu, not npu", "")
    facts = told("R-001", [], state=state)
    assert facts["applies"] == "no, to my card.yaml: device.hardware is cpu, not npu"
    assert facts["condition"] == '{"field": "device.hardware", "equals": "npu"}'


def test_only_the_first_cases_are_named() -> None:
    facts = told("R-001", [case(f"a/{at}") for at in range(9)])
    assert facts["cases"].splitlines()[1:] == ["a/0", "a/1", "a/2", "… and 6 more: conformance list 'my card.yaml'"]


# -- a case -----------------------------------------------------------------------------------------------------------


def test_a_case_tells_what_it_uses_how_it_is_judged_and_how_to_run_it() -> None:
    facts = told(CONV, [case(smoke=True)], [entry()])
    assert facts["requirement"] == "R-001 MUST Operators compute"
    assert facts["levels"] == "smoke, full, certify"
    assert facts["model"] == "test_conv, kind node, opsets ai.onnx 22, IR 10, 1 set of inputs"
    assert facts["uses"] == "ai.onnx.Conv-22(float32) auto_pad=VALID, group=1"
    assert facts["types"] == "float32"
    assert facts["host needs"] == "nothing"
    assert facts["run it"] == f"conformance run 'my card.yaml' --case '{CONV}'"


@pytest.mark.parametrize(
    ("planned", "said"),
    [
        (case(), "claimed: the profile declares every operator version and type that it uses; it applies to every"),
        (case(basis=Basis.REQUIRED), "required, whether declared or not: the category's minimum holds all"),
        (
            case(basis=Basis.UNCLAIMED, unsupported="profile excludes Conv: no kernel"),
            "unclaimed, so it is tried and not judged: profile excludes Conv: no kernel",
        ),
    ],
)
def test_why_a_case_is_planned(planned: Case, said: str) -> None:
    assert told(CONV, [planned], [entry()])["planned"].startswith(said)


def test_a_case_that_is_invalid_upstream_is_explained_and_cannot_be_run() -> None:
    facts = told(CONV, [case("a/b")], [entry(invalid="judges zero", reference="onnx/onnx#1")])
    assert facts["planned"].endswith("no correct device can pass it: judges zero (onnx/onnx#1)")
    assert "run it" not in facts


def test_a_case_that_nothing_asks_for_is_explained() -> None:
    assert told(CONV, [case("a/b")], [entry()])["planned"] == (
        "no: no requirement that applies to this device asks for it"
    )


@pytest.mark.parametrize(
    ("changes", "params", "said"),
    [
        ({}, {}, "rtol 0.001, atol 1e-07 where values are inexact: ONNX's own default"),
        ({"rtol": 0.1}, {}, "rtol 0.1, atol 1e-07 where values are inexact: ONNX's own for this case"),
        (
            {"atol": 1.0, "tolerance_note": "one rounding", "reference": "IEEE 754"},
            {},
            "rtol 0.001, atol 1 where values are inexact: not ONNX's own: one rounding (IEEE 754)",
        ),
        ({}, {"rtol": 0.5}, "rtol 0.5, atol 1e-07 where values are inexact: set by the check"),
    ],
)
def test_a_tolerance_names_its_source(changes: dict[str, Any], params: dict[str, Any], said: str) -> None:
    assert told(CONV, [case(params=params)], [entry(**changes)])["tolerance"] == said


def test_a_host_precondition_names_its_reference() -> None:
    facts = told(CONV, [case()], [entry(needs=("locale:en_US.UTF-8",), reference="onnx text")])
    assert facts["host needs"] == "locale:en_US.UTF-8 (onnx text)"


def test_a_case_without_a_row_in_the_suite_has_no_operators() -> None:
    facts = told("session/x", [case("session/x", check="session")])
    assert facts["planned"] == "yes: it applies to every device"
    assert not {"uses", "tolerance"} & set(facts)


def test_a_fact_stays_on_its_line() -> None:
    facts = told(CONV, [case(why="one\ntwo \x1b[2J")], [entry()])
    assert facts["planned"].endswith(r"one\ntwo \x1b[2J")


# -- neither ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("R-01", "; did you mean 'R-001'?"),
        ("TEST_conv", f"; did you mean '{CONV}'?"),
        ("operators/", f"; did you mean '{CONV}' or '{CONV}_2'?"),
        ("zzz", "; `conformance list` shows the ids of cases, `conformance run` those of requirements"),
        ("", "; `conformance list` shows the ids of cases, `conformance run` those of requirements"),
    ],
)
def test_an_unknown_id_gets_the_nearest_ones(key: str, said: str) -> None:
    cases = [case()] + ([case(f"{CONV}_2")] if key == "operators/" else [])
    with pytest.raises(UsageError) as caught:
        told(key, cases, [entry()])
    assert str(caught.value) == f"'{key}' is neither a requirement of host-reference nor a case{said}"


# -- the real plan ----------------------------------------------------------------------------------------------------


def test_the_command_explains_the_shipped_profile(suite_cache: Path) -> None:
    done = CliRunner().invoke(main, ["explain", "operators/ai.onnx.Max-13/int16/test_max_int16"])
    assert done.exit_code == 0
    assert "tried and not judged: profile excludes Max(int16): no int16 kernel\n" in done.stdout
    done = CliRunner().invoke(main, ["explain", "OP-002", "cuda"])
    assert done.exit_code == 0
    assert "cap          minimum_opsets: ai.onnx [13, 17]\n" in done.stdout


def test_an_unknown_id_is_one_line_and_exit_code_2(suite_cache: Path) -> None:
    done = CliRunner().invoke(main, ["explain", "IF-01"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "'IF-001'" in done.stderr


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (
            "models/encoder/float32/agreement",
            ["fixtures/models/encoder/card.yaml", "operands in float32, sums in float32", "Monte Carlo arithmetic"],
        ),
        ("models/decoder/int4-contrib/decode", ["com.microsoft 1", "the graph of variant int4 in float64"]),
        ("models/cnn-shapes/float32/accuracy", ["task shapes, salt 0, in batches of 64", "device loses ≤ 0.01"]),
    ],
)
def test_a_case_of_a_model_says_what_it_is_judged_by(key: str, told: list[str]) -> None:
    text = " ".join(CliRunner().invoke(main, ["explain", key]).output.split())

    for words in told:
        assert words in text
