"""Named diagnoses of one run: whether its latency is of one piece, or changes while it is watched.

    drift             latency grows or falls over the run (Mann and Kendall's test on the medians of blocks, Theil and Sen's slope)
    throttling        it steps to a slower level and stays there (Pettitt's test, and a step fits better than a line)
    warm-up           the first queries are slower: the warm-up was too short
    bimodality        two separated modes (a valley in the density at most half as high as the lower of them)
    autocorrelation   slow queries come in clusters: n is worth fewer independent queries
    periodic spikes   the slow queries keep a rhythm

Blocks make the tests blind to dependence that is shorter than a block; a size of effect has to be reached as well as a
significance, since with enough queries everything is significant. What concerns the clock and the generator is in
`schedule.py`, what takes two runs to see in `comparison.py`.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from conformance.timing.correlation import correlation_time
from conformance.timing.finding import Finding, milliseconds

if TYPE_CHECKING:
    from conformance.tensors import Array
    from conformance.timing.samples import Samples

BLOCKS = 64
FEWEST = 2 * BLOCKS
"""Shorter runs are not diagnosed."""
SIGNIFICANCE = 1e-4
CHANGE = 0.03
"""The least change over a run, relative to its median, that is called drift or throttling."""
SLOW_START = 0.1
VALLEY, LEAST_MODE = 0.5, 0.05
COHERENCE = 0.5
"""The share of the slow queries' strength that has to be in one rhythm: chance gives some 1/count."""
MOST_SPIKES = 200
GRID = 256


def diagnose(samples: Samples) -> list[Finding]:
    """Return what is to be said about the latencies of a run, worst first; nothing of a run that is too short."""
    latency = samples.latency_ns
    if samples.size < FEWEST:
        return []
    medians, slow = _by_block(latency, 0.5), _by_block(latency, 0.9)
    found = [
        find_trend(medians) or find_trend(slow),
        find_slow_start(latency),
        find_modes(latency),
        find_clusters(latency),
        find_rhythm(latency, samples.issued_ns),
    ]
    return [one for one in found if one is not None]


def _by_block(latency: Array, p: float) -> Array:
    """Return float64[BLOCKS]: a percentile of each block of consecutive queries."""
    length = latency.size // BLOCKS
    return np.asarray(np.quantile(latency[: BLOCKS * length].reshape(BLOCKS, length), p, axis=1))


def find_trend(levels: Array) -> Finding | None:
    """Return drift or throttling in the levels of consecutive blocks, float64[m] in ns."""
    m = levels.size
    signs = np.sign(levels[None, :] - levels[:, None])
    score = float(np.triu(signs, 1).sum())
    _, ties = np.unique(levels, return_counts=True)
    variance = (m * (m - 1) * (2 * m + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    z = (abs(score) - 1) / math.sqrt(variance) if variance > 0 and score else 0.0
    p_trend = 2 * (1 - NormalDist().cdf(z))
    # Pettitt (1979): how much those before a block and those after it lie apart in rank.
    apart = np.cumsum(signs.sum(axis=1))[:-1]
    at = int(np.argmax(np.abs(apart))) + 1
    p_step = min(1.0, 2 * math.exp(-6 * float(apart[at - 1]) ** 2 / (m**3 + m**2)))
    if min(p_trend, p_step) > SIGNIFICANCE:
        return None
    typical = float(np.median(levels))
    before, after = float(np.median(levels[:at])), float(np.median(levels[at:]))
    upper, lower = np.triu_indices(m, 1)
    slope = float(np.median((levels[lower] - levels[upper]) / (lower - upper)))
    line = levels - slope * np.arange(m)
    off_line = np.abs(line - np.median(line)).sum()
    off_step = np.abs(levels - np.where(np.arange(m) < at, before, after)).sum()
    is_step = off_step < off_line / 1.5 and abs(after - before) >= CHANGE * typical
    if is_step:
        figures = {"before_ns": before, "after_ns": after, "at": at / m, "p": p_step}
        change = after / before - 1
        text = f"from {at / m:.0%} of the run on {milliseconds(before)} is {milliseconds(after)} ({change:+.1%})"
        return Finding("throttling" if after > before else "step to faster", text, figures)
    growth = slope * (m - 1) / typical
    if abs(growth) < CHANGE or p_trend > SIGNIFICANCE:
        return None
    word = "grows" if growth > 0 else "falls"
    text = f"latency {word} by {abs(growth):.1%} of its median over the run (p = {p_trend:.1g})"
    return Finding("drift" if growth > 0 else "drift to faster", text, {"growth": growth, "z": z, "p": p_trend})


def find_slow_start(latency: Array) -> Finding | None:
    """Return how many of the first queries are slower than the rest: those of 1, 2, 5, 10 … that stand out most."""
    later = latency[latency.size // 4 :]
    typical = float(np.median(later))
    found = None
    for first in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000):
        if first > latency.size // 10:
            break
        # Medians of as many later queries in a row: what a stretch of this length looks like once the run is warm.
        middle = (first - 1) // 2  # the lower of two, so that one slow query is not told as two
        stretches = np.partition(later[: later.size // first * first].reshape(-1, first), middle, axis=1)[:, middle]
        level = float(np.partition(latency[:first], middle)[middle])
        if level > stretches.max() and level > (1 + SLOW_START) * max(typical, float(np.quantile(stretches, 0.99))):
            found = Finding(
                "warm-up",
                f"the first {first} queries take {milliseconds(level)}, later ones {milliseconds(typical)}: warm up for longer",
                {"queries": first, "first_ns": level, "later_ns": typical},
            )
    return found


def find_modes(latency: Array) -> Finding | None:
    """Return two separated modes of the logarithm of latency."""
    if latency.size < 4 * BLOCKS or int(latency.min()) <= 0:
        return None
    logs = np.log(np.sort(latency))
    low, high = logs[latency.size // 200], logs[-1 - latency.size // 200]
    if high - low < 0.01:
        return None
    # Silverman's bandwidth, but by the spread of the halves: that of the whole would smooth two modes into one.
    quarters = logs[[latency.size * q // 16 for q in range(1, 16)]]
    spread = float(np.median(quarters[4:] - quarters[:-4])) / 0.65
    step = (high - low) / (GRID - 1)
    grain = float(np.median(np.diff(np.unique(logs)))) if logs[0] < logs[-1] else step
    width = max(spread * latency.size**-0.2, 1.5 * step, 2 * grain if grain > step else 0.0)
    counts, _ = np.histogram(logs, bins=GRID, range=(low - step / 2, high + step / 2))
    reach = min(GRID // 2 - 1, math.ceil(4 * width / step))
    kernel = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) * step / width))
    density = np.convolve(counts, kernel / kernel.sum(), mode="same")
    return _split(density, counts, low, step)


def _split(density: Array, counts: Array, low: float, step: float) -> Finding | None:
    """Return the two modes between which the valley is deepest, where both have weight."""
    best = None
    weight = np.cumsum(counts) / counts.sum()
    for valley in range(1, GRID - 1):
        if not LEAST_MODE <= weight[valley] <= 1 - LEAST_MODE:
            continue
        left, right = int(density[:valley].argmax()), valley + int(density[valley:].argmax())
        depth = float(density[valley] / min(density[left], density[right]))
        if best is None or depth < best[0]:
            best = (depth, valley, left, right)
    if best is None or best[0] > VALLEY:
        return None
    depth, valley, left, right = best
    modes = [math.exp(low + step * at) for at in (left, right)]
    share = 1 - float(weight[valley])
    text = f"two modes: {milliseconds(modes[0])}, and {milliseconds(modes[1])} for {share:.0%} of the queries"
    return Finding("bimodality", text, {"low_ns": modes[0], "high_ns": modes[1], "high_share": share, "valley": depth})


def find_clusters(latency: Array) -> Finding | None:
    """Return the autocorrelation of being slower than the median, where it costs more than half of the queries."""
    time = float(correlation_time(latency >= np.median(latency)))
    if time < 2 or time < 1 + 5 * math.sqrt(22 / latency.size):
        return None
    text = f"slow queries come in clusters: {latency.size} are worth {latency.size / time:.0f} independent ones"
    return Finding("autocorrelation", text, {"time_queries": time, "worth": latency.size / time})


def find_rhythm(latency: Array, issued_ns: Array) -> Finding | None:
    """Return the period of the slow queries, where they have one."""
    typical = float(np.median(latency))
    deviation = 1.48 * float(np.median(np.abs(latency - typical)))
    slow = latency > max(1.2 * typical, typical + 8 * deviation)
    if np.count_nonzero(slow) > latency.size / 20:
        return None
    starts = slow & ~np.concatenate(([False], slow[:-1]))  # slow queries in a row are one spike
    times = (issued_ns[starts] - issued_ns[0]).astype(np.float64)
    if times.size < 8 or times[-1] - times[0] < 0.5 * float(issued_ns[-1] - issued_ns[0]):
        return None
    times = times[:MOST_SPIKES] - times[0]
    span, count = float(times[-1]), times.size
    # A rhythm that one query in count keeps is no faster than their mean rate; slower than a fourth of the span is a cluster.
    rates = np.arange(4 * 8, math.ceil(1.2 * 8 * count)) / (8 * span)
    if not rates.size:
        return None
    strength = np.array([abs(np.exp(2j * np.pi * rate * times).mean()) ** 2 for rate in rates])
    if float(strength.max()) < COHERENCE or float(strength.max()) * count < math.log(len(rates) / SIGNIFICANCE):
        return None
    rate = float(rates[int(np.argmax(strength))])
    text = f"every {milliseconds(1 / rate)} a query is slow ({count} spikes)"
    return Finding(
        "periodic spikes", text, {"period_ns": 1 / rate, "spikes": count, "coherence": float(strength.max())}
    )
