"""Ctrl-C and SIGTERM: once, and not while things are cleared up."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from conformance.execution import interrupts
from conformance.execution.interrupts import Interrupts


def press(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_one_interrupts_and_the_next_ones_do_not(number: int) -> None:
    before = signal.getsignal(number)
    with Interrupts():
        with pytest.raises(KeyboardInterrupt):
            press(number)
        for _ in range(7):
            press(signal.SIGINT)
            press(signal.SIGTERM)
    assert signal.getsignal(number) is before


def test_once_all_is_settled_another_press_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    with Interrupts() as one:
        with pytest.raises(KeyboardInterrupt):
            press()
        one.settle()
        press()  # it belongs to the first
        monkeypatch.setattr(interrupts, "TOGETHER_S", 0.0)
        with pytest.raises(KeyboardInterrupt):
            press()


def test_clearing_up_does_not_take_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "CLEAR_UP_S", 0.0)
    monkeypatch.setattr(interrupts, "TOGETHER_S", 0.0)
    with Interrupts():
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                press()


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts():
            press()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    failed: list[BaseException] = []

    def enter() -> None:
        try:
            with Interrupts():
                pass
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert failed == []
    assert signal.getsignal(signal.SIGINT) is before
