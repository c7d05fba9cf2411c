"""Whether a soaked device has become steady: a slope test, with the time still wanted where it has not.

A body with one time constant τ warms by ΔT·(1 − e^(−t/τ)). After t of soak its slope times t again is ΔT·(t/τ)·e^(−t/τ): small
only when t is several τ, or when the whole rise is. So steady means: in as long again as it has soaked, at the slope of the last
part and its uncertainty, it would change by no more than a tolerance. The same bound is the headroom that a verdict allows for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from conformance.metering.uncertainty import BLOCKS, COVERAGE, block_means

if TYPE_CHECKING:
    from conformance.metering.series import Series

TOLERANCE_C = 1.0
"""What a temperature may still change by in as long again; three times the step that the thermometer shows, where that is more."""
TOLERANCE_SHARE = 0.02
"""What a power may still change by, of itself."""
TAIL = 0.25
"""The share of the soak, at its end, of which the slope is taken: more of it where that holds too few readings."""
LEAST, ENOUGH = BLOCKS, 2 * BLOCKS
_STUDENT_10 = 2.228
"""97.5 % point of Student's t with 10 degrees of freedom: a line through 12 blocks."""


class Steadiness(NamedTuple):
    """What the slope at the end of a soak says."""

    is_steady: bool
    slope: float
    """Per second, in the channel's unit."""
    slope_u: float
    """Standard uncertainty of it."""
    soaked_s: float
    rise: float
    """How much higher it may come in as long again, at most; never below 0."""
    tolerance: float
    wanted_s: float
    """About how much longer to soak; 0 where steady."""

    def told(self, unit: str) -> str:
        """Return one line on it."""
        change = (
            f"{self.slope * 60:+.2g} ± {COVERAGE * self.slope_u * 60:.2g} {unit} per minute after {self.soaked_s:.3g} s"
        )
        return change if self.is_steady else f"{change}; about {self.wanted_s:.0f} s more are wanted"


def judge_steadiness(series: Series, begin_ns: float, end_ns: float, tolerance: float) -> Steadiness:
    """Judge a soak that lasted from one time to another. Fewer than 12 readings in its last part are never steady."""
    soaked = (end_ns - begin_ns) * 1e-9
    whole = series.within(begin_ns, end_ns)
    tail = whole.within(end_ns - TAIL * soaked * 1e9, end_ns)
    if tail.size < ENOUGH <= 2 * whole.size:
        tail = whole.within(float(whole.at_ns[-min(ENOUGH, whole.size)]), end_ns)
    if tail.size < LEAST:
        return Steadiness(False, 0.0, float("inf"), soaked, float("inf"), tolerance, soaked)
    slope, slope_u = slope_of(tail)
    expanded = COVERAGE * slope_u
    change = (abs(slope) + expanded) * soaked
    rise = max(0.0, slope + expanded) * soaked
    is_steady = change <= tolerance
    wanted = 0.0 if is_steady else _wanted(tail, slope, expanded, soaked, tolerance)
    return Steadiness(is_steady, slope, slope_u, soaked, rise, tolerance, wanted)


def slope_of(series: Series) -> tuple[float, float]:
    """Return the slope per second of a straight line, and its standard uncertainty for use with k = 2.

    The line goes through means of 12 blocks, so that what neighbours share counts once; a step of resolution over the whole
    stretch bounds what rounding may hide.
    """
    seconds = (series.at_ns - series.at_ns[0]) * 1e-9
    at, means = block_means(seconds, BLOCKS), block_means(series.value, BLOCKS)
    centred = at - at.mean()
    spread = float(centred @ centred)
    if spread <= 0:
        return 0.0, float("inf")
    slope = float(centred @ means) / spread
    left = means - means.mean() - slope * centred
    scatter = float(left @ left) / (BLOCKS - 2)
    rounding = (series.descriptor.resolution or 0.0) / np.sqrt(12) / float(seconds[-1])
    return slope, float(np.hypot(np.sqrt(scatter / spread) * _STUDENT_10 / COVERAGE, rounding))


def _wanted(tail: Series, slope: float, expanded: float, soaked: float, tolerance: float) -> float:
    """Return about how much longer to soak.

    Where the slope is plain, τ follows from how much less it is in the tail's second half, and the time t is that at which
    slope·e^(−(t′ − then)/τ)·t is within the tolerance. Where it is not plain, its uncertainty has to shrink: it goes with
    t^(−3/2), so the bound with t^(−1/2).
    """
    if abs(slope) <= expanded:
        return max(soaked, soaked * (expanded * soaked / tolerance) ** 2 - soaked)
    half = tail.size // 2
    seconds = (tail.at_ns - tail.at_ns[0]) * 1e-9
    early = float(np.polyfit(seconds[:half], tail.value[:half], 1)[0])
    late = float(np.polyfit(seconds[half:], tail.value[half:], 1)[0])
    if not 0 < late / early < 1 if early else True:
        return soaked
    constant = float(seconds[-1]) / 2 / float(np.log(early / late))
    total, seen_at = soaked, soaked * (1 - TAIL / 4)
    while total < 100 * soaked:  # the slope of a tail is that of about its middle
        if (
            abs(late) * np.exp(-(total * (1 - TAIL / 2) - seen_at) / constant) * total <= 0.75 * tolerance
        ):  # the rest is for its uncertainty
            break
        total *= 1.05
    return max(total - soaked, 0.1 * soaked)
