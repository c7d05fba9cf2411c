"""Changing the format of numbers: casts, quantising and dequantising per tensor, per axis and in blocks, products on codes."""

from __future__ import annotations

from typing import Any

from conformance.reference.made.rows import KINDS, Given, Row, fixed, given
from conformance.tensors import ONNX_TYPE_OF

_DATA = ("normal", "broad", "ties")
_CODES: dict[str, str] = {
    "uint8": "byte",
    "int8": "sbyte",
    "uint16": "byte",
    "int16": "sbyte",
    "uint4": "nibble",
    "int4": "snibble",
}
_FLOAT8 = ("float8e4m3fn", "float8e5m2")
_SHORT = {"uint4": 21, "int4": 21, "uint16": 21, "int16": 21}
"""Code type → first version that takes it, where that is not the first of all."""


def _quantise(code: str) -> list[Row]:
    fill, first = _CODES[code], _SHORT.get(code, 13)
    zero = given(draw=fill, kind=code)
    return [
        Row(
            "QuantizeLinear",
            f"{code}-per-tensor",
            (given(13, 97), given(draw="variance"), zero),
            {},
            _DATA,
            first=first,
        ),
        Row(
            "QuantizeLinear",
            f"{code}-axis-1",
            (given(5, 7, 9), given(7, draw="variance"), given(7, draw=fill, kind=code)),
            {"axis": 1},
            _DATA,
            first=first,
        ),
        Row(
            "QuantizeLinear",
            f"{code}-axis-0",
            (given(7, 33), given(7, draw="variance"), given(7, draw=fill, kind=code)),
            {"axis": 0},
            _DATA,
            first=first,
        ),
        Row(
            "QuantizeLinear",
            f"{code}-axis-negative",
            (given(5, 33), given(33, draw="variance"), given(33, draw=fill, kind=code)),
            {"axis": -1},
            _DATA,
            first=first,
        ),
        Row(
            "QuantizeLinear",
            f"{code}-blocks-16",
            (given(5, 64), given(5, 4, draw="variance"), given(5, 4, draw=fill, kind=code)),
            {"axis": 1, "block_size": 16},
            _DATA,
            first=max(first, 21),
        ),
        Row(
            "QuantizeLinear",
            f"{code}-blocks-4-axis-0",
            (given(16, 9), given(4, 9, draw="variance"), given(4, 9, draw=fill, kind=code)),
            {"axis": 0, "block_size": 4},
            _DATA,
            first=max(first, 21),
        ),
    ]


def _dequantise(code: str) -> list[Row]:
    fill, first = _CODES[code], _SHORT.get(code, 13)

    def codes(*shape: int) -> Given:
        return given(*shape, draw=fill, kind=code)

    return [
        Row(
            "DequantizeLinear", f"{code}-per-tensor", (codes(13, 97), given(draw="positive"), codes()), {}, first=first
        ),
        Row("DequantizeLinear", f"{code}-no-zero-point", (codes(13, 97), given(draw="positive")), {}, first=first),
        Row(
            "DequantizeLinear",
            f"{code}-axis-1",
            (codes(5, 7, 9), given(7, draw="positive"), codes(7)),
            {"axis": 1},
            first=first,
        ),
        Row(
            "DequantizeLinear",
            f"{code}-axis-negative",
            (codes(5, 33), given(33, draw="positive"), codes(33)),
            {"axis": -1},
            first=first,
        ),
        Row(
            "DequantizeLinear",
            f"{code}-blocks-16",
            (codes(5, 64), given(5, 4, draw="positive"), codes(5, 4)),
            {"axis": 1, "block_size": 16},
            first=max(first, 21),
        ),
        Row(
            "DequantizeLinear",
            f"{code}-blocks-4-axis-0",
            (codes(16, 9), given(4, 9, draw="positive"), codes(4, 9)),
            {"axis": 0, "block_size": 4},
            first=max(first, 21),
        ),
    ]


def _casts() -> list[Row]:
    rows = []
    for target in (*KINDS, *_FLOAT8, "float8e4m3fnuz", "float8e5m2fnuz", "float4e2m1", "float8e8m0"):
        kinds = tuple(kind for kind in KINDS if kind != target)
        sets = ("positive",) if target == "float8e8m0" else ("normal", "broad", "ties", "small")
        told: dict[str, Any] = {"to": ONNX_TYPE_OF[target]}
        rows.append(Row("Cast", f"to-{target}", (given(13, 97),), told, sets, kinds=kinds))
        if target in _FLOAT8:
            rows.append(
                Row("Cast", f"to-{target}-unsaturated", (given(13, 97),), told | {"saturate": 0}, sets, kinds=kinds)
            )
        if target in (*KINDS, *_FLOAT8):
            rows.append(Row("CastLike", f"to-{target}", (given(13, 97), fixed([1.0], target)), {}, sets, kinds=kinds))
    for source in ("int32", "int64", "uint8", "int8", "bool", "float8e4m3fn", "float8e5m2"):
        fill = (
            "bits"
            if source == "bool"
            else "sbyte"
            if source in ("int8", "int32", "int64")
            else "byte"
            if source == "uint8"
            else "broad"
        )
        rows += [
            Row(
                "Cast",
                f"from-{source}-to-{kind}",
                (given(13, 97, draw=fill, kind=source),),
                {"to": ONNX_TYPE_OF[kind]},
                kinds=(kind,),
            )
            for kind in KINDS
        ]
    for kind, target in (
        ("float32", "int32"),
        ("float32", "uint32"),
        ("float64", "int64"),
        ("float16", "int16"),
        ("bfloat16", "uint16"),
        ("float16", "bfloat16"),
    ):
        rows.append(Row("BitCast", f"to-{target}", (given(13, 97),), {"to": ONNX_TYPE_OF[target]}, kinds=(kind,)))
    return rows


def _products(code: str) -> list[Row]:
    fill = _CODES[code]

    def codes(*shape: int) -> Given:
        return given(*shape, draw=fill, kind=code)

    small, large = fixed(0.02, "T"), fixed(0.35, "T")
    few = fixed([0.01, 0.02, 0.015, 0.03, 0.025], "T")
    return [
        Row(
            "QLinearMatMul",
            f"{code}-k-64",
            (
                codes(35, 64),
                fixed(0.02, "T"),
                codes(),
                codes(64, 33),
                fixed(0.03, "T"),
                codes(),
                fixed(0.35, "T"),
                codes(),
            ),
            {},
        ),
        Row(
            "QLinearMatMul",
            f"{code}-batched",
            (
                codes(2, 9, 31),
                fixed(0.02, "T"),
                codes(),
                codes(2, 31, 7),
                fixed(0.03, "T"),
                codes(),
                fixed(0.25, "T"),
                codes(),
            ),
            {},
        ),
        Row(
            "QLinearConv",
            f"{code}-3x3",
            (codes(1, 3, 13, 11), small, codes(), codes(5, 3, 3, 3), small, codes(), large, codes()),
            {"pads": [1, 1, 1, 1]},
            kinds=("float32",),
        ),
        Row(
            "QLinearConv",
            f"{code}-per-channel",
            (
                codes(1, 3, 13, 11),
                small,
                codes(),
                codes(5, 3, 3, 3),
                few,
                fixed([0] * 5, code),
                large,
                codes(),
                given(5, draw="sbyte", kind="int32"),
            ),
            {"strides": [2, 2]},
            kinds=("float32",),
        ),
    ]


ROWS: list[Row] = [
    *(row for code in _CODES for row in (*_quantise(code), *_dequantise(code))),
    *(
        row
        for code in _FLOAT8
        for row in (
            Row(
                "QuantizeLinear",
                f"{code}-per-tensor",
                (given(13, 97), given(draw="variance"), fixed(0.0, code)),
                {},
                _DATA,
                first=19,
                kinds=("float32",),
            ),
            Row(
                "DequantizeLinear",
                f"{code}-per-tensor",
                (given(13, 97, draw="broad", kind=code), given(draw="positive"), fixed(0.0, code)),
                {},
                first=19,
            ),
        )
    ),
    *_casts(),
    *(row for code in ("uint8", "int8") for row in _products(code)),
    *(
        Row("DynamicQuantizeLinear", name, (given(*shape, draw=fill),), {}, outputs=3, kinds=("float32",))
        for name, shape, fill in (
            ("zero-mean", (13, 97), "normal"),
            ("all-positive", (13, 97), "above-one"),
            ("vector", (65,), "broad"),
        )
    ),
]
