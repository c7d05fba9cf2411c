"""A device may not give itself more room than its category allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.profile.loader import LoadedProfile

CARD = """\
conformance: 1
device: {vendor: Acme, model: A1, category: accelerator-card}
runtime: {adapter: onnxruntime, deadlines: {open_s: 120, run_s: 1}}
declares:
  opsets: {ai.onnx: [13, 21]}
  types: [float32, float16]
"""


@pytest.mark.parametrize(
    "more",
    [
        "  allowed_host_ops: [Shape, Gather(int64), 'If']\n",
        "  determinism: bounded\n",
        "  determinism: batch-invariant\n",
        "  precision: {float32: {input: tf32, accumulate_rounding: toward-zero, transforms: fft}}\n",
        "  precision: {float32: {subnormals: flushed}}\n",
        "  precision: {float16: {accumulate: float16}, float32: {accumulate_chain: 64, variance: two-pass}}\n",
        "",
    ],
)
def test_up_to_the_cap_is_allowed(load: Callable[[str], LoadedProfile], more: str) -> None:
    assert load(CARD + more).deadlines == {"open_s": 120, "compile_s": 600, "run_s": 1}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            CARD + "  allowed_host_ops: [Shape, Gather]\n",
            "7:29: 'Gather' may not run on the host: the category accelerator-card allows only Gather(int64)",
        ),
        (
            CARD + "  allowed_host_ops: [MatMul]\n",
            "7:22: 'MatMul' may not run on the host: the category accelerator-card allows no contraction",
        ),
        (CARD + "  allowed_host_ops: [Relu]\n", "allows only Add, Cast, Concat, "),
        (
            CARD + "  determinism: none\n",
            "7:16: 'none' is weaker than bounded, the weakest that the category accelerator-card allows",
        ),
        (
            CARD + "  precision: {float32: {input: bfloat16}}\n",
            "7:32: input is bfloat16, coarser than tf32, the coarsest that the category",
        ),
        (CARD + "  precision: {float32: {accumulate: tf32}}\n", "7:37: accumulate is tf32, coarser than float32"),
        (
            CARD.replace("float16]", "float64]") + "  precision: {float64: {accumulate: float32}}\n",
            "accumulate is float32, coarser than float64",
        ),
        (
            CARD.replace("float16]", "float64]") + "  precision: {float64: {subnormals: flushed}}\n",
            "subnormals is flushed, coarser than kept",
        ),
        (
            CARD.replace("float16]", "float64]") + "  precision: {float64: {transforms: winograd}}\n",
            "transforms is [winograd], coarser than []",
        ),
        (
            CARD.replace("open_s: 120", "open_s: 121"),
            "3:53: open_s is 121, above the 120 that the category accelerator-card allows",
        ),
        (
            CARD.replace("accelerator-card", "host-reference") + "  allowed_host_ops: [Shape]\n",
            "the category host-reference allows nothing",
        ),
    ],
)
def test_beyond_the_cap_is_a_defect(defects: Callable[[str], list[str]], text: str, line: str) -> None:
    found = defects(text)
    assert any(line in each for each in found), found


def test_all_of_them_come_together(defects: Callable[[str], list[str]]) -> None:
    text = CARD + "  determinism: none\n  allowed_host_ops: [Conv]\n  precision: {float32: {input: bfloat16}}\n"
    assert [line.split(":")[0] for line in defects(text)] == ["7", "8", "9"]
