"""Limits as plain data, for the cache and for the pipe between two processes of ours: nothing is ever unpickled."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from conformance.numerics import limits as plain
from conformance.numerics.bounded import Bound
from conformance.numerics.modes import PrecisionMode  # noqa: TC001 - beside the others
from conformance.numerics.spread import Spread
from conformance.tensors import ValueRef, from_ref, to_ref

_KINDS: dict[str, Any] = {
    one.__name__: one for one in (Bound, plain.Exact, plain.Discrete, plain.Rate, plain.Unbounded)
}
_ARRAYS = frozenset(
    {
        "reference",
        "unit",
        "limit",
        "slack",
        "exempt",
        "drift",
        "expected",
        "is_decided",
        "scale",
        "limits",
        "level",
        "likes",
    }
)


class Packed(msgspec.Struct, array_like=True):
    """A limit as it is stored: its kind, its plain fields and its tensors."""

    kind: str
    fields: dict[str, Any]
    values: dict[str, ValueRef]


def pack_limit(limit: Any) -> Packed:
    """Return a limit (of `numerics.limits`, a `Bound` or a `Spread`) as plain data."""
    if isinstance(limit, Spread):
        values = {name: to_ref(np.asarray(value)) for name, value in limit.to_arrays().items()}
        return Packed("Spread", {"kind": limit.kind}, values)
    fields = {name: getattr(limit, name) for name in limit.__struct_fields__}
    stored = {
        name
        for name, value in fields.items()
        if name in _ARRAYS and (name == "expected" or isinstance(value, np.ndarray))
    }
    rest = {name: _number(value) for name, value in fields.items() if name not in stored}
    return Packed(type(limit).__name__, rest, {name: to_ref(fields[name]) for name in stored})


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def unpack_limit(kept: Packed, mode: PrecisionMode) -> Any:
    """Return the limit again; `mode` is the precision for which it was worked out."""
    values = {name: from_ref(ref, {}) for name, ref in kept.values.items()}
    if kept.kind == "Spread":
        arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
        return Spread.from_arrays(arrays, mode, kept.fields["kind"])
    return _KINDS[kept.kind](**kept.fields, **values)
