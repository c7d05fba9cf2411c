"""What is planned, seen and concluded: the nouns that travel between the rooms.

A `Case` is planned, the child returns an `Observation`, `judge` turns both into a `Judgement`, and the parent
writes one `Record` per case. Records are what reports are made of and what a certifier keeps; everything here is
plain data that survives JSON and MessagePack unchanged.
"""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from conformance.workload import Workload


class Outcome(enum.StrEnum):
    """How a case ended. The meaning of each is fixed in docs/outcomes.md."""

    PASS = "PASS"
    FAIL = "FAIL"
    CRASH = "CRASH"
    TIMEOUT = "TIMEOUT"
    INCONCLUSIVE = "INCONCLUSIVE"
    UNMEASURED = "UNMEASURED"
    NOT_RUN = "NOT_RUN"
    ERROR = "ERROR"
    WAIVED = "WAIVED"
    UNSUPPORTED = "UNSUPPORTED"


class OutcomeClass(enum.StrEnum):
    """The five classes that the verdict folds, worst first."""

    NOT_MET = "not met"
    OPEN = "open"
    CONDITIONAL = "conditional"
    MET = "met"
    NOT_APPLICABLE = "not applicable"


CLASS_OF: dict[Outcome, OutcomeClass] = {
    Outcome.PASS: OutcomeClass.MET,
    Outcome.FAIL: OutcomeClass.NOT_MET,
    Outcome.CRASH: OutcomeClass.NOT_MET,
    Outcome.TIMEOUT: OutcomeClass.NOT_MET,
    Outcome.INCONCLUSIVE: OutcomeClass.OPEN,
    Outcome.UNMEASURED: OutcomeClass.OPEN,
    Outcome.NOT_RUN: OutcomeClass.OPEN,
    Outcome.ERROR: OutcomeClass.OPEN,
    Outcome.WAIVED: OutcomeClass.CONDITIONAL,
    Outcome.UNSUPPORTED: OutcomeClass.NOT_APPLICABLE,
}


class Basis(enum.StrEnum):
    """Why a case is judged: the vendor declared it, the category requires it, or nobody asked for it."""

    DECLARED = "declared"
    REQUIRED = "required"
    UNCLAIMED = "unclaimed"


SHARED = 3
"""`Case.order` of what comes after the gate and may share the workers with the operators."""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to be shown, as planned. `id` is ASCII and never changes: `area/subject/variant…`."""

    id: str
    check: str
    requirements: tuple[str, ...]
    why: str
    basis: Basis = Basis.DECLARED
    smoke: bool = False
    order: int = 1
    """0 for the cases that come first because nothing else makes sense without them, `SHARED` for those that can wait."""
    cost_ms: float = 1.0
    """Rough expected duration, for longest-first scheduling; never judged."""
    output_nbytes: int | None = None
    """Bytes of all expected outputs together; None where that is not known beforehand."""
    at_end: bool = False
    """True where the case is about how the device's processes end: judged from all of them, after everything claimed."""
    exclusive: bool = False
    """True where nothing of ours may be at work while the case runs: neither another case nor the judging of one."""
    timed: bool = False
    """True where the clock is what is measured: it runs after everything that may share the host, and the level decides how long."""
    lasts_s: float = 0.0
    """Seconds that the plan itself gives the case beyond what it asks of the device: no deadline of the device's cuts them short."""
    telemetry: bool = False
    """True where the lab's meters are read while the case runs; the parent adds what they read to the observation."""
    may_lose_device: bool = False
    """True where the case lets the device go and binds it again: unless it passes, its child is ended after it."""
    params: dict[str, Any] = {}
    """What `measure` and `judge` need, as plain data."""
    workload: Workload | None = None
    unsupported: str = ""
    """Not empty: the case is outside the claims and this says why; outcome UNSUPPORTED."""

    @property
    def is_alone(self) -> bool:
        """Whether nothing of ours may be at work beside it."""
        return self.exclusive or self.timed

    @property
    def area(self) -> str:
        """The first part of the id."""
        return self.id.split("/", 1)[0]


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """A named number with its unit and limit. `margin` is value/limit where that makes sense (1.0 = at the limit)."""

    name: str
    value: float | int | str | bool | None
    unit: str = ""
    limit: str = ""
    margin: float | None = None
    met: bool | None = None
    """None where the measurement informs and does not decide."""


class Witness(msgspec.Struct, frozen=True, kw_only=True):
    """One source that says where nodes ran. `nodes` maps provider name to a node count."""

    source: str
    """`assignment`, `profile`, `refusal` or `host-cpu`."""
    nodes: dict[str, int] = {}
    host_ops: tuple[str, ...] = ()
    """Operators seen on the host's provider while another device is under test."""
    refused: bool | None = None
    """For `refusal`: True when the runtime was forbidden to fall back and accepted the model all the same."""
    detail: str = ""


UNAVAILABLE = "Unavailable"
"""`DeviceFault.kind` of what the adapter cannot do at all: no word about the device."""


class DeviceFault(msgspec.Struct, frozen=True, kw_only=True):
    """A request that the runtime refused or failed in an orderly way."""

    phase: str
    """`open`, `compile` or `run`."""
    kind: str
    """The runtime's own exception type."""
    message: str


class TensorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A graph input or output as the session declares it; a dimension that is not fixed is its name or None."""

    name: str
    type: str
    shape: tuple[int | str | None, ...] | None = None


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who the device says it is, and what the runtime says of itself."""

    runtime: str
    runtime_version: str
    provider: str
    device_name: str = ""
    hardware: str = ""
    """`cpu`, `gpu`, `npu` or empty where the runtime does not say."""
    vendor: str = ""
    driver: str = ""
    unit: str = ""
    """UUID, PCI address or other identifier of the one unit."""
    details: dict[str, str] = {}


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a case that did not end in an orderly way, and its recorded repeat."""

    outcome: Outcome
    detail: str
    signal: str = ""
    exit_code: int | None = None
    stderr_tail: str = ""
    peak_rss_mb: float | None = None


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What `judge` concludes from an observation: pure data, derivable again from the evidence."""

    outcome: Outcome
    reason: str = ""
    """One line; empty for a plain PASS."""
    actual: str = ""
    expected: str = ""
    context: str = ""
    remedy: str = ""
    measurements: tuple[Measurement, ...] = ()
    stops: bool = False
    """True where nothing more can be learned from the device: the rest of the run is NOT_RUN with this as its cause."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The one line that every planned case ends with."""

    case: str
    check: str
    requirements: tuple[str, ...]
    outcome: Outcome
    basis: Basis = Basis.DECLARED
    underlying: Outcome | None = None
    """For WAIVED: what was seen."""
    reason: str = ""
    actual: str = ""
    expected: str = ""
    context: str = ""
    remedy: str = ""
    observed: str = ""
    """For UNSUPPORTED on the full level: `works`, `rejects`, `differs`, `elsewhere`, `crashes`, `hangs`, `not tried`."""
    measurements: tuple[Measurement, ...] = ()
    witnesses: tuple[Witness, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    started: str = ""
    """UTC, RFC 3339; empty when the case never started."""
    duration_ms: float = 0.0
    worker: int | None = None
    output_digest: str = ""
    """BLAKE2b of the outputs as received, empty when there were none."""


class RequirementResult(msgspec.Struct, frozen=True, kw_only=True):
    """One requirement of the category, folded over its cases."""

    id: str
    level: str
    """MUST, SHOULD or MAY."""
    title_en: str
    title_zh: str
    area: str
    status: str
    origin: tuple[str, ...]
    applies: bool
    why: str
    """Why it applied, or why not."""
    result: OutcomeClass
    reason: str = ""
    """For anything but met: the first cause; for met: what the cases do not reach, where that is known."""
    counts: dict[str, int] = {}


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers over fixed denominators: of `total`, `claimed` were declared and `passed` passed."""

    name: str
    total: int
    claimed: int
    passed: int


class ClaimResult(msgspec.Struct, frozen=True, kw_only=True):
    """One operator version on one type where claim and device differ."""

    subject: str
    """`ai.onnx.Max-13(int16)`; for cases of no single operator their kind: `pytorch-converted(float32)`."""
    basis: Basis
    """Of `case`: `declared` or `required` where it is over-claimed, `unclaimed` where it is under-claimed."""
    cases: int
    """Cases of the run that `counts` counts: the claimed ones, or for under-claimed the unclaimed ones."""
    counts: dict[str, int]
    """Over-claimed: by outcome. Under-claimed: by what the device did when the cases were tried."""
    case: str
    """The first case that shows it."""
    reason: str
    """Over-claimed: why that case is not met. Under-claimed: why it is not claimed."""
    waived: bool = False
    """True where a waiver names every case of it that is not met."""


class UntestedClaim(msgspec.Struct, frozen=True, kw_only=True):
    """An operator version or a type that the profile claims and of which the run shows nothing."""

    name: str
    kind: str
    """`operator` or `type`."""
    why: str
    """`no case exists`, `invalid upstream`, `outside the claims`, `not selected`, `not reached` or `nothing shown`."""
    cases: int
    """Cases that would test it, those outside the claims and invalid ones included."""


class ClaimsResult(msgspec.Struct, frozen=True, kw_only=True):
    """What the profile claims beside what the device did, over the planned cases; see docs/outcomes.md."""

    operators: int = 0
    """Operator versions that the profile claims."""
    types: int = 0
    """Tensor types that the profile claims."""
    over_claimed: tuple[ClaimResult, ...] = ()
    """Declared or required, and not met; those that are waived last."""
    under_claimed: tuple[ClaimResult, ...] = ()
    """Not claimed, and every unclaimed case of it works."""
    untested: tuple[UntestedClaim, ...] = ()


class GivenDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A document that the profile names in support of its eligibility."""

    name: str
    state: str
    """`there`, `missing`, `outside the profile's folder`, or `not looked up` for a URL. Nobody has read it."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the run concludes about the device."""

    name: str
    """CONFORMANT, CONDITIONAL, NON-CONFORMANT, INCOMPLETE or CLEAN-PARTIAL."""
    exit_code: int
    certifiable: bool
    why_not_certifiable: str
    placement_shown: bool
    eligibility: str
    """`named: CATEGORY`, with the subtype where there is one, `adjacent: TYPE`, or `none: REASON`."""
    partial: bool
    summary: str
    requirements: tuple[RequirementResult, ...]
    counts: dict[str, int]
    coverage: tuple[Coverage, ...] = ()
    claims: ClaimsResult = ClaimsResult()
    """Over-claimed, under-claimed, and claimed without a test; in a partial run by the selected cases alone."""
    documents_wanted: tuple[str, ...] = ()
    """For an adjacent type: what the category says would support its inclusion."""
    documents_given: tuple[GivenDocument, ...] = ()
    """What the profile names for that."""


class HookUse(msgspec.Struct, frozen=True, kw_only=True):
    """One use of a command of the lab that brings a device back."""

    at: str
    """UTC, RFC 3339."""
    hook: str
    """`reset` or `power_cycle`."""
    case: str
    """Where the device was lost."""
    why: str
    """How it was lost, in one line."""
    exit_code: int | None
    """None where the command did not end by itself."""
    seconds: float
    """What the command took, without the time for the device to settle."""
    failure: str = ""
    """Why the command did not do its work; empty where it did."""
    output: str = ""
    """The end of what it printed."""


class JournalState(msgspec.Struct, frozen=True, kw_only=True):
    """How far the journal had come when the result was made: `--resume` refuses one whose lines are fewer or others."""

    lines: int
    records: int
    chain: str
    """The digest of the last line over itself and all before it."""
    unclosed: int = 0
    """How many sessions before the last left no closing line: they were killed, or the journal's end was taken out."""


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The stamp of a run: what was tested, with what, where and when."""

    run_id: str
    harness_version: str
    started: str
    finished: str
    level: str
    selection: str
    """The `--case` globs, separated by spaces; empty when everything was selected."""
    profile: str
    """The profile as the user named it, usable in a run-again line."""
    profile_digest: str
    sources: tuple[tuple[str, str], ...]
    """Each YAML file that took part, with its SHA-256."""
    vendor: str
    model: str
    category: str
    category_version: str
    subtype: str
    device_key: str
    """`vendor/model` in ASCII, for class names."""
    identity: Identity | None
    host: dict[str, str]
    versions: dict[str, str]
    bench: dict[str, str]
    planned: int
    not_selected: int
    challenge: str = ""
    """What the inputs of models and of our own operator cases were drawn from; empty where they come from public seeds."""
    bench_file: str = ""
    """The bench file as the user named it, usable in a run-again line; empty without one."""
    resumed: int = 0
    """How many times the run was continued with --resume."""
    device_host: dict[str, str] = {}
    """What the device's host said of itself where that is not the harness's own; empty where it is."""
    hooks: tuple[HookUse, ...] = ()
    """Each use of the lab's reset and power cycle, in order."""
    journal: JournalState | None = None
    """How far the journal had come."""
    interrupted: str = ""
    """Why the run stopped early, empty when it did not."""
    pinned: tuple[tuple[str, str], ...] = ()
    """Upstream cases outside the plan because they are invalid: id and reason with reference."""


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """All that a report needs."""

    info: RunInfo
    verdict: Verdict
    records: tuple[Record, ...]
