"""The device that misbehaves, in this process: each harmless behaviour does what its name says, and only when triggered."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance.adapters.runtime import misbehaving
from conformance.adapters.runtime.port import RuntimeFault
from conformance.adapters.runtime.support import misdeeds
from conformance.errors import UsageError
from conformance.reference import probes
from conformance.tensors import Value, equal_bits

CPU = "CPUExecutionProvider"
MODEL = probes.probe_model("four_outputs")
FEEDS, RIGHT = probes.four_outputs(3)
NAMES = ["sum", "difference", "product", "turned"]


def opened(folder: Path, behaviour: str, **options: Any) -> misbehaving.Adapter:
    scratch = folder / "child"
    scratch.mkdir(exist_ok=True)
    given = misbehaving.Adapter.read_options({"options": {"behaviour": behaviour, **options}})
    made = misbehaving.Adapter(given, scratch)
    made.open()
    return made


def infer(made: misbehaving.Adapter, salt: int = 3) -> list[tuple[str, Value]]:
    return made.compile(MODEL).infer({key: value.copy() for key, value in probes.four_outputs(salt)[0].items()})


def is_right(outputs: list[tuple[str, Value]]) -> bool:
    return [n for n, _ in outputs] == NAMES and all(equal_bits(v, r) for (_, v), r in zip(outputs, RIGHT, strict=True))


def test_it_can_behave(tmp_path: Path) -> None:
    made = opened(tmp_path, "none")
    session = made.compile(MODEL)

    assert is_right(session.infer(dict(FEEDS)))
    assert [witness.nodes for witness in session.witnesses()] == [{CPU: 4}, {CPU: 4}]
    session.close()


@pytest.mark.parametrize("behaviour", ["swap-outputs", "wrong-type", "wrong-value", "wrong-shape", "drop-output"])
def test_outputs_are_changed_and_only_where_triggered(tmp_path: Path, behaviour: str) -> None:
    assert not is_right(infer(opened(tmp_path, behaviour)))
    assert not is_right(infer(opened(tmp_path, behaviour, trigger="Transpose")))
    assert is_right(infer(opened(tmp_path, behaviour, trigger="Softmax")))


def test_inputs_are_changed(tmp_path: Path) -> None:
    feeds: dict[str, Value] = {key: value.copy() for key, value in FEEDS.items()}
    feeds["a"] = feeds["a"]
    outputs = opened(tmp_path, "mutate-inputs").compile(MODEL).infer(feeds)

    assert is_right(outputs)
    assert not equal_bits(feeds["a"], FEEDS["a"])


def test_stale_outputs_are_those_of_the_run_before(tmp_path: Path) -> None:
    made = opened(tmp_path, "stale-outputs")
    assert is_right(infer(made))

    assert is_right(infer(made, salt=4)), "the answer to the question before"


def test_a_refusal_is_an_exception(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFault, match="the device refuses"):
        infer(opened(tmp_path, "raise"))
    with pytest.raises(RuntimeFault, match="the driver refuses to load"):
        opened(tmp_path, "open-refuse")


def test_once_is_once_in_a_run_whatever_restarts_come_between(tmp_path: Path) -> None:
    made = opened(tmp_path, "wrong-value", once=True)
    assert not is_right(infer(made))
    assert is_right(infer(made))
    assert is_right(infer(opened(tmp_path, "wrong-value", once=True)))


def test_lies_about_placement(tmp_path: Path) -> None:
    session = opened(tmp_path, "elsewhere").compile(MODEL)
    session.infer(dict(FEEDS))
    assert [witness.nodes for witness in session.witnesses()] == [{"SomewhereElseExecutionProvider": 4}] * 2

    session = opened(tmp_path, "no-witness").compile(MODEL)
    session.infer(dict(FEEDS))
    assert session.witnesses() == ()


def test_printing_shouting_and_babbling_reach_their_descriptors(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(misdeeds, "SHOUT_BYTES", 4000)
    assert is_right(infer(opened(tmp_path, "print")))
    assert is_right(infer(opened(tmp_path, "shout")))
    seen = capfd.readouterr()
    assert "a vendor library prints on standard output" in seen.out
    assert "driver: something went wrong" in seen.err

    read, write = os.pipe()
    written: list[int] = []
    monkeypatch.setattr(os, "write", lambda fd, data: written.append(fd) or len(data))
    monkeypatch.setattr(misdeeds, "range", lambda *_: (read, write, 999), raising=False)
    misdeeds.BEFORE_RUN["babble"]()
    monkeypatch.undo()
    os.close(read)
    os.close(write)
    assert written == [read, write]


def test_allocating_holds_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    monkeypatch.setattr(misdeeds.time, "sleep", lambda _: held.append(1))
    monkeypatch.setattr(misdeeds, "ALLOCATE_BYTES", 128 * 1024 * 1024)

    assert is_right(infer(opened(tmp_path, "allocate")))
    assert held == [1]


def test_a_hang_ignores_the_polite_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    class WokenUp(Exception):
        pass

    def sleep(_: float) -> None:
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        raise WokenUp

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(misdeeds.time, "sleep", sleep)
    try:
        with pytest.raises(WokenUp):
            misdeeds.BEFORE_RUN["hang"]()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_unknown_behaviour_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError,
        match="there is no 'sing'; known are abort, accept-malformed, alias-outputs, allocate, babble, .*wrong-value",
    ):
        opened(tmp_path, "sing")


def test_strings_and_sequences_are_left_alone() -> None:
    text, sequence = np.array(["a"], object), [np.ones(1, np.float32)]
    feeds: dict[str, Value] = {"s": text, "q": list(sequence), "e": np.zeros(0, np.float32)}
    outputs: list[tuple[str, Value]] = [("s", text), ("q", list(sequence))]

    for behaviour in ("mutate-inputs", "wrong-value", "wrong-type"):
        assert misdeeds.AFTER_RUN[behaviour](feeds, list(outputs), [])[0] == ("s", text)
    assert misdeeds.AFTER_RUN["swap-outputs"](feeds, outputs[:1], []) == outputs[:1]
