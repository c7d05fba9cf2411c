"""MLPerf's early stopping: the figures of its own documents, and our rule beside it."""

from __future__ import annotations

import numpy as np
import pytest

from conformance.timing.early_stopping import loadgen_percentile, stop_server, stop_stream
from conformance.timing.percentiles import decide_share, percentile


@pytest.mark.parametrize(("n", "bearable"), [(64, 1), (2048, 173), (2116, 179)])
def test_published_figures_at_p90(n: int, bearable: int) -> None:
    latency = np.random.default_rng(n).permutation(n).astype(np.int64)
    stop = stop_stream(latency)
    assert (stop.bearable, stop.dropped, stop.needed) == (bearable, bearable - 1, 0)
    assert stop.estimate_ns == n - bearable  # of 0 … n − 1, with bearable − 1 dropped


def test_a_run_that_is_too_short_says_what_is_missing() -> None:
    assert stop_stream(np.arange(60, dtype=np.int64)) == (0, None, 4)
    assert stop_stream(np.arange(600, dtype=np.int64), 0.99).needed == 62
    assert stop_stream(np.arange(662, dtype=np.int64), 0.99).bearable == 1


def test_server_stops_where_the_binomial_rule_passes() -> None:
    rng = np.random.default_rng(1)
    for n in (400, 459, 661, 662, 5000):
        latency = rng.integers(0, 1000, n)
        for limit in (980, 990, 995, 999):
            stop = stop_server(latency, limit)
            assert stop.is_enough == (decide_share(stop.over, n, 0.01).outcome == "pass")
            assert stop.is_enough == (stop.needed == 0)
    short = stop_server(np.zeros(400, np.int64), 5)
    assert (short.over, short.needed) == (0, 59)


def test_the_summary_reads_its_percentile_one_rank_higher() -> None:
    latency = np.random.default_rng(2).permutation(1000).astype(np.int64)
    assert loadgen_percentile(latency, 0.9) == 900
    assert percentile(latency, 0.9) == 899
    assert loadgen_percentile(latency, 1.0) == 999
    with pytest.raises(ValueError, match="no queries"):
        loadgen_percentile(latency[:0], 0.9)
