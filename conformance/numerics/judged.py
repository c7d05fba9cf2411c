"""What judging one output says, whichever tier it was judged by."""

from __future__ import annotations

from typing import NamedTuple


class Statistic(NamedTuple):
    """One statistic of the errors and its limit."""

    name: str
    value: float
    limit: float
    unit: str = ""

    @property
    def share(self) -> float:
        """Return how much of the limit is used: up to 1 is met."""
        if self.limit > 0:
            return self.value / self.limit
        return 0.0 if self.value <= 0 else float("inf")


class Judged(NamedTuple):
    """The judgement of one output."""

    tier: str
    """`exact`, `bound`, `spread` (Monte Carlo arithmetic), `discrete`, `rate` or `onnx` (its own tolerance)."""
    reason: str = ""
    """Empty where the output is right; else what is wrong with it: element, actual, expected, limit."""
    statistics: tuple[Statistic, ...] = ()
    looks_like: str = ""
    """Which precision or fault the errors look like, where that can be told."""

    @property
    def ok(self) -> bool:
        """Whether the output is within its limit."""
        return not self.reason
