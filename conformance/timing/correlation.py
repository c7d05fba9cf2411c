"""How many independent queries a run of dependent ones is worth.

Slow queries come in clusters: a busy host, a hot chip, a queue. A count of n such queries spreads as wide as one of n/τ
independent ones, where τ = 1 + 2·Σρ(k) is the integrated autocorrelation time. Two estimates of it are made, and the larger
counts: the autocorrelations summed up to a window of five times the sum itself (A. D. Sokal, "Monte Carlo Methods in
Statistical Mechanics", 1997), which sees near dependence well; and the variance of the means of 32 blocks over that of
single queries, which sees weak dependence that lasts long. Everything works along the last axis, for one run or many.

Being over a limit is not all that is looked at. A run that happens to have had few bursts is over the limit seldom, and shows
little of its own clusters there: it would pass by both. So the slowest tenth, hundredth … of every run are looked at as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from conformance.tensors import Array

WINDOW = 5
"""The window in correlation times: wider is less biased and noisier."""
BLOCKS = 32
SHARES = (0.5, 0.1, 0.03, 0.01, 0.003, 0.001)
"""The slowest shares of a run whose clusters count, whatever the limit, as far as they hold `LEAST_QUERIES`."""
LEAST_QUERIES = 20
LEVELS = 8
FEWEST = 2 * BLOCKS
"""Below this many queries nothing can be said about their dependence."""


def clustering(latency_ns: Array) -> Array:
    """Return float64[...] ≥ 1: the largest correlation time of being among the slowest shares of latency_ns[..., n]."""
    n = latency_ns.shape[-1]
    if n < FEWEST:
        return np.ones(latency_ns.shape[:-1])
    ranks = [n - 1 - int(share * n) for share in SHARES if share * n >= LEAST_QUERIES]
    levels = np.partition(latency_ns, ranks, axis=-1)[..., ranks]
    times = [correlation_time(latency_ns > levels[..., at, None]) for at in range(len(ranks))]
    found: Array = np.max(times, axis=0)
    return found


def without_trend(latency_ns: Array) -> Array:
    """Return int64[n]: latencies freed of slow change, by the medians of `LEVELS` blocks with lines between them."""
    n = latency_ns.size
    if n < FEWEST:
        return latency_ns
    blocks = np.array_split(latency_ns, LEVELS)
    middles = (np.arange(LEVELS) + 0.5) * n / LEVELS
    levels = np.interp(np.arange(n), middles, [max(1.0, float(np.median(one))) for one in blocks])
    return np.asarray((latency_ns / levels * float(np.median(latency_ns))).astype(np.int64))


def correlation_time(series: Array) -> Array:
    """Return float64[...] ≥ 1: the integrated autocorrelation time of series[..., n]; 1 where a series is constant."""
    n = series.shape[-1]
    centred = series.astype(np.float32)
    centred -= centred.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1)
    if n < FEWEST:
        return np.ones(variance.shape)
    times = np.maximum(_windowed(centred, variance), _blocked(centred, variance))
    return np.where(variance > 0, np.clip(times, 1.0, n), 1.0)


def _windowed(centred: Array, variance: Array) -> Array:
    """Return τ from the autocorrelations up to the first lag that is at least `WINDOW` times the sum so far."""
    n = centred.shape[-1]
    reach = n // 4  # further lags are seen too seldom
    size = _quick_size(n + reach)  # what wraps around in the transform falls on further lags
    transform = np.fft.rfft(centred, size, axis=-1)
    spectrum = np.square(transform.real) + np.square(transform.imag)
    covariance = np.fft.irfft(spectrum, size, axis=-1)[..., 1 : reach + 1]
    scale = np.where(variance > 0, variance, 1.0)[..., None].astype(np.float32)
    rho = covariance / np.arange(n - 1, n - 1 - reach, -1, dtype=np.float32)
    rho /= scale
    # A mean that is estimated makes every covariance of independent queries 1/n of the variance too small.
    rho += np.float32(1 / n)
    sums = 1 + 2 * np.cumsum(rho, axis=-1)
    is_wide = np.arange(1, reach + 1, dtype=np.float32) >= WINDOW * sums
    at = np.where(is_wide.any(axis=-1), is_wide.argmax(axis=-1), reach - 1)
    found: Array = np.take_along_axis(sums, at[..., None], axis=-1)[..., 0]
    return found


def _blocked(centred: Array, variance: Array) -> Array:
    """Return the variance of the means of blocks, in that which means of independent queries would have."""
    length = centred.shape[-1] // BLOCKS
    blocks = centred[..., : BLOCKS * length].reshape(*centred.shape[:-1], BLOCKS, length)
    means = blocks.mean(axis=-1)
    found: Array = means.var(axis=-1, ddof=1) * length / np.where(variance > 0, variance, 1.0)
    return found


def _quick_size(least: int) -> int:
    """Return the next size that a Fourier transform is quick at: a power of two, or three times one."""
    power = 1 << (least - 1).bit_length()
    return 3 * power // 4 if 3 * power // 4 >= least else power
