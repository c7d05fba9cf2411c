"""hwmon and thermal zones in a tree laid out like sysfs: named by device, never by number."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from adapters.telemetry.given import opened, source, values

from conformance.adapters.telemetry.port import TelemetryUnavailable
from conformance.adapters.telemetry.support import sysfs
from conformance.errors import UsageError
from conformance.metering.trace import Quantity

CARD = "devices/pci0000:00/0000:65:00.0"


def lay_out(root: Path, number: int, device: str, attributes: dict[str, object]) -> Path:
    """Make hwmonN with its device behind it, as the kernel does: a link into /sys/devices."""
    folder = root / device / "hwmon" / f"hwmon{number}"
    folder.mkdir(parents=True)
    (folder / "device").symlink_to(root / device)
    for name, text in attributes.items():
        (folder / name).write_text(f"{text}\n")
    link = root / "class" / "hwmon" / folder.name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(folder)
    return folder


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """A GPU, the CPU's thermometer and a second chip of the same driver."""
    lay_out(
        tmp_path,
        3,
        CARD,
        {
            "name": "amdgpu", "power1_average": 61_000_000, "power1_average_interval": 1000, "power1_label": "PPT",
            "power1_cap": 300_000_000, "temp1_input": 41_500, "temp1_label": "edge", "temp2_input": -3000, "temp2_fault": 0,
            "freq1_input": 1_410_000_000, "freq1_label": "sclk", "energy1_input": 7_000_000, "in0_input": 806,
        },
    )  # fmt: skip
    lay_out(tmp_path, 0, "devices/pci0000:00/0000:00:18.3", {"name": "k10temp", "temp1_input": 55_000})
    lay_out(tmp_path, 1, "devices/pci0000:00/0000:a5:00.0", {"name": "amdgpu", "power1_input": 9_000_000})
    return tmp_path


def test_a_card_is_named_by_its_address_and_gives_every_quantity(card: Path) -> None:
    meter, found = opened("hwmon", device="0000:65:00.0", root=str(card))
    assert {name: (one.quantity, one.kind) for name, one in found.items()} == {
        "m/power1_average PPT": (Quantity.POWER, "averaged"),
        "m/energy1_input": (Quantity.ENERGY, "counter"),
        "m/temp1_input edge": (Quantity.TEMPERATURE, "instantaneous"),
        "m/temp2_input": (Quantity.TEMPERATURE, "instantaneous"),
        "m/freq1_input sclk": (Quantity.CLOCK, "instantaneous"),
    }
    power = found["m/power1_average PPT"]
    assert (power.window_ms, power.resolution, power.scope) == (1000, 1e-6, "board")
    assert power.bound_to == "/devices/pci0000:00/0000:65:00.0 (amdgpu)"
    assert values(meter) == pytest.approx(
        {"m/power1_average PPT": 61.0, "m/energy1_input": 7.0, "m/temp1_input edge": 41.5, "m/temp2_input": -3.0, "m/freq1_input sclk": 1410.0}
    )  # fmt: skip
    meter.close()


def test_the_numbers_may_change_and_the_meter_does_not(card: Path) -> None:
    link = card / "class/hwmon/hwmon3"
    link.rename(link.with_name("hwmon0-was"))
    link.with_name("hwmon0-was").rename(link.with_name("hwmon9"))
    meter, _ = opened("hwmon", device="0000:65:00.0", root=str(card), sensors=["power1_average"])
    assert values(meter) == {"m/power1_average PPT": 61.0}


def test_a_chip_is_named_by_its_driver_where_it_is_the_only_one(card: Path) -> None:
    assert list(opened("hwmon", chip="k10temp", root=str(card))[1]) == ["m/temp1_input"]
    with pytest.raises(TelemetryUnavailable, match=r"amdgpu names 2 sensors: .*0000:65:00.0.*: name one by `device`"):
        source("hwmon", chip="amdgpu", root=str(card)).open()
    with pytest.raises(TelemetryUnavailable, match="no sensor of nct6775: name one of k10temp at /devices/"):
        source("hwmon", chip="nct6775", root=str(card)).open()
    with pytest.raises(TelemetryUnavailable, match="has no sensor power7_input: name some of energy1_input"):
        source("hwmon", device="0000:65:00.0", root=str(card), sensors=["power7_input"]).open()


def test_a_suffix_of_an_address_is_not_the_address(card: Path) -> None:
    with pytest.raises(TelemetryUnavailable, match=r"no sensor of 65:00.0"):
        source("hwmon", device="65:00.0", root=str(card)).open()


def test_a_fault_and_a_driver_without_an_answer_are_no_readings(card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meter, _ = opened("hwmon", device="0000:65:00.0", root=str(card), sensors=["temp2_input", "temp1_input"])
    (card / CARD / "hwmon/hwmon3/temp2_fault").write_text("1\n")
    broken, fine = meter.read()
    assert (broken.value, broken.note) == (None, "the driver reports a fault of the sensor")
    assert fine.value == 41.5
    monkeypatch.setattr(sysfs.os, "pread", lambda *_: (_ for _ in ()).throw(OSError(errno.EAGAIN, "try again")))
    assert {(one.value, one.note) for one in meter.read()} == {(None, "the driver answers: try again")}
    monkeypatch.setattr(sysfs.os, "pread", lambda *_: (_ for _ in ()).throw(OSError(errno.ENODEV, "No such device")))
    with pytest.raises(TelemetryUnavailable, match=r"has gone \(No such device\)"):
        meter.read()


def test_what_this_user_may_not_read_is_left_out_with_the_command(card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = sysfs.os.open

    def guarded(path: Path, *flags: int) -> int:
        if path.name == "energy1_input":
            raise PermissionError(13, "Permission denied")
        return usual(path, *flags)

    monkeypatch.setattr(sysfs.os, "open", guarded)
    meter, found = opened("hwmon", device="0000:65:00.0", root=str(card))
    assert "m/energy1_input" not in found
    assert meter.remarks == [
        f"{card}/class/hwmon/hwmon3/energy1_input may not be read by this user: "
        f"sudo chmod a+r {card}/class/hwmon/hwmon3/energy1_input"
    ]


def test_the_drivers_own_accuracy_goes_before_the_assumed_one(tmp_path: Path) -> None:
    lay_out(
        tmp_path, 0, "devices/ACPI0000:00", {"name": "power_meter", "power1_average": 1, "power1_accuracy": "95.0%"}
    )
    (found,) = opened("hwmon", chip="power_meter", root=str(tmp_path))[1].values()
    assert found.uncertainty_relative == pytest.approx(0.05)
    assert found.calibration == "none; the driver states 5.00%"


def test_a_thermal_zone_is_named_by_its_type(tmp_path: Path) -> None:
    for number, kind in enumerate(("acpitz", "x86_pkg_temp")):
        folder = tmp_path / "class" / "thermal" / f"thermal_zone{number}"
        folder.mkdir(parents=True)
        (folder / "type").write_text(kind)
        (folder / "temp").write_text(f"{40_000 + number}")
    meter, found = opened("hwmon", zone="x86_pkg_temp", root=str(tmp_path), lab={"scope": "ambient"})
    assert found["m/temp x86_pkg_temp"].scope == "ambient"
    assert values(meter) == pytest.approx({"m/temp x86_pkg_temp": 40.001})


@pytest.mark.parametrize("given", [{}, {"device": "a", "chip": "b"}, {"index": 3}])
def test_the_meter_is_named_in_exactly_one_way(given: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"give one of device|unknown field `index`"):
        source("hwmon", **given)


def test_a_host_without_sensors(tmp_path: Path) -> None:
    with pytest.raises(TelemetryUnavailable, match="has no sensor: load the device's driver"):
        source("hwmon", chip="x", root=str(tmp_path)).open()
