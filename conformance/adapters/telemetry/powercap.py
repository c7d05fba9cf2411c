"""Linux powercap: the energy counters (RAPL) of Intel's and AMD's processors.

Each zone counts microjoules up to `max_energy_range_uj` and begins at 0 again; power is the judges' to derive. Since Linux 5.10 only
root may read the counters (CVE-2020-8694); where they may not be read, the remedy is the command that lets this user.

    telemetry:
      - {source: powercap, period_ms: 100}

Attributes: https://docs.kernel.org/power/powercap/powercap.html
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from conformance.adapters.telemetry.port import ASSUMED, TelemetrySource, TelemetryUnavailable, ask
from conformance.adapters.telemetry.support.sysfs import Attribute, number_of, text_of
from conformance.metering.trace import Descriptor, Quantity, Reading, Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

_ZONE = re.compile(r"intel-rapl(:\d+)+")
"""A zone, not a control type. The same package shows again below `intel-rapl-mmio`; it is read there only where named."""
_SCOPES: dict[str, Scope] = {"package": "package", "psys": "system", "core": "chip", "uncore": "chip", "dram": "module"}
_UPDATE_MS = 0.977
"""The counters are updated each 2⁻¹⁰ s (Intel SDM vol. 3B, 15.10.1)."""
_REGISTER_STEPS = 2**32
"""The register has 32 bits, so the range holds as many steps of the energy unit."""
_ASSUMED_RELATIVE = 0.05


class SourceOptions(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Options beside those of every meter."""

    zones: list[str] = []
    """Zones by folder, such as `intel-rapl:0`; left out, each that is there."""
    root: str = "/sys"
    """Where sysfs is mounted: another place inside a container."""


class Source(TelemetrySource):
    """The zones of one host. They belong to the host's processors, so they measure a device that is the host's CPU."""

    Options = SourceOptions
    options: SourceOptions

    def _open(self) -> Iterator[Descriptor]:
        self._counters: dict[str, Attribute] = {}
        folders = self._folders()
        refused: list[Path] = []
        for folder in folders:
            try:
                counter = Attribute(folder / "energy_uj")
            except PermissionError:
                refused.append(folder / "energy_uj")
                continue
            except OSError as error:
                self.remarks.append(f"{folder.name} has no energy counter ({error.strerror}): the zone is left out")
                continue
            name = text_of(folder / "name")
            channel = f"{folder.name} {name}".strip()
            self._counters[channel] = counter
            yield _describe(channel, name, folder)
        if refused:
            paths = " ".join(str(path) for path in refused)
            told = TelemetryUnavailable(
                f"the energy counters of {', '.join(path.parent.name for path in refused)} may be read by root alone",
                f"sudo chmod a+r {paths} (until the next start), or run as root",
            )
            if not self._counters:
                raise told
            self.remarks.append(str(told))

    def _folders(self) -> list[Path]:
        root = Path(self.options.root) / "class" / "powercap"
        known = sorted(path for path in root.glob("*") if (path / "name").is_file())
        if not known:
            raise TelemetryUnavailable(
                f"{root} has no zone: this host offers no energy counters of its processors",
                "sudo modprobe intel_rapl_msr; in a virtual machine run on the host itself, or use another meter",
            )
        if not self.options.zones:
            return [path for path in known if _ZONE.fullmatch(path.name)]
        names = {path.name: path for path in known}
        missing = [name for name in self.options.zones if name not in names]
        if missing:
            raise TelemetryUnavailable(
                f"{root} has no zone {', '.join(missing)}", f"name one of {', '.join(sorted(names))}"
            )
        return [names[name] for name in self.options.zones]

    def _read(self) -> Iterator[Reading]:
        for channel, counter in self._counters.items():
            yield ask(channel, lambda counter=counter: counter.number() * 1e-6)  # type: ignore[misc]

    def _close(self) -> None:
        for counter in self._counters.values():
            counter.close()
        self._counters.clear()


def _describe(channel: str, name: str, folder: Path) -> Descriptor:
    largest = number_of(folder / "max_energy_range_uj")
    kind = name.rpartition("-")[0] if name.rpartition("-")[2].isdigit() else name
    return Descriptor(
        channel=channel,
        quantity=Quantity.ENERGY,
        scope=_SCOPES.get(kind, "package"),
        kind="counter",
        period_ms=_UPDATE_MS,
        resolution=largest / _REGISTER_STEPS * 1e-6 if largest else None,
        uncertainty_relative=_ASSUMED_RELATIVE,
        valid_low=0.0,
        valid_high=largest * 1e-6 if largest else None,
        wraps_at=largest * 1e-6 if largest else None,
        bound_to=f"{folder.name} ({name})",
        calibration=ASSUMED,
    )
