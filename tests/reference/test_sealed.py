"""What the cache keeps is believed where it is whole, made where it is not, and made once."""

from __future__ import annotations

import gc
import multiprocessing
import time
from pathlib import Path

import msgspec
import pytest

from conformance.reference import sealed
from conformance.reference.sealed import Sealed, digest_of, digest_of_sources, kept_body, without_collection

BODY = msgspec.msgpack.encode({"a": 1})


def never() -> bytes:
    raise AssertionError("made although it is there")


def test_a_body_is_made_once_and_then_read(tmp_path):
    path = tmp_path / "made" / "one.msgpack"
    assert kept_body(path, lambda: BODY) == BODY
    assert kept_body(path, never) == BODY


@pytest.mark.parametrize(
    "bytes_",
    [b"", b"\xff" * 40, msgspec.msgpack.encode(Sealed(digest_of(b"other"), msgspec.Raw(BODY)))],
    ids=["empty", "no-msgpack", "digest-of-something-else"],
)
def test_what_is_damaged_is_made_again(tmp_path, bytes_):
    path = tmp_path / "one.msgpack"
    path.write_bytes(bytes_)
    assert kept_body(path, lambda: BODY) == BODY
    assert kept_body(path, never) == BODY


def test_a_cache_that_cannot_be_written_costs_no_truth(tmp_path):
    (tmp_path / "file").write_text("a file where a folder is wanted")
    assert kept_body(tmp_path / "file" / "one.msgpack", lambda: BODY) == BODY


def make_slowly(path: str, log: str) -> None:
    def make() -> bytes:
        with Path(log).open("a") as stream:
            stream.write("made\n")
        time.sleep(0.5)
        return BODY

    assert kept_body(Path(path), make) == BODY


def test_several_processes_make_it_once(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    log = tmp_path / "log"
    each = [spawn.Process(target=make_slowly, args=(str(tmp_path / "one"), str(log))) for _ in range(3)]
    for one in each:
        one.start()
    for one in each:
        one.join(60)
    assert [one.exitcode for one in each] == [0, 0, 0]
    assert log.read_text() == "made\n"


def test_who_stands_still_is_not_waited_for_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(sealed, "PATIENCE_S", 0.2)
    with sealed.making(tmp_path / "one"):
        assert kept_body(tmp_path / "one", lambda: BODY) == BODY


def test_the_name_follows_sources_and_versions(tmp_path):
    (tmp_path / "a.py").write_text("1")
    first = digest_of_sources([tmp_path / "a.py"], "1.0")
    assert first == digest_of_sources([tmp_path / "a.py"], "1.0")
    assert first != digest_of_sources([tmp_path / "a.py"], "1.1")
    (tmp_path / "a.py").write_text("2")
    assert first != digest_of_sources([tmp_path / "a.py"], "1.0")


def test_the_collector_is_as_it_was(monkeypatch):
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError), without_collection():
        assert not gc.isenabled()
        raise ZeroDivisionError
    assert gc.isenabled()
    gc.disable()
    try:
        with without_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
