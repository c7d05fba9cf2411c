"""Filled tensors, ranges, windows and transforms of signals, and control flow around a little arithmetic.

Scan goes forward along axis 0 only: onnx 1.23's evaluator knows no other way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conformance.reference.made.rows import Row, fed, fixed, given
from conformance.tensors import DTYPES, ONNX_TYPE_OF

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx


def _tensor(*values: float) -> Callable[[str], Any]:
    def make(kind: str) -> Any:
        import numpy as np
        from onnx import numpy_helper

        return numpy_helper.from_array(np.array(values, dtype=DTYPES[kind]))

    return make


def _type_number(kind: str) -> int:
    return ONNX_TYPE_OF[kind]


def _branch(*values: float) -> Callable[[str], onnx.GraphProto]:
    """Return a maker of a graph that gives a constant."""

    def make(kind: str) -> onnx.GraphProto:
        from onnx import helper

        info = helper.make_tensor_value_info("branch_y", ONNX_TYPE_OF[kind], [len(values)])
        node = helper.make_node("Constant", [], ["branch_y"], value=_tensor(*values)(kind))
        return helper.make_graph([node], "branch", [], [info])

    return make


def _loop_body(kind: str) -> onnx.GraphProto:
    """Return a graph that doubles its value and gives it out at each turn."""
    from onnx import TensorProto, helper

    element = ONNX_TYPE_OF[kind]
    inputs = [
        helper.make_tensor_value_info("turn", TensorProto.INT64, []),
        helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        helper.make_tensor_value_info("held", element, [5]),
    ]
    outputs = [
        helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
        helper.make_tensor_value_info("held_on", element, [5]),
        helper.make_tensor_value_info("seen", element, [5]),
    ]
    nodes = [
        helper.make_node("Identity", ["go"], ["go_on"]),
        helper.make_node("Add", ["held", "held"], ["held_on"]),
        helper.make_node("Identity", ["held"], ["seen"]),
    ]
    return helper.make_graph(nodes, "body", inputs, outputs)


def _scan_body(kind: str) -> onnx.GraphProto:
    """Return a graph that keeps the larger of state and element, and gives it out."""
    from onnx import helper

    element = ONNX_TYPE_OF[kind]
    infos = {
        name: helper.make_tensor_value_info(name, element, [5]) for name in ("state", "element", "state_on", "seen")
    }
    nodes = [
        helper.make_node("Max", ["state", "element"], ["state_on"]),
        helper.make_node("Identity", ["state_on"], ["seen"]),
    ]
    return helper.make_graph(nodes, "body", [infos["state"], infos["element"]], [infos["state_on"], infos["seen"]])


def _windows() -> list[Row]:
    told = {"output_datatype": _type_number}
    return [
        Row(op, f"{name}-{size}", (fed(size),), told | {"periodic": periodic})
        for op in ("HannWindow", "HammingWindow", "BlackmanWindow")
        for name, periodic in (("periodic", 1), ("symmetric", 0))
        for size in (16, 33)
    ]


def _transforms() -> list[Row]:
    rows = []
    for name, shape, told in (
        ("real", (2, 33, 1), {}),
        ("complex", (2, 33, 2), {}),
        ("inverse", (2, 17, 2), {"inverse": 1}),
        ("onesided", (2, 64, 1), {"onesided": 1}),
    ):
        rows.append(Row("DFT", name, (given(*shape),), told, last=17))
        rows.append(Row("DFT", name, (given(*shape), None, fixed(1)), told, first=20))
    rows.append(Row("DFT", "axis-2", (given(2, 5, 16, 1),), {"axis": 2}, last=17))
    rows.append(Row("DFT", "axis-2", (given(2, 5, 16, 1), None, fixed(2)), {}, first=20))
    rows.append(Row("DFT", "length-padded", (given(2, 13, 1), fixed(16)), {"axis": 1}, last=17))
    rows.append(Row("DFT", "length-padded", (given(2, 13, 1), fixed(16), fixed(1)), {}, first=20))
    rows.append(Row("STFT", "window", (given(2, 129, 1), fixed(8), given(16, draw="probability")), {"onesided": 1}))
    rows.append(Row("STFT", "no-window", (given(1, 65, 1), fixed(16), None, fixed(16)), {"onesided": 1}))
    rows.append(Row("STFT", "two-sided", (given(1, 65, 1), fixed(8), given(16, draw="probability")), {"onesided": 0}))
    return rows


ROWS: list[Row] = [
    Row("ConstantOfShape", "value", (fed([3, 5]),), {"value": _tensor(0.1)}),
    Row("ConstantOfShape", "default", (fed([7]),), {}, kinds=("float32",)),
    *(
        Row("Range", name, tuple(fed(value, "T") for value in values), {})
        for name, values in (("up", (0.5, 9.0, 0.25)), ("down", (9.0, -3.0, -1.5)), ("uneven", (0.0, 2.0, 0.3)))
    ),
    *_windows(),
    *(
        Row("MelWeightMatrix", name, (fed(bins), fed(16), fed(8192), fed(low, "T"), fed(high, "T")), {"output_datatype": _type_number}, kinds=("float32",))
        for name, bins, low, high in (("bins-8", 8, 0.0, 4096.0), ("bins-5", 5, 125.0, 3800.0))
    ),
    *_transforms(),
    *(
        Row("If", name, (fed(holds, "bool"),), {"then_branch": _branch(1.5, -2.0, 0.1), "else_branch": _branch(7.0, 0.3)})
        for name, holds in (("then", True), ("else", False))
    ),
    Row("Loop", "five-turns", (fixed(5), fixed(True, "bool"), given(5)), {"body": _loop_body}, outputs=2),
    Row("Scan", "forward", (given(5), given(7, 5)), {"body": _scan_body, "num_scan_inputs": 1}, outputs=2),
]  # fmt: skip
