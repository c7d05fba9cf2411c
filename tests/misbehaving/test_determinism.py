"""Devices whose bits vary, in whole runs: the declared class is tested in real children and in fresh processes of the device."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from misbehaving.harness import DEADLINES, check_books, run, write_profile

from conformance.errors import EXIT_CONFORMANT, EXIT_NON_CONFORMANT
from conformance.records import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from misbehaving.harness import Run

PROBE = "determinism/convolution/float32"
CLASSES = ("bitwise-run", "bitwise-session", "bitwise-process")


def varying(folder: Path, behaviour: str) -> Run:
    """Run the probe under a category that asks for the declared class, in two children."""
    category = {
        "conformance": 1,
        "extends": "builtin:host-reference",
        "category": {"name": "host-with-determinism", "version": "1.0"},
        "requirements": [
            {
                "id": "DET-101",
                "level": "MUST",
                "title": {"en": "The declared class of determinism holds", "zh": "所声明的确定性等级成立"},
                "area": "determinism",
                "check": "determinism",
                "params": {"set": "all"},
                "status": "anticipated",
                "origin": ["ours"],
                "since": "1.0",
            }
        ],
    }
    (folder / "category.yaml").write_text(json.dumps(category), encoding="utf-8")
    profile = write_profile(
        folder,
        device__category="category.yaml",
        runtime__options={"behaviour": behaviour, "trigger": "GlobalAveragePool"},
        runtime__session_options={"intra_op_num_threads": 1},
        runtime__deadlines=DEADLINES | {"run_s": 60},
        declares__determinism="bitwise-process",
    )
    return run(profile, selection=f"{PROBE}/* interface/session/output-contract")


def test_one_that_gives_the_same_bits_everywhere_passes(tmp_path: Path) -> None:
    finished = varying(tmp_path, "none")

    check_books(finished)
    assert {name: finished.outcomes[f"{PROBE}/{name}"] for name in CLASSES} == dict.fromkeys(CLASSES, Outcome.PASS)
    assert finished.code == EXIT_CONFORMANT


@pytest.mark.parametrize(
    ("behaviour", "caught", "words"),
    [
        ("noisy-bits", "bitwise-run", "in run 3 of 10"),
        ("process-seeded", "bitwise-process", "in fresh process 1 of 2"),
    ],
)
def test_one_that_varies_is_caught_by_its_class_and_goes_on(
    tmp_path: Path, behaviour: str, caught: str, words: str
) -> None:
    finished = varying(tmp_path, behaviour)

    check_books(finished)
    wanted = {name: Outcome.FAIL if name == caught else Outcome.PASS for name in CLASSES}
    assert {name: finished.outcomes[f"{PROBE}/{name}"] for name in CLASSES} == wanted
    record = finished.record(f"{PROBE}/{caught}")
    assert words in record.context
    assert "the first node that differs, with inner results exposed: Conv 'conv_c' (result 'c')" in record.context
    assert finished.outcomes["interface/session/output-contract"] is Outcome.PASS
    assert finished.code == EXIT_NON_CONFORMANT
