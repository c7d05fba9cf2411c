"""Operators of ai.onnx.ml that compute numbers: scaling, linear models, encoders, trees, support vectors."""

from __future__ import annotations

from typing import Any

from conformance.reference.made.rows import Row, fixed, given

ML = "ai.onnx.ml"
_SINGLE = ("float32",)
_ROWS: tuple[tuple[str, str, tuple[Any, ...], dict[str, Any], int], ...] = (
    ("ArrayFeatureExtractor", "columns", (given(5, 7), fixed([[6, 0, 3]])), {}, 1),
    ("Binarizer", "threshold-0.3", (given(13, 17),), {"threshold": 0.3}, 1),
    ("Scaler", "per-feature", (given(13, 3),), {"offset": [0.5, -1.25, 0.0], "scale": [2.0, 0.5, -1.5]}, 1),
    ("Scaler", "one", (given(13, 17),), {"offset": [0.5], "scale": [3.0]}, 1),
    ("Normalizer", "l1", (given(13, 17),), {"norm": "L1"}, 1),
    ("Normalizer", "l2", (given(13, 17),), {"norm": "L2"}, 1),
    (
        "Imputer",
        "zeros",
        (given(13, 3, draw="ties"),),
        {"imputed_value_floats": [1.5, 2.5, 3.5], "replaced_value_float": 0.0},
        1,
    ),
    ("FeatureVectorizer", "two", (given(5, 3), given(5, 2)), {"inputdimensions": [3, 2]}, 1),
    (
        "LinearRegressor",
        "one-target",
        (given(65, 5),),
        {"coefficients": [0.5, -1.5, 2.0, 0.25, 1.0], "intercepts": [0.75], "targets": 1},
        1,
    ),
    (
        "LinearRegressor",
        "two-targets",
        (given(65, 3),),
        {"coefficients": [0.5, -1.5, 2.0, 0.25, 1.0, -0.1], "intercepts": [0.75, -0.3], "targets": 2},
        1,
    ),
    (
        "LinearClassifier",
        "softmax",
        (given(33, 3),),
        {
            "classlabels_ints": [0, 1, 2],
            "post_transform": "SOFTMAX",
            "intercepts": [0.25, -0.5, 0.1],
            "coefficients": [0.5, -1.5, 2.0, 0.25, 1.0, -0.1, -0.75, 0.3, 1.25],
        },
        2,
    ),
    (
        "TreeEnsembleRegressor",
        "two-leaves",
        (given(65, 2),),
        {
            "n_targets": 1,
            "nodes_treeids": [0, 0, 0],
            "nodes_nodeids": [0, 1, 2],
            "nodes_featureids": [1, 0, 0],
            "nodes_values": [0.25, 0.0, 0.0],
            "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
            "nodes_truenodeids": [1, 0, 0],
            "nodes_falsenodeids": [2, 0, 0],
            "nodes_missing_value_tracks_true": [0, 0, 0],
            "target_treeids": [0, 0],
            "target_nodeids": [1, 2],
            "target_ids": [0, 0],
            "target_weights": [1.5, -0.7],
        },
        1,
    ),
)

ROWS: list[Row] = [
    Row(op, name, inputs, attributes, ("normal",), outputs=outputs, kinds=_SINGLE, domain=ML)
    for op, name, inputs, attributes, outputs in _ROWS
]  # fmt: skip
