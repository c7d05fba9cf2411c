"""What sampling costs: CPU time of sampler, keeper and the parent's thread, as a share of one core.

The null source reads nothing, so its cost is the harness's own; the other one reads the files of eight RAPL zones, laid out below a
temporary folder. CPU time is the scheduler's own account (`/proc/PID/schedstat`, nanoseconds).

python benchmarks/sampling_cost.py
python benchmarks/sampling_cost.py --seconds 60 --period-ms 10
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from _measure import Figure, print_figures, print_machine

from conformance.execution.sampling import Sampling, read_meters

SECONDS = 20.0
PERIOD_MS = 100.0
LIMIT_PERCENT = 1.0
NULL = """\
import msgspec
from conformance.adapters.telemetry.port import TelemetrySource, ask
from conformance.metering.trace import Descriptor, Quantity

class Source(TelemetrySource):
    class Options(msgspec.Struct): ...
    def _open(self):
        yield Descriptor(channel="null", quantity=Quantity.POWER, scope="board", kind="instantaneous")
    def _read(self):
        yield ask("null", lambda: 0.0)
"""


def make_null_source(folder: Path) -> None:
    """Lay out a distribution that adds the source `null`, here and for samplers."""
    info = folder / "null_meter-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: null-meter\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[conformance.telemetry]\nnull = null_meter\n")
    (folder / "null_meter.py").write_text(NULL)
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = str(folder)


def make_zones(folder: Path, count: int) -> None:
    """Lay out RAPL zones as sysfs has them."""
    for number in range(count):
        zone = folder / "class" / "powercap" / f"intel-rapl:{number}"
        zone.mkdir(parents=True)
        (zone / "name").write_text(f"package-{number}\n")
        (zone / "energy_uj").write_text("123456789\n")
        (zone / "max_energy_range_uj").write_text("262143328850\n")


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process with all its threads, in seconds."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def children(pid: int) -> list[int]:
    """Return the processes that a process started."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def measure(meter: dict[str, object], seconds: float) -> dict[str, float]:
    """Sample a meter for a while; return the share of one core in percent, by process, and the readings it gave."""
    (config,) = read_meters([meter], Path())
    before = set(children(os.getpid()))
    with Sampling([config]) as sampling:
        time.sleep(1.0)  # what starting costs is no part of it
        (keeper,) = set(children(os.getpid())) - before
        (sampler,) = children(keeper)
        processes = {"sampler": sampler, "keeper": keeper, "parent": os.getpid()}
        begin, used = time.monotonic(), {name: cpu_s(pid) for name, pid in processes.items()}
        time.sleep(seconds)
        taken = time.monotonic() - begin
        shares = {name: 100 * (cpu_s(pid) - used[name]) / taken for name, pid in processes.items()}
        trace = sampling.stop()
    if trace.failures:
        raise RuntimeError("\n".join(trace.failures))
    late = [one.took_ns / 1e3 for one in trace.readings]
    print(f"  {config.given.name}: {len(trace.readings)} readings, the longest took {max(late):.0f} µs")
    return shares


def main() -> None:
    """Measure both sources and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, metavar="S", help="for each source (default: %(default)s)"
    )
    parser.add_argument("--period-ms", type=float, default=PERIOD_MS, metavar="MS", help="default: %(default)s, 10 Hz")
    arguments = parser.parse_args()
    print_machine()
    with tempfile.TemporaryDirectory(prefix="conformance-bench-") as name:
        folder = Path(name)
        make_null_source(folder)
        make_zones(folder, 8)
        meters: list[dict[str, object]] = [
            {"source": "null", "period_ms": arguments.period_ms},
            {"source": "powercap", "name": "eight-zones", "options": {"root": name}, "period_ms": arguments.period_ms},
        ]
        figures = []
        for meter in meters:
            shares = measure(meter, arguments.seconds)
            label = str(meter.get("name", meter["source"]))
            print("  " + ", ".join(f"{part} {share:.3f} %" for part, share in shares.items()))
            figures.append(Figure(f"{label}, all together", sum(shares.values()), LIMIT_PERCENT, "% of a core"))
    print_figures(figures)


if __name__ == "__main__":
    main()
