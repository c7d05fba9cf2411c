"""What the outputs of a small model are judged by in tier 2.

The model is spelled out (bodies.py) and followed in float64 (walk.py). A model of one operator gets that operator's own
rule with its statistics; a body, or ONNX's `_expanded` twin of a case, what its operators' bounds add up to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from conformance.errors import HarnessError
from conformance.numerics.bounded import Bound, format_of
from conformance.numerics.limits import Discrete, Exact, Limit, Rate, Unbounded
from conformance.reference.operator_bounds.call import FLOATS, WIDENED, Underived
from conformance.reference.operator_bounds.choosing import decided
from conformance.reference.operator_bounds.kinds import as_type, find_kinds, is_narrow
from conformance.reference.operator_bounds.table import find_entry, refine
from conformance.reference.operator_bounds.walk import Walk

if TYPE_CHECKING:
    from conformance.numerics.modes import PrecisionMode
    from conformance.reference.operator_bounds.walk import Last
    from conformance.tensors import Array, Value

LARGEST_SHARE = 0.25
"""A bound beyond this share of the largest finite |reference| says nothing: tier 3 is asked instead."""
FORMS = 2.0
"""A body is one form of a formula; an equal one, as a device may fuse it, has the same roundings in another order: γ·(α·eˣ − α) and
γ·α·(eˣ − 1), x/√v·s and x·(s/√v). Twice the bound along the body holds both."""


def bounds_of(model: bytes, inputs: dict[str, Value], mode: PrecisionMode, *, kind: str | None = None) -> list[Limit]:
    """Return what each graph output is judged by, in order.

    `kind` is the tensor type that the mode is declared for; by default the type of its results where the inputs have it,
    else the widest type among them that is not float64, which nobody declares to narrow. HarnessError where an operator has
    no class, or the reference is not computed in float64.
    """
    proto = onnx.load_model_from_string(model)
    names = [info.name for info in proto.graph.output]
    try:
        walk = Walk(proto, inputs, mode, kind)
        outputs = walk.run()
        return [_limit(walk, name, outputs.get(name)) for name in names]
    except Underived as error:
        return [Unbounded(name=name, reason=str(error)) for name in names]


def bounds_like(
    base: bytes, expanded: bytes, inputs: dict[str, Value], mode: PrecisionMode, *, kind: str | None = None
) -> list[Limit]:
    """Return what an operator's expanded body is judged by: its own bounds, or where it has none those of the operator itself.

    `base` is the model of the operator, `expanded` that of its body; both take the same inputs and give outputs in the same order.
    """
    own = bounds_of(expanded, inputs, mode, kind=kind)
    if not any(isinstance(one, Unbounded) for one in own):
        return own
    names = [info.name for info in onnx.load_model_from_string(expanded).graph.output]
    like = bounds_of(base, inputs, mode, kind=kind)
    if len(like) != len(names):
        raise HarnessError(f"the expanded model has {len(names)} outputs, its operator {len(like)}")
    return [_renamed(one, name) for one, name in zip(like, names, strict=True)]


def class_of(model: bytes) -> str:
    """Return the class of a model's only operator, or `several`."""
    proto = onnx.load_model_from_string(model)
    if len(proto.graph.node) != 1:
        return "several"
    node = proto.graph.node[0]
    first = find_kinds(proto).get(node.output[0], "")
    attributes = {
        one.name: onnx.helper.get_attribute_value(one)
        for one in node.attribute
        if one.type != onnx.AttributeProto.GRAPH
    }

    def attribute(name: str, default: Any = None) -> Any:
        value = attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    entry = find_entry(node.domain, node.op_type)
    return refine(entry, node.op_type, attribute, first, is_float=first in FLOATS).kind


def _renamed(limit: Limit, name: str) -> Limit:
    fields = {field: getattr(limit, field) for field in limit.__struct_fields__}
    return type(limit)(**{**fields, "name": name})


def _limit(walk: Walk, name: str, value: Any) -> Limit:
    kind, node = walk.kinds.get(name, ""), walk.single
    entry = find_entry(node.domain, node.op_type) if node is not None else None
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if entry is not None and entry.kind == "rate":
        if kind not in WIDENED:
            return Rate(name=name, expected=as_type(value, kind), law=entry.why)
        wide = np.asarray(value, dtype=np.float64)
        return Bound(
            name=name,
            kind=kind,
            law="4 ulp",
            reference=wide,
            unit=2 * format_of(kind).roundoff * np.abs(wide),
            limit=4.0,
        )
    if entry is not None and entry.kind == "discrete" and walk.last is not None:
        return Discrete(name=name, expected=as_type(value, kind), is_decided=decided(walk.last.call), law=entry.why)
    if not isinstance(value, np.ndarray) or kind not in WIDENED:
        return Exact(name=name, expected=_typed(value, kind or walk.kind), exempt=_open(walk, name, value))
    if value.dtype != np.float64:
        if walk.last is None:  # run in its own types
            return Exact(name=name, expected=as_type(value, kind))
        raise HarnessError(f"the reference evaluator gave '{name}' as {value.dtype}, not in float64")
    if node is not None and walk.last is not None and node.output[0] == name:
        return _limit_of_only(walk, walk.last, name, value)
    return _summed(walk, name, value, walk.errors.get(name))


def _limit_of_only(walk: Walk, last: Last, name: str, value: Array) -> Limit:
    """Return the rule of the model's only operator, for its first output."""
    kind, local, carried, flushed = walk.kinds[name], last.local, last.carried, last.flushed
    if local is None and carried is None and flushed is None:
        return Exact(name=name, expected=as_type(value, kind), law=last.entry.why)
    if last.entry.kind == "exact" and carried is None:
        # Moving a subnormal is no arithmetic; a device that flushes may flush it nevertheless.
        carried, flushed = np.where(np.abs(value) < last.call.form().nmin, np.abs(value), 0.0), None
    slack = sum((one for one in (carried, flushed) if one is not None), np.zeros(value.shape))
    if local is None:
        return _summed(walk, name, value, slack)
    _guard(walk, name, value)
    return Bound(
        name=name,
        kind=kind,
        law=local.law,
        reference=value,
        unit=local.unit,
        limit=local.limit,
        slack=slack,
        exempt=local.exempt,
        terms=local.terms if carried is None else 0.0,  # narrowed inputs are shared: errors are no longer independent
        products=local.products,
        drift=local.drift,
        stored=_stored(walk, kind),
        is_leaning_tested=local.is_leaning_tested,
        is_flushed=walk.mode_of(kind).flushes,
    )


def _summed(walk: Walk, name: str, value: Array, error: Any) -> Limit:
    """Return what an output is judged by whose error is known per element, from whatever it adds up."""
    kind = walk.kinds[name]
    if error is None or not np.any(error):
        return Exact(name=name, expected=as_type(value, kind))
    with np.errstate(all="ignore"):
        finite = np.isfinite(value)
        most = np.max(np.abs(value[finite]), initial=0.0)
        error = np.where(finite, np.broadcast_to(error, value.shape), 0.0)
        if most > 0 and np.any(error > LARGEST_SHARE * most):
            text = f"the bounds along the body add up to {float(error.max()):.3g}, which says nothing"
            return Unbounded(name=name, reason=text)
    _guard(walk, name, value)
    forms = 1.0 if walk.single is not None else FORMS
    law = "narrowed on entry" if walk.single is not None else "bounds along the body"
    stored = _stored(walk, kind)
    return Bound(name=name, kind=kind, stored=stored, law=law, reference=value, unit=error, limit=forms)


def _stored(walk: Walk, kind: str) -> str:
    """Return the declared format of an output where that is coarser than its type."""
    declared = walk.mode_of(kind).results
    return declared.name if declared.bits < format_of(kind).bits else ""


def _guard(walk: Walk, name: str, value: Array) -> None:
    """Refuse a reference that was computed in float32: shifted a little, its outputs would still be float32's."""
    is_exact = walk.single is not None and walk.last is not None and walk.last.local is None
    if is_exact or value.size < 16 or not is_narrow(value):
        return
    rng = np.random.default_rng(0)
    shifted: dict[str, Value] = {
        key: one.astype(np.float64) * (1 + 2.0**-30 * rng.uniform(0.5, 1.0, one.shape))
        if isinstance(one, np.ndarray) and walk.kinds.get(key) in WIDENED
        else one
        for key, one in walk.inputs.items()
    }
    again = walk.run_again(shifted)[name]
    if again.shape != value.shape:
        return
    moved = again[np.isfinite(value) & (again != value)]
    if moved.size and is_narrow(moved):
        raise HarnessError(f"the reference of '{name}' holds nothing beyond float32: it is no reference")


def _typed(value: Value, kind: str) -> Value:
    if isinstance(value, list):
        return [_typed(one, kind) for one in value]
    found: Value = as_type(value, kind)
    return found


def _open(walk: Walk, name: str, value: Any) -> Any:
    """Return where a conversion to integers is left open by its text: values beyond the target's range."""
    node = walk.single
    if node is None or name not in node.output or node.op_type not in ("Cast", "CastLike") or walk.last is None:
        return None
    source = walk.last.call.inputs[0]
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iu" or source.dtype.kind != "f":
        return None
    room = np.iinfo(value.dtype)
    return ~((source > room.min - 1) & (source < room.max + 1.0))
