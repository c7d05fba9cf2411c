"""How long a run of the reference device takes, full and smoke, split by area, and a first run with an empty cache.

python benchmarks/areas.py

An area's share is what its cases took in the children; they share workers, so the shares may add up to more than the wall.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

from _measure import Command, Figure, print_figures, print_machine, run_process

SMOKE_LIMIT_S = 60.0


def shares(folder: Path) -> list[str]:
    """Return one line per area: cases and seconds, longest first."""
    seconds: Counter[str] = Counter()
    cases: Counter[str] = Counter()
    for line in (folder / "cases.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        area = record["case"].split("/", 1)[0]
        seconds[area] += record["duration_ms"] / 1000
        cases[area] += 1
    return [f"    {area:<12} {cases[area]:>6,} cases {taken:8.2f} s" for area, taken in seconds.most_common()]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="reference-cpu", help="profile to run (default: %(default)s)")
    arguments = parser.parse_args()
    print_machine()
    figures = []
    with tempfile.TemporaryDirectory(prefix="conformance-bench-") as name:
        base = Path(name)
        for what, level in (("full, empty cache", "full"), ("full", "full"), ("smoke", "smoke")):
            out = base / what.replace(", ", "-").replace(" ", "-")
            command = [
                sys.executable,
                "-m",
                "conformance",
                "run",
                arguments.profile,
                "--level",
                level,
                "--out",
                str(out),
            ]
            timed = run_process(Command(what, command, base, {"CONFORMANCE_CACHE": str(base / "cache")}))
            limit = SMOKE_LIMIT_S if level == "smoke" else None
            print(f"  {what}: {timed.wall_s:.2f} s, parent {timed.peak_mb:.0f} MB")
            print("\n".join(shares(out)))
            if limit is not None:
                figures.append(Figure(f"{what}, wall", timed.wall_s, limit, "s"))
    print_figures(figures)


if __name__ == "__main__":
    main()
