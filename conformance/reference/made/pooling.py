"""Pooling and normalisation: padding counted or not, ceilings, dilations; per channel, per group, per axis.

Left out are indices of MaxPool in column-major order and MaxUnpool with an output_shape, which onnx 1.23's evaluator gets wrong or
reads otherwise than the text allows to tell; LpPool with ceil_mode, whose overhanging windows it scales; and MeanVarianceNormalization
in types other than float32, for which ONNX's own function body does not hold together.
"""

from __future__ import annotations

from typing import Any

from conformance.reference.made.rows import Row, fixed, given

DATA = ("normal", "positive")
_PLACES = fixed([[[[5, 7], [13, 15]]]])
_WINDOWS: tuple[tuple[str, tuple[int, ...], dict[str, Any]], ...] = (
    ("2d-3x3", (2, 3, 17, 15), {"kernel_shape": [3, 3]}),
    ("2d-strides-2", (1, 5, 17, 15), {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("2d-pads", (2, 4, 15, 15), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("2d-pads-differ", (1, 3, 14, 13), {"kernel_shape": [4, 3], "pads": [1, 0, 2, 1], "strides": [2, 1]}),
    ("2d-ceil", (1, 3, 14, 15), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    ("2d-ceil-pads", (1, 3, 14, 13), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1}),
    ("2d-dilations", (1, 3, 17, 17), {"kernel_shape": [3, 2], "dilations": [2, 3]}),
    ("2d-same-upper", (1, 3, 16, 15), {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("2d-same-lower", (1, 3, 16, 15), {"kernel_shape": [2, 2], "auto_pad": "SAME_LOWER"}),
    ("2d-valid", (1, 3, 16, 15), {"kernel_shape": [3, 3], "auto_pad": "VALID"}),
    ("2d-wide-window", (1, 4, 33, 31), {"kernel_shape": [29, 27]}),
    ("1d", (2, 5, 129), {"kernel_shape": [5], "strides": [2], "pads": [2, 2]}),
    ("3d", (1, 3, 9, 8, 7), {"kernel_shape": [2, 3, 2]}),
)

ROWS: list[Row] = [
    *(Row("AveragePool", name, (given(*shape),), attributes, DATA) for name, shape, attributes in _WINDOWS),
    *(
        Row("AveragePool", f"{name}-count-pads", (given(*shape),), attributes | {"count_include_pad": 1}, DATA)
        for name, shape, attributes in _WINDOWS
        if "pads" in attributes
    ),
    *(
        Row("MaxPool", name, (given(*shape),), attributes, ("normal", "wide", "ties"))
        for name, shape, attributes in _WINDOWS
    ),
    Row(
        "MaxPool",
        "indices",
        (given(2, 3, 15, 13, draw="distinct"),),
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
        outputs=2,
        kinds=("float32", "float64"),
    ),
    *(
        Row("LpPool", f"{name}-p-{p}", (given(*shape),), attributes | {"p": p}, DATA)
        for name, shape, attributes in _WINDOWS
        for p in (1, 2)
        if name in ("2d-3x3", "2d-pads", "2d-strides-2", "2d-dilations", "1d")
    ),
    *(
        Row(op, name, (given(*shape),), {}, DATA)
        for op in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
        for name, shape in (
            ("2d", (3, 345, 7, 5)),
            ("1d", (2, 5, 129)),
            ("3d", (1, 4, 5, 6, 7)),
            ("2d-large", (1, 9, 61, 63)),
            ("one-element", (1, 3, 1, 1)),
        )
    ),
    Row("GlobalLpPool", "p-1", (given(2, 9, 7, 5),), {"p": 1}, DATA),
    Row("MaxUnpool", "2x2", (given(1, 1, 2, 2), _PLACES), {"kernel_shape": [2, 2], "strides": [2, 2]}),
    *(
        Row(
            "BatchNormalization",
            name,
            (given(*shape), *(given(shape[1], draw=draw) for draw in ("slope", "normal", "normal", "variance"))),
            attributes,
            DATA,
        )
        for name, shape, attributes in (
            ("4d", (2, 5, 13, 11), {}),
            ("2d", (65, 17), {}),
            ("3d", (3, 9, 41), {}),
            ("5d", (1, 4, 5, 6, 7), {}),
            ("epsilon-0.01", (2, 5, 13, 11), {"epsilon": 0.01}),
        )
    ),
    *(
        Row(
            "LayerNormalization",
            name,
            (given(*shape), *(given(*scale, draw=draw) for draw in ("slope", "normal")[:count])),
            attributes,
            (*DATA, "broad"),
            outputs=outputs,
        )
        for name, shape, scale, count, attributes, outputs in (
            ("last-axis", (9, 127), (127,), 2, {}, 1),
            ("no-bias", (9, 128), (128,), 1, {}, 1),
            ("long-4096", (8, 4096), (4096,), 2, {}, 1),
            ("axis-1", (5, 7, 9), (7, 9), 2, {"axis": 1}, 1),
            ("axis-negative-2", (5, 7, 9), (7, 9), 2, {"axis": -2}, 1),
            ("axis-0", (5, 7), (5, 7), 2, {"axis": 0}, 1),
            ("epsilon-0.1", (9, 65), (65,), 2, {"epsilon": 0.1}, 1),
            ("three-outputs", (9, 65), (65,), 2, {}, 3),
        )
    ),
    *(
        Row("RMSNormalization", name, (given(*shape), given(*scale, draw="slope")), attributes, (*DATA, "broad"))
        for name, shape, scale, attributes in (
            ("last-axis", (9, 127), (127,), {}),
            ("long-4096", (8, 4096), (4096,), {}),
            ("axis-1", (5, 7, 9), (7, 9), {"axis": 1}),
            ("axis-negative-2", (5, 7, 9), (7, 9), {"axis": -2}),
            ("epsilon-0.1", (9, 65), (65,), {"epsilon": 0.1}),
        )
    ),
    *(
        Row(
            "InstanceNormalization",
            name,
            (given(*shape), given(shape[1], draw="slope"), given(shape[1])),
            attributes,
            DATA,
        )
        for name, shape, attributes in (
            ("4d", (2, 5, 13, 11), {}),
            ("3d", (3, 4, 65), {}),
            ("epsilon-0.01", (2, 5, 13, 11), {"epsilon": 0.01}),
        )
    ),
    *(
        Row(
            "GroupNormalization",
            name,
            (given(*shape), given(shape[1], draw="slope"), given(shape[1])),
            attributes,
            DATA,
            first=21,
        )
        for name, shape, attributes in (
            ("groups-2", (2, 6, 9, 11), {"num_groups": 2}),
            ("groups-3", (2, 6, 9, 11), {"num_groups": 3}),
            ("groups-all", (1, 6, 9, 11), {"num_groups": 6}),
            ("one-group-3d", (3, 4, 65), {"num_groups": 1, "epsilon": 0.01}),
        )
    ),
    *(
        Row("LRN", name, (given(2, 9, 7, 5),), attributes, DATA)
        for name, attributes in (
            ("size-3", {"size": 3}),
            ("size-5-alpha-0.2-beta-0.5-bias-2", {"size": 5, "alpha": 0.2, "beta": 0.5, "bias": 2.0}),
            ("size-4", {"size": 4, "alpha": 0.05}),
        )
    ),
    *(
        Row("LpNormalization", f"p-{p}-{name}", (given(5, 17, 3),), {"p": p, "axis": axis}, DATA)
        for p in (1, 2)
        for name, axis in (("last-axis", -1), ("axis-0", 0), ("axis-1", 1))
    ),
    Row("MeanVarianceNormalization", "axes-0-2-3", (given(3, 5, 9, 7),), {"axes": [0, 2, 3]}, DATA, kinds=("float32",)),
    Row("MeanVarianceNormalization", "axes-2-3", (given(3, 5, 9, 7),), {"axes": [2, 3]}, DATA, kinds=("float32",)),
]
