"""Redfish: what a chassis measures is found, described as the service tells, and no reading where the service says that it is none.

DMTF's client is stood in for here; the real one speaks with sushy-static in `tests/peers/test_telemetry.py`.
"""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from adapters.telemetry.given import opened, source, values
from adapters.telemetry.redfish_service import CHASSIS, EXPECTED, ROOT, resources

from conformance.adapters.telemetry.port import TelemetryUnavailable
from conformance.adapters.telemetry.support.redfish_tree import duration_s, link
from conformance.errors import UsageError

URL = "https://bmc.example"
ACCOUNT = {"username": "monitor", "password_env": "BMC_PASSWORD"}


class InvalidCredentialsError(Exception):
    """As DMTF's client calls it."""


class ReadTimeout(Exception):
    """As requests calls it."""


class Service(ModuleType):
    """The package `redfish`, its client and a service behind it."""

    def __init__(self) -> None:
        super().__init__("redfish")
        self.made = resources()
        self.status: dict[str, int] = {}
        self.errors: dict[str, Exception] = {}
        self.asked: list[str] = []
        self.clients: list[dict[str, Any]] = []
        self.logins: list[str] = []
        self.logouts = 0

    def redfish_client(self, **given: Any) -> Any:
        if "connect" in self.errors:
            raise self.errors["connect"]
        self.clients.append(given)
        return SimpleNamespace(get=self._get, login=self._login, logout=self._logout)

    def _login(self, auth: str) -> None:
        if "login" in self.errors:
            raise self.errors["login"]
        self.logins.append(auth)

    def _logout(self) -> None:
        self.logouts += 1

    def _get(self, uri: str) -> Any:
        uri = uri.rstrip("/")
        self.asked.append(uri)
        if uri in self.errors:
            raise self.errors[uri]
        status = self.status.get(uri, 200 if uri in self.made else 404)
        return SimpleNamespace(status=status, dict=self.made.get(uri))


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    """A service that answers, and nothing of `certifi`."""
    made = Service()
    monkeypatch.setitem(sys.modules, "redfish", made)
    certifi = ModuleType("certifi")
    certifi.where = lambda: "/host/ca.pem"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "certifi", certifi)
    return made


def test_a_chassis_gives_what_its_metrics_hold_each_sensor_once(service: Service) -> None:
    meter, found = opened("redfish", url=URL, sensors=["GpuPower"])
    assert values(meter) == pytest.approx(EXPECTED)
    assert list(found) == list(EXPECTED)
    meter.close()


def test_a_sensor_tells_how_often_and_how_well_it_measures(service: Service) -> None:
    _, found = opened("redfish", url=URL)
    power, intake = found["m/EnvironmentMetrics PowerWatts"], found["m/ThermalMetrics Intake"]
    assert (power.period_ms, power.uncertainty_relative, power.valid_low, power.valid_high) == (500.0, 0.025, 0, 2400)
    assert power.calibration == "none; calibrated on 2026-02-01T00:00:00Z, as the service states"
    assert power.bound_to == f"serial C0815, {URL}{CHASSIS}/Sensors/TotalPower"
    assert (intake.scope, intake.uncertainty_absolute, intake.period_ms) == ("ambient", 0.5, 2000.0)
    supply, card = found["m/Bay1 InputPowerWatts"], found["m/ThermalMetrics 1 GPU1"]
    assert (supply.scope, supply.uncertainty_relative, supply.period_ms) == ("wall", 0.1, None)
    assert "assumption" in supply.calibration
    assert (card.scope, found["m/EnvironmentMetrics EnergykWh"].kind) == ("chip", "counter")


def test_each_resource_is_asked_once_per_reading(service: Service) -> None:
    meter, _ = opened("redfish", url=URL)
    service.asked.clear()
    meter.read()
    assert len(service.asked) == len(set(service.asked)) == 5


def test_only_some_channels(service: Service) -> None:
    meter, _ = opened("redfish", url=URL, only=["ThermalMetrics Exhaust"])
    service.asked.clear()
    assert values(meter) == {"m/ThermalMetrics Exhaust": 40.5}
    assert len(service.asked) == 1
    with pytest.raises(
        TelemetryUnavailable, match="does not measure Nothing: its chassis measures 'EnvironmentMetrics PowerW"
    ):
        source("redfish", url=URL, only=["Nothing"]).open()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"Reading": None}, "the service gives null"),
        ({"Reading": "n/a"}, "the service gives 'n/a', which is no number"),
        ({"Reading": True}, "the service gives 'True', which is no number"),
        ({"Status": {"State": "UnavailableOffline"}}, "the sensor's state is UnavailableOffline"),
        ({"Status": {"State": "Absent"}, "Reading": 0}, "the sensor's state is Absent"),
    ],
)
def test_what_the_service_says_is_no_reading(service: Service, change: dict[str, Any], why: str) -> None:
    meter, _ = opened("redfish", url=URL, only=["EnvironmentMetrics PowerWatts"])
    service.made[f"{CHASSIS}/Sensors/TotalPower"] |= change
    ((value, note),) = ((one.value, one.note) for one in meter.read())
    assert value is None
    assert why in note


def test_a_reading_that_vanished_and_a_critical_one(service: Service) -> None:
    meter, _ = opened("redfish", url=URL, only=["EnvironmentMetrics PowerWatts"])
    sensor = service.made[f"{CHASSIS}/Sensors/TotalPower"]
    sensor["Status"] = {"State": "Enabled", "Health": "Critical"}  # a hot sensor is still a sensor
    assert values(meter) == {"m/EnvironmentMetrics PowerWatts": 374.0}
    del sensor["Reading"]
    assert [one.note for one in meter.read()] == ["the resource holds no Reading any more"]
    service.status[f"{CHASSIS}/Sensors/TotalPower"] = 503
    assert [one.note for one in meter.read()] == ["the service answers with HTTP 503"]


def test_a_service_that_does_not_answer_is_waited_for_once_per_reading(service: Service) -> None:
    meter, _ = opened("redfish", url=URL)
    service.errors[f"{CHASSIS}/Sensors/TotalPower"] = ReadTimeout("timed out")
    service.asked.clear()
    notes = [one.note for one in meter.read()]
    assert notes[0] == "the service does not answer in time"
    assert set(notes[1:]) == {"not asked: the service had just not answered"}
    assert len(service.asked) == 1
    service.errors.clear()
    assert values(meter)["m/EnvironmentMetrics PowerWatts"] == 374.0


def test_certificates_are_checked_with_the_hosts_or_the_labs(service: Service) -> None:
    opened("redfish", url=URL)
    opened("redfish", url=URL, ca_file="/lab/ca.pem")
    assert [one["cafile"] for one in service.clients] == ["/host/ca.pem", "/lab/ca.pem"]
    assert {one["max_retry"] for one in service.clients} == {0}


def test_a_session_is_opened_renewed_and_closed(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BMC_PASSWORD", "hunter2")
    meter, _ = opened("redfish", url=URL, **ACCOUNT, only=["ThermalMetrics Exhaust"])
    assert (service.logins, service.clients[0]["password"]) == (["session"], "hunter2")
    uri = f"{CHASSIS}/ThermalSubsystem/ThermalMetrics"
    usual, times = service._get, []

    def expires_once(asked: str) -> Any:
        times.append(asked)
        return SimpleNamespace(status=401, dict={}) if len(times) == 1 else usual(asked)

    monkeypatch.setattr(meter._client, "get", expires_once)  # type: ignore[attr-defined]
    assert values(meter) == {"m/ThermalMetrics Exhaust": 40.5}
    assert (times, service.logins, service.logouts) == ([uri], ["session", "session"], 1)
    service.status[uri] = 401
    with pytest.raises(TelemetryUnavailable, match="refuses with HTTP 401: see whether the account still exists"):
        meter.read()
    meter.close()
    assert service.logouts >= 2


@pytest.mark.parametrize(
    ("where", "error", "why"),
    [
        (
            "connect",
            ConnectionRefusedError(),
            "does not take the connection: see whether curl https://bmc.example/redfish/v1/",
        ),
        ("connect", ReadTimeout(), "does not answer in time"),
        ("login", InvalidCredentialsError("401"), "see whether monitor and its password are right"),
        (f"{ROOT}/Chassis", ReadTimeout(), "Chassis: the service does not answer in time"),
    ],
)
def test_a_service_that_cannot_be_opened(
    service: Service, monkeypatch: pytest.MonkeyPatch, where: str, error: Exception, why: str
) -> None:
    monkeypatch.setenv("BMC_PASSWORD", "hunter2")
    service.errors[where] = error
    with pytest.raises(TelemetryUnavailable) as caught:
        source("redfish", url=URL, **ACCOUNT).open()
    assert why in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_an_account_that_may_not_read_sensors(service: Service) -> None:
    service.status[f"{CHASSIS}/EnvironmentMetrics"] = 403
    with pytest.raises(TelemetryUnavailable, match=r"refuses with HTTP 403: give username and password .*ReadOnly"):
        source("redfish", url=URL).open()


def test_the_chassis_is_named_where_there_are_several(service: Service) -> None:
    service.made[f"{ROOT}/Chassis"]["Members"].append({"@odata.id": f"{ROOT}/Chassis/2U"})
    with pytest.raises(TelemetryUnavailable, match="has 2 chassis: name by `chassis` one of 1U, 2U"):
        source("redfish", url=URL).open()
    with pytest.raises(TelemetryUnavailable, match="has no chassis '3U'"):
        source("redfish", url=URL, chassis="3U").open()
    assert opened("redfish", url=URL, chassis="1U")[1]


def test_an_older_service_without_metrics_measures_nothing(service: Service) -> None:
    service.made[CHASSIS] = {"Id": "1U", "Power": {"@odata.id": f"{CHASSIS}/Power"}}
    with pytest.raises(
        TelemetryUnavailable, match="does not measure any power, energy or temperature: its chassis measures nothing"
    ):
        source("redfish", url=URL).open()


def test_secrets_come_from_where_they_are_named(
    service: Service, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BMC_PASSWORD", raising=False)
    with pytest.raises(TelemetryUnavailable, match=r"BMC_PASSWORD, .*is not set: export BMC_PASSWORD before the run"):
        source("redfish", url=URL, **ACCOUNT).open()
    file = tmp_path / "password"
    with pytest.raises(TelemetryUnavailable, match=r"cannot be read \(No such file or directory\)"):
        source("redfish", url=URL, username="m", password_file=str(file)).open()
    file.write_text("\n")
    with pytest.raises(TelemetryUnavailable, match="is empty: write the password of m into it"):
        source("redfish", url=URL, username="m", password_file=str(file)).open()
    file.write_text("hunter2\n")
    opened("redfish", url=URL, username="m", password_file=str(file), auth="basic")
    assert (service.clients[-1]["password"], service.logins) == ("hunter2", ["basic"])


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"url": "bmc.example"}, "url: an address such as"),
        ({"url": "https://u:p@bmc.example"}, "without secrets in it"),
        ({"url": "http://bmc.example", "username": "m", "password_env": "P"}, "a password would travel in the open"),
        ({"url": URL, "username": "m"}, "username goes with"),
        ({"url": URL, "password_env": "P"}, "username goes with"),
        ({"url": URL, "username": "m", "password_env": "P", "password_file": "p"}, "named twice"),
        ({"url": URL, "password": "hunter2"}, "unknown field `password`"),
        ({"url": URL, "timeout_s": 0}, "timeout_s"),
    ],
)
def test_options_that_make_no_sense_are_refused(given: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError) as caught:
        source("redfish", **given)
    assert why in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("PT0.5S", 0.5),
        ("PT1M", 60.0),
        ("P1DT2H", 93600.0),
        ("PT0S", None),
        ("P", None),
        ("1 s", None),
        (None, None),
        (5, None),
    ],
)
def test_durations(text: object, wanted: float | None) -> None:
    assert duration_s(text) == wanted


@pytest.mark.parametrize(
    "reference",
    [
        None,
        "x",
        {},
        {"@odata.id": 5},
        {"@odata.id": "@evil.example/x"},
        {"@odata.id": "//evil.example/x"},
        {"@odata.id": "http://evil.example"},
    ],
)
def test_a_link_never_leads_to_another_host(reference: object) -> None:
    assert link(reference) == ""
