"""Probe models whose last bits depend on the order in which a device adds: what non-determinism shows on first.

Long contractions tempt a device to split a sum over its units, sums over many elements to combine partial sums as they come,
and scattered additions to let atomic operations race. The data are normally distributed, so that nearly every other order of
summation gives other bits; nothing here says what is right. Where the first dimension is `N`, rows do not depend on each other.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.reference.entries import OperatorUse
from conformance.reference.recipes import Made, Recipe
from conformance.tensors import DTYPES, ONNX_TYPE_OF

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from conformance.tensors import Array

ROWS = 64
"""Rows of each data set where the first dimension is `N`."""
LENGTH = 8192
COLUMNS = 24
CHANNELS, SIZE = 32, 14
UPDATES, BINS = 65536, 32
KINDS = ("float32", "float16")


def recipes() -> list[Recipe]:
    """Return the probes in float32 and float16 (scattering in float32 alone); each makes two data sets of equal shapes."""
    return [_recipe(name, kind) for name in _PROBES for kind in KINDS if (name, kind) not in _LEFT_OUT]


def has_rows(recipe: Recipe) -> bool:
    """Return whether the rows of a probe stand for themselves."""
    return _RESULTS[_name(recipe)][1]


def result_names(recipe: Recipe) -> list[str]:
    """Return the names of a probe's outputs, in the order of its graph."""
    return list(_RESULTS[_name(recipe)][0])


def _name(recipe: Recipe) -> str:
    return recipe.case_id.split("/")[1]


def _recipe(name: str, kind: str) -> Recipe:
    opset, operators, make = _PROBES[name]
    uses = tuple(
        OperatorUse("ai.onnx", op, since, following, attributes, (kind, *indices))
        for op, since, following, attributes, indices in operators
    )
    return Recipe(
        case_id=f"determinism/{name}/{kind}",
        uses=uses,
        types=tuple(sorted({one for use in uses for one in use.types})),
        opset_imports={"ai.onnx": opset},
        tier="bound",
        kind=kind,
        make=partial(make, kind, opset),
    )


def _long_product(kind: str, opset: int, draw: np.random.Generator) -> Made:
    """[N, 8192] by [8192, 24]: few outputs and a long contraction, which is where a product is split along its length."""
    weights = _normal(draw, (LENGTH, COLUMNS), kind, LENGTH**-0.5)
    nodes = [_node("MatMul", ["x", "w"], ["y"])]
    model = _model(kind, opset, nodes, {"x": ("N", LENGTH)}, {"y": ("N", COLUMNS)}, {"w": weights})
    return Made(model, [{"x": _normal(draw, (ROWS, LENGTH), kind)} for _ in range(2)])


def _convolution(kind: str, opset: int, draw: np.random.Generator) -> Made:
    """A 3 × 3 convolution of 32 channels, a Relu, and the mean of each channel."""
    weights = _normal(draw, (CHANNELS, CHANNELS, 3, 3), kind, (9 * CHANNELS) ** -0.5)
    nodes = [
        _node("Conv", ["x", "w"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        _node("Relu", ["c"], ["r"]),
        _node("GlobalAveragePool", ["r"], ["y"]),
    ]
    shape = (CHANNELS, SIZE, SIZE)
    given, results = {"x": ("N", *shape)}, {"r": ("N", *shape), "y": ("N", CHANNELS, 1, 1)}
    model = _model(kind, opset, nodes, given, results, {"w": weights})
    return Made(model, [{"x": _normal(draw, (ROWS, *shape), kind)} for _ in range(2)])


def _reductions(kind: str, opset: int, draw: np.random.Generator) -> Made:
    """Sum, mean, and softmax with the expectation under it, of rows of 8192."""
    axes = np.array([1], dtype=np.int64)
    nodes = [
        _node("ReduceSum", ["x", "axes"], ["total"]),
        _node("ReduceMean", ["x"], ["mean"], axes=[1]),
        _node("Softmax", ["x"], ["weights"], axis=1),
        _node("Mul", ["weights", "x"], ["weighted"]),
        _node("ReduceSum", ["weighted", "axes"], ["expectation"]),
    ]
    results = dict.fromkeys(("total", "mean", "expectation"), ("N", 1))
    model = _model(kind, opset, nodes, {"x": ("N", LENGTH)}, results, {"axes": axes})
    return Made(model, [{"x": _normal(draw, (ROWS, LENGTH), kind)} for _ in range(2)])


def _scatter_add(kind: str, opset: int, draw: np.random.Generator) -> Made:
    """65,536 numbers added into 32 places: a race, where each addition is one of the device's own."""
    indices = draw.integers(0, BINS, UPDATES)
    nodes = [_node("ScatterElements", ["start", "indices", "x"], ["y"], axis=0, reduction="add")]
    held = {"start": np.zeros(BINS, DTYPES[kind]), "indices": indices}
    model = _model(kind, opset, nodes, {"x": (UPDATES,)}, {"y": (BINS,)}, held)
    return Made(model, [{"x": _normal(draw, (UPDATES,), kind, 2.0**-4)} for _ in range(2)])


_INDICES = ("int64",)
_LEFT_OUT = {("scatter-add", "float16")}
"""What hardly any runtime has, the CPU's among them: whether a device has it is a question for the operator cases."""
_Operators = tuple[tuple[str, int, "int | None", dict[str, Any], tuple[str, ...]], ...]
_PROBES: dict[str, tuple[int, _Operators, Callable[..., Made]]] = {
    # name: opset, operators with the version in force, the one after it, the attributes in force and the types of indices
    "long-product": (13, (("MatMul", 13, None, {}, ()),), _long_product),
    "convolution": (
        13,
        (
            ("Conv", 11, 22, {"auto_pad": "NOTSET", "group": 1, "kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, ()),
            ("Relu", 13, 14, {}, ()),
            ("GlobalAveragePool", 1, 22, {}, ()),
        ),
        _convolution,
    ),
    "reductions": (
        13,
        (
            ("ReduceSum", 13, None, {"keepdims": 1, "noop_with_empty_axes": 0}, _INDICES),
            ("ReduceMean", 13, 18, {"axes": [1], "keepdims": 1}, ()),
            ("Softmax", 13, None, {"axis": 1}, ()),
            ("Mul", 13, 14, {}, ()),
        ),
        _reductions,
    ),
    "scatter-add": (16, (("ScatterElements", 16, 18, {"axis": 0, "reduction": "add"}, _INDICES),), _scatter_add),
}
_RESULTS: dict[str, tuple[tuple[str, ...], bool]] = {
    # name: outputs of the graph, and whether the rows stand for themselves
    "long-product": (("y",), True),
    "convolution": (("r", "y"), True),
    "reductions": (("total", "mean", "expectation"), True),
    "scatter-add": (("y",), False),
}


def _normal(draw: np.random.Generator, shape: tuple[int, ...], kind: str, scale: float = 1.0) -> Array:
    return (draw.standard_normal(shape) * scale).astype(DTYPES[kind])


def _node(op: str, given: Sequence[str], results: Sequence[str], **attributes: Any) -> Any:
    from onnx import helper  # planning does without it

    return helper.make_node(op, given, results, name=f"{op.lower()}_{results[0]}", **attributes)


def _model(
    kind: str,
    opset: int,
    nodes: Sequence[Any],
    given: Mapping[str, Sequence[int | str]],
    results: Mapping[str, Sequence[int | str]],
    held: Mapping[str, Array],
) -> bytes:
    from onnx import helper, numpy_helper

    element = ONNX_TYPE_OF[kind]
    graph = helper.make_graph(
        list(nodes),
        "probe",
        [helper.make_tensor_value_info(name, element, shape) for name, shape in given.items()],
        [helper.make_tensor_value_info(name, element, shape) for name, shape in results.items()],
        [numpy_helper.from_array(value, name) for name, value in held.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return bytes(proto.SerializeToString(deterministic=True))
