"""Which cases the tables make: every row × every version of its operator × every floating-point type that the schema takes.

Versions are those in force in some opset from 13 to the newest (from 1 for ai.onnx.ml); each is carried out at the first opset
in which it is in force. A row that a version or type does not take (an attribute that came later, a type that the schema leaves
out) makes no case there.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from onnx import defs

from conformance.reference.made import (
    attention,
    classical,
    contractions,
    elementwise,
    images,
    movement,
    pooling,
    quantised,
    recurrent,
    reductions,
    structure,
)
from conformance.reference.made.building import body_opset, schema_of
from conformance.reference.made.rows import SUBJECT, Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TABLES = (
    elementwise, reductions, contractions, pooling, movement, recurrent, attention, quantised, images, structure, classical,
)  # fmt: skip
OLDEST = {"": 13, "ai.onnx.ml": 1}
"""The first opset of each domain whose versions are covered."""
UNSOUND_ROWS = frozenset({("Celu", "scalar")})
"""Rows that a function body cannot take: Celu's holds alpha in one dimension, so that a scalar comes out as a list of one."""
UNSOUND_BODIES = frozenset({"AffineGrid", "LinearAttention", "Range"})
"""Function bodies of onnx 1.23 that cannot be asked of a device: ranges of tensors that are no scalars, a second axis that the operator
has not, sums in float32 whatever the type."""
_SPELLING = {"float32": "float", "float64": "double"}


class Item(NamedTuple):
    """One case, not yet made."""

    case_id: str
    row: Row
    since: int
    opset: int
    kind: str
    is_expanded: bool


class Version(NamedTuple):
    """A version of an operator that is in force in some covered opset."""

    domain: str
    op: str
    since: int

    @property
    def key(self) -> str:
        """`ai.onnx.Add-14`."""
        return f"{self.domain or 'ai.onnx'}.{self.op}-{self.since}"


def rows() -> Iterator[Row]:
    """Yield every row of every table."""
    for table in TABLES:
        yield from table.ROWS


@cache
def versions() -> dict[tuple[str, str], tuple[int, ...]]:
    """Return, by domain and operator, the since_versions in force from the oldest covered opset on, deprecated ones aside."""
    found: dict[tuple[str, str], set[int]] = {}
    withdrawn: set[tuple[str, str, int]] = set()
    for schema in defs.get_all_schemas_with_history():
        if schema.domain in OLDEST:
            found.setdefault((schema.domain, schema.name), set()).add(schema.since_version)
            if schema.deprecated:
                withdrawn.add((schema.domain, schema.name, schema.since_version))
    result = {}
    for (domain, op), since in found.items():
        ordered = sorted(since)
        following = [*ordered[1:], 1 << 30]
        kept = [
            version
            for version, after in zip(ordered, following, strict=True)
            if after > OLDEST[domain] and (domain, op, version) not in withdrawn
        ]
        if kept:
            result[domain, op] = tuple(kept)
    return result


def items() -> Iterator[Item]:
    """Yield every case in the order of the tables, the function body of an operator after the operator itself."""
    for row in rows():
        since_versions = versions().get((row.domain, row.op), ())
        for since, after in zip(since_versions, (*since_versions[1:], None), strict=False):
            if not row.first <= since <= row.last:
                continue
            schema = schema_of(row.op, since, row.domain)
            opset = max(since, OLDEST[row.domain])
            for kind in row.kinds:
                if not takes(schema, row, kind):
                    continue
                start = f"operators/{Version(row.domain, row.op, since).key}/{kind}"
                yield Item(f"{start}/made/{row.name}", row, since, opset, kind, is_expanded=False)
                expanded = body_opset(schema, opset, after)
                if expanded is not None and row.op not in UNSOUND_BODIES and (row.op, row.name) not in UNSOUND_ROWS:
                    yield Item(f"{start}/made-expanded/{row.name}", row, since, expanded, kind, is_expanded=True)


def takes(schema: Any, row: Row, kind: str) -> bool:
    """Return whether an operator version takes the attributes, inputs and types of a row."""
    if not set(row.attributes) <= set(schema.attributes):
        return False
    if any(one.required and name not in row.attributes for name, one in schema.attributes.items()):
        return False
    formal = _stretched(schema.inputs, len(row.inputs))
    count = row.outputs if isinstance(row.outputs, int) else len(row.outputs)
    if formal is None or _stretched(schema.outputs, count) is None or len(row.inputs) < schema.min_input:
        return False
    bound: dict[str, str] = {}
    for one, parameter in zip(row.inputs, formal, strict=True):
        if one is None:
            if parameter.option != defs.OpSchema.FormalParameterOption.Optional:
                return False
            continue
        own = f"tensor({_spell(kind if one.kind == SUBJECT else one.kind)})"
        if own not in parameter.types:
            return False
        is_mixed = parameter.option == defs.OpSchema.FormalParameterOption.Variadic and not parameter.is_homogeneous
        if not is_mixed and bound.setdefault(parameter.type_str, own) != own:
            return False
    if any(one is not None and one.kind == SUBJECT for one in row.inputs):
        return True
    return any(f"tensor({_spell(kind)})" in parameter.types for parameter in schema.outputs)


def _stretched(formal: Any, count: int) -> list[Any] | None:
    """Return one formal parameter for each actual one; None where there are too many."""
    parameters = list(formal)
    variadic = defs.OpSchema.FormalParameterOption.Variadic
    while len(parameters) < count and parameters and parameters[-1].option == variadic:
        parameters.append(parameters[-1])
    return None if len(parameters) < count else parameters[:count]


def _spell(kind: str) -> str:
    return _SPELLING.get(kind, kind)


def find_duplicates(found: Iterable[Item]) -> list[str]:
    """Return the case ids that more than one row gives."""
    seen: set[str] = set()
    return [one.case_id for one in found if one.case_id in seen or seen.add(one.case_id)]  # type: ignore[func-returns-value]
