"""What the outputs of a generated case are judged by: the bound of its operators, or the spread of its model.

Both are worked out when the case is judged, from code alone. Nothing is kept in a file, which a device's process could change.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.errors import HarnessError
from conformance.numerics.limits import Discrete, Unbounded
from conformance.numerics.modes import PrecisionMode
from conformance.numerics.spread import spread_of
from conformance.reference.made import index
from conformance.reference.recipes import SEED, generator
from conformance.tensors import DTYPES

if TYPE_CHECKING:
    from conformance.reference.recipes import Made

_WHOLE = frozenset(
    {
        "DeformConv",
        "Det",
        "GridSample",
        "RoiAlign",
        "LinearAttention",
        "LinearClassifier",
        "Normalizer",
        "LinearRegressor",
    }
)
"""Operators that Monte Carlo arithmetic perturbs at the result alone, whose inner roundings their inputs stand for."""
_UNLIKE = frozenset({"LinearAttention", "Range"})
"""Operators whose body is a loop over a sequence: the operator itself is run instead."""


@lru_cache(maxsize=16)
def made_of(case_id: str, challenge: str = "") -> Made:
    """Return model and inputs of a case: the same for the same id, seed and challenge.

    A function body is fed what the operator itself is fed.
    """
    return index.make(case_id, generator(index.base_of(case_id), challenge))


def limits_of(case_id: str, mode: dict[str, Any], subject: str, challenge: str = "") -> list[list[Any]]:
    """Return, for each data set, what each output is judged by, in graph order (a limit of tier 2, or a spread of tier 3).

    `mode` is the precision declared for the type `subject`, as a case's parameters carry it.
    """
    made, precision = made_of(case_id, challenge), PrecisionMode.of(mode)
    if made.expected is not None:
        return [_exactly(expected) for expected in made.expected]
    base = index.base_of(case_id)
    whole = made_of(base, challenge).model if base != case_id else None
    return [_limits(made.model, inputs, precision, subject, whole) for inputs in made.datasets]


def limits_of_model(model: bytes, inputs: dict[str, Any], mode: PrecisionMode, subject: str) -> list[Any]:
    """Return what each output of a small model is judged by, in graph order; HarnessError where it has no float64 reference."""
    return _limits(model, inputs, mode, subject)


def _exactly(expected: dict[str, Any]) -> list[Any]:
    from conformance.numerics.limits import Exact

    return [Exact(name=name, expected=value) for name, value in expected.items()]


def _limits(
    model: bytes, inputs: dict[str, Any], mode: PrecisionMode, subject: str, whole: bytes | None = None
) -> list[Any]:
    """Return the limits of the outputs of a model; `whole` is the operator itself where the model is its body."""
    from conformance.reference.contrib import judging
    from conformance.reference.operator_bounds.bounding import bounds_of

    if judging.holds_vendor_operators(model):
        return judging.limits_of(model, inputs, mode, subject, SEED)
    limits: list[Any] = [_unleaning(one, model) for one in bounds_of(model, inputs, mode, kind=subject)]
    if not any(isinstance(one, Unbounded) for one in limits):
        return limits
    if whole is not None:  # the same arithmetic, and what is missing of the body is known of the operator
        return _limits(whole, inputs, mode, subject)
    body = _spelled_out(model)
    if body is not None:
        further = bounds_of(body, inputs, mode, kind=subject)
        limits = [new if isinstance(old, Unbounded) else old for old, new in zip(limits, further, strict=True)]
    if any(isinstance(one, Unbounded) for one in limits):
        scattered = _scatter(body or model, inputs, mode, subject)
        limits = [scattered[one.name] if isinstance(one, Unbounded) else one for one in limits]
    return limits


def _unleaning(limit: Any, model: bytes) -> Any:
    """Return the bound of a Mean of 3, 5, … tensors without its test of a bias.

    A product with the rounded 1/n is as good as a division, and errs the same way in every output.
    """
    import msgspec
    import onnx

    from conformance.numerics.bounded import Bound

    if not isinstance(limit, Bound) or not limit.is_leaning_tested:
        return limit
    first = onnx.load_model_from_string(model).graph.node[0]
    is_uneven = first.op_type == "Mean" and len(first.input).bit_count() != 1
    return msgspec.structs.replace(limit, is_leaning_tested=False) if is_uneven else limit


def _spelled_out(model: bytes) -> bytes | None:
    """Return the model with the newest function body of its operator, which says the same as the text of an older version.

    None where there is none: several nodes, no body, or attributes and inputs that changed since.
    """
    import onnx
    from onnx import defs

    from conformance.reference.made.building import expand

    proto = onnx.load_model_from_string(model)
    node = proto.graph.node[0]
    if len(proto.graph.node) != 1 or node.op_type in _UNLIKE:
        return None
    schema: Any = defs.get_schema(node.op_type, domain=node.domain)
    if not (schema.has_function or schema.has_context_dependent_function):
        return None
    if not {one.name for one in node.attribute} <= set(schema.attributes):
        return None
    for one in proto.opset_import:
        if one.domain == node.domain:
            one.version = defs.onnx_opset_version() if not node.domain else one.version
    try:
        expanded = expand(proto)
        onnx.checker.check_model(expanded)
    except (HarnessError, onnx.checker.ValidationError):
        return None
    return bytes(expanded.SerializeToString())


def _scatter(model: bytes, inputs: dict[str, Any], mode: PrecisionMode, subject: str) -> dict[str, Any]:
    """Return what each output is judged by in tier 3; outputs that are no floating-point numbers by where all runs agree."""
    import onnx

    from conformance.reference.entries import TYPE_OF_ONNX
    from conformance.reference.evaluate import widen
    from conformance.reference.interpreter import Interpreter
    from conformance.reference.montecarlo.runs import perturbed_runs
    from conformance.reference.wide_gaps import GAPS
    from conformance.reference.wide_operators import OPERATORS

    graph = onnx.load_model_from_string(model).graph
    infos, is_whole = graph.output, len(graph.node) == 1 and graph.node[0].op_type in _WHOLE
    interpreter = Interpreter(widen(model), (*OPERATORS, *GAPS))
    times = _NUDGES.get(graph.node[0].op_type, _NUDGE)
    given: Any = partial(_nudged, inputs, mode, times) if is_whole else inputs
    reference, runs = interpreter.run(inputs), perturbed_runs(interpreter, given, mode, SEED)
    limits: dict[str, Any] = {}
    for info in infos:
        value, scattered = np.asarray(reference[info.name]), runs[info.name]
        kind = TYPE_OF_ONNX[info.type.tensor_type.elem_type]
        if value.dtype.kind == "f":
            spread = spread_of(value, scattered, mode, kind)
            # In float64 the reference errs as much as the device: the two together by twice as much.
            limits[info.name] = spread._replace(scale=2 * spread.scale) if subject == "float64" else spread
        else:
            expected = value.astype(DTYPES[kind])
            limits[info.name] = Discrete(name=info.name, expected=expected, is_decided=(scattered == value).all(axis=0))
    return limits


_NUDGES = {"RoiAlign": 12.0}
_NUDGE = 6.0
"""By how many roundoffs: a coordinate is scaled, shifted and halved, and a cubic weight has three products and sums of its own. In
RoiAlign every bin rounds its coordinates once more, each in its own way."""


def _nudged(inputs: dict[str, Any], mode: PrecisionMode, times: float, run: int) -> dict[str, Any]:
    """Return the inputs of a run, each number off by up to so many times the roundoff of sums.

    An operator that Monte Carlo arithmetic knows only as a whole would be perturbed at its result alone. What its own roundings on
    the way amount to is what small changes of its inputs do (backward error: Higham, Accuracy and Stability, section 1.5).
    """
    rng = np.random.default_rng([SEED, run])
    moved = {}
    for name, value in inputs.items():
        if isinstance(value, np.ndarray) and (value.dtype.kind == "f" or value.dtype.name == "bfloat16"):
            wide = value.astype(np.float64)
            moved[name] = wide * (1 + times * mode.sums.roundoff * rng.uniform(-1, 1, wide.shape))
        else:
            moved[name] = value
    return moved
