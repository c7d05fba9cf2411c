"""A small model run in float64, node by node, with what every value may be off.

Each node adds what it may be off itself (its law) to what its inputs' errors make it off (carrying.py). Where that cannot
be said, `Underived` says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from conformance.numerics.bounded import format_of
from conformance.numerics.modes import native
from conformance.reference.evaluate import widen
from conformance.reference.interpreter import Interpreter
from conformance.reference.operator_bounds.call import FLOATS, WIDENED, Call, Local, Underived, entry_error, last_place
from conformance.reference.operator_bounds.carrying import carry
from conformance.reference.operator_bounds.kinds import NAMES, find_kinds, with_tensors
from conformance.reference.operator_bounds.spelling import spell_out
from conformance.reference.operator_bounds.table import find_entry, refine
from conformance.reference.wide_gaps import GAPS
from conformance.reference.wide_operators import OPERATORS
from conformance.tensors import DTYPES

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.numerics.modes import PrecisionMode
    from conformance.reference.interpreter import Node, Values
    from conformance.reference.operator_bounds.table import Entry
    from conformance.tensors import Value


class Last(NamedTuple):
    """The node that ran last, and what its first output may be off: for the model's only operator, everything."""

    entry: Entry
    call: Call
    local: Local | None
    """By its own law; None where it is exact."""
    carried: Any
    """By its inputs' errors, per element; None: nothing."""
    flushed: Any
    """By flushing subnormals; None: nothing."""


class Walk:
    """One model, one set of inputs, one mode; `run` fills `kinds`, `errors` and `last`."""

    def __init__(self, proto: onnx.ModelProto, inputs: dict[str, Value], mode: PrecisionMode, kind: str | None) -> None:
        if proto.functions:
            proto = onnx.inliner.inline_local_functions(proto)
        self.inputs, self.mode = inputs, mode
        tensors = {name: value for name, value in inputs.items() if isinstance(value, np.ndarray)}
        self.proto = with_tensors(spell_out(proto, tensors))
        self.nodes = list(self.proto.graph.node)
        self.kinds = find_kinds(self.proto)
        self.kind = kind or self._widest()
        self.errors: dict[str, Any] = {}
        self.last: Last | None = None
        self._opset = {one.domain: one.version for one in self.proto.opset_import}
        self._wide = widen(self.proto.SerializeToString())

    @property
    def single(self) -> onnx.NodeProto | None:
        """The model's only node; None where there are several."""
        return self.nodes[0] if len(self.nodes) == 1 else None

    def mode_of(self, kind: str) -> PrecisionMode:
        """Return how tensors of a type are computed."""
        return self.mode if kind == self.kind else native(kind)

    def run(self) -> dict[str, Any]:
        """Return the outputs by name, in float64 where the model has a type that is widened."""
        entries = [find_entry(node.domain, node.op_type) for node in self.nodes]
        for node, entry in zip(self.nodes, entries, strict=True):
            self._check(node, entry)
        if self.single is not None and self._is_typed(self.single, entries[0]):
            return self._run_typed(self.single)
        runner = self._interpreter()
        for name, value in {**runner.initializers, **self.inputs}.items():
            kind = self.kinds.get(name, "")
            if isinstance(value, np.ndarray) and kind in WIDENED:
                self.errors[name] = entry_error(value.astype(np.float64), kind, self.mode_of(kind))
        return runner.run(self.inputs, self._step)

    def run_again(self, inputs: dict[str, Value]) -> dict[str, Any]:
        """Return the outputs for other inputs, nothing followed."""
        return self._interpreter().run(inputs)

    def _widest(self) -> str:
        graph = self.proto.graph
        found = [self.kinds.get(info.name, "") for info in graph.input]
        found += [NAMES.get(one.data_type, "") for one in graph.initializer]
        if self.mode.output in found:
            return self.mode.output
        floats = [one for one in found if one in WIDENED - {"float64"}]  # nobody declares to narrow that
        return max(floats, key=lambda one: format_of(one).bits, default=self.mode.output)

    def _interpreter(self) -> Interpreter:
        try:
            return Interpreter(self._wide, (*GAPS, *OPERATORS))
        except Exception as error:  # the evaluator has an error type for every lack
            text = str(error).splitlines()[0][:120]
            raise Underived(f"the reference evaluator cannot load the model: {text}") from error

    def _check(self, node: onnx.NodeProto, entry: Entry) -> None:
        if entry.kind in ("spread", "random", "control"):
            raise Underived(f"{node.op_type}: {entry.why}")
        if entry.kind in ("rate", "discrete") and len(self.nodes) > 1:
            raise Underived(f"{node.op_type} inside a graph: {entry.why}")
        if node.op_type in ("Resize", "Upsample"):
            self._check_shape(node)
        if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
            training = self._given(node.input[2])
            if not isinstance(training, np.ndarray) or bool(np.any(training)):
                raise Underived("Dropout in training draws at random")

    def _given(self, name: str) -> Any:
        stored = {one.name: numpy_helper.to_array(one) for one in self.proto.graph.initializer}
        return self.inputs.get(name, stored.get(name))

    def _check_shape(self, node: onnx.NodeProto) -> None:
        """Refuse scales of which it depends on the precision of one product how many elements they give."""
        at = 2 if node.op_type == "Resize" else 1
        scales = self._given(node.input[at]) if len(node.input) > at and node.input[at] else None
        x = self._given(node.input[0])
        if isinstance(scales, np.ndarray) and isinstance(x, np.ndarray) and scales.size == x.ndim:
            sizes = np.asarray(x.shape)
            if np.any(np.floor(sizes * scales.astype(np.float64)) != np.floor(sizes.astype(np.float32) * scales)):
                raise Underived("the rounding of size · scale decides the shape")

    def _is_typed(self, node: onnx.NodeProto, entry: Entry) -> bool:
        """Whether the operator is run in its own types: where bits count, or types that float64 does not stand for."""
        if node.op_type in ("BitCast", "TfIdfVectorizer", "DynamicQuantizeLinear"):
            return True
        if node.op_type == "DequantizeLinear":
            return False
        kinds = {self.kinds.get(name, "") for name in (*node.input, *node.output) if name}
        return bool(kinds & (FLOATS - WIDENED)) and entry.kind in ("exact", "rate", "ulp", "integer")

    def _run_typed(self, node: onnx.NodeProto) -> dict[str, Any]:
        try:
            with np.errstate(all="ignore"):
                results: Any = ReferenceEvaluator(self.proto).run(None, self.inputs)
        except Exception as error:
            text = f"the reference evaluator cannot run {node.op_type} in its own types: {error}"
            raise Underived(text) from error
        return {info.name: value for info, value in zip(self.proto.graph.output, results, strict=True)}

    def _step(self, node: Node, inputs: Values, compute: Callable[[Values], Values]) -> Values:
        outputs = compute(inputs)
        call = self._call(node, inputs, outputs, compute)
        is_float = bool(call.output_kinds) and call.output_kinds[0] in FLOATS
        first = call.output_kinds[0] if call.output_kinds else ""
        entry = refine(find_entry(node.domain, node.op), node.op, node.attribute, first, is_float=is_float)
        carried = _carried(entry, call)
        local = entry.law(call) if entry.law and is_float else None
        if local is not None and entry.kind != "dot" and carried and carried[0] is not None:
            local = local._replace(unit=_grown(call, local.unit, carried[0]))
        flushed = _flushed(call)
        for at, name in enumerate(node.outputs[: len(outputs)]):
            error = carried[at] if at < len(carried) else None
            if at == 0 and flushed is not None:
                error = flushed if error is None else error + flushed
            if name:
                self.errors[name] = _total(local if at == 0 else None, error)
        self.last = Last(entry, call, local, carried[0] if carried else None, flushed)
        return outputs

    def _call(self, node: Node, inputs: Values, outputs: Values, compute: Callable[[Values], Values]) -> Call:
        def kind_of(name: str, value: Any) -> str:
            return self.kinds.get(name, "") or self._guess(value)

        sources = [kind_of(name, value) for name, value in zip(node.inputs, inputs, strict=True)]
        targets = [kind_of(name, value) for name, value in zip(node.outputs, outputs, strict=False)]
        self.kinds |= {name: kind for name, kind in zip(node.outputs, targets, strict=False) if name}
        version = self._opset.get(node.domain, self._opset.get("ai.onnx", 1))
        errors = [self.errors.get(name) if name else None for name in node.inputs]
        return Call(node, inputs, outputs, compute, sources, targets, self.mode, self.kind, errors, version)

    def _guess(self, value: Any) -> str:
        """Return the tensor type of a value of which inference knows nothing: a float64 one is of the declared type."""
        if not isinstance(value, np.ndarray):
            return ""
        if value.dtype == np.float64:
            return self.kind
        return next((name for name, dtype in DTYPES.items() if dtype == value.dtype), "string")


def _carried(entry: Entry, call: Call) -> list[Any]:
    if all(isinstance(one, np.ndarray | np.generic | None) for one in (*call.inputs, *call.outputs)):
        if call.node.op in ("Shape", "Size", "ConstantOfShape"):
            return [None] * len(call.outputs)
        return carry(call, entry.carry, entry.weigh)
    if any(one is not None for one in call.errors):
        raise Underived("errors inside a sequence are not followed")
    return [None] * len(call.outputs)


def _grown(call: Call, unit: Any, carried: Any) -> Any:
    """Return the unit where the inputs' errors may move a result into the next binade, or are larger than it."""
    y, form = np.abs(call.outputs[0]), call.form()
    is_next = last_place(y + carried, form) > last_place(y, form)
    more = np.where(carried > y, last_place(np.where(np.isfinite(carried), carried, 0.0), form), 0.0)
    return np.where(is_next, 2.0, 1.0) * unit + more


def _flushed(call: Call) -> Any:
    if not call.outputs or not isinstance(call.outputs[0], np.ndarray) or not call.is_float():
        return None
    if not call.mode_of(call.output_kinds[0]).flushes:
        return None
    return np.where(np.isfinite(call.outputs[0]), call.form().nmin, 0.0)


def _total(local: Local | None, error: Any) -> Any:
    if local is None:
        return error
    own = np.asarray(local.unit) * np.asarray(local.limit)
    if local.exempt is not None:
        own = np.where(local.exempt, np.inf, own)
    found = own if error is None else own + error
    return found if np.any(found) else None
