"""The runs with known truth have the truth that they are said to have."""

from __future__ import annotations

import numpy as np
import pytest

from conformance.timing.synthetic import KINDS


@pytest.mark.parametrize("p", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("kind", KINDS)
def test_the_share_over_the_true_percentile(kind: str, p: float) -> None:
    latency = KINDS[kind].draw(np.random.default_rng(1), 100, 2000)
    assert latency.shape == (100, 2000)
    over = float((latency > KINDS[kind].percentile(p)).mean())
    assert over == pytest.approx(1 - p, rel=0.12)
