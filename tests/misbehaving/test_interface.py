"""Devices that are right one request at a time, and wrong when requests meet: each caught by the probe that is meant for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from misbehaving.harness import check_books, run, write_profile

from conformance.errors import EXIT_CONFORMANT, EXIT_NON_CONFORMANT
from conformance.records import Outcome

if TYPE_CHECKING:
    from pathlib import Path

CASES = "interface/*"
DEADLINES = {"open_s": 15, "compile_s": 15, "run_s": 60}
SHAPES = {"dynamic": True, "zero_size": True}


@pytest.mark.parametrize(
    ("behaviour", "caught"),
    [
        ("none", set()),
        ("alias-outputs", {"interface/sessions/outputs-not-aliased", "interface/sessions/threads"}),
        ("shared-state", {"interface/sessions/two-sessions"}),
        ("wrong-on-thread", {"interface/sessions/threads"}),
        ("tired", {"interface/sessions/repeats", "interface/sessions/threads"}),
        ("wrong-batch-3", {"interface/shapes/growing-batch", "interface/shapes/shrinking-batch"}),
        ("refuse-empty", {"interface/shapes/zero-size"}),
        ("leak", {"interface/sessions/many-sessions"}),
    ],
)
def test_each_is_caught_where_it_is_looked_for(tmp_path: Path, behaviour: str, caught: set[str]) -> None:
    profile = write_profile(
        tmp_path, runtime__options={"behaviour": behaviour}, runtime__deadlines=DEADLINES, declares__shapes=SHAPES
    )
    finished = run(profile, selection=CASES)

    check_books(finished)
    failed = {case for case, outcome in finished.outcomes.items() if outcome is Outcome.FAIL}
    assert failed <= caught
    assert bool(failed) == bool(caught)
    assert set(finished.outcomes.values()) <= {Outcome.PASS, Outcome.FAIL}
    assert finished.code == (EXIT_NON_CONFORMANT if caught else EXIT_CONFORMANT)


def test_what_is_not_declared_dynamic_is_not_asked(tmp_path: Path) -> None:
    finished = run(write_profile(tmp_path), selection=CASES)

    assert not any(case.startswith("interface/shapes/") for case in finished.outcomes)
