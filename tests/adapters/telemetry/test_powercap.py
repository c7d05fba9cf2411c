"""RAPL's counters in a tree laid out like sysfs: found, described, wrapped, refused with the command that grants them."""

from __future__ import annotations

from pathlib import Path

import pytest
from adapters.telemetry.given import opened, source, values

from conformance.adapters.telemetry.port import TelemetryUnavailable
from conformance.adapters.telemetry.support import sysfs
from conformance.metering.trace import Quantity

RANGE_UJ = 262143328850


def zone(root: Path, folder: str, name: str, energy_uj: object = 5_000_000) -> Path:
    path = root / "class" / "powercap" / folder
    path.mkdir(parents=True)
    for attribute, text in (("name", name), ("energy_uj", energy_uj), ("max_energy_range_uj", RANGE_UJ)):
        (path / attribute).write_text(f"{text}\n")
    return path / "energy_uj"


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A host with one package, its cores and the platform; its control type has a name too, and no counter."""
    zone(tmp_path, "intel-rapl:0", "package-0")
    zone(tmp_path, "intel-rapl:0:0", "core", 2_000_000)
    zone(tmp_path, "intel-rapl:1", "psys", 9_000_000)
    zone(tmp_path, "intel-rapl-mmio:0", "package-0")
    (tmp_path / "class/powercap/intel-rapl").mkdir()
    return tmp_path


def test_each_zone_is_a_counter_in_joules(host: Path) -> None:
    meter, found = opened("powercap", root=str(host))
    assert {name: one.scope for name, one in found.items()} == {
        "m/intel-rapl:0 package-0": "package",
        "m/intel-rapl:0:0 core": "chip",
        "m/intel-rapl:1 psys": "system",
    }
    one = found["m/intel-rapl:0 package-0"]
    assert (one.quantity, one.kind) == (Quantity.ENERGY, "counter")
    assert one.wraps_at == pytest.approx(RANGE_UJ * 1e-6)
    assert one.resolution == pytest.approx(61e-6, rel=0.01)  # 2⁻¹⁴ J, Intel's usual energy unit
    assert values(meter) == pytest.approx(
        {"m/intel-rapl:0 package-0": 5.0, "m/intel-rapl:0:0 core": 2.0, "m/intel-rapl:1 psys": 9.0}
    )
    meter.close()


def test_counters_are_passed_on_as_read_wrapped_or_frozen(host: Path) -> None:
    meter, _ = opened("powercap", root=str(host), zones=["intel-rapl:0"])
    counter = host / "class/powercap/intel-rapl:0/energy_uj"
    told = []
    for text in ("262143000000", "262143000000", "17"):
        counter.write_text(text)
        told += values(meter).values()
    assert told == pytest.approx([262143.0, 262143.0, 17e-6])
    counter.write_text("")
    assert [(one.value, one.note) for one in meter.read()] == [(None, "the driver answers '', which is no number")]


def test_where_root_alone_may_read_the_command_is_told(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = {"intel-rapl:0", "intel-rapl:0:0", "intel-rapl:1"}
    usual = sysfs.os.open

    def guarded(path: Path, *flags: int) -> int:
        if path.name == "energy_uj" and path.parent.name in locked:
            raise PermissionError(13, "Permission denied")
        return usual(path, *flags)

    monkeypatch.setattr(sysfs.os, "open", guarded)
    with pytest.raises(TelemetryUnavailable) as caught:
        source("powercap", root=str(host)).open()
    paths = " ".join(f"{host}/class/powercap/{name}/energy_uj" for name in sorted(locked))
    assert caught.value.remedy.startswith(f"sudo chmod a+r {paths} ")
    locked -= {"intel-rapl:0"}
    meter, found = opened("powercap", root=str(host))
    assert list(found) == ["m/intel-rapl:0 package-0"]
    assert len(meter.remarks) == 1
    assert "intel-rapl:0:0, intel-rapl:1 may be read by root alone: sudo chmod a+r" in meter.remarks[0]


def test_a_host_without_zones_and_a_zone_that_is_not_there(tmp_path: Path, host: Path) -> None:
    with pytest.raises(TelemetryUnavailable, match="no zone: .*modprobe intel_rapl_msr"):
        source("powercap", root=str(tmp_path / "none")).open()
    with pytest.raises(
        TelemetryUnavailable, match="has no zone intel-rapl:7: name one of intel-rapl-mmio:0, intel-rapl:0"
    ):
        source("powercap", root=str(host), zones=["intel-rapl:7"]).open()
    assert list(opened("powercap", root=str(host), zones=["intel-rapl-mmio:0"])[1]) == ["m/intel-rapl-mmio:0 package-0"]


def test_a_zone_without_a_counter_is_left_out_and_told(host: Path) -> None:
    (host / "class/powercap/intel-rapl:1/energy_uj").unlink()
    meter, found = opened("powercap", root=str(host))
    assert "m/intel-rapl:1 psys" not in found
    assert meter.remarks == ["intel-rapl:1 has no energy counter (No such file or directory): the zone is left out"]
