"""The journal: append-only, written ahead, one JSON line per event.

A case is marked started before it runs; its record is written when it ends. A line is one `write`, so it survives `kill -9`;
lines are flushed to the disk about once a second, so a power cut loses at most the last second. A torn last line is dropped.
Each line carries a digest over itself and all before it: one that was edited or taken out is noticed. That is no signature:
who can write the file can compute the chain anew.
"""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING, Any

import msgspec

from conformance.errors import HarnessError, UsageError
from conformance.paths import read_file
from conformance.records import Attempt, HookUse, Identity, Outcome, Record

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "journal.jsonl"
SYNC_EVERY_S = 1.0


class RunLine(msgspec.Struct, tag="run", frozen=True, kw_only=True):
    """First line: what this journal is the journal of. A run can be resumed only against the same."""

    run_id: str
    started: str
    harness_version: str
    plan_digest: str
    profile_digest: str
    planned: int


class ResumeLine(msgspec.Struct, tag="resume", frozen=True, kw_only=True):
    """The run was continued."""

    at: str


class OpenedLine(msgspec.Struct, tag="opened", frozen=True, kw_only=True):
    """The device was bound."""

    identity: Identity
    versions: dict[str, str]


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


Line = RunLine | ResumeLine | OpenedLine | StartedLine | AttemptLine | HookLine | RecordLine
CHAIN = b',"chain":"'
_DIGEST = 16
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Line)


def linked(before: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Return the line of a JSON object, with its place in the chain, and the chain as it stands after it."""
    chain = hashlib.blake2b(before + body, digest_size=_DIGEST).digest()
    return body[:-1] + CHAIN + chain.hex().encode() + b'"}\n', chain


def follow(lines: list[bytes], path: Path) -> bytes:
    """Return the chain after lines that all stand where they were written; UsageError with the number of the first that does not."""
    chain = b""
    for number, line in enumerate(lines, start=1):
        body, _, _ = line.rpartition(CHAIN)
        whole, chain = linked(chain, body + b"}")
        if whole != line + b"\n":
            what = "was changed after it was written, or one before it was taken out"
            raise UsageError(f"{path}:{number}:1: this line {what}; start a new run")
    return chain


class Journal:
    """An open journal. Use `create` or `resume`."""

    def __init__(self, path: Path, fd: int, chain: bytes = b"") -> None:
        self.path = path
        self._chain = chain
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
        chain = follow(texts, path)
        try:
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK)
            os.ftruncate(fd, len(whole))
        except OSError as error:
            raise UsageError(f"{path}: cannot be continued: {error.strerror}") from error
        return cls(path, fd, chain), lines

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
    """Attempts that ended in CRASH, of cases with and without a record."""


def open_run(folder: Path, now: RunLine, *, resume: bool) -> tuple[Journal, Known]:
    """Start the journal of the run `now`, or continue the one that is there; UsageError where that was another run."""
    if not resume:
        return Journal.create(folder, now), Known(now)
    journal, lines = Journal.resume(folder)
    first = next(line for line in lines if isinstance(line, RunLine))
    for what, then, current in (
        ("version of the harness", first.harness_version, now.harness_version),
        ("profile", first.profile_digest, now.profile_digest),
        ("plan (level, selection or suite)", first.plan_digest, now.plan_digest),
    ):
        if then != current:
            journal.close()
            raise UsageError(f"{folder}: cannot be resumed, the {what} has changed since; start a new run")
    records = finished(lines)
    attempts: dict[str, list[Attempt]] = {}
    for line in lines:
        if isinstance(line, AttemptLine) and line.case not in records:
            attempts.setdefault(line.case, []).append(line.attempt)
    journal.write(ResumeLine(at=now.started))
    resumed = 1 + sum(isinstance(line, ResumeLine) for line in lines)
    opened = next((line for line in lines if isinstance(line, OpenedLine)), None)
    known = Known(
        first,
        resumed,
        records,
        attempts,
        hooks=tuple(line.use for line in lines if isinstance(line, HookLine)),
        crashes=sum(isinstance(line, AttemptLine) and line.attempt.outcome is Outcome.CRASH for line in lines),
    )
    if opened is not None:
        known = msgspec.structs.replace(known, identity=opened.identity, versions=opened.versions)
    return journal, known


def plain(line: Line) -> Any:
    """Return a line as builtin types, for tests and tools."""
    return msgspec.to_builtins(line)
