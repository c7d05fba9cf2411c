"""The port through which the harness reads meters.

A source subclasses `TelemetrySource` and fills in `_open`, `_read` and `_close`. The public methods wrap them: whatever a vendor
library raises leaves as `TelemetryUnavailable` with a remedy, numbers that are none become readings without a value, and what the
lab says of the meter in its bench file (`Given`) is written into the descriptors. A source lives in a process of its own
(`execution/sampler.py`), one process per meter, so that it may hang or crash alone.

Nothing is judged here: a value that never changes, a 0 or a −1 is passed on as it was read.
"""

from __future__ import annotations

import abc
import importlib
import math
import time
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from conformance.errors import AdapterError, UsageError
from conformance.metering.trace import Descriptor, Quantity, Reading, Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import ModuleType

DISTRIBUTION = "resonance-conformance"
_SHOWN = 200
ASSUMED = "none; the uncertainty is the harness's assumption"
"""`Descriptor.calibration` where neither the meter nor the lab states an uncertainty."""


class TelemetryUnavailable(AdapterError):
    """A meter that cannot be read at all: `reason` says why, `remedy` which permission, driver or package mends it.

    A remedy holds no colon before a blank: a trace keeps both as `reason: remedy`.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        remedy = remedy.replace(": ", ", ")
        super().__init__(f"{reason}: {remedy}")
        self.reason = reason
        self.remedy = remedy


class NoReading(Exception):
    """Raised by what `ask` calls: the channel gave no value this time, and why."""


class Given(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the bench file says of a meter, whatever its source. It goes before what the source says of itself."""

    name: str
    """What the lab calls the meter: the first part of each channel's name."""
    scope: Scope | None = None
    bound_to: str = ""
    """The unit that it measures, where the meter cannot know: an outlet, a rail, a serial number."""
    uncertainty_percent: float | None = None
    """Expanded uncertainty of power, energy and clocks, in percent of the reading."""
    uncertainty_w: float | None = None
    """A part of the power's expanded uncertainty that does not depend on the reading, in watts."""
    uncertainty_c: float | None = None
    """Expanded uncertainty of temperatures, in degrees Celsius: a percentage of degrees means nothing."""
    coverage_factor: float = 2.0
    calibration: str = ""
    calibrated_until: str = ""


class TelemetrySource(abc.ABC):
    """One meter. Subclasses set `Options`, the typed form of what the bench file gives beside `Given`."""

    Options: ClassVar[type[msgspec.Struct]]
    knows_uncertainty: ClassVar[bool] = True
    """Whether the source can tell an uncertainty, or assume one. Where it cannot, the bench file has to."""
    paths: ClassVar[tuple[str, ...]] = ()
    """Options that name a file of the lab, relative to the bench file."""

    def __init__(self, options: msgspec.Struct, given: Given) -> None:
        self.options: Any = options
        self.given = given
        self.remarks: list[str] = []
        """Channels that the meter does not offer, each as `reason: remedy`, or with what follows from it."""
        self._known: frozenset[str] = frozenset()

    @classmethod
    def read_options(cls, given: dict[str, Any]) -> msgspec.Struct:
        """Validate the options of a bench file; UsageError says which key is wrong."""
        try:
            return msgspec.convert(given, cls.Options)
        except msgspec.ValidationError as error:
            raise UsageError(str(error)) from None

    def open(self) -> list[Descriptor]:
        """Find the meter, bind to the one unit and describe its channels. TelemetryUnavailable where it cannot be read."""
        with _told(self.given.name):
            described = [self._with_given(one) for one in self._open()]
        self._demand_uncertainty(described)
        names = [one.channel for one in described]
        if not names:
            told = f" ({'; '.join(self.remarks)})" if self.remarks else ""
            raise TelemetryUnavailable(f"{self.given.name} offers no channel{told}", "name another meter")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise TelemetryUnavailable(
                f"{self.given.name} describes {', '.join(twice)} more than once", "a defect of the source"
            )
        self._known = frozenset(names)
        return described

    def read(self) -> list[Reading]:
        """Ask every channel once. TelemetryUnavailable where the meter as a whole is gone."""
        with _told(self.given.name):
            return [self._checked(one) for one in self._read()]

    def close(self) -> None:
        """Let the meter go; TelemetryUnavailable where it does not."""
        with _told(self.given.name):
            self._close()

    @abc.abstractmethod
    def _open(self) -> Iterable[Descriptor]: ...

    @abc.abstractmethod
    def _read(self) -> Iterable[Reading]: ...

    def _close(self) -> None:
        return None

    def _with_given(self, found: Descriptor) -> Descriptor:
        """Return the descriptor with the lab's words in place of the source's own, and the lab's name before the channel's."""
        given = self.given
        changes: dict[str, Any] = {"channel": f"{given.name}/{found.channel}"}
        if given.scope is not None:
            changes["scope"] = given.scope
        if given.bound_to:
            changes["bound_to"] = f"{given.bound_to} ({found.bound_to})" if found.bound_to else given.bound_to
        stated = self._stated(found.quantity)
        if stated is not None:
            relative, absolute = stated
            changes |= {"uncertainty_relative": relative, "uncertainty_absolute": absolute}
            changes["coverage_factor"] = given.coverage_factor
            changes["calibration"] = given.calibration
        elif given.calibration:
            changes["calibration"] = given.calibration
        if given.calibrated_until:
            changes["calibrated_until"] = given.calibrated_until
        return msgspec.structs.replace(found, **changes)

    def _demand_uncertainty(self, described: list[Descriptor]) -> None:
        """TelemetryUnavailable where neither the source nor the lab says how well a channel measures."""
        keys = {Quantity.POWER: "percent", Quantity.ENERGY: "percent", Quantity.TEMPERATURE: "c"}
        for one in described if not self.knows_uncertainty else ():
            if one.quantity in keys and self._stated(one.quantity) is None:
                raise TelemetryUnavailable(
                    f"nobody states the uncertainty of {one.channel}",
                    f"write uncertainty_{keys[one.quantity]} and calibration beside the meter in the bench file",
                )

    def _stated(self, quantity: Quantity) -> tuple[float, float] | None:
        """Return the relative and absolute uncertainty that the lab states for a quantity, None where it states none."""
        given = self.given
        if quantity is Quantity.TEMPERATURE:
            return None if given.uncertainty_c is None else (0.0, given.uncertainty_c)
        if quantity is Quantity.POWER and given.uncertainty_w is not None:
            return ((given.uncertainty_percent or 0.0) / 100, given.uncertainty_w)
        if quantity in (Quantity.POWER, Quantity.ENERGY, Quantity.CLOCK) and given.uncertainty_percent is not None:
            return (given.uncertainty_percent / 100, 0.0)
        return None

    def _checked(self, one: object) -> Reading:
        """Return a reading under its full name, with a finite number or none; TypeError for what is no reading."""
        if not isinstance(one, Reading):
            raise TypeError(f"_read must yield Reading, yielded a {type(one).__name__}")
        channel = f"{self.given.name}/{one.channel}"
        if channel not in self._known:
            raise TypeError(f"_read yielded a reading of '{one.channel}', which _open did not describe")
        value, note = finite(one.value)
        return Reading(channel, int(one.at_ns), int(one.took_ns), value, (one.note or note)[:_SHOWN])


def finite(value: Any) -> tuple[float | None, str]:
    """Return a number as float with an empty note, or None with the reason why it is no number. True and texts are none."""
    if value is None:
        return None, "the source gave nothing"
    if isinstance(value, bool | str | bytes):
        return None, f"the source gave {value!r}, which is no number"[:_SHOWN]
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None, f"the source gave a {type(value).__name__}, which is no number"
    return (number, "") if math.isfinite(number) else (None, f"the source gave {number}")


def ask(channel: str, function: Callable[[], float | None]) -> Reading:
    """Call a function and return what it gave, with the time before the call and how long it took.

    `NoReading` becomes a reading without a value. Every other exception is the source's to handle.
    """
    begun = time.monotonic_ns()
    try:
        value, note = function(), ""
    except NoReading as error:
        value, note = None, str(error)
    return Reading(channel, begun, time.monotonic_ns() - begun, value, note)


def load_package(module: str, extra: str) -> ModuleType:
    """Import the package that a source needs; TelemetryUnavailable with the command that installs it."""
    remedy = f"pip install '{DISTRIBUTION}[{extra}]'"
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise TelemetryUnavailable(f"the package {module} is not installed ({error})", remedy) from error
    except Exception as error:  # a vendor package may do anything when it is imported
        raise TelemetryUnavailable(
            f"the package {module} cannot be imported: {type(error).__name__}: {error}", f"mend it, or {remedy}"
        ) from error


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Let TelemetryUnavailable through, and make one of whatever else a source raises, with type, words and place."""
    try:
        yield
    except TelemetryUnavailable:
        raise
    except Exception as error:  # the one place where vendor exceptions become evidence
        frames = traceback.extract_tb(error.__traceback__, limit=-1)
        place = "".join(f" ({one.filename.rpartition('/')[2]}:{one.lineno} in {one.name})" for one in frames)
        words = " ".join(str(error).split())[:_SHOWN]
        raise TelemetryUnavailable(
            f"the source of {name} failed with {type(error).__name__}: {words}{place}",
            "see whether the meter still answers to its own tool, then report it to the source's author",
        ) from error
