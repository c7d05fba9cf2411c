"""NVML through a stand-in for pynvml: bound by name, each kind of power told apart, nothing made up where a GPU has no sensor."""

from __future__ import annotations

import sys

import pytest
from adapters.telemetry import fake_nvml
from adapters.telemetry.fake_nvml import ADDRESS, UUID, FakeNvml
from adapters.telemetry.given import opened, source, values

from conformance.adapters.telemetry.port import TelemetryUnavailable
from conformance.errors import UsageError
from conformance.metering.trace import Quantity


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """One GPU that offers everything."""
    made = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", made)
    return made


def test_a_gpu_gives_every_quantity_in_its_unit(nvml: FakeNvml) -> None:
    meter, found = opened("nvml", uuid=UUID)
    assert values(meter) == pytest.approx(
        {
            "m/power instant": 61.72, "m/power average": 60.0, "m/energy": 5000.0, "m/temperature": 41.0,
            "m/temperature memory": 44.0, "m/throttle": 0.0, "m/clock SM": 1755.0, "m/utilisation": 0.3,
        }
    )  # fmt: skip
    assert {one.bound_to for one in found.values()} == {f"{UUID}, 0000:65:00.0, NVIDIA H100 PCIe"}
    assert meter.remarks == []
    meter.close()
    assert nvml.opened == 0


def test_instantaneous_and_averaged_power_are_two_channels(nvml: FakeNvml) -> None:
    _, found = opened("nvml", uuid=UUID)
    instant, average = found["m/power instant"], found["m/power average"]
    assert (instant.kind, instant.window_ms) == ("instantaneous", None)
    assert (average.kind, average.window_ms) == ("averaged", 1000.0)
    assert found["m/energy"].kind == "counter"
    assert (instant.period_ms, average.period_ms) == (100.0, None)
    nvml.name = "NVIDIA L4"
    assert opened("nvml", uuid=UUID)[1]["m/power instant"].period_ms is None


@pytest.mark.parametrize(
    ("architecture", "name", "kind"),
    [
        (9, "NVIDIA H100 PCIe", "averaged"),
        (8, "NVIDIA L4", "averaged"),
        (7, "NVIDIA A10", "averaged"),
        (7, "NVIDIA A100-SXM4-80GB", "instantaneous"),
        (7, "NVIDIA A30", "instantaneous"),
        (6, "Tesla T4", "instantaneous"),
        (0xFFFFFFFF, "NVIDIA Something", "averaged"),
        (None, "NVIDIA Something", "averaged"),
    ],
)
def test_older_drivers_give_one_power_whose_kind_depends_on_the_architecture(
    nvml: FakeNvml, architecture: int | None, name: str, kind: str
) -> None:
    nvml.fields.clear()
    nvml.name = name
    if architecture is None:
        nvml.errors["architecture"] = fake_nvml.NOT_SUPPORTED
    else:
        nvml.architecture = architecture
    meter, found = opened("nvml", uuid=UUID)
    assert found["m/power"].kind == kind
    assert values(meter)["m/power"] == 59.0
    assert "m/power instant" not in found


def test_a_gpu_is_found_by_its_address_in_either_spelling(nvml: FakeNvml) -> None:
    for address in (ADDRESS, "0000:65:00.0"):
        assert opened("nvml", pci=address)[1]


def test_an_index_is_refused() -> None:
    for given in ({"index": 0}, {}, {"uuid": UUID, "pci": ADDRESS}):
        with pytest.raises(UsageError, match=r"give one of uuid|unknown field `index`"):
            source("nvml", **given)


def test_another_gpu_than_the_one_asked_for_is_refused(nvml: FakeNvml) -> None:
    with pytest.raises(TelemetryUnavailable, match=r"NVML knows no GPU GPU-other \(Not Found\): nvidia-smi -L"):
        source("nvml", uuid="GPU-other").open()
    nvml.uuid = "GPU-swapped"
    with pytest.raises(TelemetryUnavailable, match=f"gave the GPU GPU-swapped where {UUID} was asked for"):
        source("nvml", uuid=UUID).open()
    nvml.address = "00000000:66:00.0"
    with pytest.raises(TelemetryUnavailable, match="where 0000:65:00.0 was asked for"):
        source("nvml", pci="0000:65:00.0").open()


@pytest.mark.parametrize(
    ("where", "code", "remedy"),
    [
        ("init", fake_nvml.NO_LIBRARY, "install the NVIDIA driver"),
        ("init", fake_nvml.NO_DRIVER, "sudo modprobe nvidia"),
        ("init", 18, "restart the host, or load the kernel module anew"),
        ("init", 999, "see whether nvidia-smi works"),
        ("find", fake_nvml.NO_PERMISSION, "let this user read /dev/nvidiactl"),
        ("energy", fake_nvml.LOST, "reset the GPU, which fell off the bus"),
        ("energy", fake_nvml.NO_PERMISSION, "let this user read /dev/nvidiactl"),
    ],
)
def test_each_error_comes_with_what_mends_it(nvml: FakeNvml, where: str, code: int, remedy: str) -> None:
    nvml.errors[where] = code
    with pytest.raises(TelemetryUnavailable) as caught:
        source("nvml", uuid=UUID).open()
    assert remedy in caught.value.remedy


def test_without_the_package_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(TelemetryUnavailable, match=r"pip install 'resonance-conformance\[nvml\]'"):
        source("nvml", uuid=UUID).open()


def test_what_a_gpu_does_not_offer_is_no_channel_and_is_told(nvml: FakeNvml) -> None:
    nvml.errors |= {"energy": fake_nvml.NOT_SUPPORTED, "temperature": fake_nvml.NOT_SUPPORTED}
    del nvml.fields[82], nvml.fields[185]
    meter, found = opened("nvml", uuid=UUID)
    assert {one.quantity for one in found.values()} == {
        Quantity.POWER, Quantity.THROTTLE, Quantity.CLOCK, Quantity.UTILISATION,
    }  # fmt: skip
    assert [told.partition(" (")[0] for told in meter.remarks] == [
        f"this GPU offers no {name}" for name in ("power average", "energy", "temperature", "temperature memory")
    ]
    assert 0.0 not in {value for name, value in values(meter).items() if "power" in name}


def test_an_older_pynvml_loses_a_channel_and_says_how_to_get_it(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(FakeNvml, "nvmlDeviceGetTotalEnergyConsumption")
    meter, found = opened("nvml", uuid=UUID)
    assert "m/energy" not in found
    assert "pip install --upgrade nvidia-ml-py, to measure energy" in meter.remarks[0]


def test_reasons_that_hold_clocks_back_are_named_and_idling_is_none(nvml: FakeNvml) -> None:
    meter, _ = opened("nvml", uuid=UUID)
    for reasons, value, note in (
        (0x1, 0.0, ""),  # idle
        (0x2 | 0x10 | 0x100, 0.0, ""),  # clocks set by somebody, sync boost, display clocks
        (0x4, 4.0, "software power cap"),
        (0x1 | 0x20 | 0x40, 96.0, "software thermal slowdown, hardware thermal slowdown"),
    ):
        nvml.reasons = reasons
        (found,) = (one for one in meter.read() if one.channel == "m/throttle")
        assert (found.value, found.note) == (value, note)


def test_the_older_name_of_the_reasons_is_known(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        FakeNvml,
        "nvmlDeviceGetCurrentClocksThrottleReasons",
        FakeNvml.nvmlDeviceGetCurrentClocksEventReasons,
        raising=False,
    )
    monkeypatch.delattr(FakeNvml, "nvmlDeviceGetCurrentClocksEventReasons")
    nvml.reasons = 0x8
    assert values(opened("nvml", uuid=UUID)[0])["m/throttle"] == 8.0


@pytest.mark.parametrize(("kind", "member"), [(0, "dVal"), (2, "ulVal"), (3, "ullVal"), (4, "sllVal"), (5, "siVal")])
def test_a_fields_value_is_read_by_its_type(nvml: FakeNvml, kind: int, member: str) -> None:
    nvml.fields[186] = (kind, member, 61_720)
    assert values(opened("nvml", uuid=UUID)[0])["m/power instant"] == pytest.approx(61.72)


def test_an_unknown_type_and_a_time_out_are_no_readings_and_others_go_on(nvml: FakeNvml) -> None:
    meter, _ = opened("nvml", uuid=UUID)
    nvml.fields[186] = (7, "uiVal", 61_720)
    nvml.errors["temperature"] = fake_nvml.TIMEOUT
    found = {one.channel: one for one in meter.read()}
    assert (found["m/power instant"].value, found["m/power instant"].note) == (
        None,
        "NVML gave a value of the unknown type 7",
    )
    assert (found["m/temperature"].value, found["m/temperature"].note) == (None, "NVML: Timeout")
    assert found["m/energy"].value == 5000.0


def test_frozen_and_absurd_values_are_passed_on_as_read(nvml: FakeNvml) -> None:
    meter, _ = opened("nvml", uuid=UUID)
    nvml.fields[186] = (1, "uiVal", 0)
    assert [values(meter)["m/power instant"] for _ in range(3)] == [0.0] * 3


def test_a_gpu_that_is_lost_while_read_is_unavailable(nvml: FakeNvml) -> None:
    meter, _ = opened("nvml", uuid=UUID)
    nvml.errors["clock"] = fake_nvml.LOST
    with pytest.raises(TelemetryUnavailable, match=r"answers no more \(GPU is lost\): reset the GPU, which fell off"):
        meter.read()
