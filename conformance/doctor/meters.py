"""The lab's meters: each that the bench file names is opened and asked once, in a process of its own, with a deadline.

Where a profile's requirements need power or temperature and no meter gives it, the line for the bench file is told.
"""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from conformance.adapters.telemetry import source_names
from conformance.doctor.port import Finding, Host, State
from conformance.doctor.support.families import cards_of
from conformance.execution.sampling import Limits, Sampling, read_meters
from conformance.metering.trace import UNITS, Quantity, Trace
from conformance.paths import cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.doctor.support.subject import Subject
    from conformance.execution.sampler import Config
    from conformance.metering.trace import Descriptor

TITLE = "meters"
LIMITS = Limits(open_s=4.0, read_s=2.0, close_s=2.0)
LONGEST_WAIT_S = 0.5
"""How long first readings are waited for."""
SHOWS = {
    "power": (Quantity.POWER, Quantity.ENERGY),
    "thermal": (Quantity.TEMPERATURE,),
}
"""Areas of requirements, and the quantities one of which they are shown by."""


def examine(host: Host, subject: Subject) -> Iterator[Finding]:
    """Open the meters of the bench file; then look what the requirements need beyond them. UsageError for wrong options."""
    given = subject.bench.bench.bench.telemetry if subject.bench is not None else ()
    trace = Trace()
    if subject.bench is not None and given:
        meters = read_meters([one.plain() for one in given], subject.bench.folder)
        trace = ask_meters(meters)
        yield from tell_meters(meters, trace, datetime.now(UTC).date())
    yield from tell_unmeasured(trace, host, subject)


def ask_meters(meters: list[Config]) -> Trace:
    """Open every meter at once, wait for first readings, let them go; the trace tells what each gave."""
    with Sampling(meters, cache_folder(), limits=LIMITS) as sampling:
        time.sleep(min(LONGEST_WAIT_S, max(one.period_ms for one in meters) / 1000))
        return sampling.stop()


def tell_meters(meters: list[Config], trace: Trace, today: date) -> Iterator[Finding]:
    """Tell of each meter what its channels gave, or why nothing came."""
    for meter in meters:
        name = meter.given.name
        channels = [one for one in trace.descriptors if one.channel.startswith(f"{name}/")]
        failed = [told.removeprefix(f"{name}: ") for told in trace.failures if told.startswith(f"{name}: ")]
        needed = tuple(area for area, shown in SHOWS.items() if any(one.quantity in shown for one in channels))
        if not channels:
            reason, remedy = split(failed[0] if failed else "it gave nothing: see whether it answers to its own tool")
            yield Finding(
                name=name,
                state=State.MISSING,
                found=f"{meter.source}: {reason}",
                means="what it would measure is UNMEASURED",
                remedy=remedy,
                needed_by=tuple(SHOWS),
            )
            continue
        last = {one.channel: one for one in trace.readings}
        empty = [one for one in channels if one.channel not in last or last[one.channel].value is None]
        if empty:
            notes = [last[one.channel].note for one in empty if one.channel in last]
            yield Finding(
                name=name,
                state=State.LIMITS,
                found=f"no reading of {', '.join(map(_short, empty))}{': ' + notes[0] if notes else ''}",
                means="what these channels would measure is UNMEASURED",
                remedy="see whether the meter shows a value by its own tool; name other channels in its options",
                needed_by=needed,
            )
        values = [
            f"{_short(one)} {last[one.channel].value:g} {UNITS[one.quantity]}" for one in channels if one not in empty
        ]
        if values:
            yield Finding(name=name, state=State.OK, found=", ".join(values).strip(), needed_by=needed)
        yield from _look_at_calibration(name, channels, today, needed)


def _short(channel: Descriptor) -> str:
    return channel.channel.partition("/")[2]


def _look_at_calibration(
    name: str, channels: list[Descriptor], today: date, needed: tuple[str, ...]
) -> Iterator[Finding]:
    until = next((one.calibrated_until for one in channels if one.calibrated_until), "")
    if until and date.fromisoformat(until[:10]) < today:
        yield Finding(
            name=name,
            state=State.WRONG,
            found=f"its calibration counted until {until[:10]}",
            means="its uncertainty is nobody's word any more",
            remedy="have the meter calibrated, and write certificate and date into the bench file",
            needed_by=needed,
        )


def split(failure: str) -> tuple[str, str]:
    """Return reason and remedy of a failure, which a trace keeps as `reason: remedy`; either may hold colons of its own."""
    parts = failure.split(": ")
    at = len(parts) - 1
    while at > 1 and len(parts[at].split()) < 2:
        at -= 1
    return (": ".join(parts[:at]), ": ".join(parts[at:])) if at > 0 else (failure, "")


def tell_unmeasured(trace: Trace, host: Host, subject: Subject) -> Iterator[Finding]:
    """Tell which areas no channel shows, with the line of the bench file that would."""
    seen = {one.quantity for one in trace.descriptors}
    asked = {one.area for one in subject.asked}
    entry = suggest(host, subject)
    for area, shown in SHOWS.items():
        if area in asked and not seen & set(shown):
            what = "power" if area == "power" else "temperature"
            yield Finding(
                name=what,
                state=State.MISSING,
                found=f"no meter of the bench file gives it{'' if subject.bench is not None else ': there is none'}",
                means=f"{what} is UNMEASURED",
                remedy=f"write into the bench file: bench: {{telemetry: [{entry}]}}"
                if entry
                else f"name the lab's meter below bench.telemetry; sources are {', '.join(source_names())}",
                needed_by=(area,),
            )
    bench = subject.bench.bench.bench if subject.bench is not None else None
    is_ambient_seen = any(one.scope == "ambient" for one in trace.descriptors)
    if "thermal" in asked and not is_ambient_seen and (bench is None or bench.ambient_c is None):
        yield Finding(
            name="ambient",
            state=State.LIMITS,
            found="neither measured nor written down",
            means="temperatures are judged without knowing what the device was cooled with",
            remedy="give a meter `scope: ambient`, or write bench.ambient_c",
            needed_by=("thermal",),
        )


def suggest(host: Host, subject: Subject) -> str:
    """Return the entry of `telemetry:` that reads the device's own sensors, empty where none is known."""
    family = subject.family
    if subject.is_host_cpu and host.paths("sys/class/powercap/*/energy_uj"):
        return "{source: powercap}"
    if family is None:
        return ""
    bound = subject.profile.profile.device.binding if subject.profile is not None else None
    cards = [bound.pci_address] if bound is not None and bound.pci_address else cards_of(host, family)
    address = f'"{cards[0]}"' if len(cards) == 1 else '"0000:65:00.0"'
    if family.name == "NVIDIA":
        return f"{{source: nvml, options: {{pci: {address}}}}}"
    return f"{{source: hwmon, options: {{device: {address}}}}}"
