"""What a device profile claims of a model: one question, answered with a sentence where the answer is no."""

from collections.abc import Collection, Mapping, Sequence

from conformance.profile.declares import Declarations, Exclusion
from conformance.profile.onnx_operators import is_deprecated, operators_of, versions_of
from conformance.profile.terms import DEFAULT_DOMAIN, OperatorUse, Term, spelled

__all__ = ["Claims", "OperatorUse", "is_host_op_allowed"]


class Claims:
    """The claims of one device, ready to be asked about thousands of cases.

    An operator version is claimed when some opset in the declared range has it as its active version, and `include`
    names it and `exclude` does not. Functions count as the operators that stand in the model; expanding a body is the
    caller's business.
    """

    def __init__(self, declares: Declarations) -> None:
        self._opsets = declares.opsets
        self._types = frozenset(declares.types)
        self._has_operators = declares.operators is not None
        self._includes_all = False
        self._included: dict[tuple[str, str], list[Term]] = {}
        self._excluded: dict[tuple[str, str], list[Exclusion]] = {}
        if declares.operators is None:
            return
        if isinstance(declares.operators.include, str):
            self._includes_all = True
        else:
            for term in declares.operators.include:
                self._included.setdefault((term.domain, term.op), []).append(term)
        for exclusion in declares.operators.exclude:
            self._excluded.setdefault((exclusion.term.domain, exclusion.term.op), []).append(exclusion)

    @property
    def types(self) -> tuple[str, ...]:
        """The claimed tensor types, sorted."""
        return tuple(sorted(self._types))

    def operator_versions(self) -> tuple[str, ...]:
        """Return every claimed operator version, `ai.onnx.Max-13`, sorted by domain, operator and version.

        An exclusion or inclusion that names attributes or types concerns a part of an operator version; the version is
        claimed then. Versions that ONNX itself deprecates are not. Operators that ONNX does not define have the version
        that their term names, or none.
        """
        found = []
        for domain, (low, high) in sorted(self._opsets.items()):
            known = operators_of(domain) or {}
            named = known if self._includes_all else {op for of, op in self._included if of == domain}
            for op in sorted(named if self._has_operators else ()):
                versions = versions_of(domain, op)
                if not versions:
                    terms = self._included.get((domain, op), [])
                    found += [
                        f"{domain}.{op}" + (f"-{one.since_version}" if one.since_version else "") for one in terms
                    ]
                    continue
                for since, following in zip(versions, [*versions[1:], high + 1], strict=True):
                    is_in_range = since <= high and following > low and not is_deprecated(domain, op, since)
                    if is_in_range and self._is_version_claimed(domain, op, since):
                        found.append(f"{domain}.{op}-{since}")
        return tuple(dict.fromkeys(found))

    def _is_version_claimed(self, domain: str, op: str, since: int) -> bool:
        included, excluded = self._included.get((domain, op), ()), self._excluded.get((domain, op), ())
        if not self._includes_all and all(term.since_version not in (None, since) for term in included):
            return False
        whole = (one.term for one in excluded if not one.term.attributes and not one.term.types)
        return all(term.since_version not in (None, since) for term in whole)

    def why_unclaimed(
        self, opset_imports: Mapping[str, int], uses: Sequence[OperatorUse], types: Collection[str]
    ) -> str:
        """Return an empty string when every use and every type is claimed, else the first reason, in one sentence.

        `opset_imports` (domain → version) decides for operators without a known schema (`since_version` 0).
        """
        if uses and not self._has_operators:
            return "profile declares no operators"
        for use in uses:
            reason = self._why_use_unclaimed(use, opset_imports)
            if reason:
                return reason
        undeclared = sorted(set(types) - self._types)
        return f"profile does not declare {', '.join(undeclared)}" if undeclared else ""

    def _why_use_unclaimed(self, use: OperatorUse, opset_imports: Mapping[str, int]) -> str:
        domain = use.domain or DEFAULT_DOMAIN
        opsets = self._opsets.get(domain)
        if opsets is None:
            return f"profile does not declare domain {domain}"
        low, high = opsets
        first = use.since_version or opset_imports.get(use.domain, opset_imports.get(domain, high))
        last = use.next_version - 1 if use.next_version is not None else None if use.since_version else first
        name = spelled(domain, use.op)
        if first > high:
            return f"declares.opsets {domain} is [{low}, {high}]; {name}-{first} is newer"
        if last is not None and last < low:
            return f"declares.opsets {domain} is [{low}, {high}]; {name}-{first} is older"
        key = (domain, use.op)
        if not self._includes_all and not any(term.matches(use) for term in self._included.get(key, ())):
            return f"profile does not declare operator {name}"
        for exclusion in self._excluded.get(key, ()):
            if exclusion.term.matches(use):
                return f"profile excludes {exclusion.term}" + (f": {exclusion.reason}" if exclusion.reason else "")
        return ""


def is_host_op_allowed(allowed: Sequence[Term], op: str, uses: Sequence[OperatorUse]) -> bool:
    """Return whether an operator seen on the host may run there: every use of it in the model matches an allowed term.

    `op` is the name that the runtime reports, without a domain. An operator that the model does not hold (a copy or a
    cast that the runtime put in) is allowed only by a term that names it without conditions. Types in a term mean these
    types only: `Gather(int64)` moves shapes about, and not a float tensor by int64 indices.
    """
    terms = [term for term in allowed if term.op == op]
    held = [use for use in uses if use.op == op]
    if not held:
        return any(not (term.attributes or term.types or term.since_version) for term in terms)
    return all(any(_is_within(term, use) for term in terms) for use in held)


def _is_within(term: Term, use: OperatorUse) -> bool:
    return term.matches(use) and (not term.types or use.types.issubset(term.types))
