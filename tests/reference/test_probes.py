"""The probe models rebuild byte for byte, and their inputs and outputs are exact in any precision."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from conformance.errors import HarnessError
from conformance.reference import probes

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
MODELS = sorted(path.stem for path in (FIXTURES / "probes").glob("*.onnx"))


def test_the_models_rebuild_byte_for_byte(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(FIXTURES / "make_probe_models.py"), str(tmp_path)], check=True, timeout=120)
    rebuilt = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    assert rebuilt == {f"{name}.onnx": (FIXTURES / "probes" / f"{name}.onnx").read_bytes() for name in MODELS}


@pytest.mark.parametrize("opset", [13, 14, 21])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_valid_under_the_opset_that_is_asked_for(name: str, opset: int) -> None:
    model = onnx.load_model_from_string(probes.probe_model(name, opset))

    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == opset


def test_a_model_that_is_missing_is_the_installation_s_fault() -> None:
    with pytest.raises(HarnessError, match="cannot be read: .*; reinstall"):
        probes.probe_model("no_such_model")


@pytest.mark.parametrize(("claimed", "opset"), [(None, 13), ((7, 21), 13), ((15, 21), 15), ((7, 11), 11)])
def test_the_opset_is_one_that_the_device_claims(claimed: tuple[int, int] | None, opset: int) -> None:
    assert probes.probe_opset(claimed) == opset


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("matmul_relu", probes.matmul_relu(11)),
        ("four_outputs", probes.four_outputs(3)),
        *[("matmul_relu_batch", probes.matmul_relu_batch(rows, 5)) for rows in (0, 1, 7)],
        ("one_element", probes.one_element(13)),
        ("long_contraction", probes.long_contraction(15)),
        *[
            (name, step)
            for name in ("kv_ring", "kv_growing")
            for step in zip(*probes.sequence(name, 9, 3), strict=True)
        ],
    ],
)
def test_outputs_are_those_of_the_model_and_exact_in_eight_bits(name: str, made: tuple[dict, list]) -> None:
    inputs, outputs = made
    computed = ReferenceEvaluator(onnx.load_model_from_string(probes.probe_model(name))).run(None, inputs)

    for want, got in zip(outputs, computed, strict=True):
        assert (want.dtype, want.shape) == (got.dtype, got.shape)
        assert np.array_equal(want, got)
        assert np.abs(want).max(initial=0) < 256
        assert np.array_equal(want, np.round(want))


def test_draws_depend_on_the_salt_and_on_no_library() -> None:
    bits = probes.draw_bits((4, 5), 3)

    assert hashlib.sha256(bits.astype("<u8").tobytes()).hexdigest()[:16] == "5fa68f4a44b626ff"
    assert not np.array_equal(bits, probes.draw_bits((4, 5), 4))
    assert np.array_equal(bits.reshape(-1)[:6], probes.draw_bits((6,), 3)), "a stream, whatever the shape"
    assert set(np.unique(probes.small_integers((100, 100), 1))) == set(range(-3, 4))
    load = probes.contraction_load()
    assert all(np.abs(value).max() <= 1 for value in load.values())
    assert not np.array_equal(load["a"], load["b"] * np.sqrt(512))


def test_a_weighted_model_has_its_weights_and_differs_in_nothing_else() -> None:
    models = [probes.weighted_model(salt) for salt in (3, 4)]
    for salt, model in zip((3, 4), models, strict=True):
        inputs, (want,) = probes.matmul_weights(7, salt)
        (got,) = ReferenceEvaluator(onnx.load_model_from_string(model)).run(None, inputs)
        assert np.array_equal(want, got)
    ((weights,), (others,)) = ([*onnx.load_model_from_string(model).graph.initializer] for model in models)
    assert weights.raw_data != others.raw_data
    assert models[0].replace(weights.raw_data, others.raw_data) == models[1]


def test_a_model_without_room_for_weights_is_the_installation_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "probe_model", lambda name, opset: b"other")
    with pytest.raises(HarnessError, match="no room for weights; reinstall"):
        probes.weighted_model(3)


def test_a_sequence_hands_its_state_on() -> None:
    inputs, outputs = probes.sequence("kv_growing", 9, 3)

    assert [step["past"].shape for step in inputs] == [(4, 8), (5, 8), (6, 8)]
    assert all(np.array_equal(after["past"], before[1]) for before, after in zip(outputs[:-1], inputs[1:], strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_what_a_model_holds_is_what_the_plan_asks_the_claims_for(name: str) -> None:
    model = onnx.load_model_from_string(probes.probe_model(name))

    assert probes.OPERATORS[name] == tuple(sorted({node.op_type for node in model.graph.node}))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("opset", [7, 9, 10, 12, 13])
def test_the_oldest_opset_of_a_model_is_known(name: str, opset: int) -> None:
    model = onnx.load_model_from_string(probes.probe_model(name, opset))
    if opset >= probes.OLDEST.get(name, 7):
        onnx.checker.check_model(model, full_check=True)
    else:
        with pytest.raises((onnx.checker.ValidationError, onnx.shape_inference.InferenceError)):
            onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize("length", probes.LENGTHS)
def test_every_element_of_a_long_contraction_counts_once(length: int) -> None:
    inputs, outputs = probes.long_contraction(15)
    a, b, y = inputs[f"a{length}"], inputs[f"b{length}"], outputs[probes.LENGTHS.index(length)]
    assert {*np.unique(a), *np.unique(b)} <= {-1.0, 0.0, 1.0}
    assert (np.abs(a) @ np.abs(b)).max() <= probes.MOST < 256, "exact in eight bits, in any order"

    parts = a.T[:, :, None] * b[:, None, :]  # what each element adds
    assert parts.any(axis=(1, 2)).all(), "dropped or taken twice, it shows"
    kept = np.cumsum(parts, axis=0)
    assert all(not np.array_equal(kept[at], y) for at in range(length - 1)), "a sum that ends early shows"
    neighbours = (a[:, :-1] != a[:, 1:]).any(axis=0) | (b[:-1] != b[1:]).any(axis=1)
    assert neighbours.all(), "two neighbours are never the same"
    for width in (2, 4, 8, 16, 32, 64, 128, 256):
        for begin in range(0, length, width):
            assert parts[begin : begin + width].sum(axis=0).any(), "a block that is dropped shows"


def test_the_load_s_answer_is_that_of_its_model() -> None:
    model = onnx.load_model_from_string(probes.probe_model("contraction_load"))
    (got,) = ReferenceEvaluator(model).run(None, probes.contraction_load())
    (want,) = probes.contraction_answer()

    assert np.abs(got - want).max() < 1e-5 * np.abs(want).max()
