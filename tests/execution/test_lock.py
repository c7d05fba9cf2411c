"""One run at a time on one device, across processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.errors import HarnessError
from conformance.execution.lock import DeviceLock

HOLD = """
import sys, time
from pathlib import Path
from conformance.execution.lock import DeviceLock
with DeviceLock(Path(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_holder_is_told_who_the_first_is(tmp_path: Path) -> None:
    with DeviceLock(tmp_path, "card:0"):
        with pytest.raises(HarnessError) as caught, DeviceLock(tmp_path, "card:0"):
            pass
        assert str(caught.value) == (
            f"the device card:0 is in use by process {os.getpid()}: wait for that run to end, or stop it"
        )
    with DeviceLock(tmp_path, "card:0"):
        pass


def test_another_device_is_free(tmp_path: Path) -> None:
    with DeviceLock(tmp_path, "card:0"), DeviceLock(tmp_path, "card:1"):
        assert len(list((tmp_path / "locks").iterdir())) == 2


def test_an_error_inside_lets_go(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), DeviceLock(tmp_path, "card:0"):
        raise ZeroDivisionError
    with DeviceLock(tmp_path, "card:0"):
        pass


def test_a_holder_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path), "card:0"], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(HarnessError, match=f"in use by process {holder.pid}"), DeviceLock(tmp_path, "card:0"):
            pass
        holder.kill()
    with DeviceLock(tmp_path, "card:0"):
        pass


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("a file")

    with pytest.raises(HarnessError, match="the device lock cannot be made"), DeviceLock(tmp_path, "card:0"):
        pass
