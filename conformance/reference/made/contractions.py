"""Contractions: products and convolutions, K from 1 to 4,096, enough outputs for the tests of a bias."""

from __future__ import annotations

from typing import Any

from conformance.reference.made.rows import Row, fixed, given

DATA = ("normal", "positive")
ALL = ("normal", "positive", "wide", "cancelling")

_PRODUCTS: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = (
    *((f"k-{k}", (35, k), (k, 33)) for k in (1, 2, 7, 16, 64, 65, 257)),
    ("k-1025", (33, 1025), (1025, 32)),
    ("k-4096", (32, 4096), (4096, 32)),
    ("batched", (3, 19, 31), (3, 31, 21)),
    ("batch-broadcast", (2, 1, 5, 16), (3, 16, 9)),
    ("vector-matrix", (65,), (65, 37)),
    ("matrix-vector", (37, 65), (65,)),
    ("vectors", (129,), (129,)),
    ("one-element", (1, 1), (1, 1)),
)

_GEMM: tuple[tuple[str, tuple[int, ...], tuple[int, ...], tuple[int, ...] | None, dict[str, Any]], ...] = (
    ("plain", (35, 65), (65, 33), None, {}),
    ("bias-vector", (35, 65), (65, 33), (33,), {}),
    ("bias-column", (35, 65), (65, 33), (35, 1), {}),
    ("bias-scalar", (35, 65), (65, 33), (), {}),
    ("bias-matrix-alpha-beta", (35, 65), (65, 33), (35, 33), {"alpha": 0.35, "beta": 1.7}),
    ("trans-a", (65, 35), (65, 33), (33,), {"transA": 1}),
    ("trans-b", (35, 65), (33, 65), (33,), {"transB": 1}),
    ("trans-both-alpha-negative", (65, 35), (33, 65), (1, 33), {"transA": 1, "transB": 1, "alpha": -2.5}),
    ("beta-0", (5, 7), (7, 9), (9,), {"beta": 0.0}),
    ("k-1025", (33, 1025), (1025, 32), (32,), {}),
    ("k-4096-trans-b", (32, 4096), (32, 4096), None, {"transB": 1}),
)

_CONVOLUTIONS: tuple[tuple[str, tuple[int, ...], tuple[int, ...], int, dict[str, Any]], ...] = (
    # name, X, W, elements of B (0: none), attributes
    ("2d-3x3", (1, 3, 17, 19), (5, 3, 3, 3), 0, {"pads": [1, 1, 1, 1]}),
    ("2d-3x3-bias", (2, 8, 13, 11), (6, 8, 3, 3), 6, {"pads": [1, 1, 1, 1]}),
    ("2d-1x1", (1, 65, 7, 9), (17, 65, 1, 1), 17, {}),
    ("2d-strides-2", (1, 4, 31, 33), (9, 4, 3, 3), 9, {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("2d-strides-differ", (1, 4, 31, 33), (9, 4, 3, 5), 0, {"strides": [1, 3], "pads": [0, 1, 2, 3]}),
    ("2d-dilations", (1, 4, 21, 23), (5, 4, 3, 3), 5, {"dilations": [2, 3], "pads": [2, 3, 2, 3]}),
    ("2d-groups-2", (1, 6, 15, 15), (8, 3, 3, 3), 8, {"group": 2, "pads": [1, 1, 1, 1]}),
    ("2d-depthwise", (1, 8, 15, 15), (8, 1, 5, 5), 8, {"group": 8, "pads": [2, 2, 2, 2]}),
    ("2d-depthwise-multiplier", (1, 4, 15, 15), (12, 1, 3, 3), 0, {"group": 4}),
    ("2d-same-upper", (1, 3, 16, 17), (5, 3, 4, 4), 0, {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("2d-same-lower", (1, 3, 16, 17), (5, 3, 4, 4), 0, {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    ("2d-valid", (1, 3, 16, 17), (5, 3, 4, 4), 5, {"auto_pad": "VALID"}),
    ("2d-kernel-shape-told", (1, 3, 9, 9), (4, 3, 3, 2), 0, {"kernel_shape": [3, 2]}),
    ("2d-k-1152", (1, 128, 9, 9), (16, 128, 3, 3), 16, {"pads": [1, 1, 1, 1]}),
    ("1d", (2, 5, 101), (7, 5, 5), 7, {"pads": [2, 2]}),
    ("1d-dilated-strided", (1, 4, 129), (9, 4, 3), 0, {"dilations": [4], "strides": [2]}),
    ("3d", (1, 3, 9, 8, 7), (5, 3, 3, 3, 2), 5, {"pads": [1, 1, 0, 1, 1, 1]}),
)

_TRANSPOSED: tuple[tuple[str, tuple[int, ...], tuple[int, ...], int, dict[str, Any]], ...] = (
    ("2d", (1, 5, 11, 9), (5, 7, 3, 3), 0, {}),
    ("2d-strides-2-bias", (1, 6, 9, 11), (6, 5, 3, 3), 5, {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    (
        "2d-output-padding",
        (1, 6, 9, 11),
        (6, 4, 3, 3),
        0,
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
    ),
    ("2d-pads-differ", (1, 3, 9, 9), (3, 4, 4, 3), 4, {"pads": [0, 1, 2, 1], "strides": [2, 1]}),
    ("2d-dilations", (1, 4, 9, 9), (4, 3, 3, 3), 0, {"dilations": [2, 2]}),
    ("2d-groups-2", (1, 6, 9, 9), (6, 2, 3, 3), 4, {"group": 2, "strides": [2, 2]}),
    ("2d-output-shape", (1, 3, 7, 8), (3, 2, 3, 3), 0, {"strides": [2, 2], "output_shape": [15, 17]}),
    ("2d-same-upper", (1, 3, 7, 8), (3, 2, 3, 3), 0, {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ("2d-same-lower", (1, 3, 7, 8), (3, 2, 3, 3), 0, {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    ("1d", (1, 7, 65), (7, 5, 4), 5, {"strides": [2]}),
    ("3d", (1, 3, 4, 5, 6), (3, 2, 3, 2, 3), 0, {"strides": [2, 1, 2]}),
)

_EQUATIONS: tuple[tuple[str, str, tuple[tuple[int, ...], ...]], ...] = (
    ("matmul", "ij,jk->ik", ((35, 33), (33, 37))),
    ("batch-matmul", "bij,bjk->bik", ((3, 19, 17), (3, 17, 21))),
    ("implicit-output", "ij,jk", ((7, 9), (9, 5))),
    ("attention-scores", "bhqd,bhkd->bhqk", ((2, 3, 13, 16), (2, 3, 17, 16))),
    ("transpose", "ijk->kij", ((5, 7, 3),)),
    ("diagonal", "...ii->...i", ((3, 7, 7),)),
    ("trace", "ii->", ((9, 9),)),
    ("row-sum", "ij->i", ((1100, 17),)),
    ("inner", "i,i->", ((129,), (129,))),
    ("outer", "i,j->ij", ((35,), (33,))),
    ("ellipsis-broadcast", "...ij,jk->...ik", ((2, 3, 5, 7), (7, 4))),
    ("bilinear", "ij,jkl,il->ik", ((5, 7), (7, 6, 8), (5, 8))),
)


def _convolution(op: str, table: Any) -> list[Row]:
    return [
        Row(op, name, (given(*x), given(*w, draw="weight"), *((given(bias),) if bias else ())), attributes, DATA)
        for name, x, w, bias, attributes in table
    ]


_OFFSETS = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
ROWS: list[Row] = [
    *(Row("MatMul", name, (given(*a), given(*b)), {}, ALL if len(a) == 2 and a[-1] < 1000 else DATA) for name, a, b in _PRODUCTS),
    Row("MatMul", "empty-rows", (given(0, 5), given(5, 3)), {}, needs_zero_size=True),
    Row("MatMul", "k-0", (given(4, 0), given(0, 3)), {}, needs_zero_size=True),
    *(
        Row("Gemm", name, (given(*a), given(*b), *(() if c is None else (given(*c),))), attributes, DATA)
        for name, a, b, c, attributes in _GEMM
    ),
    *_convolution("Conv", _CONVOLUTIONS),
    *_convolution("ConvTranspose", _TRANSPOSED),
    *(
        Row("Einsum", name, tuple(given(*shape) for shape in shapes), {"equation": equation}, DATA)
        for name, equation, shapes in _EQUATIONS
    ),
    Row(
        "DeformConv", "plain",
        (given(1, 3, 9, 9), given(4, 3, 3, 3, draw="weight"), given(1, 18, 9, 9, draw="unit")), _OFFSETS, DATA,
    ),
    Row(
        "DeformConv", "bias-and-mask",
        (given(1, 4, 9, 9), given(6, 4, 3, 3, draw="weight"), given(1, 18, 9, 9, draw="unit"), given(6), given(1, 9, 9, 9, draw="probability")),
        _OFFSETS, DATA,
    ),
    Row(
        "DeformConv", "groups-2-offset-groups-2",
        (given(1, 4, 9, 9), given(6, 2, 3, 3, draw="weight"), given(1, 36, 9, 9, draw="unit")),
        _OFFSETS | {"group": 2, "offset_group": 2}, DATA,
    ),
    *(
        Row("CausalConvWithState", name, inputs, attributes, DATA, outputs=2)
        for name, inputs, attributes in (
            ("plain", (given(2, 9, 33), given(9, 1, 4, draw="weight")), {}),
            ("bias-and-state", (given(2, 9, 33), given(9, 1, 4, draw="weight"), given(9), given(2, 9, 3)), {}),
            ("silu", (given(2, 9, 33), given(9, 1, 4, draw="weight"), given(9), given(2, 9, 3)), {"activation": "silu"}),
            ("one-step", (given(1, 9, 1), given(9, 1, 4, draw="weight"), None, given(1, 9, 3)), {}),
        )
    ),
    Row("Det", "3x3", (given(5, 3, 3),), {}, DATA),
    Row("Det", "7x7", (given(7, 7),), {}, DATA),
    Row("Det", "1x1", (given(4, 1, 1),), {}, DATA),
    Row("Col2Im", "plain", (given(2, 27, 25), fixed([7, 7]), fixed([3, 3])), {}, DATA),
    Row("Col2Im", "strides-and-pads", (given(1, 18, 16), fixed([7, 7]), fixed([3, 3])), {"strides": [2, 2], "pads": [1, 1, 1, 1]}, DATA),
    Row("Col2Im", "dilations", (given(1, 8, 36), fixed([8, 8]), fixed([2, 2])), {"dilations": [2, 2]}, DATA),
]  # fmt: skip
