"""How often the latency judges are wrong: runs with known truth at and around the limit, false PASS and false FAIL counted.

python benchmarks/timing_judges.py
python benchmarks/timing_judges.py --plot timing-judges.svg
python benchmarks/timing_judges.py --runs 250          (a quick look)

The stated error is 1 %: of a false PASS where the true percentile is at the limit or above, of a false FAIL where it is at the
limit or below; a run has some ten bursts, and with three or four the error does not hold (README of `conformance.timing`).
A cell refutes it where the lower bound of its rate (99 %) lies above 1 %. Every run is judged at p90 and at
p99. The last tables are by the whole judge: one slow query in a thousand against a declared maximum, and a growing latency.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _measure import print_machine

from conformance.numerics.intervals import lower_bound
from conformance.timing.correlation import clustering
from conformance.timing.judging import Floor, Limits, judge_latency
from conformance.timing.percentiles import ALPHA, decide_limit
from conformance.timing.samples import Samples
from conformance.timing.synthetic import KINDS, TYPICAL_NS, back_to_back, draw_with_slow

QUERIES = 2000
RUNS = 2400
CHUNK = 120
FACTORS = (0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2)
PERCENTILES = (0.9, 0.99)
ENDINGS = (".svg", ".png", ".pdf")


class Cell(NamedTuple):
    """The outcomes of all runs of a kind whose true percentile is `factor` times the limit."""

    kind: str
    p: float
    factor: float
    passed: int
    failed: int
    runs: int

    @property
    def wrong(self) -> list[int]:
        """Return the counts of the outcomes that are wrong here: both at the limit itself."""
        return [self.passed] * (self.factor >= 1) + [self.failed] * (self.factor <= 1)

    @property
    def is_refuted(self) -> bool:
        """Whether the stated error is surely exceeded."""
        return any(lower_bound(one, self.runs) > ALPHA for one in self.wrong)


def count(runs: int, queries: int, seed: int) -> list[Cell]:
    """Return a cell for every kind, factor and percentile."""
    cells = []
    for number, (name, kind) in enumerate(KINDS.items()):
        truths = {p: kind.percentile(p) for p in PERCENTILES}
        for factor in FACTORS:
            rng = np.random.default_rng([seed, number, round(factor * 1000)])
            found = {p: np.zeros(2, dtype=int) for p in PERCENTILES}
            for begin in range(0, runs, CHUNK):
                latency = kind.draw(rng, min(CHUNK, runs - begin), queries).astype(np.int64)
                clusters = clustering(latency)
                for p in PERCENTILES:
                    limit = round(truths[p] / factor)
                    outcome = decide_limit(latency, limit, round(1 - p, 9), clusters=clusters)
                    found[p] += (int((outcome > 0).sum()), int((outcome < 0).sum()))
            cells += [Cell(name, p, factor, int(one[0]), int(one[1]), runs) for p, one in found.items()]
    return cells


def print_cells(cells: list[Cell]) -> None:
    """Print a block per percentile: the wrong outcomes are marked with their kind, the others are right or INCONCLUSIVE."""
    for p in PERCENTILES:
        print(f"\np{p * 100:g}, {QUERIES} queries a run   (stated error ≤ {ALPHA:.0%})")
        print(f"{'kind':<16}{'true/limit':>11}{'false PASS':>12}{'false FAIL':>12}{'INCONCLUSIVE':>14}  stated error")
        for cell in (one for one in cells if one.p == p):
            false_pass = f"{cell.passed / cell.runs:.2%}" if cell.factor >= 1 else "-"
            false_fail = f"{cell.failed / cell.runs:.2%}" if cell.factor <= 1 else "-"
            left = f"{(cell.runs - cell.passed - cell.failed) / cell.runs:.1%}"
            said = "REFUTED" if cell.is_refuted else "held"
            print(f"{cell.kind:<16}{cell.factor:>11g}{false_pass:>12}{false_fail:>12}{left:>14}  {said}")


def print_maximum(seed: int, runs: int) -> bool:
    """Print what becomes of one slow query in a thousand, and of a device without; return whether the stated error held."""
    print(f"\ndeclared maximum, {runs} runs each, by the whole judge")
    print(f"{'slow queries':<16}{'queries':>9}{'PASS':>9}{'FAIL':>9}{'INCONCLUSIVE':>14}  stated error")
    is_held = True
    for share in (0.001, 0.0):
        for queries in (1000, 2000, 5000, 10000):
            rng = np.random.default_rng([seed, queries, int(share * 1000)])
            found = {"pass": 0, "fail": 0, "open": 0}
            limits = Limits(max_ns=round(2 * TYPICAL_NS))
            for _ in range(runs):
                latency = draw_with_slow(rng, 1, queries, share)[0].astype(np.int64)
                issued, done = back_to_back(latency)
                samples = Samples(issued, issued, done, is_scheduled=False)
                found[judge_latency(samples, limits, Floor(), findings=[])[0].outcome] += 1
            wrong = found["pass"] if share else found["fail"]
            is_right = lower_bound(wrong, runs) <= ALPHA
            is_held &= is_right
            rates = "".join(
                f"{found[one] / runs:>{width}.1%}" for one, width in (("pass", 9), ("fail", 9), ("open", 14))
            )
            name = "1 in 1000" if share else "none"
            print(f"{name:<16}{queries:>9}{rates}  {'held' if is_right else 'REFUTED'}")
    return is_held


def print_drifting(seed: int, runs: int) -> bool:
    """Print what the whole judge makes of a latency that grows: it fails by what it showed, and passes nothing."""
    print(f"\ndrifting, p90, {runs} runs each, by the whole judge, which names the drift")
    print(f"{'true/limit':<16}{'PASS':>18}{'FAIL':>9}{'INCONCLUSIVE':>14}  stated error")
    kind, is_held = KINDS["drifting"], True
    for factor in (0.8, 1.0, 1.2, 1.3):
        rng = np.random.default_rng([seed, round(factor * 1000)])
        limits = Limits(p90_ns=round(kind.percentile(0.9) / factor))
        found = {"pass": 0, "fail": 0, "open": 0}
        for latency in kind.draw(rng, runs, QUERIES).astype(np.int64):
            issued, done = back_to_back(latency)
            found[judge_latency(Samples(issued, issued, done, is_scheduled=False), limits, Floor())[0].outcome] += 1
        is_right = lower_bound(found["fail"] if factor <= 1 else found["pass"], runs) <= ALPHA
        is_held &= is_right
        rates = "".join(f"{found[one] / runs:>{width}.1%}" for one, width in (("pass", 18), ("fail", 9), ("open", 14)))
        print(f"{factor:<16g}{rates}  {'held' if is_right else 'REFUTED'}")
    return is_held


def plot(cells: list[Cell], path: Path) -> None:
    """Write the shares of PASS and FAIL around the limit; needs matplotlib (extra `plot`)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots(2, len(PERCENTILES), sharex=True)
    for column, p in enumerate(PERCENTILES):
        for row, scale in enumerate(("linear", "log")):
            one = axes[row, column]
            for number, name in enumerate(KINDS):
                cell = [each for each in cells if each.kind == name and each.p == p]
                x = [each.factor for each in cell]
                least = 0.3 / cell[0].runs if row else 0.0
                for style, counts in (("-", [c.passed for c in cell]), ("--", [c.failed for c in cell])):
                    y = [max(hits / each.runs, least) for hits, each in zip(counts, cell, strict=True)]
                    one.plot(x, y, style, color=f"C{number}", marker=".", label=name if style == "-" else None)
            one.axvline(1, color="grey", linewidth=0.8)
            one.axhline(ALPHA, color="red", linewidth=0.8)
            one.set_yscale(scale)
        axes[0, column].set_title(f"p{p * 100:g}, {QUERIES} queries a run", fontsize=9)
        axes[1, column].set_xlabel("true percentile / limit")
    axes[0, 0].set_ylabel("share of runs: PASS –, FAIL - -")
    axes[1, 0].set_ylabel("the same, with the stated error in red")
    axes[0, 0].legend(fontsize=7)
    figure.savefig(path, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)


def main() -> int:
    """Run and print; 1 where a cell refutes the stated error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=RUNS, help="runs per cell (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a picture (.svg, .png, .pdf)")
    arguments = parser.parse_args()
    if arguments.plot is not None:
        if arguments.plot.suffix.lower() not in ENDINGS:
            parser.error(f"--plot takes a file that ends in {', '.join(ENDINGS)}; got {arguments.plot.name}")
        try:
            import matplotlib as _  # noqa: F401
        except ImportError:
            parser.error("a plot needs matplotlib: pip install 'resonance-conformance[plot]'")
    print_machine()
    begin = time.process_time()
    cells = count(arguments.runs, QUERIES, arguments.seed)
    print_cells(cells)
    few = max(50, arguments.runs // 40)
    is_held = all([print_maximum(arguments.seed, 2 * few), print_drifting(arguments.seed, few)])
    is_held &= not any(one.is_refuted for one in cells)
    runs = arguments.runs * len(KINDS) * len(FACTORS)
    print(f"\n{runs} runs, {runs * len(PERCENTILES)} decisions, {time.process_time() - begin:.0f} s of processor time")
    if arguments.plot is not None:
        plot(cells, arguments.plot)
    return 0 if is_held else 1


if __name__ == "__main__":
    sys.exit(main())
