"""How far the run is, and how long it may still take. No clock of its own: it is told the time."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

from conformance.records import Outcome

if TYPE_CHECKING:
    from conformance.records import Record

WINDOW_S = 20.0
"""The estimate looks back this far: cases of one kind follow each other, and kinds differ."""
SAMPLE_S = 0.5


class Pace:
    """Counts cases and estimates the rest from the speed of the last `WINDOW_S` seconds."""

    def __init__(self, total: int, now_s: float, done_before: int = 0) -> None:
        self.total = total
        self.done = done_before
        self.counts: Counter[Outcome] = Counter()
        self._began_s = now_s
        self._samples: deque[tuple[float, int]] = deque([(now_s, done_before)])

    def finished(self, record: Record, now_s: float) -> None:
        """Count a case."""
        self.done += 1
        self.counts[record.outcome] += 1
        if now_s - self._samples[-1][0] >= SAMPLE_S:
            self._samples.append((now_s, self.done))
            while len(self._samples) > 2 and now_s - self._samples[1][0] > WINDOW_S:
                self._samples.popleft()

    def elapsed_s(self, now_s: float) -> float:
        """Return the seconds since the start."""
        return max(0.0, now_s - self._began_s)

    def left_s(self, now_s: float) -> float | None:
        """Return the estimated seconds to the end, None where it is too early to tell."""
        then_s, then_done = self._samples[0]
        passed_s, done = now_s - then_s, self.done - then_done
        if self.done >= self.total:
            return 0.0
        if passed_s < 1.0 or done < 5:
            return None
        return passed_s / done * (self.total - self.done)

    def tally(self) -> str:
        """Return the outcomes so far: `1,180 PASS · 3 FAIL`."""
        return " · ".join(f"{self.counts[outcome]:,} {outcome}" for outcome in Outcome if self.counts[outcome])

    def share(self) -> float:
        """Return how much is done, from 0 to 1; 1 where nothing was planned."""
        return min(1.0, self.done / self.total) if self.total else 1.0


def spoken(seconds: float) -> str:
    """Return a duration as `0:05`, `12:30` or `1:02:03`."""
    whole = int(seconds + 0.5)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
