"""Finding what a Redfish chassis measures, and how a reading stands in a resource. Pure but for the `get` that it is handed.

Newer services keep readings in `EnvironmentMetrics`, `ThermalSubsystem/ThermalMetrics` and the metrics of `PowerSubsystem`'s supplies.
There they are excerpts; `DataSourceUri` leads to the Sensor, which alone says how often it senses, how accurate it is and
whether it is enabled, so a Sensor is read itself where there is one.

Properties: DMTF DSP0268, Redfish Data Model Specification, https://www.dmtf.org/dsp/DSP0268
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from conformance.adapters.telemetry.port import ASSUMED, NoReading
from conformance.metering.trace import Descriptor, Quantity, Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_UNITS: dict[str, tuple[Quantity, float]] = {
    "W": (Quantity.POWER, 1.0),
    "mW": (Quantity.POWER, 1e-3),
    "kW": (Quantity.POWER, 1e3),
    "J": (Quantity.ENERGY, 1.0),
    "kW.h": (Quantity.ENERGY, 3.6e6),
    "Cel": (Quantity.TEMPERATURE, 1.0),
}
"""UCUM units, as `ReadingUnits` gives them, with the factor into the quantity's own unit."""
_PROPERTIES: dict[str, str] = {
    "PowerWatts": "W",
    "InputPowerWatts": "W",
    "OutputPowerWatts": "W",
    "EnergyJoules": "J",
    "EnergykWh": "kW.h",
    "TemperatureCelsius": "Cel",
}
_TYPES = {"Power": "W", "EnergyJoules": "J", "EnergykWh": "kW.h", "Temperature": "Cel"}
"""Units by `ReadingType`, for sensors that leave `ReadingUnits` out."""
_AMBIENT = frozenset({"Ambient", "Intake", "Room"})
_CHIP = frozenset({"Accelerator", "ASIC", "CPU", "FPGA", "GPU", "Processor"})
_BOARD = frozenset({"AcceleratorSubsystem", "Board", "GPUSubsystem", "SystemBoard"})
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")
_WORKS = frozenset({"Enabled", "StandbySpare", "Degraded", "Updating", ""})
"""Values of `Status.State` with which a sensor still measures."""
_ASSUMED = {Quantity.POWER: (0.1, 0.0), Quantity.ENERGY: (0.1, 0.0), Quantity.TEMPERATURE: (0.0, 5.0)}
"""Relative and absolute uncertainty where the service states none: board controllers seldom do better."""


class Point(NamedTuple):
    """One reading: the resource that holds it, the way to it inside, and what it is."""

    uri: str
    keys: tuple[str | int, ...]
    factor: float
    descriptor: Descriptor

    def value(self, resource: dict[str, Any]) -> float:
        """Return the reading in the quantity's unit; NoReading where the resource holds none or says that it is none."""
        state = str((resource.get("Status") or {}).get("State") or "")
        if state not in _WORKS:
            raise NoReading(f"the service says that the sensor's state is {state}")
        found: Any = resource
        for key in self.keys:
            try:
                found = found[key]
            except (KeyError, IndexError, TypeError):
                raise NoReading(f"the resource holds no {'/'.join(map(str, self.keys))} any more") from None
        if found is None:
            raise NoReading("the service gives null")
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise NoReading(f"the service gives {str(found)[:40]!r}, which is no number")
        return found * self.factor


class Finder:
    """Walks one chassis. `get` returns a resource, or None where there is none."""

    def __init__(self, get: Callable[[str], dict[str, Any] | None], unit: str) -> None:
        self._get = get
        self._unit = unit
        self._seen: set[str] = set()

    def points(self, chassis: dict[str, Any], sensors: list[str]) -> Iterator[Point]:
        """Yield what the chassis measures, each sensor once; `sensors` are Ids of Sensors to read beside."""
        environment = self._follow(chassis, "EnvironmentMetrics")
        if environment is not None:
            yield from self._excerpts(environment, "EnvironmentMetrics", "system")
        thermal = self._follow(self._follow(chassis, "ThermalSubsystem") or {}, "ThermalMetrics")
        if thermal is not None:
            yield from self._temperatures(thermal)
        for supply in self._members(self._follow(self._follow(chassis, "PowerSubsystem") or {}, "PowerSupplies")):
            metrics = self._follow(supply, "Metrics")
            if metrics is not None:
                yield from self._excerpts(metrics, str(supply.get("Id", "PowerSupply")), "system")
        if sensors:
            for sensor in self._members(self._follow(chassis, "Sensors"), sensors):
                yield from self._sensor(
                    str(sensor.get("@odata.id", "")), f"Sensor {sensor.get('Id', '')}", "system", sensor
                )

    def _follow(self, resource: dict[str, Any], name: str) -> dict[str, Any] | None:
        uri = link(resource.get(name))
        return self._get(uri) if uri else None

    def _members(self, collection: dict[str, Any] | None, ids: list[str] | None = None) -> Iterator[dict[str, Any]]:
        for member in (collection or {}).get("Members") or ():
            uri = link(member)
            if uri and (ids is None or uri.rstrip("/").rpartition("/")[2] in ids):
                found = self._get(uri)
                if found is not None:
                    yield found

    def _excerpts(self, resource: dict[str, Any], name: str, scope: Scope) -> Iterator[Point]:
        for key, unit in _PROPERTIES.items():
            if isinstance(resource.get(key), dict):
                where: Scope = "wall" if key == "InputPowerWatts" else scope
                yield from self._excerpt(resource, (key,), f"{name} {key}", unit, where)

    def _temperatures(self, resource: dict[str, Any]) -> Iterator[Point]:
        summary: Any = resource.get("TemperatureSummaryCelsius")
        for key in summary if isinstance(summary, dict) else ():
            if isinstance(summary[key], dict):
                where: Scope = "ambient" if key in _AMBIENT else "system"
                yield from self._excerpt(
                    resource, ("TemperatureSummaryCelsius", key), f"ThermalMetrics {key}", "Cel", where
                )
        listed = resource.get("TemperatureReadingsCelsius")
        for index, one in enumerate(listed if isinstance(listed, list) else ()):
            if isinstance(one, dict):
                name = f"ThermalMetrics {index} {one.get('DeviceName') or one.get('PhysicalContext') or ''}".strip()
                where = _scope_of(one.get("PhysicalContext"), "system")
                yield from self._excerpt(resource, ("TemperatureReadingsCelsius", index), name, "Cel", where)

    def _excerpt(
        self, resource: dict[str, Any], keys: tuple[str | int, ...], name: str, unit: str, scope: Scope
    ) -> Iterator[Point]:
        excerpt: Any = resource
        for key in keys:
            excerpt = excerpt[key]
        source = link({"@odata.id": excerpt.get("DataSourceUri")})
        if source:
            if source in self._seen:
                return
            sensor = self._get(source)
            if sensor is not None:
                yield from self._sensor(source, name, scope, sensor)
                return
        uri = str(resource.get("@odata.id", ""))
        quantity, factor = _UNITS[unit]
        yield Point(uri, (*keys, "Reading"), factor, self._describe(name, quantity, factor, scope, excerpt, uri))

    def _sensor(self, uri: str, name: str, scope: Scope, sensor: dict[str, Any]) -> Iterator[Point]:
        unit = str(sensor.get("ReadingUnits") or _TYPES.get(str(sensor.get("ReadingType")), ""))
        if uri in self._seen or unit not in _UNITS:
            return
        self._seen.add(uri)
        quantity, factor = _UNITS[unit]
        if quantity is Quantity.TEMPERATURE:
            scope = _scope_of(sensor.get("PhysicalContext"), scope)
        yield Point(uri, ("Reading",), factor, self._describe(name, quantity, factor, scope, sensor, uri))

    def _describe(
        self, name: str, quantity: Quantity, factor: float, scope: Scope, told: dict[str, Any], uri: str
    ) -> Descriptor:
        relative, absolute, calibration = _uncertainty(quantity, factor, told)
        return Descriptor(
            channel=name,
            quantity=quantity,
            scope=scope,
            kind="counter" if quantity is Quantity.ENERGY else "instantaneous",
            period_ms=_period_ms(told),
            uncertainty_relative=relative,
            uncertainty_absolute=absolute,
            valid_low=_scaled(told.get("ReadingRangeMin"), factor),
            valid_high=_scaled(told.get("ReadingRangeMax"), factor),
            bound_to=f"{self._unit}{uri}",
            calibration=calibration,
        )


def link(reference: object) -> str:
    """Return the path that a reference leads to, empty where it is none. Only paths on this service: never another host."""
    uri = reference.get("@odata.id") if isinstance(reference, dict) else None
    return uri if isinstance(uri, str) and uri.startswith("/") and not uri.startswith("//") else ""


def duration_s(text: object) -> float | None:
    """Return the seconds of an ISO 8601 duration such as `PT0.5S`; None for what is none, or of no length."""
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds or None


def _period_ms(told: dict[str, Any]) -> float | None:
    """`SensingInterval` is a duration; services before Sensor 1.2 give `SensingFrequency`, in seconds between two readings."""
    period = duration_s(told.get("SensingInterval"))
    older = told.get("SensingFrequency")
    if period is None and isinstance(older, int | float) and not isinstance(older, bool) and older > 0:
        period = float(older)
    return None if period is None else period * 1000


def _uncertainty(quantity: Quantity, factor: float, told: dict[str, Any]) -> tuple[float, float, str]:
    absolute, percent = _scaled(told.get("ReadingAccuracy"), factor), _scaled(told.get("Accuracy"), 1.0)
    when = told.get("CalibrationTime")
    calibration = (
        f"none; calibrated on {when}, as the service states" if isinstance(when, str) else "none; stated by the service"
    )
    if absolute is not None and absolute > 0:
        return 0.0, absolute, calibration
    if percent is not None and percent > 0:
        return percent / 100, 0.0, calibration
    return (*_ASSUMED[quantity], ASSUMED)


def _scaled(value: object, factor: float) -> float | None:
    return value * factor if isinstance(value, int | float) and not isinstance(value, bool) else None


def _scope_of(context: object, otherwise: Scope) -> Scope:
    if context in _AMBIENT:
        return "ambient"
    if context in _CHIP:
        return "chip"
    return "board" if context in _BOARD else otherwise
