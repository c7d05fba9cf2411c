"""docs/telemetry.md keeps its word: its bench file loads, its tables name what there is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from conformance.adapters.telemetry import source_names
from conformance.execution.sampling import Limits, read_meters
from conformance.profile.loader import load_bench
from conformance.profile.meters import Meter

PAGE = (Path(__file__).parents[2] / "docs" / "telemetry.md").read_text(encoding="utf-8")


def test_the_bench_file_of_the_page_is_valid(write: Callable[..., str]) -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    given = load_bench(write(text, "bench.yaml")).bench.bench
    meters = read_meters([one.plain() for one in given.telemetry], Path())
    assert [one.given.name for one in meters] == ["nvml", "wall", "room"]


def test_the_tables_name_every_key_and_every_source() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \|", PAGE, re.MULTILINE)
    assert set(rows) == set(Meter.model_fields) | set(source_names())


def test_the_limits_are_the_ones_in_use() -> None:
    assert f"after {Limits().open_s:g} s, with all" in PAGE
    assert f"after {Limits().read_s:g} s beyond its period" in PAGE
    assert re.search(rf"does not let go \| killed after {Limits().close_s:g} s", PAGE)
