"""What LoadGen writes is read, without LoadGen; that it drives a session is shown by the peer test."""

from __future__ import annotations

import numpy as np
import pytest

from conformance.errors import HarnessError
from conformance.load import mlperf
from conformance.load.mlperf import Settings, Told, read_summary, run_loadgen
from conformance.timing.samples import Samples

SUMMARY = """\
================================================
MLPerf Results Summary
================================================
SUT name : PySUT
Scenario : SingleStream
Result is : VALID
  Early stopping satisfied: Yes
Early Stopping Result:
 * Processed at least 64 queries (2048).
 * Would discard 172 highest latency queries.
 * Early stopping 90.0th percentile estimate: 53030
 * Early stopping 99.0th percentile estimate: 2589397

50.00 percentile latency (ns)   : 52638
99.90 percentile latency (ns)   : 4087027
"""
NONE = Samples(*(np.zeros(0, np.int64),) * 3, is_scheduled=False)


def told(text: str) -> Told:
    return Told(read_summary(text), NONE, text)


def test_times_verdict_and_early_stopping_are_read() -> None:
    found = told(SUMMARY)
    assert found.is_valid
    assert found.ns("50.00 percentile latency (ns)") == 52638
    assert found.discarded() == 172
    assert found.early_stopping_ns() == {"90": 53030, "99": 2589397}


def test_a_time_that_is_not_there_is_no_zero() -> None:
    with pytest.raises(HarnessError, match="no time '97.00 percentile"):
        told(SUMMARY).ns("97.00 percentile latency (ns)")
    with pytest.raises(HarnessError, match="no time 'Scenario'"):
        told(SUMMARY).ns("Scenario")
    assert not told(SUMMARY.replace("VALID", "INVALID")).is_valid
    assert told("").discarded() is None


def test_without_loadgen_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlperf, "MODULE", "no_such_loadgen")
    assert not mlperf.is_installed()
    with pytest.raises(HarnessError, match=r"resonance-conformance\[loadgen\]"):
        run_loadgen(lambda at: at, 1, Settings("single-stream", 1))
