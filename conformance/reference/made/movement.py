"""Operators that move data and compute no number: every bit must arrive, in its place."""

from __future__ import annotations

from typing import Any

from conformance.reference.made.rows import Row, fed, fixed, given

DATA = ("normal",)

_SHAPES: tuple[tuple[str, str, tuple[Any, ...], dict[str, Any]], ...] = (
    ("Reshape", "plain", (given(6, 35), fixed([5, 42])), {}),
    ("Reshape", "minus-1", (given(6, 35), fixed([7, -1, 3])), {}),
    ("Reshape", "copied-dimension", (given(6, 5, 7), fixed([0, -1])), {}),
    ("Reshape", "to-scalar", (given(1, 1), fixed([])), {}),
    ("Reshape", "shape-fed", (given(6, 35), fed([5, 42])), {}),
    ("Reshape", "allowzero-0", (given(6, 5, 7), fixed([0, 35])), {"allowzero": 0}),
    ("Flatten", "axis-default", (given(3, 5, 7),), {}),
    ("Flatten", "axis-0", (given(3, 5, 7),), {"axis": 0}),
    ("Flatten", "axis-2", (given(3, 5, 7),), {"axis": 2}),
    ("Flatten", "axis-negative", (given(3, 5, 7),), {"axis": -1}),
    ("Squeeze", "axes", (given(1, 5, 1, 7), fixed([0, 2])), {}),
    ("Squeeze", "all", (given(1, 5, 1, 7),), {}),
    ("Squeeze", "negative", (given(5, 1, 7, 1), fixed([-1])), {}),
    ("Unsqueeze", "axes", (given(5, 7), fixed([0, 2])), {}),
    ("Unsqueeze", "unordered-negative", (given(5, 7), fixed([-1, 0])), {}),
    ("Transpose", "default", (given(5, 7, 3),), {}),
    ("Transpose", "square", (given(9, 9),), {"perm": [1, 0]}),
    ("Transpose", "4d", (given(3, 5, 7, 2),), {"perm": [0, 3, 1, 2]}),
    ("Transpose", "cube", (given(5, 5, 5),), {"perm": [2, 0, 1]}),
    ("Shape", "plain", (given(5, 7, 3),), {}),
    ("Shape", "start-end", (given(5, 7, 3, 2),), {"start": 1, "end": -1}),
    ("Shape", "start-negative", (given(5, 7, 3, 2),), {"start": -3}),
    ("Size", "plain", (given(5, 7, 3),), {}),
    ("Expand", "broadcast", (given(3, 1), fixed([2, 1, 6])), {}),
    ("Expand", "smaller-shape", (given(3, 4, 5), fixed([1, 5])), {}),
    ("Expand", "scalar", (given(), fixed([3, 5])), {}),
    ("Tile", "plain", (given(3, 5), fixed([2, 3])), {}),
    ("Tile", "ones", (given(3, 5, 2), fixed([1, 1, 4])), {}),
    ("Concat", "axis-0", (given(3, 5), given(2, 5), given(4, 5)), {"axis": 0}),
    ("Concat", "axis-1", (given(3, 5, 2), given(3, 1, 2)), {"axis": 1}),
    ("Concat", "axis-negative", (given(3, 5), given(3, 7)), {"axis": -1}),
    ("Concat", "one-input", (given(3, 5),), {"axis": 0}),
)

_INDEXED: tuple[tuple[str, str, tuple[Any, ...], dict[str, Any]], ...] = (
    ("Gather", "axis-0", (given(7, 5, 3), fixed([[0, 6], [3, 3]])), {}),
    ("Gather", "axis-1", (given(7, 5, 3), fixed([4, 0, 2, 2])), {"axis": 1}),
    ("Gather", "negative", (given(7, 5), fixed([-1, -7, 2])), {"axis": 0}),
    ("Gather", "axis-negative-int32", (given(7, 5), fixed([1, 3], "int32")), {"axis": -1}),
    ("Gather", "scalar-index", (given(7, 5), fixed(2)), {}),
    ("Gather", "indices-fed", (given(33, 17), fed([32, 0, 5, 5, 31])), {}),
    ("GatherElements", "axis-1", (given(3, 5), fixed([[4, 0], [1, 1], [-1, 2]])), {"axis": 1}),
    ("GatherElements", "axis-0", (given(3, 4), fixed([[2, 0, 1, -1]])), {"axis": 0}),
    ("GatherND", "rows", (given(5, 7, 3), fixed([[0, 6], [4, 1]])), {}),
    ("GatherND", "batch-dims-1", (given(2, 5, 3), fixed([[1], [4]])), {"batch_dims": 1}),
    ("GatherND", "negative", (given(5, 7), fixed([[-1, -7], [2, 3]])), {}),
    ("ScatterElements", "axis-0", (given(5, 4), fixed([[1, 0, 2, 4], [3, 1, 0, 2]]), given(2, 4)), {"axis": 0}),
    ("ScatterElements", "axis-1-negative", (given(3, 7), fixed([[-1, 0], [2, -3], [1, 6]]), given(3, 2)), {"axis": 1}),
    *(
        (
            "ScatterElements",
            f"reduction-{how}",
            (given(5, 4), fixed([[1, 1, 2, 4], [1, 0, 2, 2]]), given(2, 4)),
            {"axis": 0, "reduction": how},
        )
        for how in ("add", "mul", "max", "min")
    ),
    ("ScatterND", "rows", (given(5, 7), fixed([[4], [0]]), given(2, 7)), {}),
    ("ScatterND", "elements", (given(5, 7), fixed([[4, 6], [0, 1], [2, 2]]), given(3)), {}),
    *(
        ("ScatterND", f"reduction-{how}", (given(5, 7), fixed([[4], [0], [4]]), given(3, 7)), {"reduction": how})
        for how in ("add", "mul", "max", "min")
    ),
    ("Slice", "steps", (given(9, 11), fixed([1, 0]), fixed([9, 11]), fixed([0, 1]), fixed([2, 3])), {}),
    ("Slice", "backward", (given(9, 11), fixed([-1, 8]), fixed([-10, 1]), fixed([0, 1]), fixed([-1, -2])), {}),
    ("Slice", "no-axes", (given(9, 11), fixed([2, 3]), fixed([5, 100])), {}),
    (
        "Slice",
        "negative-axis-int32",
        (given(9, 11), fixed([2], "int32"), fixed([-2], "int32"), fixed([-1], "int32")),
        {},
    ),
    ("Slice", "starts-fed", (given(9, 11), fed([1]), fed([7]), fed([0])), {}),
    ("ReverseSequence", "batch-axis-0", (given(4, 7, 3), fixed([7, 1, 4, 2])), {"batch_axis": 0, "time_axis": 1}),
    ("ReverseSequence", "time-axis-0", (given(7, 4, 3), fixed([7, 1, 4, 2])), {"batch_axis": 1, "time_axis": 0}),
    ("Compress", "axis-0", (given(4, 5), fixed([True, False, True], "bool")), {"axis": 0}),
    ("Compress", "axis-negative", (given(4, 3), fixed([False, True, True], "bool")), {"axis": -1}),
    ("Compress", "flat", (given(2, 3), fixed([False, True, True, False, True], "bool")), {}),
    ("Trilu", "upper", (given(7, 9),), {}),
    ("Trilu", "lower", (given(2, 9, 7),), {"upper": 0}),
    ("Trilu", "upper-k-2", (given(7, 9), fixed(2)), {}),
    ("Trilu", "lower-k-minus-1", (given(7, 9), fixed(-1)), {"upper": 0}),
    ("OneHot", "last-axis", (given(7, draw="five", kind="int64"), fixed(5), given(2)), {}),
    ("OneHot", "axis-0", (given(3, 4, draw="five", kind="int64"), fixed(6), given(2)), {"axis": 0}),
    ("OneHot", "axis-negative", (given(3, 4, draw="five", kind="int64"), fixed(5), given(2)), {"axis": -2}),
    ("NonZero", "ties", (given(5, 7, draw="ties"),), {}),
    ("NonZero", "vector", (given(65, draw="ties"),), {}),
    ("DepthToSpace", "dcr", (given(2, 12, 3, 5),), {"blocksize": 2, "mode": "DCR"}),
    ("DepthToSpace", "crd", (given(2, 12, 3, 5),), {"blocksize": 2, "mode": "CRD"}),
    ("DepthToSpace", "dcr-3", (given(1, 18, 2, 2),), {"blocksize": 3}),
    ("SpaceToDepth", "2", (given(2, 3, 6, 4),), {"blocksize": 2}),
    ("SpaceToDepth", "3", (given(1, 2, 6, 9),), {"blocksize": 3}),
    ("SpaceToDepth", "crd", (given(2, 3, 6, 4),), {"blocksize": 2, "mode": "CRD"}),
    ("CenterCropPad", "crop-and-pad", (given(9, 6), fixed([5, 8])), {}),
    ("CenterCropPad", "axes", (given(9, 6, 3), fixed([10, 2])), {"axes": [0, 2]}),
    ("EyeLike", "plain", (given(4, 6),), {}),
    ("EyeLike", "k-1", (given(4, 6),), {"k": 1}),
    ("EyeLike", "k-minus-2", (given(5, 4),), {"k": -2}),
    ("TensorScatter", "linear", (given(2, 9, 5), given(2, 3, 5), fixed([1, 4])), {"axis": 1}),
    ("TensorScatter", "circular", (given(2, 9, 5), given(2, 3, 5), fixed([7, 8])), {"axis": 1, "mode": "circular"}),
)

_PADS = fixed([1, 2, 3, 1])
ROWS: list[Row] = [
    *(Row(op, name, inputs, attributes, DATA) for op, name, inputs, attributes in (*_SHAPES, *_INDEXED)),
    Row("Reshape", "allowzero-1", (given(0, 3), fixed([3, 0])), {"allowzero": 1}, needs_zero_size=True),
    Row("Pad", "constant", (given(5, 7), _PADS, given(draw="normal")), {}, DATA),
    Row("Pad", "constant-default", (given(5, 7), _PADS), {"mode": "constant"}, DATA),
    Row("Pad", "negative", (given(5, 7), fixed([-1, 2, 1, -3])), {}, DATA),
    *(Row("Pad", mode, (given(5, 7), _PADS), {"mode": mode}, DATA) for mode in ("reflect", "edge")),
    Row("Pad", "wrap", (given(5, 7), _PADS), {"mode": "wrap"}, DATA, first=19),
    Row("Pad", "axes", (given(5, 7, 3), fixed([2, 1]), None, fixed([-2])), {}, DATA, first=18),
    *(
        Row("Split", name, (given(9, 7), fixed(sizes)), attributes, DATA, outputs=len(sizes))
        for name, sizes, attributes in (("axis-0", [2, 3, 4], {}), ("axis-1", [6, 1], {"axis": 1}), ("axis-negative", [1, 1, 5], {"axis": -1}))
    ),
    Row("Split", "equal", (given(9, 8),), {"axis": 1}, DATA, outputs=4, last=13),
    Row("Split", "num-outputs-uneven", (given(9, 7),), {"axis": 1, "num_outputs": 3}, DATA, outputs=3),
    *(
        Row("Unique", name, (given(*shape, draw="ties"),), attributes, outputs=4)
        for name, shape, attributes in (("sorted", (65,), {}), ("unsorted", (65,), {"sorted": 0}), ("axis-0", (9, 2), {"axis": 0}))
    ),
]  # fmt: skip
