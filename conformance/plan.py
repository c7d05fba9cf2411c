"""From profile, category and checks to an ordered list of cases. Pure: no device, no clock.

What lies outside the chosen level and selection is counted as not selected. A case that several requirements ask for is
planned once and serves them all.
"""

from __future__ import annotations

import fnmatch
import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from conformance.errors import UsageError
from conformance.levels import FULL, SMOKE
from conformance.numerics.modes import PrecisionMode
from conformance.profile.claims import Claims, OperatorUse, is_host_op_allowed
from conformance.profile.conditions import evaluate
from conformance.profile.declares import Declarations, Operators, Precision
from conformance.profile.onnx_operators import versions_of
from conformance.profile.vocabulary import ROUNDOFF_BITS
from conformance.records import Basis
from conformance.tally import Book, count_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from conformance.checks.support.port import Check, Planned, Requested, Target
    from conformance.profile.loader import LoadedProfile


INDEX_TYPES = frozenset({"int64", "int32", "bool"})
"""What shapes, indices and conditions are made of: no model does without."""


class State(NamedTuple):
    """A requirement as it stands for this device, before anything is run."""

    requirement: Any
    applies: bool
    why: str
    unplanned: str
    """Why it has no case although it applies: there is no check yet. Empty where it was planned."""


class Plan(NamedTuple):
    """The cases in order, and what is not among them."""

    cases: list[Planned]
    states: list[State]
    not_selected: int
    pinned: list[tuple[str, str]]
    denominators: dict[str, dict[str, tuple[str, ...]]]
    """Coverage name → case id → all that it covers, over the whole suite, whatever is selected."""
    level: str
    selection: str
    claims: Book = Book()
    """What the profile claims and which cases could show it, whatever is selected."""

    @property
    def digest(self) -> str:
        """BLAKE2b over what is planned and how it is judged: a run resumes only against the same."""
        digest = hashlib.blake2b(digest_size=16)
        encoder = msgspec.json.Encoder(order="deterministic")
        for planned in self.cases:
            case = planned.case
            digest.update(encoder.encode([case.id, case.check, case.requirements, case.basis, case.params]))
        return digest.hexdigest()


class Context:
    """What checks may look at while they plan; implements `checks.support.port.PlanContext`."""

    def __init__(
        self,
        loaded: LoadedProfile,
        target: Target,
        suite: Callable[[], Any],
        challenge: str = "",
        level: str = FULL,
    ) -> None:
        declares, caps = loaded.profile.declares, loaded.category.caps
        self.target = target
        self.challenge = challenge
        self.level = level
        self.latency: tuple[dict[str, Any], ...] = tuple(one.model_dump() for one in declares.latency)
        power, thermal = declares.power, declares.thermal
        self.power: dict[str, Any] | None = None if power is None else power.model_dump()
        self.thermal: dict[str, Any] | None = None if thermal is None else thermal.model_dump()
        self.determinism: str = declares.determinism or "bounded"
        self.claims = loaded.claims
        self.minimum = _minimum(caps)
        self._caps = caps
        self._precision = declares.precision or {}
        self._opsets = dict(declares.opsets)
        self._types = frozenset(declares.types)
        self._host_terms = declares.allowed_host_ops
        self._load_suite = suite
        self._suite: Any = None
        self._made: list[Any] | None = None
        self._modes: dict[str, dict[str, Any]] = {}

    def claims_type(self, name: str) -> bool:
        """Return whether the device claims a tensor type."""
        return name in self._types

    def significant_bits(self, name: str) -> int:
        """Return the significant bits of inputs or outputs of a type, whichever are fewer, as declared or its own."""
        declared = self._precision.get(name, Precision()).completed(name)
        return min(ROUNDOFF_BITS[part] for part in (declared.input, declared.output) if part is not None)

    def accumulator_bits(self, name: str) -> int:
        """Return the significant bits of sums in a type, as declared or its own."""
        declared = self._precision.get(name, Precision()).completed(name).accumulate
        return ROUNDOFF_BITS[declared] if declared is not None else ROUNDOFF_BITS["float32"]

    def precision_mode(self, kind: str) -> dict[str, Any]:
        """Return how the device declares to compute a floating-point type, as `numerics.modes.PrecisionMode.of` takes it."""
        if kind not in self._modes:  # ten thousand cases ask
            declared = self._precision.get(kind, Precision()).completed(kind)
            parts = {name: getattr(declared, name) for name in PrecisionMode.__struct_fields__}
            self._modes[kind] = msgspec.to_builtins(PrecisionMode(**parts))
        return self._modes[kind]

    def demands(self, entry: Any) -> bool:
        """Return whether the category's minimum opsets and types hold all that a model needs (index types aside)."""
        opsets = self._caps.minimum_opsets
        is_within = all(
            domain in opsets and opsets[domain][0] <= version <= opsets[domain][1]
            for domain, version in entry.opset_imports.items()
        )
        return is_within and set(entry.types) <= {*self._caps.minimum_types, *INDEX_TYPES}

    def allowed_host_ops(self, uses: Sequence[OperatorUse]) -> list[str]:
        """Return the operators of one model that the host may run, by the names that a runtime reports."""
        if not self._host_terms:
            return []
        names = {use.op for use in uses} | {term.op for term in self._host_terms}
        return sorted(name for name in names if is_host_op_allowed(self._host_terms, name, uses))

    @staticmethod
    def uses(entry: Any) -> list[OperatorUse]:
        """Return the operator uses of a suite entry."""
        return uses_of(entry)

    def suite(self) -> Any:
        """Return the operator suite, loaded on first use."""
        if self._suite is None:
            self._suite = self._load_suite()
        return self._suite

    def made(self) -> list[Any]:
        """Return the generated operator cases, loaded on first use."""
        if self._made is None:
            from conformance.reference.made.index import load_entries

            self._made = load_entries()
        return self._made

    @property
    def loaded_made(self) -> list[Any]:
        """The generated cases if some check asked for them, else none."""
        return self._made or []

    @property
    def loaded_suite(self) -> Any:
        """The suite if some check asked for it, else None."""
        return self._suite

    def probe_opset(self) -> int:
        """Return the opset for probe models: 13 where the device claims it, else the nearest end of its range."""
        from conformance.reference.probes import probe_opset

        claimed = self._opsets.get("ai.onnx")
        return probe_opset((claimed[0], claimed[1]) if claimed else None)

    def why_unclaimed(self, operators: Sequence[str]) -> str:
        """Return why float32 probes of these operators are not asked; empty where they are claimed, or are the minimum."""
        opset = self.probe_opset()
        uses = [_float_use(op, opset) for op in operators]
        why = self.claims.why_unclaimed({"ai.onnx": opset}, uses, ())
        is_minimum = self.minimum is not None and not self.minimum.why_unclaimed({"ai.onnx": opset}, uses, ())
        return "" if is_minimum else why


def _float_use(op: str, opset: int) -> OperatorUse:
    """Return the use of an ONNX operator on float32 in a model of that opset."""
    versions = versions_of("ai.onnx", op)
    return OperatorUse(
        domain="ai.onnx",
        op=op,
        since_version=max((one for one in versions if one <= opset), default=0),
        next_version=min((one for one in versions if one > opset), default=None),
        types=frozenset({"float32"}),
    )


def _minimum(caps: Any) -> Claims | None:
    """Return what the category demands as if a device had declared it; None where it demands no operators."""
    if not caps.minimum_operators:
        return None
    return Claims(
        Declarations(
            opsets=dict(caps.minimum_opsets),
            types=tuple(caps.minimum_types),
            operators=Operators(include=tuple(caps.minimum_operators)),
        )
    )


def uses_of(entry: Any) -> list[OperatorUse]:
    """Return the operator uses of a suite entry in the words of the profile's terms."""
    return [
        OperatorUse(
            domain=use.domain,
            op=use.op_type,
            since_version=use.since_version,
            next_version=use.next_version,
            attributes=use.attributes,
            types=frozenset(use.types),
        )
        for use in entry.uses
    ]


def build(
    loaded: LoadedProfile,
    context: Context,
    find_check: Callable[[str], Check],
    known_checks: Iterable[str],
    requested: Callable[[Any, str], Requested],
    *,
    level: str = FULL,
    selection: str = "",
) -> Plan:
    """Plan the run. UsageError where nothing is selected."""
    known = set(known_checks)
    states: list[State] = []
    merged: dict[str, Planned] = {}
    for requirement in loaded.category.requirements:
        applies, why = evaluate(requirement.applies_when, loaded.profile)
        unplanned = ""
        if applies and requirement.check is None:
            unplanned = "no check yet"
        elif applies and requirement.check not in known:
            unplanned = f"no check yet: '{requirement.check}' does not exist in this version"
        states.append(State(requirement, applies, why, unplanned))
        if not applies or unplanned or requirement.check is None:
            continue
        for planned in find_check(requirement.check).plan(requested(requirement, why), context):
            _merge(merged, _unless_excepted(planned, requirement))
    everything = list(merged.values())
    chosen = [planned for planned in everything if _is_selected(planned, level, selection)]
    if not chosen:
        what = f"--case '{selection}'" if selection else f"level {level}"
        raise UsageError(f"{what} selects none of {len(everything)} cases; `conformance list` shows their ids")
    gate = [planned for planned in chosen if planned.case.check != "operators"]
    rest = [planned for planned in chosen if planned.case.check == "operators"]
    gate.sort(key=lambda planned: planned.case.order)
    suite = context.loaded_suite
    entries = (*(suite.entries if suite else ()), *context.loaded_made)
    # A generated case that is not claimed is in no plan: it still says that a case exists.
    is_claimed = dict.fromkeys((one.case_id for one in context.loaded_made), False)
    is_claimed |= {one.case.id: one.case.basis is not Basis.UNCLAIMED for one in everything}
    return Plan(
        cases=gate + rest,
        states=states,
        not_selected=len(everything) - len(chosen),
        pinned=[(e.case_id, f"{e.invalid} ({e.reference})") for e in suite.entries if e.invalid] if suite else [],
        denominators=count_out(entries) if entries else {},
        level=level,
        selection=selection,
        claims=Book(
            operators=loaded.claims.operator_versions(),
            types=loaded.claims.types,
            entries=entries,
            is_claimed=is_claimed,
        ),
    )


def _is_selected(planned: Planned, level: str, selection: str) -> bool:
    if level == SMOKE and not planned.case.smoke:
        return False
    return not selection or any(fnmatch.fnmatchcase(planned.case.id, glob) for glob in selection.split())


def _unless_excepted(planned: Planned, requirement: Any) -> Planned:
    """Return the case, as one that nobody asks where its requirement excepts it: it is run and told, and judges nobody."""
    glob = next((one for one in requirement.excepts if fnmatch.fnmatchcase(planned.case.id, one)), "")
    if not glob:
        return planned
    why = f"the category does not ask it: {requirement.id} excepts '{glob}'"
    return planned._replace(
        case=msgspec.structs.replace(planned.case, why=why, unsupported=why, basis=Basis.UNCLAIMED, smoke=False)
    )


_STRENGTH = {Basis.REQUIRED: 2, Basis.DECLARED: 1, Basis.UNCLAIMED: 0}


def _merge(merged: dict[str, Planned], planned: Planned) -> None:
    before = merged.get(planned.case.id)
    if before is None:
        merged[planned.case.id] = planned
        return
    stronger, weaker = (
        (planned, before) if _STRENGTH[planned.case.basis] > _STRENGTH[before.case.basis] else (before, planned)
    )
    # A requirement that only sees the case as unclaimed has nothing to gain from its PASS.
    serves = set(stronger.case.requirements)
    if weaker.case.basis is not Basis.UNCLAIMED or stronger.case.basis is Basis.UNCLAIMED:
        serves |= set(weaker.case.requirements)
    case = msgspec.structs.replace(
        stronger.case, requirements=tuple(sorted(serves)), smoke=planned.case.smoke or before.case.smoke
    )
    merged[case.id] = stronger._replace(case=case)
