"""How often the judges of power and temperature err, on synthetic readings whose truth is known.

    python benchmarks/metering_judges.py [--decisions 105000] [--traces 420] [--plot FILE]

Decisions: a device draws a true power around a declared limit, from three expanded uncertainties below to three above. A meter with
an error of its own, noise, steps and a period reads it, and the same functions that judge a run make amounts and decisions of
it: mean power, largest power, energy of one inference. PASS above the limit and FAIL below it are counted for each distance. What is
stated is `uncertainty.BEYOND`, one in forty right at the limit; the run fails where a distance errs more often, beyond chance.

Traces: whole runs seen through each lying meter of `metering.simulated`, and through honest ones. No lie may get as far as a number;
honest ones have to. Exit code 1 where a limit is broken.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from conformance.metering.decision import decide
from conformance.metering.load_step import find_load_step
from conformance.metering.phases import COOL_DOWN, IDLE, MEASURED, Phase, named
from conformance.metering.quantities import energy_per_inference, largest_of, mean_of, settled
from conformance.metering.series import Series, power_of
from conformance.metering.simulated import LIES, Meter, Simulated, simulate
from conformance.metering.thermometer import judge_thermometer
from conformance.metering.trace import Descriptor, Quantity
from conformance.metering.uncertainty import BEYOND
from conformance.metering.validity import examine, gap_reason, unit_fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.metering.uncertainty import Amount

READINGS, FINE, PERIOD_NS = 80, 4, 100_000_000
DISTANCES = np.linspace(-3.0, 3.0, 25)
"""Truth less limit, in expanded uncertainties."""
LIMIT_W = 75.0
CHANCE = 4.0
"""Standard deviations of a binomial count beyond which an error rate is more than chance."""


class Truth(NamedTuple):
    """A draw: what was read, and what was true."""

    series: Series
    mean_w: float
    largest_w: float


class Tally(NamedTuple):
    """Outcomes of one quantity at each distance."""

    name: str
    counts: list[Counter[str]]


def read(draw: np.random.Generator, middle_w: float, wander_w: float, gain: float, zero_w: float) -> Truth:
    """Return a power that wanders, read at every fourth point of its truth by a meter with noise and steps."""
    size = READINGS * FINE
    decay = 0.9
    kicks = draw.normal(0.0, wander_w * np.sqrt(1 - decay**2), size)
    # An autoregressive wander by its impulse response: 64 terms of 0.9^k hold all but a thousandth.
    wander = np.convolve(
        np.concatenate([draw.normal(0, wander_w * np.sqrt(1 - decay**2), 64), kicks]), decay ** np.arange(64)
    )
    truth = middle_w + wander[64 : 64 + size]
    resolution = float(draw.choice([0.001, 0.1, 0.5]))
    seen = truth[::FINE] * (1 + gain) + zero_w + draw.normal(0.0, 0.05, READINGS)
    described = Descriptor(
        channel="m",
        quantity=Quantity.POWER,
        scope="board",
        kind="instantaneous",
        resolution=resolution,
        uncertainty_relative=0.01,
        uncertainty_absolute=0.1,
    )
    at = np.arange(READINGS, dtype=np.int64) * PERIOD_NS
    series = Series(described, at, np.round(seen / resolution) * resolution)
    return Truth(series, float(truth.mean()), float(truth.max()))


def meter_error(draw: np.random.Generator) -> tuple[float, float]:
    """Return the gain and the zero of a meter that keeps to its sheet: ± (1 % + 0.1 W) with k = 2, as one normal error."""
    which = float(draw.normal(0.0, 0.5))
    return 0.01 * which, 0.1 * which


def decide_many(name: str, count: int, one: Callable[[np.random.Generator], tuple[Amount, float]], seed: int) -> Tally:
    """Return the outcomes for `count` draws, each with its limit set at one of the distances from the truth."""
    draw = np.random.default_rng(seed)
    counts: list[Counter[str]] = [Counter() for _ in DISTANCES]
    for at in range(count):
        amount, truth = one(draw)
        which = at % len(DISTANCES)
        # A limit that depends on nothing that was read: on the truth and on the width that such a meter has.
        limit = truth - DISTANCES[which] * typical_width(name, truth)
        counts[which][decide(name, amount, limit).outcome] += 1
    return Tally(name, counts)


def typical_width(name: str, truth: float) -> float:
    """Return about the expanded uncertainty of a quantity."""
    return {"mean power": 0.012, "largest power": 0.02, "energy of one inference": 0.017}[name] * truth


def mean_power(draw: np.random.Generator) -> tuple[Amount, float]:
    """Return a measured mean power and the true one."""
    found = read(draw, LIMIT_W, 0.4, *meter_error(draw))
    amount = mean_of(found.series)
    assert amount is not None
    return amount, found.mean_w


def largest_power(draw: np.random.Generator) -> tuple[Amount, float]:
    """Return a measured largest power and the true one."""
    found = read(draw, LIMIT_W, 0.4, *meter_error(draw))
    amount = largest_of(found.series)
    assert amount is not None
    return amount, found.largest_w


def energy(draw: np.random.Generator) -> tuple[Amount, float]:
    """Return a measured energy of one inference above idle and the true one."""
    error = meter_error(draw)
    busy, idle = read(draw, LIMIT_W, 0.4, *error), read(draw, 20.0, 0.2, *error)
    phase = Phase(MEASURED, 0, READINGS * PERIOD_NS, 4000)
    first, second = mean_of(busy.series), mean_of(idle.series)
    assert first is not None
    assert second is not None
    truth = 1e3 * (busy.mean_w - idle.mean_w) * phase.seconds / phase.inferences
    return energy_per_inference(first, second, phase), truth


QUANTITIES: dict[str, Callable[[np.random.Generator], tuple[Amount, float]]] = {
    "mean power": mean_power,
    "largest power": largest_power,
    "energy of one inference": energy,
}


def errors_of(tally: Tally) -> list[tuple[float, int, int]]:
    """Return the distance, the wrong verdicts and all draws: PASS above the limit, FAIL at or below it."""
    rows = []
    for distance, count in zip(DISTANCES.tolist(), tally.counts, strict=True):
        wrong = count["pass"] if distance > 0 else count["fail"]
        if distance == 0:
            wrong = max(count["pass"], count["fail"])
        rows.append((distance, wrong, sum(count.values())))
    return rows


def is_within(wrong: int, draws: int) -> bool:
    """Return whether a number of errors is no more than stated, beyond chance."""
    return wrong <= BEYOND * draws + CHANCE * np.sqrt(BEYOND * (1 - BEYOND) * max(draws, 1))


def fault_of(found: Simulated, channel: str) -> str:
    """Return what a run's channel is called before its numbers count; empty where they do."""
    examined = examine(found.trace, channel)
    if examined.fatal is not None:
        return examined.fatal.name
    if channel == "meter/temperature":
        parts = [named(found.phases, name)[0] for name in (IDLE, MEASURED, COOL_DOWN)]
        fault = judge_thermometer(examined.series, *parts)
        return "" if fault is None else fault.name
    series = power_of(examined.series) if channel == "meter/energy" else examined.series
    step = find_load_step(series, found.phases)
    if not step.is_seen:
        return step.name
    measured = named(found.phases, MEASURED)[0]
    mean = mean_of(settled(series, measured, step))
    if mean is None:
        return "too few readings"
    wrong = unit_fault(channel, mean.value, [75.0], [])
    if wrong is not None:
        return wrong.name
    return "sampling gap" if any(gap_reason(examined, one) for one in found.phases) else ""


CHANNEL = {"stuck thermometer": "meter/temperature", "counter set back": "meter/energy"}


def look_at_traces(count: int) -> tuple[dict[str, Counter[str]], int, int]:
    """Return what each lie was called, how many lies got as far as a number, and how many honest meters did not."""
    told: dict[str, Counter[str]] = {}
    each = max(1, count // (len(LIES) + 4))
    missed = refused = 0
    for lie in LIES:
        # Whether power of another device fits by chance is the one question of luck: it is asked more often.
        runs = 4 * each if lie == "power of another device" else each
        names = Counter(
            fault_of(simulate(meter=Meter(lie=lie), seed=seed), CHANNEL.get(lie, "meter/power")) for seed in range(runs)
        )
        told[lie] = names
        missed += names[""]
    honest = [Meter(), Meter(offset_s=0.5, window_s=0.3), Meter(noise_w=1.5, resolution_w=1.0), Meter(wraps_at=137.0)]
    for at in range(each):
        meter = honest[at % len(honest)]
        name = fault_of(simulate(meter=meter, seed=1000 + at), "meter/energy" if meter.wraps_at else "meter/power")
        told.setdefault("honest", Counter())[name] += 1
        refused += bool(name)
    return told, missed, refused


def plot(tallies: list[Tally], path: Path) -> None:
    """Draw the shares of outcomes over the distance from the limit."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(tallies), figsize=(4.2 * len(tallies), 3.4), sharey=True)
    for axis, tally in zip(axes, tallies, strict=True):
        for outcome, colour in (("pass", "tab:green"), ("open", "tab:gray"), ("fail", "tab:red")):
            shares = [one[outcome] / max(sum(one.values()), 1) for one in tally.counts]
            axis.plot(DISTANCES, shares, color=colour, label={"open": "INCONCLUSIVE"}.get(outcome, outcome.upper()))
        axis.axhline(BEYOND, color="black", linewidth=0.6, linestyle=":")
        axis.axvline(0.0, color="black", linewidth=0.6)
        axis.set_title(tally.name)
        axis.set_xlabel("truth less limit, in expanded uncertainties")
    axes[0].set_ylabel("share of decisions")
    axes[-1].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> int:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--decisions", type=int, default=105_000)
    parser.add_argument("--traces", type=int, default=420)
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    begin = time.monotonic()
    each = given.decisions // len(QUANTITIES)
    tallies = [decide_many(name, each, one, seed) for seed, (name, one) in enumerate(QUANTITIES.items(), 20_260)]
    is_right = True
    print(f"{each * len(QUANTITIES):,} decisions; stated error at a limit: {BEYOND:.1%} for each of PASS and FAIL")
    for tally in tallies:
        rows = errors_of(tally)
        broken = [row for row in rows if not is_within(row[1], row[2])]
        above = sum(wrong for distance, wrong, _ in rows if distance > 0)
        below = sum(wrong for distance, wrong, _ in rows if distance < 0)
        worst = max(rows, key=lambda row: row[1] / max(row[2], 1))
        undecided = sum(one["open"] for one in tally.counts) / sum(sum(one.values()) for one in tally.counts)
        half = sum(row[2] for row in rows) // 2
        print(
            f"{tally.name:24}  false PASS {above / half:.3%}  false FAIL {below / half:.3%}"
            f"  worst {worst[1] / worst[2]:.2%} at {worst[0]:+.2f} U  INCONCLUSIVE {undecided:.1%}"
            f"  {'within' if not broken else 'BEYOND'} what is stated"
        )
        is_right &= not broken
    told, missed, refused = look_at_traces(given.traces)
    for lie, names in told.items():
        print(f"{lie:24}  " + ", ".join(f"{name or 'a number'} × {count}" for name, count in names.most_common()))
    print(f"lies that got as far as a number: {missed}; honest meters that did not: {refused}")
    print(f"{time.monotonic() - begin:.0f} s")
    if given.plot is not None:
        plot(tallies, given.plot)
    return 0 if is_right and not missed and not refused else 1


if __name__ == "__main__":
    sys.exit(main())
