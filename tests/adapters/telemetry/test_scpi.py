"""SCPI through PyVISA itself: a TCP instrument through pyvisa-py, a simulated one through pyvisa-sim, and the numbers that are none."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adapters.telemetry.given import opened, source, values
from adapters.telemetry.instrument import IDENTITY, Instrument, switched_on

from conformance.adapters.telemetry.port import NoReading, TelemetryUnavailable
from conformance.adapters.telemetry.scpi import number_of
from conformance.errors import UsageError
from conformance.metering.trace import Quantity

LAB = {"uncertainty_percent": 0.3, "calibration": "DKD 2026-0815", "bound_to": "outlet 3"}
POWER: dict[str, Any] = {"name": "power", "query": ":POW?", "quantity": "power_w", "kind": "averaged", "window_ms": 100}


@pytest.fixture
def instrument() -> Iterator[Instrument]:
    """An analyser on loopback."""
    with switched_on() as made:
        yield made


def asked(instrument: Instrument, *channels: dict[str, Any], **options: Any) -> dict[str, Any]:
    given = {"resource": instrument.resource, "identification": "ACME,PA-1", "channels": list(channels) or [POWER]}
    return given | {"timeout_ms": 2000, "lab": LAB} | options


def test_a_tcp_instrument_is_read_through_pyvisa_py(instrument: Instrument) -> None:
    volt = {
        "name": "rms",
        "query": ":NUM:VAL?",
        "quantity": "power_w",
        "kind": "averaged",
        "index": 2,
        "scope": "system",
    }
    milli = {
        "name": "milli",
        "query": ":NUM:VAL?",
        "quantity": "power_w",
        "kind": "averaged",
        "index": 1,
        "factor": 0.001,
    }
    meter, found = opened("scpi", **asked(instrument, POWER, volt, milli, setup=[":RATE 0.1"]))
    power = found["m/power"]
    assert (power.quantity, power.scope, power.window_ms, power.uncertainty_relative) == (
        Quantity.POWER, "wall", 100, 0.003,
    )  # fmt: skip
    assert power.bound_to == f"outlet 3 ({IDENTITY} at {instrument.resource})"
    assert found["m/rms"].scope == "system"
    assert values(meter) == pytest.approx({"m/power": 61.5, "m/rms": 61.5, "m/milli": 0.000267})
    assert instrument.heard == ["*IDN?", ":RATE 0.1", ":POW?", ":NUM:VAL?"]  # one answer for both
    meter.close()


def test_an_instrument_simulated_by_pyvisa_sim(tmp_path: Path) -> None:
    over = {"name": "over", "query": ":OVER?", "quantity": "power_w", "kind": "averaged"}
    library = f"{Path(__file__).with_name('instrument.yaml')}@sim"
    meter, _ = opened(
        "scpi", resource="GPIB0::8::INSTR", identification=IDENTITY, channels=[POWER, over], library=library, lab=LAB
    )
    power, range_ = meter.read()
    assert power.value == 61.5
    assert (range_.value, range_.note) == (None, "the instrument says over range (9.90E+37)")
    meter.close()


def test_another_instrument_than_the_one_named_is_not_read(instrument: Instrument) -> None:
    instrument.answers["*IDN?"] = "OTHER,PSU,1,1"
    with pytest.raises(TelemetryUnavailable, match=r"is 'OTHER,PSU,1,1', not 'ACME,PA-1': connect the instrument that"):
        source("scpi", **asked(instrument)).open()
    assert instrument.heard == ["*IDN?"]


def test_an_instrument_that_is_off_or_silent(instrument: Instrument) -> None:
    del instrument.answers["*IDN?"]
    with pytest.raises(TelemetryUnavailable, match=r"does not answer \*IDN\? .*see whether it is switched on"):
        source("scpi", **asked(instrument, timeout_ms=50)).open()
    instrument.close()
    with pytest.raises(TelemetryUnavailable, match=r"does not answer \*IDN\?"):
        source("scpi", **asked(instrument, timeout_ms=200)).open()


def test_a_late_answer_is_not_taken_for_the_next_question(instrument: Instrument) -> None:
    other = POWER | {"name": "other", "query": ":OTHER?"}
    instrument.answers[":OTHER?"] = "7.0"
    meter, _ = opened("scpi", **asked(instrument, POWER, other, timeout_ms=300))
    instrument.late[":POW?"] = threading.Event()
    late, other_reading = meter.read()
    assert late.value is None
    assert "no answer to ':POW?'" in late.note
    assert other_reading.value == 7.0  # not 61.5: asked on a connection of its own
    instrument.late.pop(":POW?").set()
    assert values(meter) == {"m/power": 61.5, "m/other": 7.0}
    meter.close()


def test_a_broken_connection_is_made_anew_and_set_up_again(instrument: Instrument) -> None:
    meter, _ = opened("scpi", **asked(instrument, timeout_ms=300, setup=[":RATE 0.1"]))
    instrument.hang_up()
    assert values(meter) == {"m/power": None}
    assert values(meter) == {"m/power": 61.5}
    assert instrument.heard.count(":RATE 0.1") == 2
    meter.close()


def test_an_instrument_that_is_gone_gives_no_readings_with_the_reason(instrument: Instrument) -> None:
    meter, _ = opened("scpi", **asked(instrument, timeout_ms=200))
    instrument.close()
    assert values(meter) == {"m/power": None}
    (reading,) = meter.read()
    assert reading.value is None
    assert "does not answer *IDN?" in reading.note
    meter.close()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("9.91E37", "has no number"),
        ("+9.9100000E+37", "has no number"),
        ("-9.91E+37", "has no number"),
        ("9.9E37", "over range"),
        ("-9.9E+37", "under range"),
        ("9.90000E+37", "over range"),
        ("INF", "over range"),
        ("", "no number 0"),
        ("---", "no number"),
        ("ERROR", "no number"),
    ],
)
def test_scpis_numbers_that_are_none(answer: str, why: str) -> None:
    with pytest.raises(NoReading, match=why):
        number_of(answer)


def test_numbers_that_are_some_are_passed_on() -> None:
    for answer, value in (("0", 0.0), ("-1", -1.0), (" +6.15000E+01 ", 61.5), ("1E37", 1e37)):
        assert number_of(answer) == value
    with pytest.raises(NoReading, match="no number 3"):
        number_of("1,2,3", 3)


def test_not_a_number_in_words_is_no_reading(instrument: Instrument) -> None:
    instrument.answers[":POW?"] = "NAN"
    meter, _ = opened("scpi", **asked(instrument))
    assert [(one.value, one.note) for one in meter.read()] == [(None, "the source gave nan")]
    meter.close()


def test_the_lab_states_the_uncertainty(instrument: Instrument) -> None:
    with pytest.raises(TelemetryUnavailable, match="nobody states the uncertainty of m/power"):
        source("scpi", **asked(instrument, lab={})).open()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"channels": []}, "channels: at least one is wanted"),
        ({"channels": [POWER, POWER]}, "each with a name of its own"),
        ({"channels": [POWER | {"query": ":POW"}]}, "asks nothing"),
        ({"channels": [POWER | {"index": -1}]}, "index: counted from 0"),
        ({"channels": [POWER | {"quantity": "volt"}]}, "Invalid enum value 'volt'"),
        ({"identification": " "}, "identification: what the answer"),
        ({"timeout_ms": 0}, "timeout_ms"),
    ],
)
def test_options_that_make_no_sense_are_refused(instrument: Instrument, change: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        source("scpi", **asked(instrument) | change)


def test_a_missing_package_or_library_is_told(instrument: Instrument, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TelemetryUnavailable, match="VISA's library '/none/libvisa.so' does not load"):
        source("scpi", **asked(instrument, library="/none/libvisa.so")).open()
    monkeypatch.setitem(sys.modules, "pyvisa", None)
    with pytest.raises(TelemetryUnavailable, match=r"pip install 'resonance-conformance\[scpi\]'"):
        source("scpi", **asked(instrument)).open()
