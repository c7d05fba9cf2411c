"""The stamp of the host: what it tells, and what it leaves out."""

from __future__ import annotations

import platform
from pathlib import Path

from conformance.host import describe_host


def test_this_host_describes_itself() -> None:
    told = describe_host()
    assert told["python"] == platform.python_version()
    assert int(told["cpus"]) >= 1
    assert float(told["load"]) >= 0
    assert all(isinstance(value, str) and value for value in told.values())


def test_processor_and_memory_come_from_proc(tmp_path: Path) -> None:
    cpuinfo, meminfo = tmp_path / "cpuinfo", tmp_path / "meminfo"
    cpuinfo.write_bytes(b"processor\t: 0\nmodel name\t: Tom & Co: 9000\xff\nmodel name\t: second\n")
    meminfo.write_text("MemTotal:       16384 kB\n")
    told = describe_host(cpuinfo, meminfo)
    assert told["cpu"] == "Tom & Co: 9000\N{REPLACEMENT CHARACTER}"
    assert told["memory"] == "16384 kB"


def test_what_the_host_does_not_tell_is_left_out(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("flags : many\n")
    told = describe_host(empty, tmp_path / "absent")
    assert "cpu" not in told
    assert "memory" not in told
