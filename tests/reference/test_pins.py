"""The pins: none stale, none vague, and the tolerances follow from the data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from conformance.errors import HarnessError
from conformance.reference import pins

if TYPE_CHECKING:
    from conformance.reference.suite import Suite, SuiteEntry
    from conformance.tensors import Array

NAMED = "{name: test_a, reason: because, reference: there"


def entry(whole: Suite, name: str) -> SuiteEntry:
    return next(entry for entry in whole.entries if entry.name == name)


def tensors(whole: Suite, name: str) -> list[Array]:
    values = whole.inputs(entry(whole, name)).values()
    return [value.astype(np.float64) for value in values if isinstance(value, np.ndarray)]


def output(whole: Suite, name: str) -> Array:
    value = whole.expected(entry(whole, name))[0]
    assert isinstance(value, np.ndarray)
    return value


def test_no_pin_is_stale(whole: Suite) -> None:
    assert set(pins.load_pins()) <= {entry.name for entry in whole.entries}


def test_pins_reach_their_entries_and_no_others(whole: Suite) -> None:
    for row in whole.entries:
        pin = pins.load_pins().get(row.name)
        assert bool(row.invalid) == (pin is not None and pin.invalid)
        assert row.needs == (pin.needs if pin else ())
        assert bool(row.tolerance_note) == (pin is not None and not pin.invalid and not pin.needs)
        assert bool(row.reference) == (pin is not None)
        if pin is None and row.name != "test_densenet121":
            assert (row.rtol, row.atol) == (1e-3, 1e-7)


def test_pins_are_as_many_as_the_documentation_says() -> None:
    known = list(pins.load_pins().values())
    invalid, needs = sum(pin.invalid for pin in known), sum(bool(pin.needs) for pin in known)
    assert (invalid, needs, len(known) - invalid - needs) == (14, 8, 26)


def test_needs_are_locales() -> None:
    needs = {need for pin in pins.load_pins().values() for need in pin.needs}
    assert needs == {"locale:en_US.UTF-8"}


def dot_product_bound(products: int, magnitudes: float) -> float:
    return 2 * products * magnitudes * 2.0**-24


@pytest.mark.parametrize("suffix", ["", "_opset19"])
@pytest.mark.parametrize(
    ("name", "axis", "products"),
    [("test_dft", 1, 10), ("test_dft_axis", 2, 10), ("test_dft_inverse", 1, 20), ("test_dft_rfft", 1, 10)],
)
def test_dft_tolerances_are_the_dot_product_bound(
    whole: Suite, name: str, axis: int, products: int, suffix: str
) -> None:
    x = tensors(whole, name + suffix)[0]
    magnitudes = float(np.abs(x).sum(-1).sum(axis).max()) / (10 if "inverse" in name else 1)
    bound = dot_product_bound(products, magnitudes)
    assert bound <= entry(whole, name + suffix).atol <= 1.1 * bound


@pytest.mark.parametrize("name", ["test_dft_irfft", "test_dft_irfft_opset19"])
def test_inverse_of_half_a_spectrum_counts_the_other_half(whole: Suite, name: str) -> None:
    half = np.abs(tensors(whole, name)[0]).sum(-1)
    magnitudes = float((half.sum(1) + half[:, 1:5].sum(1)).max()) / 10
    bound = dot_product_bound(20, magnitudes)
    assert bound <= entry(whole, name).atol <= 1.1 * bound


@pytest.mark.parametrize("name", ["test_stft", "test_stft_with_window"])
def test_stft_tolerances_are_the_dot_product_bound(whole: Suite, name: str) -> None:
    signal, *rest = tensors(whole, name)
    window = rest[-1] if rest[-1].shape == (16,) else np.ones(16)
    frames = [np.abs(signal[0, start : start + 16, 0] * window).sum() for start in range(0, 113, 8)]
    bound = dot_product_bound(16, float(max(frames)))
    assert bound <= entry(whole, name).atol <= 1.1 * bound


def test_onnx_allows_float16_attention_less_than_its_own_error_and_one_step(whole: Suite) -> None:
    name = "test_attention_4d_fp16"
    q, k, v = tensors(whole, name)
    scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(q.shape[-1])
    weights = np.exp(scores)
    exact = (weights / weights.sum(-1, keepdims=True)) @ v
    want = output(whole, name).astype(np.float64)
    rounded = exact.astype(np.float16).astype(np.float64)
    used = np.abs(rounded - want) / (1e-7 + 1e-3 * np.abs(want))
    assert 0.97 < used.max() < 0.98  # what the pin says: 0.975 of ONNX's tolerance is gone before a device errs
    assert entry(whole, name).rtol == 2.0**-9


def test_resize_cases_contradict_the_length_of_the_resized_tensor(whole: Suite) -> None:
    name = "test_resize_downsample_scales_linear_align_corners"
    x, got = tensors(whole, name)[0], output(whole, name)
    assert got.shape[-1] == 2
    # x_original = x_resized * (length_original - 1) / (length_resized - 1) = 1 * 3 / 1: the last column.
    assert got[0, 0, 0, 1] != x[0, 0, 0, 3]
    assert np.isclose(got[0, 0, 0, 1], 1 + 3 / (4 * 0.6 - 1))  # what was computed: a length of 2.4


def test_maxunpool_case_reads_indices_in_another_shape(whole: Suite) -> None:
    name = "test_maxunpool_export_with_output_shape"
    values, indices, shape = tensors(whole, name)
    unpooled = np.zeros(int(shape.prod()))
    unpooled[indices.astype(int).reshape(-1)] = values.reshape(-1)
    assert not np.array_equal(unpooled.reshape(shape.astype(int)), output(whole, name))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (f"pins: [{NAMED}, invalid: true, glob: x}}]", "unknown field"),
        (f"pins: [{NAMED}, invalid: true, rtol: 0.1}}]", "exactly one of invalid, a tolerance, needs"),
        (f"pins: [{NAMED}}}]", "exactly one of invalid, a tolerance, needs"),
        ("pins: [{name: test_a, reason: '', reference: x, invalid: true}]", "needs a reason and a reference"),
        (f"pins: [{NAMED}, invalid: true}}, {NAMED}, rtol: 0.1}}]", "pinned twice"),
        (f"pins: [{NAMED}, rtol: wide}}]", "float"),
        ("pins: [", "reinstall"),
        ("other: []", "pins"),
        ("3", "reinstall"),
    ],
)
def test_a_bad_pin_file_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(HarnessError, match=complaint) as caught:
        pins.parse_pins(text)
    assert "\n" not in str(caught.value)


def test_one_side_of_a_tolerance_may_be_corrected_alone(whole: Suite) -> None:
    row = entry(whole, "test_abs")
    known = pins.parse_pins("pins: [{name: test_abs, reason: r, reference: s, rtol: 0.25}]")
    (wider,) = pins.apply([row], known)
    assert (wider.rtol, wider.atol, wider.tolerance_note, wider.reference) == (0.25, row.atol, "r", "s")
    (same,) = pins.apply([row], {})
    assert same is row
