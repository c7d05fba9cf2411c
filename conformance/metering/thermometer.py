"""Whether a thermometer is one of this device: it rises with the load and falls without it.

A temperature lags and drifts, so there are no steps to align. What is asked: at the end of the load it stands above idle, and at the
end of the cool-down below the end of the load, each by more than it scatters and more than a step that it can show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from conformance.metering.validity import Fault

if TYPE_CHECKING:
    from conformance.metering.phases import Phase
    from conformance.metering.series import Series

END_S = 5.0
"""At most so much of the end of a phase is looked at, or half of it."""
ERRORS = 4.0


def judge_thermometer(series: Series, idle: Phase, load: Phase, cool: Phase) -> Fault | None:
    """Return `stuck thermometer` or `thermometer of something else` with what was seen; None where it followed."""
    channel, resolution = series.descriptor.channel, series.descriptor.resolution or 0.0
    rested, worked, cooled = (_end(series, one) for one in (idle, load, cool))
    if min(rested[2], worked[2], cooled[2]) < 3:
        told = (
            f"{channel} has {rested[2]}, {worked[2]} and {cooled[2]} readings at the ends of idle, load and cool-down"
        )
        return Fault("sampled too slowly", told, is_fatal=True)
    inside = series.within(idle.begin_ns, cool.end_ns).value
    seconds = (load.end_ns - idle.end_ns) * 1e-9
    if float(np.ptp(inside)) <= 0:
        told = f"{channel} shows {inside[0]:g} °C in every reading, through {seconds:.3g} s of load and the cool-down"
        return Fault("stuck thermometer", told, is_fatal=True)
    rise, fall = worked[0] - rested[0], worked[0] - cooled[0]
    clear_rise = max(resolution, ERRORS * float(np.hypot(rested[1], worked[1])))
    clear_fall = max(resolution / 2, ERRORS * float(np.hypot(cooled[1], worked[1])))
    if rise >= clear_rise > 0 and fall >= clear_fall > 0:
        return None
    if rise >= clear_rise > 0 and np.ptp(series.within(load.begin_ns, cool.end_ns).value) <= 0:
        told = f"{channel} stands still at {worked[0]:g} °C from under load to the end of the cool-down"
        return Fault("stuck thermometer", told, is_fatal=True)
    told = f"{channel} rises by {rise:.2g} °C in {seconds:.3g} s of load and falls by {fall:.2g} °C in {cool.seconds:.3g} s of rest"
    return Fault("thermometer of something else", f"{told}: it does not follow this device", is_fatal=True)


def _end(series: Series, phase: Phase) -> tuple[float, float, int]:
    """Return median, standard error and number of the readings at the end of a phase."""
    seconds = min(END_S, phase.seconds / 2)
    value = series.within(phase.end_ns - seconds * 1e9, phase.end_ns).value
    if not value.size:
        return 0.0, 0.0, 0
    spread = max(
        1.4826 * float(np.median(np.abs(value - np.median(value)))), (series.descriptor.resolution or 0.0) / 3.5, 1e-6
    )
    return float(np.median(value)), 1.2533 * spread * float(np.sqrt(2.0 / value.size)), int(value.size)
