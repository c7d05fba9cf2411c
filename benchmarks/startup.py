"""How long `conformance --help` takes, as a whole process: through the module, and through the installed script.

python benchmarks/startup.py
python benchmarks/startup.py --runs 31
"""

from __future__ import annotations

import argparse
import statistics
import sys
import sysconfig
import tempfile
from pathlib import Path

from _measure import Command, Figure, print_figures, print_machine, run_process, spread

RUNS = 11
LIMIT_S = 0.3


def main() -> None:
    """Time the commands in alternation and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=RUNS, metavar="N", help="runs of each (default: %(default)s)")
    arguments = parser.parse_args()
    print_machine()
    with tempfile.TemporaryDirectory(prefix="conformance-bench-") as name:
        folder = Path(name)
        commands = [Command("python -m conformance --help", [sys.executable, "-m", "conformance", "--help"], folder)]
        script = Path(sysconfig.get_path("scripts")) / "conformance"
        if script.is_file():
            commands.append(Command("conformance --help", [str(script), "--help"], folder))
        for command in commands:  # once each that does not count: the first writes byte code
            run_process(command)
        walls: dict[str, list[float]] = {command.name: [] for command in commands}
        for _ in range(max(1, arguments.runs)):
            for command in commands:
                walls[command.name].append(run_process(command).wall_s)
    for name, taken in walls.items():
        print(f"  {name}: {spread(taken, 's')}")
    print_figures([Figure(name, statistics.median(taken), LIMIT_S, "s") for name, taken in walls.items()])


if __name__ == "__main__":
    main()
