"""The journal: append-only, written ahead, one JSON line per event.

A case is marked started before it runs; its record is written when it ends. A line is one `write`, so it survives `kill -9`;
lines are flushed to the disk about once a second, so a power cut loses at most the last second. A torn last line is dropped.
Each line carries a digest over itself and all before it: one that was edited, or taken out before others, is noticed. That
is no signature: who can write the file can compute the chain anew. Lines missing at the end look like a kill; only a
`run.json` that was written later, which holds how far the journal had come, shows that they are missing.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from typing import TYPE_CHECKING, Any

import msgspec

from conformance.errors import HarnessError, UsageError
from conformance.paths import read_file
from conformance.records import Attempt, Basis, HookUse, Identity, JournalState, Outcome, Record

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "journal.jsonl"
RESULT_NAME = "run.json"
"""Beside the journal, once a run has ended: it says how far the journal had come by then."""
SYNC_EVERY_S = 1.0
FAULTS = (Outcome.CRASH, Outcome.TIMEOUT)
"""What counts for the crash budget: either costs a reset."""


class RunLine(msgspec.Struct, tag="run", frozen=True, kw_only=True):
    """First line: what this journal is the journal of. A run can be resumed only against the same."""

    run_id: str
    started: str
    harness_version: str
    plan_digest: str
    profile_digest: str
    planned: int
    bench_digest: str = ""
    """Of what the bench file says about the unit, its host, the interpreter, the environment and the server."""
    challenge: str = ""
    """What inputs are drawn from; empty where they are public."""


class ResumeLine(msgspec.Struct, tag="resume", frozen=True, kw_only=True):
    """The run was continued."""

    at: str


class OpenedLine(msgspec.Struct, tag="opened", frozen=True, kw_only=True):
    """The device was bound."""

    identity: Identity
    versions: dict[str, str]
    host: dict[str, str] = {}
    """What the device's host said of itself, where that is another one."""


class StartedLine(msgspec.Struct, tag="started", frozen=True, kw_only=True):
    """A case is about to run."""

    case: str
    worker: int
    attempt: int


class AttemptLine(msgspec.Struct, tag="attempt", frozen=True, kw_only=True):
    """An attempt that did not end in an orderly way."""

    case: str
    attempt: Attempt


class HookLine(msgspec.Struct, tag="hook", frozen=True, kw_only=True):
    """The lab's reset or power cycle was used."""

    use: HookUse


class RecordLine(msgspec.Struct, tag="record", frozen=True, kw_only=True):
    """A case ended."""

    record: Record


class EndLine(msgspec.Struct, tag="end", frozen=True, kw_only=True):
    """The run ended by itself or was interrupted, and was not killed. Its own place in the chain closes all before it."""

    at: str
    records: int
    """How many cases have their record."""
    cause: str = ""
    """Why not everything was reached; empty where it was."""


Line = RunLine | ResumeLine | OpenedLine | StartedLine | AttemptLine | HookLine | RecordLine | EndLine
CHAIN = b',"chain":"'
_DIGEST = 16
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Line)


def linked(before: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Return the line of a JSON object, with its place in the chain, and the chain as it stands after it."""
    chain = hashlib.blake2b(before + body, digest_size=_DIGEST).digest()
    return body[:-1] + CHAIN + chain.hex().encode() + b'"}\n', chain


def follow(lines: list[bytes], path: Path) -> list[bytes]:
    """Return the chain after each of some lines that all stand where they were written; UsageError with the number of the
    first that does not.
    """
    chain, found = b"", []
    for number, line in enumerate(lines, start=1):
        body, _, _ = line.rpartition(CHAIN)
        whole, chain = linked(chain, body + b"}")
        if whole != line + b"\n":
            what = "was changed after it was written, or one before it was taken out"
            raise UsageError(f"{path}:{number}:1: this line {what}; start a new run")
        found.append(chain)
    return found


class _ResultInfo(msgspec.Struct):
    run_id: str
    journal: JournalState | None = None


class _Result(msgspec.Struct):
    """What the journal needs to know of a `run.json`."""

    info: _ResultInfo


def compare(folder: Path, lines: list[Line], chains: list[bytes]) -> None:
    """Compare a journal with the `run.json` of its folder, where there is one; UsageError where lines are missing or others."""
    path = folder / RESULT_NAME
    try:
        info = msgspec.json.decode(read_file(path), type=_Result).info
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}; start a new run") from error
    except msgspec.MsgspecError as error:
        raise UsageError(f"{path}: this is no result of a run: {error}; start a new run") from error
    if isinstance(lines[0], RunLine) and info.run_id != lines[0].run_id:
        raise UsageError(f"{path}: this is the result of another run than {FILE_NAME} beside it; start a new run")
    state = info.journal
    if state is None:
        return
    records = sum(isinstance(line, RecordLine) for line in lines[: state.lines])
    if len(chains) < state.lines:
        told = f"has {len(chains)} lines, and had {state.lines} with {state.records} records when {RESULT_NAME} was written"
        raise UsageError(f"{folder / FILE_NAME}: {told}: its end was taken out; start a new run")
    if state.lines < 1 or records != state.records or chains[state.lines - 1].hex() != state.chain:
        raise UsageError(
            f"{folder / FILE_NAME}: is not the journal that {RESULT_NAME} was written for; start a new run"
        )


class Journal:
    """An open journal. Use `create` or `resume`."""

    def __init__(self, path: Path, fd: int, chain: bytes = b"", lines: int = 0, records: int = 0) -> None:
        self.path = path
        self._chain, self._lines, self._records = chain, lines, records
        self._fd = fd
        self._synced = time.monotonic()
        self._dirty = False

    @classmethod
    def create(cls, folder: Path, first: RunLine) -> Journal:
        """Start a journal; UsageError where the folder already has one."""
        path = folder / FILE_NAME
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        except FileExistsError:
            raise UsageError(f"{path} exists already: continue that run with --resume, or give another --out") from None
        except OSError as error:
            raise HarnessError(f"{path}: cannot be written: {error.strerror}") from error
        _hold(fd, path)
        journal = cls(path, fd)
        journal.write(first)
        journal.sync()
        return journal

    @classmethod
    def resume(cls, folder: Path) -> tuple[Journal, list[Line]]:
        """Open an existing journal and return it with its lines; a torn last line is cut off."""
        path = folder / FILE_NAME
        try:
            data = read_file(path)
        except OSError as error:
            raise UsageError(f"{path}: there is no run to resume: {error.strerror}") from error
        whole = data[: data.rfind(b"\n") + 1]
        texts = whole.split(b"\n")[:-1]
        lines: list[Line] = []
        for number, text in enumerate(texts, start=1):
            try:
                lines.append(_DECODER.decode(text))
            except msgspec.DecodeError as error:
                raise UsageError(f"{path}:{number}:1: not a journal line: {error}") from error
        if not lines or not isinstance(lines[0], RunLine):
            raise UsageError(f"{path}:1:1: the journal does not begin with its run line; start a new run")
        chains = follow(texts, path)
        compare(folder, lines, chains)
        try:
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            raise UsageError(f"{path}: cannot be continued: {error.strerror}") from error
        _hold(fd, path, len(data))
        try:
            os.ftruncate(fd, len(whole))
        except OSError as error:
            os.close(fd)
            raise UsageError(f"{path}: cannot be continued: {error.strerror}") from error
        records = sum(isinstance(line, RecordLine) for line in lines)
        return cls(path, fd, chains[-1], len(lines), records), lines

    @property
    def state(self) -> JournalState:
        """How far the journal has come."""
        return JournalState(lines=self._lines, records=self._records, chain=self._chain.hex())

    def end(self, at: str, cause: str) -> None:
        """Close the run with its last line."""
        self.write(EndLine(at=at, records=self._records, cause=cause))

    def write(self, line: Line) -> None:
        """Append one line; HarnessError where the disk refuses."""
        try:
            data, chain = linked(self._chain, _ENCODER.encode(line))
        except UnicodeEncodeError as error:  # all text is made Unicode where it comes in: this is a bug of ours
            raise HarnessError(f"{self.path}: a line holds text that is no Unicode: {error}") from error
        try:
            written = os.write(self._fd, data)
        except OSError as error:
            raise HarnessError(
                f"{self.path}: cannot be written: {error.strerror}; nothing before it is lost"
            ) from error
        if written != len(data):
            raise HarnessError(
                f"{self.path}: the disk is full; nothing before this line is lost: free space, then --resume"
            )
        self._chain = chain
        self._lines += 1
        self._records += isinstance(line, RecordLine)
        self._dirty = True

    def tick(self) -> None:
        """Flush to the disk where a second has passed."""
        if self._dirty and time.monotonic() - self._synced >= SYNC_EVERY_S:
            self.sync()

    def sync(self) -> None:
        """Flush to the disk now."""
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise HarnessError(f"{self.path}: cannot be flushed: {error.strerror}") from error
        self._synced = time.monotonic()
        self._dirty = False

    def close(self) -> None:
        """Flush and close."""
        self.sync()
        os.close(self._fd)


def _hold(fd: int, path: Path, size: int | None = None) -> None:
    """Take the journal for this process alone; UsageError where another run writes it, or wrote it since it was `size` long."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        is_taken = True
    except OSError:  # a file system without locks: the device's lock still holds
        is_taken = False
    else:
        is_taken = size is not None and os.fstat(fd).st_size != size
    if is_taken:
        os.close(fd)
        raise UsageError(f"{path}: another run is writing this journal: wait for it to end, or give another --out")


def finished(lines: list[Line]) -> dict[str, Record]:
    """Return the records of a journal by case id; UsageError where a case has two."""
    records: dict[str, Record] = {}
    for line in lines:
        if isinstance(line, RecordLine):
            if line.record.case in records:
                raise UsageError(f"the journal has two records of {line.record.case}; start a new run")
            records[line.record.case] = line.record
    return records


class Known(msgspec.Struct, frozen=True):
    """What the journal of a run knows when the run begins or is continued."""

    first: RunLine
    resumed: int = 0
    records: dict[str, Record] = {}
    attempts: dict[str, list[Attempt]] = {}
    """Of cases without a record."""
    identity: Identity | None = None
    versions: dict[str, str] = {}
    hooks: tuple[HookUse, ...] = ()
    crashes: int = 0
    """Attempts of claimed cases that ended in CRASH or TIMEOUT, of cases with and without a record."""
    host: dict[str, str] = {}
    unclosed: int = 0
    """How many of the sessions before this one left no closing line: they were killed, or the end was taken out."""


def open_run(folder: Path, now: RunLine, *, resume: bool) -> tuple[Journal, Known]:
    """Start the journal of the run `now`, or continue the one that is there; UsageError where that was another run."""
    if not resume:
        return Journal.create(folder, now), Known(now)
    journal, lines = Journal.resume(folder)
    try:
        known = _known(folder, lines, now)
    except UsageError:
        journal.close()
        raise
    journal.write(ResumeLine(at=now.started))
    return journal, known


def _known(folder: Path, lines: list[Line], now: RunLine) -> Known:
    first = next(line for line in lines if isinstance(line, RunLine))
    for what, then, current in (
        ("version of the harness", first.harness_version, now.harness_version),
        ("profile", first.profile_digest, now.profile_digest),
        ("challenge", first.challenge, now.challenge),
        ("plan (level, selection or suite)", first.plan_digest, now.plan_digest),
        ("bench file (unit, host, interpreter, environment or server)", first.bench_digest, now.bench_digest),
    ):
        if then != current:
            raise UsageError(f"{folder}: cannot be resumed, the {what} has changed since; start a new run")
    records = finished(lines)
    attempts: dict[str, list[Attempt]] = {}
    for line in lines:
        if isinstance(line, AttemptLine) and line.case not in records:
            attempts.setdefault(line.case, []).append(line.attempt)
    resumed = 1 + sum(isinstance(line, ResumeLine) for line in lines)
    opened = next((line for line in lines if isinstance(line, OpenedLine)), None)
    unclaimed = {case for case, record in records.items() if record.basis is Basis.UNCLAIMED}
    faults = [line for line in lines if isinstance(line, AttemptLine) and line.attempt.outcome in FAULTS]
    ends = [before for before, line in zip(lines, [*lines[1:], None], strict=True) if _begins(line)]
    known = Known(
        first,
        resumed,
        records,
        attempts,
        hooks=tuple(line.use for line in lines if isinstance(line, HookLine)),
        crashes=sum(line.case not in unclaimed for line in faults),
        unclosed=sum(not isinstance(line, EndLine) for line in ends),
    )
    if opened is not None:
        known = msgspec.structs.replace(known, identity=opened.identity, versions=opened.versions, host=opened.host)
    return known


def _begins(line: Line | None) -> bool:
    """Whether a session begins with this line, the one that is about to begin included."""
    return line is None or isinstance(line, ResumeLine)


def plain(line: Line) -> Any:
    """Return a line as builtin types, for tests and tools."""
    return msgspec.to_builtins(line)
