"""A stand-in for `pynvml`, shaped like the real one: the same functions, error classes, field values and struct members.

It is no recording of a GPU. What it gives is set by the test.
"""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

UUID, ADDRESS, NAME = "GPU-8f3a1c52-0000-4000-8000-000000000001", "00000000:65:00.0", "NVIDIA H100 PCIe"
NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND, NO_DRIVER, TIMEOUT, NO_LIBRARY, LOST = 3, 4, 6, 9, 10, 12, 15
WORDS = {
    3: "Not Supported", 4: "Insufficient Permissions", 6: "Not Found", 9: "Driver Not Loaded", 10: "Timeout",
    12: "NVML Shared Library Not Found", 15: "GPU is lost",
}  # fmt: skip


class NVMLError(Exception):
    """As the real one: the code in `value`, words from `str`."""

    def __init__(self, value: int) -> None:
        super().__init__(value)
        self.value = value

    def __str__(self) -> str:
        return WORDS.get(self.value, "Unknown Error")


class FakeNvml(ModuleType):
    """One GPU. `errors` maps a function or a field to the code with which it fails."""

    NVMLError = NVMLError

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.errors: dict[str | int, int] = {}
        self.fields: dict[int, tuple[int, str, float]] = {
            185: (1, "uiVal", 60_000),
            186: (1, "uiVal", 61_720),
            82: (1, "uiVal", 44),
        }
        """Field → (valueType, member of the union, value)."""
        self.energy_mj, self.temperature, self.reasons, self.clock, self.gpu_percent = 5_000_000, 41, 0x1, 1755, 30
        self.architecture, self.name, self.uuid, self.address = 9, NAME, UUID, ADDRESS
        self.power_mw = 59_000
        self.opened = 0

    def _check(self, name: str | int) -> None:
        if name in self.errors:
            raise NVMLError(self.errors[name])

    def nvmlInit(self) -> None:  # noqa: N802
        self._check("init")
        self.opened += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.opened -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        self._check("find")
        if uuid != UUID:
            raise NVMLError(NOT_FOUND)
        return "handle"

    def nvmlDeviceGetHandleByPciBusId(self, address: str) -> str:  # noqa: N802
        self._check("find")
        if not ADDRESS.endswith(address.lower()):
            raise NVMLError(NOT_FOUND)
        return "handle"

    def nvmlDeviceGetUUID(self, handle: Any) -> str:  # noqa: N802
        return self.uuid

    def nvmlDeviceGetPciInfo(self, handle: Any) -> Any:  # noqa: N802
        return SimpleNamespace(busId=self.address.encode())

    def nvmlDeviceGetName(self, handle: Any) -> str:  # noqa: N802
        return self.name

    def nvmlDeviceGetArchitecture(self, handle: Any) -> int:  # noqa: N802
        self._check("architecture")
        return self.architecture

    def nvmlDeviceGetFieldValues(self, handle: Any, wanted: list[Any]) -> list[Any]:  # noqa: N802
        self._check("fields")
        found = []
        for field in wanted:
            number = field[0] if isinstance(field, tuple) else field
            kind, member, value = self.fields.get(number, (1, "uiVal", 0))
            code = self.errors.get(number, 0 if number in self.fields else NOT_SUPPORTED)
            members = dict.fromkeys(("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal"), -1) | {
                member: value
            }
            found.append(
                SimpleNamespace(fieldId=number, valueType=kind, nvmlReturn=code, value=SimpleNamespace(**members))
            )
        return found

    def nvmlDeviceGetPowerUsage(self, handle: Any) -> int:  # noqa: N802
        self._check("power")
        return self.power_mw

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any) -> int:  # noqa: N802
        self._check("energy")
        return self.energy_mj

    def nvmlDeviceGetTemperature(self, handle: Any, sensor: int) -> int:  # noqa: N802
        self._check("temperature")
        return self.temperature

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: Any) -> int:  # noqa: N802
        self._check("reasons")
        return self.reasons

    def nvmlDeviceGetClockInfo(self, handle: Any, kind: int) -> int:  # noqa: N802
        self._check("clock")
        assert kind == 1  # the SM's, not the memory's
        return self.clock

    def nvmlDeviceGetUtilizationRates(self, handle: Any) -> Any:  # noqa: N802
        self._check("utilisation")
        return SimpleNamespace(gpu=self.gpu_percent, memory=99)
