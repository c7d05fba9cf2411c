"""Ctrl-C and SIGTERM end a run once: whoever presses again while it clears up does not disturb that."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import FrameType, TracebackType

TOGETHER_S = 1.0
"""A press within this time of another one is the same."""
CLEAR_UP_S = 60.0
"""After so long, nobody believes that things are being cleared up: another press counts."""
NUMBERS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """A context in which the first signal raises KeyboardInterrupt, and those that follow wait until things are settled.

    Where signals are somebody else's, outside the main thread or ignored, they are left alone.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._patient_until = self._last = float("-inf")

    def __enter__(self) -> Self:
        for number in NUMBERS:
            if signal.getsignal(number) is signal.SIG_IGN:
                continue
            try:
                self._before[number] = signal.signal(number, self._take)
            except ValueError:  # not the main thread: whoever embeds us handles signals
                break
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def settle(self) -> None:
        """Nothing is left to be cleared up: the next press counts again, unless it belongs to the last one."""
        self._patient_until = float("-inf")

    def _take(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature is Python's
        now, last = time.monotonic(), self._last
        self._last = now
        if now < self._patient_until or now - last < TOGETHER_S:
            return
        self._patient_until = now + CLEAR_UP_S
        raise KeyboardInterrupt
