"""Operators on images and regions: resizing in its modes and coordinates, sampling on grids, regions, boxes, losses.

Scales of Resize avoid places halfway between two elements, where rounding decides. RoiAlign takes a fixed number of samples:
onnx 1.23's evaluator and onnxruntime do not agree on how many an adaptive one is.
"""

from __future__ import annotations

from typing import Any

from conformance.reference.made.rows import Given, Row, fixed, given

_COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric")
_FACTORS: tuple[tuple[str, tuple[float, float]], ...] = (
    ("up", (2.0, 3.0)),
    ("down", (0.6, 0.5)),
    ("uneven", (1.37, 0.83)),
)


def _scales(*values: float) -> tuple[Given | None, ...]:
    return None, fixed([1.0, 1.0, *values], "float32")


def _sizes(*values: int) -> tuple[Given | None, ...]:
    return None, None, fixed(list(values))


def _resize() -> list[Row]:
    rows = []
    for mode in ("nearest", "linear", "cubic"):
        for transform in _COORDINATES:
            first = 19 if transform == "half_pixel_symmetric" else 13
            told: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": transform}
            spelled = transform.replace("_", "-")
            # Where the size is no whole number, the text leaves open whether these two count in it or in what it is cut to.
            is_whole = transform in ("align_corners", "half_pixel_symmetric")
            for name, factors in _FACTORS[:1] if is_whole else _FACTORS:
                rows.append(
                    Row(
                        "Resize", f"{mode}-{spelled}-{name}", (given(1, 2, 7, 9), *_scales(*factors)), told, first=first
                    )
                )
            rows.append(
                Row("Resize", f"{mode}-{spelled}-sizes", (given(1, 2, 7, 9), *_sizes(1, 2, 11, 5)), told, first=first)
            )
    picture, box = given(1, 2, 7, 9), fixed([0.0, 0.0, 0.2, 0.1, 1.0, 1.0, 0.8, 0.9], "T")
    for mode in ("nearest", "linear", "cubic"):
        told = {"mode": mode, "coordinate_transformation_mode": "tf_crop_and_resize"}
        rows.append(Row("Resize", f"{mode}-crop", (picture, box, None, fixed([1, 2, 5, 6])), told))
    rows += [
        Row(
            "Resize",
            "linear-crop-outside",
            (picture, fixed([0.0, 0.0, -0.3, 0.1, 1.0, 1.0, 1.2, 0.9], "T"), None, fixed([1, 2, 9, 8])),
            {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 3.5},
        ),
        *(
            Row(
                "Resize",
                f"nearest-{how.replace('_', '-')}",
                (picture, *_scales(1.37, 0.83)),
                {"mode": "nearest", "nearest_mode": how, "coordinate_transformation_mode": "asymmetric"},
            )
            for how in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
        ),
        Row(
            "Resize",
            "cubic-coefficient-minus-0.5",
            (picture, *_scales(2.0, 1.5)),
            {"mode": "cubic", "cubic_coeff_a": -0.5},
        ),
        Row("Resize", "cubic-exclude-outside", (picture, *_scales(2.0, 1.5)), {"mode": "cubic", "exclude_outside": 1}),
        Row("Resize", "linear-antialias", (picture, *_scales(0.6, 0.5)), {"mode": "linear", "antialias": 1}),
        Row("Resize", "cubic-antialias", (picture, *_scales(0.6, 0.5)), {"mode": "cubic", "antialias": 1}),
        Row("Resize", "linear-axes", (picture, None, fixed([1.5, 2.0], "float32")), {"mode": "linear", "axes": [3, 2]}),
        Row(
            "Resize",
            "linear-not-larger",
            (picture, None, None, fixed([5, 5])),
            {"mode": "linear", "axes": [2, 3], "keep_aspect_ratio_policy": "not_larger"},
        ),
        Row(
            "Resize",
            "linear-not-smaller",
            (picture, None, None, fixed([5, 5])),
            {"mode": "linear", "axes": [2, 3], "keep_aspect_ratio_policy": "not_smaller"},
        ),
        Row("Resize", "linear-1d", (given(1, 3, 17), None, fixed([1.0, 1.0, 2.5], "float32")), {"mode": "linear"}),
        Row(
            "Resize",
            "linear-3d",
            (given(1, 1, 4, 5, 6), None, fixed([1.0, 1.0, 1.5, 2.0, 0.5], "float32")),
            {"mode": "linear"},
        ),
    ]
    return rows


def _samples() -> list[Row]:
    rows = []
    for first, last, modes in ((16, 16, ("bilinear", "nearest", "bicubic")), (20, 99, ("linear", "nearest", "cubic"))):
        for mode in modes:
            # Outside the image, the text does not say whether cubic clamps the place or the points around it.
            for padding in ("zeros",) if "cubic" in mode else ("zeros", "border", "reflection"):
                for corners in (0, 1):
                    told: dict[str, Any] = {"mode": mode, "padding_mode": padding, "align_corners": corners}
                    name = f"{mode}-{padding}-corners-{corners}"
                    inputs = (given(2, 3, 7, 9), given(2, 5, 6, 2, draw="slope"))
                    rows.append(Row("GridSample", name, inputs, told, first=first, last=last))
    deep = (given(1, 2, 4, 5, 6), given(1, 3, 4, 5, 3, draw="slope"))
    rows += [Row("GridSample", f"{mode}-3d", deep, {"mode": mode}, first=20) for mode in ("linear", "nearest")]
    return rows


_REGIONS = fixed([[0.3, 0.4, 5.2, 6.1], [1.0, 2.0, 7.5, 4.5], [2.2, 0.7, 3.9, 5.8]], "T")
_BOXES = fixed(
    [
        [
            [0.0, 0.0, 1.0, 1.0],
            [0.0, 0.1, 1.0, 1.1],
            [0.0, -0.1, 1.0, 0.9],
            [0.0, 10.0, 1.0, 11.0],
            [0.0, 10.1, 1.0, 11.1],
            [0.0, 100.0, 1.0, 101.0],
        ]
    ],
    "float32",
)

ROWS: list[Row] = [
    *_resize(),
    *_samples(),
    *(
        Row(
            "RoiAlign",
            name,
            (given(2, 3, 9, 9), _REGIONS, fixed([0, 1, 0])),
            {"output_height": 4, "output_width": 3} | attributes,
            first=16,  # version 10 has no say on the half pixel, and onnx 1.23 evaluates it as version 16
        )
        for name, attributes in (
            ("sampling-2", {"sampling_ratio": 2}),
            ("maximum", {"mode": "max", "sampling_ratio": 2}),
            ("scale-0.5", {"spatial_scale": 0.5, "sampling_ratio": 2}),
            ("output-half-pixel", {"coordinate_transformation_mode": "output_half_pixel", "sampling_ratio": 2}),
        )
    ),
    Row("AffineGrid", "2d", (given(2, 2, 3), fixed([2, 3, 5, 6])), {}),
    Row("AffineGrid", "2d-corners", (given(2, 2, 3), fixed([2, 3, 5, 6])), {"align_corners": 1}),
    Row("AffineGrid", "3d", (given(2, 3, 4), fixed([2, 3, 4, 5, 6])), {}),
    *(
        Row(
            "NonMaxSuppression",
            name,
            (
                _BOXES,
                given(1, 1, 6, draw="probability"),
                fixed([3]),
                fixed([overlap], "float32"),
                fixed([least], "float32"),
            ),
            {},
            kinds=("float32",),
        )
        for name, overlap, least in (("corners", 0.5, 0.0), ("strict", 0.1, 0.3))
    ),
    *(
        Row(
            op,
            f"{name}-{how}",
            (
                given(*scores),
                given(*labels, draw="five", kind="int64"),
                *((given(5, draw="positive"),) if weighted else ()),
            ),
            {"reduction": how} | more,
        )
        for op in ("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")
        for how in ("none", "sum", "mean")
        for name, scores, labels, weighted, more in (
            ("classes", (33, 5), (33,), False, {}),
            ("weighted", (33, 5), (33,), True, {}),
            ("pixels", (3, 5, 7, 4), (3, 7, 4), False, {}),
            ("ignored", (33, 5), (33,), True, {"ignore_index": 2}),
        )
    ),
    Row("SoftmaxCrossEntropyLoss", "two-outputs", (given(33, 5), given(33, draw="five", kind="int64")), {}, outputs=2),
]
