"""The console's section of claims: every number, the first few of each, and the scope of a partial run."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator
from rich.console import Console

from conformance.records import Basis, ClaimResult, ClaimsResult, RunResult, UntestedClaim
from conformance.reports import run_json, schemas
from conformance.reports.console import render_summary

if TYPE_CHECKING:
    from collections.abc import Callable


def claim(subject: str, **changes: Any) -> ClaimResult:
    """A subject that the profile claims and that failed."""
    given = {
        "basis": Basis.DECLARED,
        "cases": 3,
        "counts": {"PASS": 2, "FAIL": 1},
        "case": f"operators/{subject}/test",
        "reason": "FAIL: off by one",
    }
    return ClaimResult(subject=subject, **(given | changes))


def works(subject: str) -> ClaimResult:
    """A subject that works and is not claimed."""
    changes = {"basis": Basis.UNCLAIMED, "counts": {"works": 2}, "reason": "profile does not declare int8"}
    return claim(subject, **changes)


def untested(name: str, why: str, kind: str = "operator") -> UntestedClaim:
    """A claim that the run shows nothing of."""
    return UntestedClaim(name=name, kind=kind, why=why, cases=0)


DIFFERING = ClaimsResult(
    operators=580,
    types=3,
    over_claimed=(*(claim(f"ai.onnx.Max-{at}(int16)") for at in range(4)), claim("ai.onnx.Min-13(int16)", waived=True)),
    under_claimed=(works("ai.onnx.Add-14(int8)"),),
    untested=(
        *(untested(f"ai.onnx.Old-{at}", "no case exists") for at in range(5)),
        untested("ai.onnx.If-19", "not reached"),
        untested("int4", "not reached", "type"),
    ),
)


@pytest.fixture
def shown(result: Callable[..., RunResult]) -> Callable[..., str]:
    """Return the summary from its section of claims to the verdict, blanks at line ends removed."""

    def call(claims: ClaimsResult, **changes: Any) -> str:
        stream = io.StringIO()
        whole = result(claims=claims, **changes)
        render_summary(whole, Console(file=stream, width=120, markup=False, emoji=False, highlight=False))
        text = "\n".join(line.rstrip() for line in stream.getvalue().splitlines())
        return text[text.index("\nClaims") : text.index("\nVerdict")] if "\nClaims" in text else ""

    return call


def test_every_number_and_the_first_few_of_each(shown: Callable[..., str]) -> None:
    lines = shown(DIFFERING).strip().splitlines()
    assert lines[0].startswith("Claims ──")
    assert lines[1:] == [
        "over-claimed, that is claimed or required and not met: 5, 1 of them waived",
        "    ai.onnx.Max-0(int16): 2 PASS, 1 FAIL · FAIL: off by one",
        "    ai.onnx.Max-1(int16): 2 PASS, 1 FAIL · FAIL: off by one",
        "    ai.onnx.Max-2(int16): 2 PASS, 1 FAIL · FAIL: off by one",
        "    … and 2 more in run.json",
        "under-claimed, that is not claimed though it works: 1",
        "    ai.onnx.Add-14(int8): 2 works · profile does not declare int8",
        "claimed and not tested: 6 of 580 operator versions, 1 of 3 types",
        "    5 no case exists: ai.onnx.Old-0, ai.onnx.Old-1, ai.onnx.Old-2 … and 2 more in run.json",
        "    2 not reached: int4, ai.onnx.If-19",
    ]


def test_nothing_to_tell_is_told_as_zero(shown: Callable[..., str]) -> None:
    text = shown(ClaimsResult(operators=2, types=1))
    assert "not met: 0\n" in text
    assert "works: 0\n" in text
    assert text.rstrip().endswith("claimed and not tested: 0 of 2 operator versions, 0 of 1 types")


def test_without_claims_there_is_no_section(shown: Callable[..., str]) -> None:
    assert shown(ClaimsResult()) == ""


def test_a_partial_run_says_that_it_is_about_the_selected_cases(shown: Callable[..., str]) -> None:
    text = shown(DIFFERING, name="CLEAN-PARTIAL")
    assert text.startswith("\nClaims, by the cases of this partial run alone ──")
    assert "partial" not in shown(DIFFERING)


def test_a_profiles_words_steer_no_terminal(shown: Callable[..., str]) -> None:
    text = shown(ClaimsResult(over_claimed=(claim("com.acme.\x1b[2JX-1(int8)", reason="FAIL: \x1b[31m\nred"),)))
    assert "\x1b" not in text
    assert r"com.acme.\x1b[2JX-1(int8): 2 PASS, 1 FAIL · FAIL: \x1b[31m red" in text


def test_run_json_holds_all_of_them(result: Callable[..., RunResult]) -> None:
    written = json.loads(b"".join(run_json.render(result(claims=DIFFERING))))
    Draft202012Validator(schemas()["run"]).validate(written)
    claims = written["verdict"]["claims"]
    assert (claims["operators"], claims["types"]) == (580, 3)
    assert [len(claims[key]) for key in ("over_claimed", "under_claimed", "untested")] == [5, 1, 7]
    assert claims["over_claimed"][4]["waived"] is True
    assert claims["untested"][6] == {"name": "int4", "kind": "type", "why": "not reached", "cases": 0}
