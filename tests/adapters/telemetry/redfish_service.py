"""A Redfish service's resources as JSON: one chassis in the newer model. Served by sushy-static in the peers' tests."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

ROOT = "/redfish/v1"
CHASSIS = f"{ROOT}/Chassis/1U"


def _link(uri: str) -> dict[str, str]:
    return {"@odata.id": uri}


def _collection(*uris: str) -> dict[str, Any]:
    return {"Members": [_link(uri) for uri in uris], "Members@odata.count": len(uris)}


_RESOURCES: dict[str, Any] = {
    ROOT: {"Id": "RootService", "RedfishVersion": "1.20.0", "Chassis": _link(f"{ROOT}/Chassis"), "Links": {"Sessions": _link(f"{ROOT}/Sessions")}},
    f"{ROOT}/Chassis": _collection(CHASSIS),
    CHASSIS: {
        "Id": "1U", "ChassisType": "RackMount", "SerialNumber": "C0815", "EnvironmentMetrics": _link(f"{CHASSIS}/EnvironmentMetrics"),
        "ThermalSubsystem": _link(f"{CHASSIS}/ThermalSubsystem"), "PowerSubsystem": _link(f"{CHASSIS}/PowerSubsystem"),
        "Sensors": _link(f"{CHASSIS}/Sensors"),
    },
    f"{CHASSIS}/EnvironmentMetrics": {
        "Id": "EnvironmentMetrics", "PowerWatts": {"DataSourceUri": f"{CHASSIS}/Sensors/TotalPower", "Reading": 374.0},
        "EnergykWh": {"Reading": 1.5}, "TemperatureCelsius": {"Reading": None},
    },
    f"{CHASSIS}/ThermalSubsystem": {"ThermalMetrics": _link(f"{CHASSIS}/ThermalSubsystem/ThermalMetrics")},
    f"{CHASSIS}/ThermalSubsystem/ThermalMetrics": {
        "TemperatureSummaryCelsius": {
            "Intake": {"DataSourceUri": f"{CHASSIS}/Sensors/IntakeTemp", "Reading": 24.8}, "Exhaust": {"Reading": 40.5},
        },
        "TemperatureReadingsCelsius": [
            {"Reading": 24.8, "DeviceName": "Intake", "DataSourceUri": f"{CHASSIS}/Sensors/IntakeTemp"},
            {"Reading": 41, "DeviceName": "GPU1", "PhysicalContext": "GPU"},
        ],
    },
    f"{CHASSIS}/PowerSubsystem": {"PowerSupplies": _link(f"{CHASSIS}/PowerSubsystem/PowerSupplies")},
    f"{CHASSIS}/PowerSubsystem/PowerSupplies": _collection(f"{CHASSIS}/PowerSubsystem/PowerSupplies/Bay1"),
    f"{CHASSIS}/PowerSubsystem/PowerSupplies/Bay1": {"Id": "Bay1", "Metrics": _link(f"{CHASSIS}/PowerSubsystem/PowerSupplies/Bay1/Metrics")},
    f"{CHASSIS}/PowerSubsystem/PowerSupplies/Bay1/Metrics": {
        "Id": "Metrics", "Status": {"State": "Enabled"}, "InputPowerWatts": {"Reading": 397.0}, "OutputPowerWatts": {"Reading": 374.0},
    },
    f"{CHASSIS}/Sensors": _collection(*(f"{CHASSIS}/Sensors/{name}" for name in ("TotalPower", "IntakeTemp", "Fan1", "GpuPower"))),
    f"{CHASSIS}/Sensors/TotalPower": {
        "Id": "TotalPower", "ReadingType": "Power", "ReadingUnits": "W", "Reading": 374.0, "SensingInterval": "PT0.5S", "Accuracy": 2.5,
        "ReadingRangeMin": 0, "ReadingRangeMax": 2400, "Status": {"State": "Enabled", "Health": "OK"}, "CalibrationTime": "2026-02-01T00:00:00Z",
    },
    f"{CHASSIS}/Sensors/IntakeTemp": {
        "Id": "IntakeTemp", "ReadingType": "Temperature", "ReadingUnits": "Cel", "Reading": 24.8, "PhysicalContext": "Intake",
        "ReadingAccuracy": 0.5, "SensingFrequency": 2, "Status": {"State": "Enabled", "Health": "OK"},
    },
    f"{CHASSIS}/Sensors/Fan1": {"Id": "Fan1", "ReadingType": "Rotational", "ReadingUnits": "RPM", "Reading": 8000},
    f"{CHASSIS}/Sensors/GpuPower": {"Id": "GpuPower", "ReadingType": "Power", "Reading": 61.5, "Status": {"State": "Enabled"}},
}  # fmt: skip


def resources() -> dict[str, Any]:
    """Return the resources by URI, each with its own `@odata.id`, as the test may change them."""
    made = copy.deepcopy(_RESOURCES)
    for uri, resource in made.items():
        resource["@odata.id"] = uri
    return made


def write_tree(folder: Path, made: dict[str, Any]) -> Path:
    """Write resources as sushy-static serves them: `PATH/index.json` below the root; return the folder of the root."""
    for uri, resource in made.items():
        path = folder / "redfish/v1" / uri.removeprefix(ROOT).strip("/") / "index.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        replaced = path.with_suffix(".new")
        replaced.write_text(json.dumps(resource))
        replaced.replace(path)
    return folder / "redfish/v1"


EXPECTED = {
    "m/EnvironmentMetrics PowerWatts": 374.0,
    "m/EnvironmentMetrics EnergykWh": 5_400_000.0,
    "m/EnvironmentMetrics TemperatureCelsius": None,
    "m/ThermalMetrics Intake": 24.8,
    "m/ThermalMetrics Exhaust": 40.5,
    "m/ThermalMetrics 1 GPU1": 41.0,
    "m/Bay1 InputPowerWatts": 397.0,
    "m/Bay1 OutputPowerWatts": 374.0,
    "m/Sensor GpuPower": 61.5,
}
"""What a meter called `m` gives of them, the sensor `GpuPower` asked for beside."""
