"""Spreads of the reference models: kept for the same precision and inputs, made again for others."""

from __future__ import annotations

import numpy as np
import pytest

from conformance.numerics.modes import PrecisionMode
from conformance.numerics.spread import judge_spread
from conformance.reference import answers, spreads
from conformance.reference.model_index import find_model
from conformance.reference.montecarlo import runs

FLOAT32 = PrecisionMode()
MODEL = find_model("anomaly-scoring")
VARIANT = MODEL.variant("float32")


def test_a_spread_is_kept_for_the_same_precision_only(monkeypatch: pytest.MonkeyPatch) -> None:
    first = spreads.agreed(MODEL, VARIANT, 3, FLOAT32)
    made: list[PrecisionMode] = []

    def refuse(_: object, __: object, mode: PrecisionMode, seed: int) -> None:
        made.append(mode)
        raise LookupError

    monkeypatch.setattr(runs, "perturbed_runs", refuse)
    again = spreads.agreed(MODEL, VARIANT, 3, FLOAT32)
    with pytest.raises(LookupError):
        spreads.agreed(MODEL, VARIANT, 3, PrecisionMode(input="tf32"))

    assert made == [PrecisionMode(input="tf32")]
    for name, one in first.items():
        assert all(np.array_equal(a, b) for a, b in zip(one[:4], again[name][:4], strict=True))
        assert one.kind == again[name].kind == "float32"


def test_a_spread_holds_the_answer_and_refuses_another_sample() -> None:
    made = spreads.agreed(MODEL, VARIANT, 3, FLOAT32)
    answer = answers.agreed(MODEL, VARIANT, 3)

    for name, value in answer.items():
        right = value.astype(np.float32)
        assert judge_spread(made[name], right, name).ok
        assert not judge_spread(made[name], right[::-1], name).ok
