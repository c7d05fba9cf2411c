"""The line that runs a case again: what a shell makes of it is what was meant."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

from conformance.records import Outcome, Record
from conformance.reports import junit
from conformance.reports.support.telling import run_again

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.records import RunResult

CASE = "interface/session/identity"


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({}, ["my-card.yaml"]),
        ({"bench_file": "lab.yaml"}, ["my-card.yaml", "--bench", "lab.yaml"]),
        ({"bench_file": "/labs/room 7/it's.yaml"}, ["my-card.yaml", "--bench", "/labs/room 7/it's.yaml"]),
        ({"bench_file": "$HOME/`lab`.yaml"}, ["my-card.yaml", "--bench", "$HOME/`lab`.yaml"]),
        ({"profile": "my card.yaml", "bench_file": "lab.yaml"}, ["my card.yaml", "--bench", "lab.yaml"]),
    ],
)
def test_a_case_is_run_again_on_the_same_bench(
    result: Callable[..., RunResult], info: dict[str, str], words: list[str]
) -> None:
    line = run_again(result(info=info).info, CASE)

    assert shlex.split(line) == ["conformance", "run", *words, "--case", CASE]


def test_every_report_that_says_how_to_run_a_case_again_names_the_bench(
    record: Callable[..., Record], result: Callable[..., RunResult]
) -> None:
    from io import StringIO

    from conformance.reports.console import render_summary

    failed = result(
        [record(CASE, outcome=Outcome.FAIL, reason="r")], name="NON-CONFORMANT", info={"bench_file": "lab.yaml"}
    )
    shown = StringIO()
    render_summary(failed, shown, None)

    line = f"conformance run my-card.yaml --bench lab.yaml --case '{CASE}'"
    assert line in " ".join(shown.getvalue().split())
    assert line in b"".join(junit.render(failed)).decode()
