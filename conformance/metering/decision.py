"""The decision rule: a verdict is given only where the uncertainty leaves no doubt (guard bands, ILAC-G8:09/2019).

PASS where value + U ≤ limit, FAIL where value − U > limit, open between, with what would settle it. With U at k = 2 a device
right at its limit passes wrongly, or fails wrongly, no more often than `uncertainty.BEYOND`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from conformance.metering.uncertainty import Amount

_SETTLED_BY = {
    "meter": "a meter of higher accuracy, or its calibration certificate in the bench file",
    "resolution": "a meter that shows finer steps",
    "sampling": "a meter that is read more often",
    "statistical": "a longer run",
}


class Decision(NamedTuple):
    """What an amount says about a limit."""

    outcome: Literal["pass", "fail", "open"]
    reason: str
    settles: str = ""
    """For `open`: what would settle it."""


def decide(name: str, amount: Amount, limit: float, *, headroom: float = 0.0) -> Decision:
    """Return whether an amount is at most a limit. `headroom` is what it may still rise by: it counts against PASS alone."""
    value, expanded, unit = amount.value, amount.expanded, amount.unit
    told = f"{name} {amount}, limit {limit:g} {unit}"
    if value - expanded > limit:
        if amount.is_lone:
            reason = f"{told}: one reading of {amount.readings} alone lies above the limit"
            return Decision("open", reason, "another run, or a meter that is read more often")
        return Decision("fail", told)
    if value + expanded + headroom <= limit:
        return Decision("pass", told)
    if value + expanded <= limit:
        return Decision("open", f"{told}: it may still rise by {headroom:.2g} {unit}", "a longer soak")
    largest = amount.uncertainty.largest
    room = abs(limit - value)
    reason = f"{told}: the limit lies within the uncertainty, of which most is {largest}"
    needed = f"an uncertainty below {room:.2g} {unit}: " if room > 0 else ""
    return Decision("open", reason, f"{needed}{_SETTLED_BY[largest]}")
