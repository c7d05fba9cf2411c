"""What ONNX's own operator cases are judged by: their data, our limits, worked out once and kept in the cache.

A case gets the limit of its tier for the precision that is declared (`made.limits`). ONNX's own tolerance stays where nothing better is
known, each time with a reason: models of whole networks, operators that the reference evaluator cannot run, and bodies for which
our limit would refuse what ONNX itself expects.
"""

from __future__ import annotations

import hashlib
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from conformance.numerics import limits as plain
from conformance.numerics.modes import PrecisionMode
from conformance.numerics.spread import Spread, judge_spread
from conformance.paths import cache_folder
from conformance.reference.packed import Packed, pack_limit, unpack_limit
from conformance.reference.sealed import digest_of_sources, kept_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.reference.suite import Suite, SuiteEntry

FLOATS = ("float32", "float16", "bfloat16", "float64", "float8e4m3fn", "float8e5m2", "float8e4m3fnuz", "float8e5m2fnuz")
"""Whose declared precision a case is judged by: the first of these among its types."""
CHUNK = 64
"""Cases worked out and kept together."""
_Chunk = dict[str, list[list[Packed]] | str]
"""By case id: limits per data set and output, or why there are none."""


def subject_of(types: tuple[str, ...]) -> str:
    """Return the floating-point type whose precision a case of these types is judged by; float32 where it has none."""
    return next((one for one in FLOATS if one in types), "float32")


class SuiteLimits:
    """The limits of a suite under the precisions that a profile declares, by type. `hold` before `of`."""

    def __init__(self, suite: Suite, modes: dict[str, dict[str, Any]]) -> None:
        self._suite = suite
        self._modes = modes
        judged = [entry for entry in suite.entries if not entry.invalid and entry.kind != "real"]
        self._chunks = [tuple(one.case_id for one in judged[at : at + CHUNK]) for at in range(0, len(judged), CHUNK)]
        self._place = {case_id: at for at, ids in enumerate(self._chunks) for case_id in ids}
        self._bodies: list[dict[str, msgspec.Raw]] = []

    def hold(self, progress: Callable[[str, int, int], None]) -> None:
        """Read all limits into memory, working out those that the cache has not, on all processors, with progress."""
        if self._bodies:
            return
        missing = [at for at in range(len(self._chunks)) if not self._path(at).is_file()]
        if missing:
            from conformance.reference.ahead import call_ahead

            def tell(done: int) -> None:
                progress("working out the limits of ONNX cases", done, len(missing))

            tell(0)
            call_ahead((partial(_make_in_worker, self._modes, at) for at in missing), tell)
        self._bodies = [self._read(at) for at in range(len(self._chunks))]

    def of(self, case_id: str) -> list[list[Any]] | str:
        """Return per data set what each output is judged by, or why ONNX's own tolerance is all there is."""
        at = self._place.get(case_id)
        if at is None:
            return "a whole network: its float64 reference is not evaluated"
        kept: list[list[Packed]] | str = msgspec.msgpack.decode(
            self._bodies[at][case_id], type=list[list[Packed]] | str
        )
        mode = PrecisionMode.of(self._modes[subject_of(self._suite.entry(case_id).types)])
        return kept if isinstance(kept, str) else [[unpack_limit(one, mode) for one in outputs] for outputs in kept]

    def make(self, at: int) -> None:
        """Work out one chunk and keep it."""
        self._read(at)

    def _read(self, at: int) -> dict[str, msgspec.Raw]:
        body = kept_body(self._path(at), partial(self._make_chunk, at))
        return msgspec.msgpack.decode(body, type=dict[str, msgspec.Raw])

    def _make_chunk(self, at: int) -> bytes:
        chunk: _Chunk = {case_id: self._made(case_id) for case_id in self._chunks[at]}
        return msgspec.msgpack.encode(chunk)

    def _made(self, case_id: str) -> list[list[Packed]] | str:
        entry = self._suite.entry(case_id)
        found = []
        for dataset in range(len(entry.datasets)):
            limits = _limits(self._suite, entry, dataset, self._modes[subject_of(entry.types)])
            if isinstance(limits, str):
                return limits
            found.append([pack_limit(one) for one in limits])
        return found

    def _path(self, at: int) -> Path:
        parts = [
            self._suite.key,
            *self._chunks[at],
            msgspec.json.encode(self._modes, order="sorted").decode(),
            _sources(),
        ]
        name = hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
        return cache_folder() / "suite-limits" / f"{name}.msgpack"


def _make_in_worker(modes: dict[str, dict[str, Any]], at: int) -> None:
    from conformance.reference.suite import load_suite

    SuiteLimits(load_suite(), modes).make(at)


def _limits(suite: Suite, entry: SuiteEntry, dataset: int, mode: dict[str, Any]) -> list[Any] | str:
    from conformance.reference.made.limits import limits_of_model

    inputs: dict[str, Any] = suite.inputs(entry, dataset)
    subject = subject_of(entry.types)
    try:
        limits: list[Any] = limits_of_model(suite.model(entry), inputs, PrecisionMode.of(mode), subject)
    except Exception as error:  # noqa: BLE001 - the evaluator has an exception for every operator that it lacks
        return f"the reference evaluator cannot run it in float64: {type(error).__name__}: {error}"[:300]
    for one in limits:
        if isinstance(one, plain.Unbounded):
            return one.reason
        if isinstance(one, plain.Discrete) and np.size(one.is_decided) and not np.any(one.is_decided):
            return "a choice on the very boundary, which no margin decides"
    if entry.expanded and not all(map(_accepts, limits, suite.expected(entry, dataset))):
        return "our limit of this body would refuse what ONNX expects of it"
    return limits


def _accepts(limit: Any, expected: Any) -> bool:
    if isinstance(limit, Spread):
        return isinstance(expected, np.ndarray) and judge_spread(limit, expected, "").ok
    return plain.judge(limit, expected).ok


@cache
def _sources() -> str:
    """Return a digest of all the code that limits follow from."""
    from importlib.metadata import version

    here = Path(__file__).resolve().parent
    folders = [here.parent / "numerics", here / "operator_bounds", here / "montecarlo", here / "contrib"]
    files = [path for folder in folders for path in sorted(folder.glob("*.py"))]
    files += [
        here / name
        for name in (
            "evaluate.py",
            "interpreter.py",
            "wide_operators.py",
            "wide_gaps.py",
            "suite_limits.py",
            "packed.py",
        )
    ]
    files.append(here / "made" / "limits.py")
    return digest_of_sources(files, version("onnx"), version("numpy"))
