"""Results as a run would give them, small enough to say in each test what differs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from conformance.records import (
    Attempt,
    Basis,
    Coverage,
    Identity,
    Measurement,
    Outcome,
    OutcomeClass,
    Record,
    RequirementResult,
    RunInfo,
    RunResult,
    Verdict,
    Witness,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def make_record(case: str = "operators/ai.onnx.Add-14/float32/test_add", **changes: Any) -> Record:
    """A case of OP-001 that passed."""
    given: dict[str, Any] = {
        "case": case,
        "check": case.partition("/")[0],
        "requirements": ("OP-001",),
        "outcome": Outcome.PASS,
        "started": "2026-11-24T08:00:00.000+00:00",
        "duration_ms": 1.25,
        "worker": 1,
    }
    return Record(**(given | changes))


def make_requirement(key: str = "OP-001", **changes: Any) -> RequirementResult:
    """A MUST that applies and is met."""
    given: dict[str, Any] = {
        "id": key,
        "level": "MUST",
        "title_en": "Every declared operator computes what ONNX defines",
        "title_zh": "所声明的每个算子均符合 ONNX 定义",
        "area": "operators",
        "status": "anticipated",
        "origin": ("G5",),
        "applies": True,
        "why": "always",
        "result": OutcomeClass.MET,
    }
    return RequirementResult(**(given | changes))


def make_info(**changes: Any) -> RunInfo:
    """The stamp of a run of a card."""
    given: dict[str, Any] = {
        "run_id": "0011223344556677",
        "harness_version": "0.1.0",
        "started": "2026-11-24T08:00:00.000+00:00",
        "finished": "2026-11-24T08:01:40.000+00:00",
        "level": "full",
        "selection": "",
        "profile": "my-card.yaml",
        "profile_digest": "ab" * 32,
        "sources": (("my-card.yaml", "ab" * 32),),
        "vendor": "Example Chips",
        "model": "EC-100",
        "category": "accelerator-card",
        "category_version": "0.1",
        "subtype": "pcie-card",
        "device_key": "Example-Chips/EC-100",
        "identity": Identity(runtime="onnxruntime", runtime_version="1.32.0", provider="ExampleEP", vendor="Example"),
        "host": {"system": "Linux", "cpus": "2"},
        "versions": {"onnxruntime": "1.32.0", "conformance": "0.1.0"},
        "bench": {},
        "planned": 1,
        "not_selected": 0,
    }
    return RunInfo(**(given | changes))


EXIT = {"CONFORMANT": 0, "CLEAN-PARTIAL": 0, "CONDITIONAL": 10, "NON-CONFORMANT": 20, "INCOMPLETE": 30}


def make_result(
    records: Sequence[Record] = (),
    requirements: Sequence[RequirementResult] | None = None,
    *,
    name: str = "CONFORMANT",
    info: dict[str, Any] | None = None,
    **changes: Any,
) -> RunResult:
    """A result over the records, with the verdict `name`; `info` and `changes` go to its stamp and verdict."""
    counted = Counter(record.outcome.value for record in records)
    certifiable = name in ("CONFORMANT", "CONDITIONAL")
    given: dict[str, Any] = {
        "name": name,
        "exit_code": EXIT.get(name, 99),
        "certifiable": certifiable,
        "why_not_certifiable": "" if certifiable else f"the verdict is {name}",
        "placement_shown": True,
        "eligibility": "named: accelerator-card",
        "partial": name == "CLEAN-PARTIAL",
        "summary": f"{name}: 1 MUST requirements apply",
        "requirements": tuple([make_requirement()] if requirements is None else requirements),
        "counts": {outcome.value: counted[outcome] for outcome in Outcome if counted[outcome]},
        "coverage": (Coverage(name="operators", total=213, claimed=190, passed=189),),
    }
    stamp = make_info(**({"planned": len(records)} | (info or {})))
    return RunResult(info=stamp, verdict=Verdict(**(given | changes)), records=tuple(records))


@pytest.fixture
def record() -> Callable[..., Record]:
    """The maker of records."""
    return make_record


@pytest.fixture
def requirement() -> Callable[..., RequirementResult]:
    """The maker of requirement results."""
    return make_requirement


@pytest.fixture
def result() -> Callable[..., RunResult]:
    """The maker of results."""
    return make_result


@pytest.fixture
def schema_folder() -> Path:
    """Where the published schemas lie."""
    return Path(__file__).resolve().parents[2] / "docs" / "schemas"


@pytest.fixture
def typical() -> RunResult:
    """A failed run of a card: something of every outcome, with evidence."""
    reasons = ("the profile does not declare type float16", "the profile does not declare operator Loop")
    records = [
        make_record("session/identity/device", requirements=("IF-001",), check="session"),
        *(make_record(f"operators/ai.onnx.Add-14/float32/test_add_{at}") for at in range(40)),
        make_record(
            "operators/ai.onnx.Gelu-20/float32/test_gelu",
            outcome=Outcome.FAIL,
            reason="2 of 120 elements differ",
            actual="[3, 17] = 0.42",
            expected="[3, 17] = 0.40 ± 0.01",
            context="model test_gelu · strict session",
            measurements=(
                Measurement(name="worst_error", value=11.25, unit="of the limit", limit="≤ 1", margin=11.25, met=False),
            ),
            witnesses=(Witness(source="assignment", nodes={"ExampleEP": 3}, host_ops=()),),
        ),
        make_record(
            "operators/ai.onnx.If-19/float32/test_if",
            outcome=Outcome.CRASH,
            reason="the child died of SIGSEGV",
            context="repeated once, alone",
            attempts=(
                Attempt(outcome=Outcome.CRASH, detail="the child died of SIGSEGV", signal="SIGSEGV", peak_rss_mb=412.0),
                Attempt(
                    outcome=Outcome.CRASH,
                    detail="the child died of SIGSEGV",
                    signal="SIGSEGV",
                    stderr_tail="driver: [red]fault[/red] at 0x0\n\x1b[2Jcleared",
                ),
            ),
        ),
        make_record(
            "operators/ai.onnx.StringNormalizer-10/string/test_lower",
            outcome=Outcome.ERROR,
            reason="the host has no locale en_US.UTF-8",
            remedy="install it: sudo locale-gen en_US.UTF-8",
        ),
        make_record(
            "placement/model/host-cpu",
            check="placement",
            requirements=("PL-001",),
            outcome=Outcome.UNMEASURED,
            reason="the host does not tell the CPU time of the child",
        ),
        make_record(
            "operators/ai.onnx.Cast-19/float16/test_cast",
            outcome=Outcome.WAIVED,
            underlying=Outcome.FAIL,
            reason="waived until 2027-01-01 by lab: rounding is fixed in driver 2.1; seen: 1 of 12 elements differ",
        ),
        *(
            make_record(
                f"operators/ai.onnx.Mul-14/float16/test_mul_{at}",
                requirements=(),
                outcome=Outcome.UNSUPPORTED,
                basis=Basis.UNCLAIMED,
                reason=reasons[at % 7 == 0],
                observed="rejects" if at % 3 else "works",
            )
            for at in range(300)
        ),
    ]
    requirements = [
        make_requirement("IF-001", area="session", title_en="Sessions open, run and close", counts={"PASS": 1}),
        make_requirement(
            "IF-002",
            area="stability",
            title_en="Results are stable over repeats, runtime versions and opsets",
            result=OutcomeClass.OPEN,
            reason="no check yet",
        ),
        make_requirement(
            "PL-001",
            area="placement",
            title_en="Models run on the device, and the host takes no more than its share",
            result=OutcomeClass.OPEN,
            reason="placement/model/host-cpu: UNMEASURED: the host does not tell the CPU time of the child",
            counts={"UNMEASURED": 1},
        ),
        make_requirement(
            result=OutcomeClass.NOT_MET,
            reason="operators/ai.onnx.Gelu-20/float32/test_gelu: FAIL: 2 of 120 elements differ",
            counts={"PASS": 40, "FAIL": 1, "CRASH": 1, "ERROR": 1, "WAIVED": 1},
        ),
        make_requirement(
            "PW-001",
            level="SHOULD",
            area="power",
            title_en="The card stays within its declared power",
            applies=False,
            why="the profile declares no power",
            result=OutcomeClass.NOT_APPLICABLE,
            reason="the profile declares no power",
        ),
    ]
    return make_result(
        records,
        requirements,
        name="NON-CONFORMANT",
        placement_shown=False,
        summary="NON-CONFORMANT: 4 MUST requirements apply: 1 not met, 2 open, 1 met",
    )
