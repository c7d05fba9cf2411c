"""What the streaming comparisons take beside numpy's `assert_allclose` and beside merely reading both tensors.

    python benchmarks/comparing.py                      100 M float32 pairs, seven rounds, and tensors of 100 elements
    python benchmarks/comparing.py --millions 20 --pairs 3

Each round runs every method once, so that whatever else the machine does meets all alike; a ratio is of the two walls of one
round. The pairs differ by rounding (a third each: one step down, equal, one step up), are equal to the bit, or hold zeros in
half their places as after a ReLU. Reading is the sum of each tensor, on one thread, and split between as many threads as there
are cores: the floor. ONNX's tolerance (`compare_close`) takes one thread more than there are cores idle when it begins, so run it
on a quiet machine; the bound of an operator (`judge_bound`: the largest error, Σe², both leanings, special values) takes one, and has
no limit of time: outputs that it judges are small. Extra memory is what a process gains at its peak over having the tensors, in processes of their own.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _measure import Figure, make_parser, print_figures, print_machine

from conformance.checks.support.compare import compare
from conformance.numerics.bounded import Bound, judge_bound
from conformance.numerics.closeness import compare_close
from conformance.numerics.limits import find_differing

if TYPE_CHECKING:
    from collections.abc import Callable

RTOL, ATOL = 1e-3, 1e-7
SMALL_CALLS = 2_000
RATIO, EXTRA_MB, SMALL_US = 20.0, 64.0, 30.0
NUMPY, CLOSE, BOUND, EXACT = "assert_allclose", "compare_close", "judge_bound", "find_differing"
READ, READ_ALL = "read, one thread", "read, all cores"


def make_pairs(count: int, kind: str) -> tuple[Any, Any]:
    """Return actual and reference of `count` float32 elements: `rounding`, `equal` or `zeros`."""
    random = np.random.default_rng(7)
    reference = random.standard_normal(count, dtype=np.float32)
    if kind == "zeros":
        np.maximum(reference, 0, out=reference)
    actual = reference.copy()
    if kind != "equal":
        for start in range(0, count, 1 << 20):
            part = actual[start : start + (1 << 20)]
            steps = random.integers(-1, 2, part.size, dtype=np.int8)
            part += np.spacing(part) * steps * (part != 0)
    return actual, reference


def bound_of(reference: Any) -> Bound:
    """Return the bound of a dot product that the pairs keep: all its statistics are worked out, none is beyond its limit."""
    unit = np.float64(2.0**-21)
    return Bound(name="y", kind="float32", law="dot product", reference=reference, unit=unit, limit=8.0, terms=4.0)


def read_both(actual: Any, reference: Any, pool: ThreadPoolExecutor | None = None) -> None:
    """Sum both tensors."""
    if pool is None:
        for one in (actual, reference):
            one.sum()
        return
    pieces = [piece for one in (actual, reference) for piece in np.array_split(one, 8)]
    list(pool.map(np.sum, pieces))


def time_rounds(methods: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the walls in milliseconds of each method, after one round that does not count."""
    walls: dict[str, list[float]] = {name: [] for name in methods}
    for number in range(rounds + 1):
        for name, method in methods.items():
            begin = time.perf_counter()
            method()
            if number:
                walls[name].append((time.perf_counter() - begin) * 1e3)
    return walls


def quartiles(values: list[float], unit: str, digits: int = 1) -> str:
    """Return `median (first to third quartile) unit`."""
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f}) {unit}"


def compare_large(kind: str, count: int, rounds: int) -> dict[str, list[float]]:
    """Time all methods on one kind of pairs, print them, and return how often faster than numpy's each is, by round."""
    actual, reference = make_pairs(count, kind)
    bound = bound_of(reference.astype(np.float64))
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        methods: dict[str, Callable[[], object]] = {
            READ: lambda: read_both(actual, reference),
            READ_ALL: lambda: read_both(actual, reference, pool),
            CLOSE: lambda: compare_close(actual, reference, RTOL, ATOL),
            BOUND: lambda: judge_bound(bound, actual),
            EXACT: lambda: find_differing(reference, actual, is_zero_signed=True),
            NUMPY: lambda: np.testing.assert_allclose(actual, reference, RTOL, ATOL),
        }
        walls = time_rounds(methods, rounds)
    print(f"\n{count / 1e6:g} M float32 pairs, {kind}: median (quartiles) of {rounds}")
    ratios = {}
    for name, taken in walls.items():
        ratios[name] = [theirs / ours for theirs, ours in zip(walls[NUMPY], taken, strict=True)]
        print(f"  {name:16}  {quartiles(taken, 'ms'):>38}  {quartiles(ratios[name], '×'):>28} faster", flush=True)
    return ratios


def measure_memory(method: str, count: int) -> float:
    """Return the extra memory in MB of one method on `count` pairs, measured in a process of its own."""
    command = [sys.executable, __file__, "--extra-memory-of", method, "--millions", str(count / 1e6)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def print_extra_memory(method: str, count: int) -> None:
    """Run one method once, after a small run for what it loads, and print by how much the peak grew."""
    call: Callable[[Any, Any], object] = {
        CLOSE: lambda actual, reference: compare_close(actual, reference, RTOL, ATOL),
        BOUND: lambda actual, reference: judge_bound(bound_of(reference), actual),
        EXACT: lambda actual, reference: find_differing(reference, actual, is_zero_signed=True),
        NUMPY: lambda actual, reference: np.testing.assert_allclose(actual, reference, RTOL, ATOL),
    }[method]
    actual, reference = make_pairs(count, "rounding")
    if method == BOUND:
        reference = reference.astype(np.float64)
    if method == EXACT:
        reference = reference[
            : len(reference) // 4
        ]  # 100 MB of 100 M pairs; the mask that is returned is a byte per pair
        actual = actual[: len(reference)]
    call(actual[:100], reference[:100])
    Path("/proc/self/clear_refs").write_text(
        "5", encoding="ascii"
    )  # proc_pid_clear_refs(5): the peak becomes what is now
    before = read_peak_mb()
    call(actual, reference)
    print(read_peak_mb() - before)


def read_peak_mb() -> float:
    """Return the peak of this process's resident memory since it was last cleared."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def time_small(rounds: int) -> dict[str, float]:
    """Time calls on 100 elements, print them, and return the medians in microseconds."""
    actual, reference = make_pairs(100, "rounding")
    bound = bound_of(reference.astype(np.float64))
    methods: dict[str, Callable[[], object]] = {
        "compare": lambda: compare(reference, actual, RTOL, ATOL),
        CLOSE: lambda: compare_close(actual, reference, RTOL, ATOL),
        BOUND: lambda: judge_bound(bound, actual),
        NUMPY: lambda: np.testing.assert_allclose(actual, reference, RTOL, ATOL),
    }

    def repeat(method: Callable[[], object]) -> Callable[[], object]:
        return lambda: [method() for _ in range(SMALL_CALLS)]

    walls = time_rounds({name: repeat(method) for name, method in methods.items()}, rounds)
    print(f"\n100 float32 pairs, rounding, per call: median (quartiles) of {rounds}")
    for name, taken in walls.items():
        print(f"  {name:16}  {quartiles([wall / SMALL_CALLS * 1e3 for wall in taken], 'µs'):>28}", flush=True)
    return {name: statistics.median(taken) / SMALL_CALLS * 1e3 for name, taken in walls.items()}


def main() -> None:
    """Measure and print, the requirements last."""
    parser = make_parser(__doc__)
    parser.add_argument("--millions", type=float, default=100, metavar="N", help="pairs, in millions (default: 100)")
    parser.add_argument("--extra-memory-of", choices=[CLOSE, BOUND, EXACT, NUMPY], help="only this, in MB")
    arguments = parser.parse_args()
    count = max(1, round(arguments.millions * 1e6))
    if arguments.extra_memory_of:
        print_extra_memory(arguments.extra_memory_of, count)
        return
    print_machine()
    figures = []
    small = time_small(arguments.pairs)
    for kind in ("rounding", "equal", "zeros"):
        ratios = compare_large(kind, count, arguments.pairs)
        middle = statistics.median(ratios[CLOSE])
        figures.append(Figure(f"{CLOSE} against {NUMPY}, {kind}", middle, RATIO, "×", at_least=True))
    memory = {name: measure_memory(name, count) for name in (CLOSE, BOUND, EXACT, NUMPY)}
    print(f"\nextra memory of {NUMPY}: {memory[NUMPY]:,.0f} MB")
    figures += [Figure(f"{name}: extra memory", memory[name], EXTRA_MB, "MB") for name in (CLOSE, BOUND, EXACT)]
    figures += [Figure(f"{name}: 100 elements", small[name], SMALL_US, "µs") for name in ("compare", CLOSE)]
    print_figures(figures)


if __name__ == "__main__":
    main()
