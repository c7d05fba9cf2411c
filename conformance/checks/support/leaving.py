"""What a device leaves behind in its process: memory, descriptors, threads, and settings that are the whole process's."""

from __future__ import annotations

import locale
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.checks.support.running import resident_kb
from conformance.records import Judgement, Measurement, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

KINDS = {
    "resident_kb": ("growth_per_session", "kB", 64.0),
    "descriptors": ("descriptors_per_session", "descriptors", 0.1),
    "threads": ("threads_per_session", "threads", 0.1),
}
"""What is counted; the measurement, its unit, and the growth per session that counts as a leak. The limits are ours: an
allocator's noise is far below 64 kB, and one descriptor or thread for every ten sessions is used up in a day."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM, signal.SIGCHLD)
"""Those that belong to the program that uses a runtime: how it is stopped, timed, and told of its own children."""


def count_held() -> dict[str, int]:
    """Return resident memory in kB, open descriptors and threads of this process; 0 where the host does not tell."""
    return {
        "resident_kb": resident_kb(),
        "descriptors": _count("/proc/self/fd"),
        "threads": _count("/proc/self/task"),
    }


def _count(folder: str) -> int:
    try:
        return len(os.listdir(folder))  # noqa: PTH208 - pathlib would make a Path for each
    except OSError:
        return 0


def judge_growth(sessions: int, half: Mapping[str, int], end: Mapping[str, int]) -> Judgement:
    """Judge what the second half of so many sessions left behind: the first half warms caches up."""
    shown = []
    for kind, (name, unit, limit) in KINDS.items():
        before, after = half.get(kind, 0), end.get(kind, 0)
        if before <= 0 or after <= 0:
            told = kind.replace("resident_kb", "resident memory")
            return Judgement(outcome=Outcome.UNMEASURED, reason=f"the host does not tell the {told} of the child")
        growth = (after - before) / (sessions / 2)
        shown.append(
            Measurement(
                name=name,
                value=round(growth, 3),
                unit=unit,
                limit=f"≤ {limit:g}",
                margin=growth / limit,
                met=growth <= limit,
            )
        )
    for one in shown:
        if not one.met:
            reason = f"{sessions} sessions leave {one.value:g} {one.unit} each behind: the runtime leaks"
            return Judgement(outcome=Outcome.FAIL, reason=reason, measurements=tuple(shown))
    return Judgement(outcome=Outcome.PASS, measurements=tuple(shown))


def look_at_process() -> dict[str, Any]:
    """Return what a session may not change of its process, in plain data. Values of the environment stay here."""
    mask = os.umask(0)
    os.umask(mask)
    return {
        "working directory": _working_directory(),
        "environment": dict(os.environ),
        "umask": f"{mask:03o}",
        "locale": f"{locale.setlocale(locale.LC_ALL)}, decimal point {locale.localeconv()['decimal_point']}",
        "floating point": _floating_point(),
        **{one.name: _disposition(one) for one in _SIGNALS},
    }


def name_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return one line per thing that changed; of the environment the names of the variables alone."""
    found = []
    for what, was in before.items():
        now = after[what]
        if was == now:
            continue
        if isinstance(was, dict):
            names = sorted(name for name in {*was, *now} if was.get(name) != now.get(name))
            found.append(f"{what}: {', '.join(names)}")
        else:
            found.append(f"{what}: {was} became {now}")
    return found


def _working_directory() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        return "gone"


def _disposition(one: signal.Signals) -> str:
    """Say how a signal is handled, in Python and, where /proc tells, below it."""
    handler = signal.getsignal(one)
    text = (
        handler.name if isinstance(handler, signal.Handlers) else "no Python handler" if handler is None else "caught"
    )
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except (OSError, UnicodeError):
        return text
    bit = 1 << (one - 1)
    below = [word for key, word in (("SigIgn", "ignored"), ("SigCgt", "caught")) if _mask(status, key) & bit]
    return f"{text}, {below[0] if below else 'default'} below"


def _mask(status: str, key: str) -> int:
    line = next((line for line in status.splitlines() if line.startswith(f"{key}:")), f"{key}: 0")
    return int(line.partition(":")[2].strip(), 16)


def _floating_point() -> str:
    """Compute what differs where results are rounded another way than to nearest, or small numbers are flushed to zero."""
    one, tiny = np.ones(1, np.float64), np.full(1, 1e-310)
    return f"1 + 2^-53 = {(one + 2.0**-53)[0]!r}, 1 - 2^-54 = {(one - 2.0**-54)[0]!r}, 1e-310 / 2 = {(tiny / 2)[0]!r}"
