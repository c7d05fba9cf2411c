"""The pytest door: what it costs a session that has no profile, and what each of 20,000 cases costs.

    python benchmarks/pytest_door.py
    python benchmarks/pytest_door.py --cases 2000 --pairs 3

The cases are made up and take no time of their own (a plan and a run that this script puts in the place of the real ones), so
what is timed is pytest and the plugin. The bare side is the same number of pytest items that do nothing. A foreign session
is one test with ten YAML files beside it, with the plugin and without.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import textwrap
from pathlib import Path

from _measure import Command, Figure, Pair, alternate, make_parser, print_figures, print_machine, spread

CASES = 20_000
PROFILE = {
    "conformance": 1,
    "device": {"vendor": "Bench", "model": "None", "category": "host-reference", "hardware": "cpu"},
    "runtime": {"adapter": "misbehaving", "provider": "CPUExecutionProvider"},
    "declares": {"opsets": {"ai.onnx": [13, 13]}, "types": ["float32"]},
}
STAND_IN = """
    import conformance.conduct, conformance.prepare, msgspec
    from conformance.records import Judgement, Outcome
    from conformance.execution.judging import make_record

    real_plan, Run = conformance.prepare.make_plan, conformance.conduct.Run

    def make_plan(loaded, **given):
        plan, context = real_plan(loaded, level="smoke")
        planned = plan.cases[0]
        cases = [
            planned._replace(case=msgspec.structs.replace(planned.case, id=f"made-up/subject/case-{n}"))
            for n in range(COUNT)
        ]
        return plan._replace(cases=cases, level="full"), context

    def records(self):
        real = list(real_records(self))
        for planned in self.plan.cases:
            record = make_record(planned.case, Judgement(outcome=Outcome.PASS))
            self._records[record.case] = record
            yield record

    real_records = Run.records
    conformance.prepare.make_plan = conformance.conduct.make_plan = make_plan
    conformance.conduct.Crew.run = lambda self, planned: iter(())
    Run.records = records
"""


def pytest_command(name: str, folder: Path, *arguments: str) -> Command:
    """Return a quiet pytest session in a folder."""
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", f"--rootdir={folder}"]
    return Command(name, [*argv, *arguments], folder, {"PYTEST_ADDOPTS": ""}, frozenset({0, 1}))


def make_sessions(root: Path, count: int) -> tuple[Path, Path, Path]:
    """Write a session of made-up cases, one of as many bare items, and a foreign one."""
    ours, bare, foreign = root / "ours", root / "bare", root / "foreign"
    for folder in (ours, bare, foreign):
        folder.mkdir()
    (ours / "device.yaml").write_text(json.dumps(PROFILE), encoding="utf-8")
    stand_in = textwrap.dedent(STAND_IN).replace("COUNT", str(count))
    (ours / "conftest.py").write_text(stand_in, encoding="utf-8")
    (bare / "conftest.py").write_text(
        "import pytest\n"
        "class Item(pytest.Item):\n    def runtest(self): pass\n"
        "class File(pytest.File):\n    def collect(self):\n"
        f"        for n in range({count}): yield Item.from_parent(self, name=f'made-up/subject/case-{{n}}')\n"
        "def pytest_collect_file(file_path, parent):\n"
        "    return File.from_parent(parent, path=file_path) if file_path.suffix == '.yaml' else None\n",
        encoding="utf-8",
    )
    (bare / "items.yaml").write_text("a: 1\n", encoding="utf-8")
    (foreign / "test_one.py").write_text("def test_one(): pass\n", encoding="utf-8")
    for number in range(10):
        (foreign / f"service-{number}.yaml").write_text("services:\n  web: {image: x}\n" * 50, encoding="utf-8")
    return ours, bare, foreign


def _extra_ms(name: str, pairs: list[Pair], limit: float, per: int = 1) -> Figure:
    extra = [(pair.first.wall_s - pair.second.wall_s) * 1000 / per for pair in pairs]
    print(f"  more than the other: {spread(extra, 'ms')}")
    return Figure(name, statistics.median(extra), limit, "ms")


def main() -> None:
    """Time the sessions and print the figures."""
    parser = make_parser(__doc__)
    parser.add_argument("--cases", type=int, default=CASES, metavar="N", help="made-up cases (default: %(default)s)")
    arguments = parser.parse_args()
    print_machine()
    with tempfile.TemporaryDirectory(prefix="conformance-bench-") as name:
        ours, bare, foreign = make_sessions(Path(name), arguments.cases)
        off = ("-p", "no:conformance")
        print("\nforeign session, with the plugin and without")
        pairs = alternate(
            lambda: pytest_command("with", foreign), lambda: pytest_command("without", foreign, *off), arguments.pairs
        )
        figures = [_extra_ms("a foreign session", pairs, 5.0)]
        print(f"\ncollecting {arguments.cases} cases against as many bare items")
        pairs = alternate(
            lambda: pytest_command("cases", ours, "--collect-only", "-qq", "device.yaml"),
            lambda: pytest_command("items", bare, "--collect-only", "-qq", "items.yaml", *off),
            arguments.pairs,
        )
        walls = [pair.first.wall_s for pair in pairs]
        print(f"  collection, start of pytest included: {spread(walls, 's')}")
        figures.append(Figure(f"collecting {arguments.cases} cases", statistics.median(walls), 2.0, "s"))
        print(f"\nrunning {arguments.cases} cases that take no time against as many bare items")
        pairs = alternate(
            lambda: pytest_command("cases", ours, "device.yaml"),
            lambda: pytest_command("items", bare, "items.yaml", *off),
            arguments.pairs,
        )
        figures.append(_extra_ms("overhead per case", pairs, 0.5, arguments.cases))
    print_figures(figures)


if __name__ == "__main__":
    main()
