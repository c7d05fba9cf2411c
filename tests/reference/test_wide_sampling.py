"""Sampling, deformable convolution, padding and means of ours against onnx's own, and against plain sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from conformance.reference.wide_sampling import SAMPLING


def run(op: str, inputs: dict[str, Any], *, ours: bool = True, opset: int = 22, **attributes: Any) -> Any:
    """Return the output of one node by ONNX's evaluator, with or without the replacements."""
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in inputs.items()
    ]
    output = helper.make_tensor_value_info("y", TensorProto.DOUBLE, None)
    node = helper.make_node(op, list(inputs), ["y"], **attributes)
    model = helper.make_model(
        helper.make_graph([node], "g", infos, [output]), opset_imports=[helper.make_opsetid("", opset)]
    )
    return ReferenceEvaluator(model, new_ops=list(SAMPLING) if ours else []).run(None, inputs)[0]


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("corners", [0, 1])
@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
def test_grid_sample_agrees_with_onnx(mode: str, padding: str, corners: int) -> None:
    """To the float32 of onnx's coordinates, outside the image too."""
    rng = np.random.default_rng(3)
    given = {"x": rng.standard_normal((1, 2, 4, 5)), "grid": rng.uniform(-1.4, 1.4, (1, 3, 4, 2))}
    told = {"mode": mode, "padding_mode": padding, "align_corners": corners}
    np.testing.assert_allclose(
        run("GridSample", given, **told), run("GridSample", given, ours=False, **told), atol=2e-5
    )


def test_grid_sample_knows_the_older_names() -> None:
    """`bilinear` and `bicubic` of opset 16 are `linear` and `cubic`."""
    rng = np.random.default_rng(4)
    given = {"x": rng.standard_normal((1, 2, 4, 5)), "grid": rng.uniform(-1, 1, (1, 3, 4, 2))}
    for old, new in (("bilinear", "linear"), ("bicubic", "cubic")):
        assert np.array_equal(run("GridSample", given, opset=16, mode=old), run("GridSample", given, mode=new))


def test_deform_conv_without_offsets_is_a_convolution() -> None:
    """A sum over windows, whatever the evaluator; halved by a mask of one half."""
    rng = np.random.default_rng(5)
    x, w = rng.standard_normal((1, 4, 6, 5)), rng.standard_normal((2, 4, 3, 3))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))
    want = np.einsum("nchwij,ocij->nohw", windows, w)
    still = {"x": x, "w": w, "offset": np.zeros((1, 18, 4, 3))}
    np.testing.assert_allclose(run("DeformConv", still), want, rtol=1e-12)
    masked = still | {"b": np.zeros(2), "mask": np.full((1, 9, 4, 3), 0.5)}
    np.testing.assert_allclose(run("DeformConv", masked), want / 2, rtol=1e-12)


def test_deform_conv_agrees_with_onnx() -> None:
    """With offsets, bias, mask, groups of channels and of offsets."""
    rng = np.random.default_rng(6)
    given = {
        "x": rng.standard_normal((1, 4, 4, 4)),
        "w": rng.standard_normal((2, 2, 2, 2)),
        "offset": rng.uniform(-1, 1, (1, 16, 3, 3)),
        "b": rng.standard_normal(2),
        "mask": rng.uniform(0, 1, (1, 8, 3, 3)),
    }
    told = {"group": 2, "offset_group": 2}
    np.testing.assert_allclose(
        run("DeformConv", given, **told), run("DeformConv", given, ours=False, **told), atol=1e-5
    )


def test_mean_broadcasts_and_pad_cuts() -> None:
    """What onnx's own cannot."""
    a, b = np.arange(5.0).reshape(5, 1), np.arange(3.0)
    assert np.array_equal(run("Mean", {"a": a, "b": b}), (a + b) / 2)
    x = np.arange(35.0).reshape(5, 7)
    padded = run("Pad", {"x": x, "pads": np.array([-1, 2, 1, -3])}, opset=13)
    assert np.array_equal(padded, np.pad(x[1:, :-3], ((0, 1), (2, 0))))
    assert onnx.__version__
