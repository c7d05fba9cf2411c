"""NVIDIA's management library (NVML): power, energy, temperature, SM clock, utilisation and why clocks are held back.

The GPU is named by UUID or PCI address, never by its index: NVML, CUDA and `nvidia-smi` may count in different orders.

    telemetry:
      - {source: nvml, options: {uuid: GPU-8f3a…}, period_ms: 100}

Power comes in two kinds that disagree on a changing load: field `POWER_INSTANT` and field `POWER_AVERAGE` (over one second). Both
are read where the driver offers them; where it does not, `nvmlDeviceGetPowerUsage` is one of the two by architecture
(https://docs.nvidia.com/deploy/nvml-api/, nvmlDeviceGetPowerUsage). Some GPUs make an "instantaneous" value from a part of the
time only, A100 and H100 25 ms of each 100 ms (https://arxiv.org/abs/2312.02741): on a load that changes faster, count energy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from conformance.adapters.telemetry.port import (
    ASSUMED,
    NoReading,
    TelemetrySource,
    TelemetryUnavailable,
    ask,
    load_package,
)
from conformance.metering.trace import Descriptor, Quantity, Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

FIELD_POWER_AVERAGE = 185
FIELD_POWER_INSTANT = 186
FIELD_MEMORY_TEMPERATURE = 82
SCOPE_GPU = 0
_TEMPERATURE_GPU = 0
_CLOCK_SM = 1
_AMPERE = 7
_UNKNOWN_ARCHITECTURE = 0xFFFFFFFF
_GA100 = frozenset({"A100", "A800", "A30"})
"""Products of the one Ampere chip that gives instantaneous power."""
_RENEWED_MS = dict.fromkeys(("A100", "A800", "H100", "H800"), 100.0)
"""How often a new instantaneous value is made, by product, as far as somebody measured it (arXiv 2312.02741)."""
_VALUES = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
"""Members of a field's value by `valueType`."""

HELD_BACK = {
    0x004: "software power cap",
    0x008: "hardware slowdown",
    0x020: "software thermal slowdown",
    0x040: "hardware thermal slowdown",
    0x080: "power brake slowdown",
    0x200: "board limit",
    0x400: "reliability limit",
}
"""Reasons that hold clocks back against what the load asks for. Idle, clocks set by somebody, and sync boost are none."""

_PERMISSION = "let this user read /dev/nvidiactl and the GPU's /dev/nvidia*, or run as one that may"
_REMEDIES = {
    4: _PERMISSION,
    9: "sudo modprobe nvidia, or install the driver, until nvidia-smi works",
    12: "install the NVIDIA driver, and in a container its runtime, until nvidia-smi works",
    15: "reset the GPU, which fell off the bus, or restart the host, then see dmesg",
    16: "nvidia-smi --gpu-reset, or restart the host",
    18: "restart the host, or load the kernel module anew, which differs from the library",
}
"""What mends an error of NVML by its code."""
_GONE = frozenset({1, 9, 15, 16, 18})
"""Errors after which no channel will answer again."""
_ABSENT = frozenset({2, 3, 13, 25})
"""Invalid argument, not supported, function not found, version mismatch: this GPU or driver does not offer it."""

_ASSUMED_RELATIVE = 0.05
"""NVIDIA states ± 5 % for some GPUs, and independent measurements found as much on others (arXiv 2312.02741)."""
_ASSUMED_C = 5.0


class SourceOptions(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Options beside those of every meter: one of `uuid` and `pci`."""

    uuid: str | None = None
    """As `nvidia-smi -L` prints it."""
    pci: str | None = None
    """As `0000:65:00.0`."""

    def __post_init__(self) -> None:
        """ValueError unless exactly one of them is given."""
        if (self.uuid is None) == (self.pci is None):
            raise ValueError("give one of uuid (see nvidia-smi -L) and pci: an index may mean another GPU elsewhere")


class Source(TelemetrySource):
    """One GPU."""

    Options = SourceOptions
    options: SourceOptions

    def _open(self) -> Iterator[Descriptor]:
        self._nvml = nvml = load_package("pynvml", "nvml")
        self._channels: dict[str, Callable[[], float]] = {}
        self._reasons: Callable[[Any], int] | None = None
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            raise _unavailable("NVML does not start", error) from error
        self._handle = self._find(nvml)
        bound_to = self._name(nvml)
        yield from self._power(nvml, bound_to)
        yield from self._others(nvml, bound_to)

    def _find(self, nvml: ModuleType) -> Any:
        """Return the handle of the GPU that is named, after making sure that it is the one."""
        wanted = self.options.uuid or self.options.pci or ""
        try:
            if self.options.uuid is not None:
                handle = nvml.nvmlDeviceGetHandleByUUID(self.options.uuid)
                found = _text(nvml.nvmlDeviceGetUUID(handle))
                same = found == self.options.uuid
            else:
                handle = nvml.nvmlDeviceGetHandleByPciBusId(self.options.pci)
                found = _text(nvml.nvmlDeviceGetPciInfo(handle).busId)
                same = _address(found) == _address(wanted)
        except nvml.NVMLError as error:
            if error.value in _REMEDIES:
                raise _unavailable(f"NVML does not give the GPU {wanted}", error) from error
            raise TelemetryUnavailable(
                f"NVML knows no GPU {wanted} ({error})", "nvidia-smi -L lists UUIDs, nvidia-smi -q PCI addresses"
            ) from error
        if not same:
            raise TelemetryUnavailable(
                f"NVML gave the GPU {found} where {wanted} was asked for", "report the driver's defect"
            )
        return handle

    def _name(self, nvml: ModuleType) -> str:
        uuid = _text(nvml.nvmlDeviceGetUUID(self._handle))
        address = _text(nvml.nvmlDeviceGetPciInfo(self._handle).busId)
        return f"{uuid}, {_address(address)}, {_text(nvml.nvmlDeviceGetName(self._handle))}"

    def _power(self, nvml: ModuleType, bound_to: str) -> Iterator[Descriptor]:
        for channel, field, averaged in (
            ("power instant", FIELD_POWER_INSTANT, False),
            ("power average", FIELD_POWER_AVERAGE, True),
        ):
            if self._offers(channel, lambda field=field: self._field((field, SCOPE_GPU)) * 1e-3):  # type: ignore[misc]
                yield _power(channel, bound_to, self._product(nvml), averaged=averaged)
        if self._channels:
            return
        if self._offers("power", lambda: nvml.nvmlDeviceGetPowerUsage(self._handle) * 1e-3):
            yield _power("power", bound_to, self._product(nvml), averaged=self._averages(nvml))

    def _product(self, nvml: ModuleType) -> frozenset[str]:
        """Return the words of the GPU's name: `A100-SXM4-80GB` names an A100."""
        return frozenset(_text(nvml.nvmlDeviceGetName(self._handle)).replace("-", " ").split())

    def _averages(self, nvml: ModuleType) -> bool:
        """Whether `nvmlDeviceGetPowerUsage` averages over a second, as NVML documents it by architecture."""
        try:
            architecture = nvml.nvmlDeviceGetArchitecture(self._handle)
        except (nvml.NVMLError, AttributeError):
            return True  # the weaker claim
        if architecture == _AMPERE:
            return not self._product(nvml) & _GA100
        return bool(architecture > _AMPERE or architecture == _UNKNOWN_ARCHITECTURE)

    def _others(self, nvml: ModuleType, bound_to: str) -> Iterator[Descriptor]:
        handle = self._handle
        if self._offers("energy", lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) * 1e-3):
            yield Descriptor(
                channel="energy", quantity=Quantity.ENERGY, scope="board", kind="counter", resolution=1e-3,
                uncertainty_relative=_ASSUMED_RELATIVE, valid_low=0.0, bound_to=bound_to, calibration=ASSUMED,
            )  # fmt: skip
        temperatures: tuple[tuple[str, Callable[[], float]], ...] = (
            ("temperature", lambda: _temperature(nvml, handle)),
            ("temperature memory", lambda: self._field(FIELD_MEMORY_TEMPERATURE)),
        )
        for channel, function in temperatures:
            if self._offers(channel, function):
                yield Descriptor(
                    channel=channel, quantity=Quantity.TEMPERATURE, scope="chip", kind="instantaneous", resolution=1.0,
                    uncertainty_absolute=_ASSUMED_C, valid_low=-55.0, valid_high=150.0, bound_to=bound_to, calibration=ASSUMED,
                )  # fmt: skip
        self._reasons = _reasons_function(nvml)
        if self._reasons is not None and self._offers("throttle", lambda: float(self._held_back()[0])):
            yield Descriptor(
                channel="throttle", quantity=Quantity.THROTTLE, scope="chip", kind="instantaneous", resolution=1.0, bound_to=bound_to
            )  # fmt: skip
        if self._offers("clock SM", lambda: nvml.nvmlDeviceGetClockInfo(handle, _CLOCK_SM)):
            yield Descriptor(
                channel="clock SM", quantity=Quantity.CLOCK, scope="chip", kind="instantaneous", resolution=1.0,
                uncertainty_relative=0.01, valid_low=0.0, bound_to=bound_to, calibration=ASSUMED,
            )  # fmt: skip
        if self._offers("utilisation", lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100):
            yield Descriptor(
                channel="utilisation", quantity=Quantity.UTILISATION, scope="chip", kind="averaged", resolution=0.01,
                valid_low=0.0, valid_high=1.0, bound_to=bound_to,
            )  # fmt: skip

    def _offers(self, channel: str, function: Callable[[], float]) -> bool:
        """Ask a channel once: take it where it answers, remark it where this GPU has none."""
        nvml = self._nvml
        try:
            function()
        except nvml.NVMLError as error:
            if error.value in _ABSENT:
                self.remarks.append(f"this GPU offers no {channel} ({error}): it is not measured")
                return False
            if error.value in _GONE or error.value in _REMEDIES:
                raise _unavailable(f"NVML does not give {channel}", error) from error
        except AttributeError as error:  # an older pynvml has no such function
            self.remarks.append(f"{error}: pip install --upgrade nvidia-ml-py, to measure {channel}")
            return False
        except NoReading:
            pass  # offered, and silent just now
        self._channels[channel] = function
        return True

    def _field(self, field: int | tuple[int, int]) -> float:
        """Return a field's value in NVML's own unit. NVMLError with the code that the field itself came back with."""
        found = self._nvml.nvmlDeviceGetFieldValues(self._handle, [field])[0]
        if found.nvmlReturn != 0:
            raise self._nvml.NVMLError(found.nvmlReturn)
        if not 0 <= found.valueType < len(_VALUES):
            raise NoReading(f"NVML gave a value of the unknown type {found.valueType}")
        return float(getattr(found.value, _VALUES[found.valueType]))

    def _held_back(self) -> tuple[int, str]:
        """Return the reasons that hold the clocks back, as NVML's bits and in words."""
        reasons = 0 if self._reasons is None else self._reasons(self._handle)
        held = [bit for bit in HELD_BACK if reasons & bit]
        return sum(held), ", ".join(HELD_BACK[bit] for bit in held)

    def _read(self) -> Iterator[Reading]:
        for channel, function in self._channels.items():
            if channel == "throttle":
                yield self._read_throttle()
            else:
                yield ask(channel, lambda function=function: self._answer(function))  # type: ignore[misc]

    def _read_throttle(self) -> Reading:
        words = ""

        def asked() -> float:
            nonlocal words
            bits, words = self._answer(self._held_back)
            return float(bits)

        found = ask("throttle", asked)
        return msgspec.structs.replace(found, note=words) if words else found

    def _answer(self, function: Callable[[], Any]) -> Any:
        """Call NVML; NoReading where this once failed, TelemetryUnavailable where the GPU is gone."""
        try:
            return function()
        except self._nvml.NVMLError as error:
            if error.value in _GONE:
                raise _unavailable("NVML answers no more", error) from error
            raise NoReading(f"NVML: {error}") from error

    def _close(self) -> None:
        self._nvml.nvmlShutdown()


def _power(channel: str, bound_to: str, product: frozenset[str], *, averaged: bool) -> Descriptor:
    renewed = next((period for name, period in _RENEWED_MS.items() if name in product), None)
    return Descriptor(
        channel=channel,
        quantity=Quantity.POWER,
        scope="board",
        kind="averaged" if averaged else "instantaneous",
        window_ms=1000.0 if averaged else None,
        period_ms=None if averaged else renewed,
        resolution=1e-3,
        uncertainty_relative=_ASSUMED_RELATIVE,
        valid_low=0.0,
        bound_to=bound_to,
        calibration=ASSUMED,
    )


def _temperature(nvml: ModuleType, handle: Any) -> float:
    """Ask as the installed pynvml can: the newer function is absent from old ones, the older one is to be removed."""
    function = getattr(nvml, "nvmlDeviceGetTemperature", None) or nvml.nvmlDeviceGetTemperatureV
    return float(function(handle, _TEMPERATURE_GPU))


def _reasons_function(nvml: ModuleType) -> Callable[[Any], int] | None:
    """Return the function that tells why clocks are held back; its name changed with driver 535."""
    for name in ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"):
        function: Callable[[Any], int] | None = getattr(nvml, name, None)
        if function is not None:
            return function
    return None


def _unavailable(what: str, error: Any) -> TelemetryUnavailable:
    remedy = _REMEDIES.get(error.value, "see whether nvidia-smi works, and dmesg for the driver's words")
    return TelemetryUnavailable(f"{what} ({error})", remedy)


def _text(value: str | bytes) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value


def _address(text: str) -> str:
    """Return a PCI address with four digits of domain, as Linux writes it: NVML writes eight."""
    domain, _, rest = text.lower().partition(":")
    return f"{int(domain, 16):04x}:{rest}" if rest.count(":") and domain else text.lower()
