"""What a bench file says of the lab's meters: which there are, how often they are read, and how well they measure.

What a source's own options may be is its adapter's to check (`conformance/adapters/telemetry/`). Secrets stand nowhere in the file:
options name the variable or the file that holds them.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from conformance.profile.days import Day
from conformance.profile.model import Name, Positive, Slug, Strict
from conformance.profile.tree import KeyPath
from conformance.profile.wording import Message

_STATED = ("uncertainty_percent", "uncertainty_w", "uncertainty_c")

OF_THIS_HOST = frozenset({"nvml", "powercap", "hwmon"})
"""Sources that read sensors of the machine that the harness runs on."""


class Meter(Strict):
    """A meter of power, energy or temperature, read from this host while a case runs that needs it."""

    source: Slug
    """What reads it: `nvml`, `powercap`, `hwmon`, `redfish`, `scpi`, `replay`, or one that another distribution adds."""
    name: Slug | None = None
    """What the lab calls it; left out, the source's name. Two meters of one source need names."""
    options: dict[Name, Any] = Field(default_factory=dict)
    """The source's own options: which unit, which address, which channels."""
    period_ms: Annotated[float, Field(ge=1, le=60_000)] = 100.0
    """How often it is read."""
    scope: Literal["chip", "board", "module", "package", "system", "wall", "ambient"] | None = None
    """What lies behind the meter; left out, what the source says."""
    bound_to: Name | None = None
    """The unit it measures, where the meter cannot know: an outlet, a rail, the unit's serial number."""
    uncertainty_percent: Annotated[float, Field(gt=0, le=100)] | None = None
    """Expanded uncertainty of power, energy and clocks, in percent of the reading."""
    uncertainty_w: Positive | None = None
    """The part of the power's expanded uncertainty that does not depend on the reading, in watts."""
    uncertainty_c: Positive | None = None
    """Expanded uncertainty of temperatures, in degrees Celsius."""
    coverage_factor: Annotated[float, Field(ge=1, le=10)] | None = None
    """How many standard uncertainties the expanded one holds; left out, 2, which is about 95 %."""
    calibration: Name | None = None
    """The certificate or the data sheet in which the uncertainty stands."""
    calibrated_until: Day | None = None
    """The last day on which the calibration counts."""

    @property
    def label(self) -> str:
        """What it is called."""
        return self.name or self.source

    def sense(self) -> Iterator[tuple[KeyPath, Message]]:
        """An uncertainty has somebody's word behind it."""
        stated = next((key for key in _STATED if getattr(self, key) is not None), None)
        if stated is not None and self.calibration is None:
            yield (stated,), f"{stated} without calibration: name the certificate or the data sheet in which it stands"
        if stated is None and self.coverage_factor is not None:
            yield (
                ("coverage_factor",),
                "coverage_factor without an uncertainty: give uncertainty_percent or uncertainty_c",
            )
        if self.calibrated_until is not None and self.calibration is None:
            yield ("calibrated_until",), "calibrated_until without calibration: name the certificate"

    def plain(self) -> dict[str, Any]:
        """Return what was given as plain data, for `execution.sampling.read_meters`."""
        given = self.model_dump(exclude_none=True)
        if self.calibrated_until is not None:
            given["calibrated_until"] = self.calibrated_until.isoformat()
        return given


def doubly_named(meters: tuple[Meter, ...]) -> Iterator[tuple[KeyPath, Message]]:
    """Yield a defect for each meter that is called like one before it."""
    seen: set[str] = set()
    for index, meter in enumerate(meters):
        if meter.label in seen:
            key = "source" if meter.name is None else "name"
            yield ("telemetry", index, key), f"two meters are called '{meter.label}': give each a name of its own"
        seen.add(meter.label)
