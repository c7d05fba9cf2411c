"""What is known of one requirement or one case before anything is run: `conformance explain`. Pure: lines of text."""

from __future__ import annotations

import difflib
import json
import shlex
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from conformance.errors import UsageError
from conformance.levels import LEVELS
from conformance.numerics.modes import PrecisionMode
from conformance.profile.tightening import value_text
from conformance.profile.wording import shown
from conformance.records import Basis
from conformance.reports.support.telling import run_line
from conformance.tally import value_text as attribute_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from conformance.plan import Plan, State
    from conformance.profile.loader import LoadedProfile
    from conformance.records import Case

ONNX_TOLERANCE = (1e-3, 1e-7)
"""rtol and atol that ONNX's runner takes where a case names none."""
GUIDANCE = "G1 to G12 are points of the published guidance"
NAMED = 3
PER_OPERATOR_CAPS = ("deadlines", "host_memory_mb", "allowed_host_ops")
CAPS: dict[str, tuple[str, ...]] = {
    "session": ("deadlines", "host_memory_mb"),
    "placement": ("host_cpu", "allowed_host_ops"),
    "operators": PER_OPERATOR_CAPS,
    "minimum": ("minimum_opsets", "minimum_types", "minimum_operators", *PER_OPERATOR_CAPS),
    "numerics": ("coarsest_precision",),
    "determinism": ("weakest_determinism",),
}
"""The caps of a category that bear on a requirement, by its scope or area."""
Line = tuple[str, str]


class Known(NamedTuple):
    """All that an explanation looks at: the files, the whole plan, and the suite where some check asked for it."""

    profile: str
    """As the user named it, usable in a command line."""
    loaded: LoadedProfile
    plan: Plan
    suite: Any


def explain(key: str, known: Known) -> list[str]:
    """Return what is known of a requirement or case, a fact per line; UsageError with the nearest ids where it is neither."""
    cases = {planned.case.id: planned.case for planned in known.plan.cases}
    states = {state.requirement.id: state for state in known.plan.states}
    entries = {entry.case_id: entry for entry in known.suite.entries} if known.suite is not None else {}
    if key in states:
        told = _requirement(states[key], known)
    elif key in cases or key in entries:
        told = _case(key, cases.get(key), entries.get(key), known)
    else:
        category = known.loaded.category.category.name
        what = f"'{shown(key, 200)}' is neither a requirement of {category} nor a case"
        raise UsageError(what + _suggested(key, (*states, *cases, *(one for one in entries if one not in cases))))
    # What comes from a profile stays on its line and steers no terminal.
    return [f"{label:<13}{shown(text, 4000)}".rstrip() for label, text in told]


def _suggested(key: str, ids: Iterable[str]) -> str:
    word = key.lower()[:200]
    by_lower = {one.lower(): one for one in ids}
    found = [one for one in by_lower if word and word in one][:NAMED] or difflib.get_close_matches(
        word, by_lower, n=NAMED, cutoff=0.5
    )
    names = [f"'{by_lower[one]}'" for one in found]
    if not names:
        return "; `conformance list` shows the ids of cases, `conformance run` those of requirements"
    return f"; did you mean {' or '.join([', '.join(names[:-1]), names[-1]] if len(names) > 1 else names)}?"


# -- a requirement ----------------------------------------------------------------------------------------------------


def _requirement(state: State, known: Known) -> Iterator[Line]:
    one, head = state.requirement, known.loaded.category.category
    yield "requirement", one.id
    yield "level", str(one.level)
    yield "title", one.title.en
    yield "", one.title.zh
    yield "category", f"{head.name} {head.version}"
    yield "area", one.area
    yield "status", str(one.status)
    yield "origin", _origin(one.origin)
    yield "since", f"version {one.since} of the category"
    if one.applies_when is not None:
        condition = one.applies_when.model_dump(by_alias=True, exclude_none=True)
        yield "condition", json.dumps(condition, ensure_ascii=False)
    yield "applies", f"{'yes' if state.applies else 'no'}, to {known.profile}: {state.why}"
    yield "check", _check(state)
    for name, value in one.params.items():
        yield "parameter", f"{name}: {value}"
    yield from _cases_of(one.id, known)
    caps = known.loaded.category.caps
    for name in CAPS.get(str(one.params.get("scope", one.area)), CAPS.get(one.area, ())):
        yield "cap", f"{name}: {_cap_text(getattr(caps, name))}"


def _origin(origin: Iterable[str]) -> str:
    names = list(origin)
    meanings = [GUIDANCE] if any(name[:1] == "G" and name[1:].isdigit() for name in names) else []
    if "ours" in names:
        meanings.append("ours: this project's")
    return ", ".join(names) + (f" ({'; '.join(meanings)})" if meanings else "")


def _check(state: State) -> str:
    check = state.requirement.check
    if check is not None and not (state.applies and state.unplanned):
        return str(check)
    is_must = str(state.requirement.level) == "MUST" and state.applies
    return f"{state.unplanned or 'no check yet'}{', so this MUST stays open' if is_must else ''}"


def _cases_of(requirement: str, known: Known) -> Iterator[Line]:
    cases = [planned.case for planned in known.plan.cases if requirement in planned.case.requirements]
    counted = Counter(case.basis for case in cases)
    by_basis = ", ".join(f"{counted[basis]:,} {basis}" for basis in Basis if counted[basis])
    yield "cases", f"{len(cases):,} on the level full" + (f": {by_basis}" if by_basis else "")
    for case in cases[:NAMED]:
        yield "", case.id
    if len(cases) > NAMED:
        yield "", f"… and {len(cases) - NAMED:,} more: conformance list {shlex.quote(known.profile)}"


def _cap_text(value: Any) -> str:
    if hasattr(value, "model_dump"):
        return ", ".join(f"{name} {number:g}" for name, number in value.model_dump(exclude_none=True).items())
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value) or "none"
    if isinstance(value, dict) and value and all(hasattr(item, "completed") for item in value.values()):
        return ", ".join(_precision_text(name, item.completed(name)) for name, item in value.items())
    if isinstance(value, dict):
        return ", ".join(f"{name} {value_text(item)}" for name, item in value.items()) or "none"
    return str(value)


def _precision_text(name: str, precision: Any) -> str:
    return f"{name} from {precision.input} by {precision.accumulate} to {precision.output}"


# -- a case -----------------------------------------------------------------------------------------------------------


def _case(key: str, case: Case | None, entry: Any, known: Known) -> Iterator[Line]:
    yield "case", key
    if case is not None:
        yield "check", case.check
        titles = {state.requirement.id: state.requirement for state in known.plan.states}
        for name in case.requirements:
            yield "requirement", f"{name} {titles[name].level} {titles[name].title.en}"
    yield "planned", _planned(case, entry)
    if case is not None:
        yield "levels", ", ".join(LEVELS if case.smoke else LEVELS[1:])
    if entry is not None:
        yield from _entry(case, entry)
    if case is not None and case.check == "models":
        yield from _model(case)
    elif case is not None and entry is None:
        yield from _probe(case)
    if case is not None:
        yield "run it", run_line(known.profile, key)


def _planned(case: Case | None, entry: Any) -> str:
    if case is None:
        if entry.invalid:
            return f"no: it is invalid upstream, so no correct device can pass it: {entry.invalid} ({entry.reference})"
        return "no: no requirement that applies to this device asks for it"
    if case.basis is Basis.UNCLAIMED:
        return f"unclaimed, so it is tried and not judged: {case.unsupported or case.why}"
    if case.basis is Basis.REQUIRED:
        return f"required, whether declared or not: the category's minimum holds all that it uses; {case.why}"
    if entry is None:
        return f"yes: {case.why}"
    return f"claimed: the profile declares every operator version and type that it uses; {case.why}"


def _entry(case: Case | None, entry: Any) -> Iterator[Line]:
    opsets = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in entry.opset_imports.items())
    sets = len(entry.datasets)
    what = f"{entry.name}, kind {entry.kind}, opsets {opsets}, IR {entry.ir_version}"
    yield "model", f"{what}, {sets} set{'' if sets == 1 else 's'} of inputs"
    for use in entry.uses:
        attributes = ", ".join(f"{name}={attribute_text(value)}" for name, value in use.attributes.items())
        yield "uses", f"{use.key}({', '.join(use.types)})" + (f" {attributes}" if attributes else "")
    yield "types", ", ".join(entry.types)
    yield "tolerance", _tolerance(case, entry)
    needs = ", ".join(entry.needs)
    yield "host needs", f"{needs} ({entry.reference})" if needs else "nothing"


def _probe(case: Case) -> Iterator[Line]:
    """Say what is wrong with a malformed request, or what a probe of the interface shows."""
    if "breaks" in case.params:
        yield "breaks", f"{case.params['breaks']}: has to be refused, and the next good request answered"
    if case.params.get("what"):
        yield "shows", case.params["what"]
    if case.area == "interface":
        yield "more", "docs/interface.md says what each of these does"
    if case.workload is not None and "breaks" not in case.params:
        yield "judged", "exactly: the probes hold small integers, so a right device gives the same bits"


def _model(case: Case) -> Iterator[Line]:
    _, name, variant, kind = case.id.split("/")
    params = case.params
    opsets = ", ".join(f"{domain} {version}" for domain, version in params["opsets"].items())
    yield "model", f"{params['title']}, variant {variant}: opsets {opsets}; its card: fixtures/models/{name}/card.yaml"
    yield "reference", f"the graph of variant {params['reference']} in float64"
    yield "inputs", "from public seeds; `conformance run --challenge TEXT` draws others"
    if kind == "accuracy":
        yield "samples", f"task {params['task']}, salt {params['salt']}, in batches of {params['batch']}"
        yield "limit", f"99 % upper bound of the share that the device loses ≤ {params['margin']:g}"
    else:
        mode = PrecisionMode.of(params["precision"])
        yield (
            "precision",
            f"operands in {mode.input}, sums in {mode.accumulate}, results in {mode.output}, as declared or the type's own",
        )
        yield (
            "judged",
            "by Monte Carlo arithmetic: each error as a share r of what that precision scatters (docs/numerics.md)",
        )
        yield "limit", "|r| ≤ 8 for each element; the size and the lean of the errors of the tensor and of its groups"


def _tolerance(case: Case | None, entry: Any) -> str:
    """Return what inexact values are judged by, and who says so."""
    judged = (entry.rtol, entry.atol)
    if case is not None:
        judged = (case.params.get("rtol", entry.rtol), case.params.get("atol", entry.atol))
    if judged != (entry.rtol, entry.atol):
        source = "set by the check"
    elif entry.tolerance_note:
        source = f"not ONNX's own: {entry.tolerance_note} ({entry.reference})"
    else:
        source = "ONNX's own default" if judged == ONNX_TOLERANCE else "ONNX's own for this case"
    return f"rtol {judged[0]:g}, atol {judged[1]:g} where values are inexact: {source}"
