"""Linux hwmon and thermal zones: power in µW, energy in µJ, temperatures in m°C, clocks in Hz, as drivers offer them in sysfs.

`hwmon3` may be another chip after the next start, so a chip is named by its device (`0000:65:00.0`) or by its driver's name where
that is the only one; a thermal zone by its type.

    telemetry:
      - {source: hwmon, options: {device: "0000:65:00.0"}, period_ms: 100}

Attributes: https://docs.kernel.org/hwmon/sysfs-interface.html, https://docs.kernel.org/driver-api/thermal/sysfs-api.html
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from conformance.adapters.telemetry.port import ASSUMED, NoReading, TelemetrySource, TelemetryUnavailable, ask
from conformance.adapters.telemetry.support.sysfs import Attribute, device_of, number_of, text_of
from conformance.metering.trace import Descriptor, Kind, Quantity, Reading, Scope

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Sort(NamedTuple):
    """How one sort of attribute is read: what it measures, its step in that unit, and what is assumed of its error."""

    quantity: Quantity
    kind: Kind
    step: float
    relative: float
    absolute: float
    scope: Scope


_SORTS = {
    "power_input": _Sort(Quantity.POWER, "instantaneous", 1e-6, 0.1, 0.0, "board"),
    "power_average": _Sort(Quantity.POWER, "averaged", 1e-6, 0.1, 0.0, "board"),
    "energy_input": _Sort(Quantity.ENERGY, "counter", 1e-6, 0.1, 0.0, "board"),
    "temp_input": _Sort(Quantity.TEMPERATURE, "instantaneous", 1e-3, 0.0, 5.0, "chip"),
    "freq_input": _Sort(Quantity.CLOCK, "instantaneous", 1e-6, 0.01, 0.0, "chip"),
}
_ATTRIBUTE = re.compile(r"(power|energy|temp|freq)(\d+)_(input|average)")
_ABSOLUTE_ZERO_C = -273.15


class SourceOptions(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Options beside those of every meter: one of `device`, `chip` and `zone`."""

    device: str | None = None
    """The device whose driver measures: the end of its path below `/sys/devices`, such as `0000:65:00.0`."""
    chip: str | None = None
    """The driver's name, such as `amdgpu` or `k10temp`, where only one such chip is there."""
    zone: str | None = None
    """The type of a thermal zone, such as `x86_pkg_temp`, where only one such zone is there."""
    sensors: list[str] = []
    """Attributes to read, such as `power1_average`; left out, each of power, energy, temperature and clock."""
    root: str = "/sys"
    """Where sysfs is mounted: another place inside a container."""

    def __post_init__(self) -> None:
        """ValueError unless exactly one way to name the meter is given."""
        if sum(one is not None for one in (self.device, self.chip, self.zone)) != 1:
            raise ValueError(
                "give one of device (such as '0000:65:00.0'), chip and zone: numbers change with each start"
            )


class Source(TelemetrySource):
    """One chip of hwmon, or one thermal zone."""

    Options = SourceOptions
    options: SourceOptions

    def _open(self) -> Iterator[Descriptor]:
        self._inputs: dict[str, tuple[Attribute, float, Attribute | None]] = {}
        folder = self._folder()
        if self.options.zone is not None:
            yield self._take(folder, "temp", "temp_input", self.options.zone)
            return
        wanted = self.options.sensors
        found = sorted(path.name for path in folder.iterdir() if _ATTRIBUTE.fullmatch(path.name))
        missing = [name for name in wanted if name not in found]
        if missing:
            raise TelemetryUnavailable(
                f"{folder} has no sensor {', '.join(missing)}", f"name some of {', '.join(found) or 'another chip'}"
            )
        for name in wanted or found:
            parts = _ATTRIBUTE.fullmatch(name)
            sort = f"{parts[1]}_{parts[3]}" if parts else ""
            if sort not in _SORTS:
                continue
            label = text_of(folder / f"{name.rpartition('_')[0]}_label")
            try:
                yield self._take(folder, name, sort, label)
            except TelemetryUnavailable as error:
                self.remarks.append(str(error))

    def _take(self, folder: Path, attribute: str, sort: str, label: str) -> Descriptor:
        """Open one attribute and describe it; TelemetryUnavailable where this user may not read it."""
        path = folder / attribute
        try:
            opened = Attribute(path)
        except PermissionError as error:
            raise TelemetryUnavailable(f"{path} may not be read by this user", f"sudo chmod a+r {path}") from error
        except OSError as error:
            raise TelemetryUnavailable(f"{path} cannot be read ({error.strerror})", "name another sensor") from error
        head = attribute.rpartition("_")[0] or attribute
        fault = folder / f"{head}_fault"
        how = _SORTS[sort]
        channel = f"{attribute} {label}".strip()
        self._inputs[channel] = (opened, how.step, Attribute(fault) if fault.is_file() else None)
        accuracy = _accuracy(folder / f"{head}_accuracy")
        return Descriptor(
            channel=channel,
            quantity=how.quantity,
            scope=how.scope,
            kind=how.kind,
            window_ms=number_of(folder / f"{head}_average_interval") if how.kind == "averaged" else None,
            period_ms=number_of(folder / "update_interval"),
            resolution=how.step,
            uncertainty_relative=how.relative if accuracy is None else accuracy,
            uncertainty_absolute=how.absolute,
            valid_low=_ABSOLUTE_ZERO_C if how.quantity is Quantity.TEMPERATURE else 0.0,
            bound_to=f"{device_of(folder)} ({self.options.zone or text_of(folder / 'name')})",
            calibration=ASSUMED if accuracy is None else f"none; the driver states {accuracy:.2%}",
        )

    def _folder(self) -> Path:
        """Return the class folder of the meter; TelemetryUnavailable where there is none, or more than one."""
        options = self.options
        kind = "thermal" if options.zone is not None else "hwmon"
        root = Path(options.root) / "class" / kind
        folders = sorted(root.glob("thermal_zone*" if kind == "thermal" else "hwmon*"))
        if not folders:
            raise TelemetryUnavailable(
                f"{root} has no sensor",
                "load the device's driver, or sensors-detect's choice; virtual machines have none",
            )
        names = {folder: text_of(folder / ("type" if kind == "thermal" else "name")) for folder in folders}
        if options.device is not None:
            wanted = options.device
            matching = [one for one in folders if f"{device_of(one)}/".endswith(f"/{wanted.strip('/')}/")]
        else:
            wanted = options.zone or options.chip or ""
            matching = [one for one in folders if names[one] == wanted]
        if len(matching) == 1:
            return matching[0]
        there = ", ".join(f"{names[one]} at {device_of(one)}" for one in matching or folders)
        if matching:
            raise TelemetryUnavailable(f"{wanted} names {len(matching)} sensors: {there}", "name one by `device`")
        raise TelemetryUnavailable(f"{root} has no sensor of {wanted}", f"name one of {there}")

    def _read(self) -> Iterator[Reading]:
        for channel, (value, step, fault) in self._inputs.items():
            yield ask(channel, lambda value=value, step=step, fault=fault: _value(value, step, fault))  # type: ignore[misc]

    def _close(self) -> None:
        for value, _, fault in self._inputs.values():
            value.close()
            if fault is not None:
                fault.close()
        self._inputs.clear()


def _value(attribute: Attribute, step: float, fault: Attribute | None) -> float:
    if fault is not None and fault.number() != 0:
        raise NoReading("the driver reports a fault of the sensor")
    return attribute.number() * step


def _accuracy(path: Path) -> float | None:
    """Return the accuracy that a driver states for its power meter, as a share: the attribute reads `95.0%` for ± 5 %."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%?", text_of(path))
    return (100.0 - float(found[1])) / 100 if found and 0 < float(found[1]) <= 100 else None
