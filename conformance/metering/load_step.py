"""The load step: a meter counts only once it has shown when this device worked and when it idled.

The run keeps the device busy in bursts of uneven length. What a meter shows is fitted by two levels, idle and busy, that follow
the bursts through an average of width W and a clock that is δ off; δ and W are those of the least squared error. Then every busy
stretch has to lie above every idle one by a quarter of the step, and by four standard errors. For a meter of something else the
order of b busy and i idle stretches is chance, one in C(b + i, b).

What a meter that does not see the step is called follows from how it misses: it never moves (`constant power`), it averages
longer than a burst lasts (`averaged over the burst`), it is asked too seldom (`sampled too slowly`), its clock and the run's lie
apart (`clocks apart`), or it shows something else (`power of another device`).
"""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from conformance.metering.phases import segments
from conformance.metering.trace import UNITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.metering.phases import Phase
    from conformance.metering.series import Series
    from conformance.tensors import Array

OFFSET_S = 2.0
"""How far a meter's clock may be off, both ways."""
REACH_S = 10.0
"""How far from a step a reading is still looked at: a long soak drifts, and its middle says nothing about the step."""
CLEAR_SHARE = 0.25
CLEAR_ERRORS = 4.0
LEAST_STRETCHES = 2
LEAST_READINGS = 2
"""Settled readings that a burst has to hold."""
WINDOWS_S = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
EXPLAINED = 0.5
"""The least share of the variance around the steps that two levels have to explain."""
PLAINLY = 0.85
"""A wide average smooths the bursts into a ramp, which much else resembles: so much has to be explained for it to be called one."""


class LoadStep(NamedTuple):
    """Whether a meter saw the bursts, and what was learned about it on the way."""

    name: str
    """Empty where it saw them, else what it is called."""
    reason: str
    step: float = 0.0
    """Busy less idle, in the channel's unit."""
    idle: float = 0.0
    busy: float = 0.0
    errors: float = 0.0
    """The gap between the lowest busy and the highest idle stretch, in standard errors."""
    explained: float = 0.0
    """Share of the variance around the steps that the two levels explain."""
    chance: float = 1.0
    """How often a meter of something else orders its stretches so."""
    offset_ns: float = 0.0
    """To be added to the meter's times."""
    offset_u_ns: float = 0.0
    """Standard uncertainty of it."""
    window_s: float = 0.0
    """Over how long the meter averages: as it says, or as its edges show where that is longer."""

    @property
    def is_seen(self) -> bool:
        """Return whether the meter belongs to this device."""
        return not self.name

    @property
    def settle_s(self) -> float:
        """Return how long after a change readings still hold what was before it."""
        return self.window_s + 3e-9 * self.offset_u_ns


class _Fit(NamedTuple):
    error: float
    offset_s: float
    window_s: float
    idle: float
    step: float


def find_load_step(series: Series, phases: Sequence[Phase], offset_s: float = OFFSET_S) -> LoadStep:
    """Return whether a channel's usable readings follow the phases, and by how much its clock is off."""
    channel, unit = series.descriptor.channel, UNITS[series.descriptor.quantity]
    stretches = segments(phases)
    bursts = [one for one in stretches if one.is_busy]
    if len(bursts) < LEAST_STRETCHES or len(stretches) - len(bursts) < LEAST_STRETCHES:
        return LoadStep("no bursts", "the run held fewer than two bursts and two pauses")
    begin, end = stretches[0].begin_ns, stretches[-1].end_ns
    apart = _clocks_apart(series, begin, end)
    if apart:
        return LoadStep("clocks apart", f"{channel}: {apart}")
    times, value = (series.at_ns - begin) * 1e-9, series.value
    near = _near_steps(times, stretches, begin)
    times, value = times[near], value[near]
    least = max(series.descriptor.resolution or 0.0, 1e-9 * float(np.abs(value).max(initial=0.0)))
    if value.size and float(np.ptp(value)) <= least:
        return LoadStep("constant power", f"{channel} shows {value[0]:g} {unit} whether the device works or idles")
    shortest = min(one.seconds for one in stretches)
    said = series.window_s
    if said is not None and said > shortest / 2 and series.descriptor.kind == "averaged":
        told = f"{channel} averages over {said:.3g} s, and the shortest burst or pause lasts {shortest:.3g} s"
        return LoadStep("averaged over the burst", told, window_s=said)
    if series.interval_s * (LEAST_READINGS + 1) > shortest:
        told = f"{channel} has a new value each {series.interval_s:.3g} s, and the shortest burst or pause lasts {shortest:.3g} s"
        return LoadStep("sampled too slowly", told)
    busy_edges, busy_sum = _busy_time(stretches, begin)
    reach = min(offset_s, 0.8 * shortest)
    fit, fits = _fit(times, value, busy_edges, busy_sum, reach, series.interval_s, said)
    if fit.window_s > shortest / 2 and fit.window_s > 2 * (said or 0.0) and _explained(fit, value) > PLAINLY:
        told = f"{channel} behaves as an average over {fit.window_s:.3g} s, longer than half of a burst of {shortest:.3g} s"
        return LoadStep("averaged over the burst", told, window_s=fit.window_s)
    u_offset = _offset_uncertainty(fit, fits, value.size, series.interval_s)
    edge = reach - series.interval_s / 4
    judged = _judge(series, stretches, fit, u_offset, _explained(fit, value))
    if judged.is_seen and abs(fit.offset_s) >= edge and reach > series.interval_s:
        told = f"{channel} follows the bursts best with its clock {fit.offset_s:.3g} s off, the most that was looked at"
        return judged._replace(name="clocks apart", reason=told)
    return judged


def _clocks_apart(series: Series, begin_ns: int, end_ns: int) -> str:
    """Return by how much readings and phases miss each other; empty where the readings cover most of the phases."""
    if not series.size:
        return "there is no reading"
    first, last = int(series.at_ns[0]), int(series.at_ns[-1])
    covered = min(last, end_ns) - max(first, begin_ns)
    if covered >= 0.5 * (end_ns - begin_ns):
        return ""
    apart = (begin_ns - first) * 1e-9
    cover = f"{max(covered, 0) * 1e-9:.3g} s of the {(end_ns - begin_ns) * 1e-9:.3g} s of the run"
    return f"readings cover {cover} and begin {apart:.4g} s before it: the two clocks differ, or sampling stopped"


def _near_steps(times: Array, stretches: Sequence[Phase], begin_ns: int) -> Array:
    """Return bool[n]: which readings lie within the run and no farther than `REACH_S` from a change."""
    edges = np.array([(one.begin_ns - begin_ns) * 1e-9 for one in stretches[1:]])
    last = (stretches[-1].end_ns - begin_ns) * 1e-9
    near: Array = np.abs(times[:, None] - edges[None, :]).min(axis=1) <= REACH_S
    return near & (times >= 0) & (times <= last)


def _busy_time(stretches: Sequence[Phase], begin_ns: int) -> tuple[Array, Array]:
    """Return the edges of the stretches in seconds, float64[m], and how long the device had been busy at each."""
    edges = np.array(
        [(stretches[0].begin_ns - begin_ns) * 1e-9, *((one.end_ns - begin_ns) * 1e-9 for one in stretches)]
    )
    busy = np.concatenate([[0.0], np.cumsum([one.seconds if one.is_busy else 0.0 for one in stretches])])
    return edges, busy


def _fit(
    times: Array, value: Array, edges: Array, busy: Array, reach: float, interval: float, said: float | None
) -> tuple[_Fit, list[_Fit]]:
    """Return the fit of least squared error over offset and window, and all fits with its window."""
    clipped = np.clip(value, *np.percentile(value, [1.0, 99.0]))
    steps = max(3, min(161, int(8 * reach / interval) | 1))
    offsets = np.linspace(-reach, reach, steps)
    wider = [one for one in WINDOWS_S if one > (said or 0.0)]
    best_of = [
        [_two_levels(times + offset, clipped, edges, busy, offset, window) for offset in offsets]
        for window in (said or 0.0, *wider)
    ]
    # A wider window than the meter's own is believed only where it makes the error a third less.
    chosen = best_of[0]
    for fits in best_of[1:]:
        if min(one.error for one in fits) < min(one.error for one in chosen) / 1.5:
            chosen = fits
    return min(chosen, key=lambda one: one.error), chosen


def _two_levels(times: Array, value: Array, edges: Array, busy: Array, offset: float, window: float) -> _Fit:
    width = max(window, 1e-3)
    share = (np.interp(times, edges, busy) - np.interp(times - width, edges, busy)) / width
    centred = share - share.mean()
    spread = float(centred @ centred)
    step = float(centred @ value) / spread if spread > 0 else 0.0
    idle = float(value.mean()) - step * float(share.mean())
    left = value - idle - step * share
    return _Fit(float(left @ left), offset, window, idle, step)


def _explained(fit: _Fit, value: Array) -> float:
    clipped = np.clip(value, *np.percentile(value, [1.0, 99.0]))
    total = float(((clipped - clipped.mean()) ** 2).sum())
    return max(0.0, 1.0 - fit.error / total) if total > 0 else 0.0


def _offset_uncertainty(fit: _Fit, fits: list[_Fit], count: int, interval: float) -> float:
    """Return the standard uncertainty of the offset in seconds: where the error grows by one part in n, and half an interval."""
    close = [one.offset_s for one in fits if one.error <= fit.error * (1.0 + 4.0 / max(count, 8))]
    return float(np.hypot((max(close) - min(close)) / 4, interval / np.sqrt(12)))


def _judge(series: Series, stretches: Sequence[Phase], fit: _Fit, u_offset: float, explained: float) -> LoadStep:
    """Hold every busy stretch against every idle one, with the clock set right and only settled readings."""
    channel, unit = series.descriptor.channel, UNITS[series.descriptor.quantity]
    moved = series.shifted(fit.offset_s * 1e9)
    settle = (fit.window_s + 2 * u_offset) * 1e9
    levels: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for one in stretches:
        begin, end = one.begin_ns + settle, one.end_ns - 2e9 * u_offset
        near = [(begin, min(end, begin + REACH_S * 1e9)), (max(begin, end - REACH_S * 1e9), end)]
        for first, last in near if one.seconds > 2 * REACH_S else [(begin, end)]:
            inside = moved.within(first, last).value
            if inside.size >= LEAST_READINGS:
                levels[one.is_busy].append(_level(inside))
    counts = (len(levels[True]), len(levels[False]))
    if min(counts) < LEAST_STRETCHES:
        told = f"{channel} has settled readings in {counts[0]} bursts and {counts[1]} pauses, of {len(stretches)} stretches"
        name = "averaged over the burst" if fit.window_s > 0 else "sampled too slowly"
        name = name if explained >= EXPLAINED else "power of another device"
        return LoadStep(name, told, window_s=fit.window_s)
    busy, u_busy = min(levels[True])
    idle, u_idle = max(levels[False])
    middle = float(np.median([one for one, _ in levels[True]])), float(np.median([one for one, _ in levels[False]]))
    step = middle[0] - middle[1]
    resolution = (series.descriptor.resolution or 0.0) / np.sqrt(12)
    error = float(np.sqrt(u_busy**2 + u_idle**2 + 2 * resolution**2))
    apart = busy - idle
    errors = apart / error if error > 0 else (np.inf if apart > 0 else 0.0)
    chance = 1.0 / comb(sum(counts), counts[0])
    found = LoadStep(
        "",
        "",
        step,
        middle[1],
        middle[0],
        float(errors),
        explained,
        chance,
        fit.offset_s * 1e9,
        u_offset * 1e9,
        fit.window_s,
    )
    if apart > CLEAR_SHARE * step and errors >= CLEAR_ERRORS and explained >= EXPLAINED:
        return found
    told = f"{channel} does not follow the load: {middle[0]:.4g} {unit} while the device works, {middle[1]:.4g} {unit} while it idles"
    told += f"; lowest busy less highest idle {apart:.3g} {unit} ± {error:.2g}, explained {explained:.0%}"
    return found._replace(name="power of another device", reason=told)


def _level(inside: Array) -> tuple[float, float]:
    """Return the median and its standard error, neighbours taken as half dependent."""
    spread = 1.4826 * float(np.median(np.abs(inside - np.median(inside))))
    spread = max(spread, float(inside.std()) / 2)
    return float(np.median(inside)), 1.2533 * spread * np.sqrt(2.0 / inside.size)
