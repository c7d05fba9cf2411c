"""What the device that misbehaves does with time: right answers, too late or quicker than they have a right to be.

Each behaviour is given the session, with its device, and the inputs of the inference that has just been computed; what it
spends is spent before the answer is returned. Delays are large beside what a small model takes, so that a busy host hides none.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from conformance.tensors import Value

RARE_EVERY = 500
RARE_S = 0.2
GROWTH_S = 2e-6
CACHED_S = 0.004
STRANGE_S = 0.004
KNOWN = 8
"""Inputs that a device has been prepared for: as many as are public."""
THROTTLED_AFTER = 3000
THROTTLED_S = 0.004
IDLE_S = 0.002
WAKING_S = 0.02
SLOW_IN = 0.01


def _rarely_late(session: Any, feeds: dict[str, Value]) -> None:  # noqa: ARG001
    """One query in `RARE_EVERY` is far too late: no percentile below p99.8 shows it, a declared maximum does."""
    if session.runs % RARE_EVERY == RARE_EVERY - 1:
        time.sleep(RARE_S)


def _slower_and_slower(session: Any, feeds: dict[str, Value]) -> None:  # noqa: ARG001
    time.sleep(GROWTH_S * session.runs)


def _result_cache(session: Any, feeds: dict[str, Value]) -> None:
    """Computes only what it was not asked last."""
    digest = _digest(feeds)
    if session.device.state != digest:
        session.device.state = digest
        time.sleep(CACHED_S)


def _known_inputs(session: Any, feeds: dict[str, Value]) -> None:
    """Quick on the first inputs that it ever saw, as a device is that was tuned for public ones."""
    digest = _digest(feeds)
    known = session.device.known_inputs
    if digest not in known and len(known) < KNOWN:
        known.add(digest)
    if digest not in known:
        time.sleep(STRANGE_S)


def _throttle(session: Any, feeds: dict[str, Value]) -> None:  # noqa: ARG001
    """Works at full speed for a while, then at a lower one for good."""
    if session.runs > THROTTLED_AFTER:
        time.sleep(THROTTLED_S)


def _slow_after_idling(session: Any, feeds: dict[str, Value]) -> None:  # noqa: ARG001
    """Goes to sleep as soon as nobody asks, and takes its time to wake up."""
    now = time.monotonic()
    if session.device.idle_since is not None and now - session.device.idle_since > IDLE_S:
        time.sleep(WAKING_S)
    session.device.idle_since = time.monotonic()


def _slow(session: Any, feeds: dict[str, Value]) -> None:  # noqa: ARG001
    time.sleep(SLOW_IN)


IN_TIME: dict[str, Any] = {
    "rarely-late": _rarely_late,
    "slower-and-slower": _slower_and_slower,
    "result-cache": _result_cache,
    "known-inputs": _known_inputs,
    "throttle": _throttle,
    "slow-after-idling": _slow_after_idling,
    "slow": _slow,
}
"""What happens to the time that an inference takes."""


def _digest(feeds: dict[str, Value]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(feeds):
        value = feeds[name]
        if isinstance(value, np.ndarray) and value.dtype.kind not in "OUST":
            digest.update(value.tobytes())
    return digest.digest()
