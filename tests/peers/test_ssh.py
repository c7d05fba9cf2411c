"""A device behind a real sshd, on loopback and a port of its own. Needs openssh-server; a missing one fails."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.peer
SELECTION = ["--case", "interface/*", "--case", "placement/*", "--case", "operators/ai.onnx.A*/*/test_*"]
PROBES = ["--case", "interface/session/*"]
VICTIM = "interface/session/output-contract"


class Lab(NamedTuple):
    """The other host."""

    folder: Path
    port: int
    server: subprocess.Popen

    def bench(self, **changes) -> Path:
        """Write a bench file for it."""
        ssh = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": getpass.getuser(),
            "identity_file": "key",
            "known_hosts_file": "known hosts",
        }
        ssh |= changes.pop("ssh", {})
        given = {"transport": "ssh", "ssh": ssh, "python": sys.executable, "workdir": str(self.folder), "workers": 1}
        path = self.folder / "bench.yaml"
        path.write_text(json.dumps({"conformance": 1, "bench": given | changes}))
        return path


def make_key(path: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path.with_name(f"{path.name}.pub").read_text()


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[Lab]:
    """An sshd that runs as whoever runs the tests, with keys made for it."""
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    assert program, "there is no sshd on this machine: apt-get install openssh-server"
    folder = tmp_path_factory.mktemp("lab host")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    host_key = make_key(folder / "host")
    (folder / "authorized").write_text(make_key(folder / "key"))
    words = " ".join(host_key.split()[:2])
    (folder / "known hosts").write_text(f"[127.0.0.1]:{port} {words}\n")
    (folder / "config").write_text(
        f'ListenAddress 127.0.0.1:{port}\nHostKey "{folder}/host"\nAuthorizedKeysFile "{folder}/authorized"\n'
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\n"
    )
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([program, "-D", "-e", "-f", str(folder / "config")], stderr=log)
    end = time.monotonic() + 20
    while time.monotonic() < end and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    assert server.poll() is None, (folder / "log").read_text()
    yield Lab(folder, port, server)
    server.kill()
    server.wait()


def run(tmp_path, arguments, profile="reference-cpu", bench=None, name="run"):
    """Run the command line; return exit code, run.json, records by case id, and what it said."""
    out = tmp_path / name
    command = [sys.executable, "-m", "conformance", "run", str(profile), "--out", str(out), *arguments]
    command += ["--bench", str(bench)] if bench else []
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, stdin=subprocess.DEVNULL)
    assert (out / "run.json").is_file(), done.stderr
    records = {one["case"]: one for one in map(json.loads, (out / "cases.jsonl").read_text().splitlines())}
    return done.returncode, json.loads((out / "run.json").read_text()), records, done.stdout + done.stderr


def misbehave(tmp_path, **options):
    path = tmp_path / "device.yaml"
    runtime = {"adapter": "misbehaving", "provider": "CPUExecutionProvider", "options": options}
    runtime["deadlines"] = {"open_s": 30, "compile_s": 30, "run_s": 1}
    device = {"vendor": "Lab", "model": "M", "category": "host-reference", "hardware": "cpu"}
    declares = {"opsets": {"ai.onnx": [7, 26]}, "types": ["float32", "int64"], "operators": "all"}
    path.write_text(json.dumps({"conformance": 1, "device": device, "runtime": runtime, "declares": declares}))
    return path


def left_on_host(limit_s: float = 10.0) -> list[str]:
    """Return the command lines of what is left of the relays here, once nothing more goes away."""
    end = time.monotonic() + limit_s
    while True:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if "SSH_CONNECTION=127.0.0.1" in (folder / "environ").read_bytes().decode(errors="replace"):
                    found.append(words)
            except OSError:
                continue
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.05)


def test_the_reference_device_behind_sshd_is_what_it_is_here(lab, tmp_path):
    code, result, there, _ = run(tmp_path, SELECTION, bench=lab.bench(workers=2))
    code_here, _, here, _ = run(tmp_path, SELECTION, name="here")

    assert code == code_here == 0
    assert result["info"]["bench"]["ssh"].endswith(f"127.0.0.1:{lab.port}")
    assert result["info"]["device_host"]["name"] == os.uname().nodename
    for name in ("outcome", "reason", "output_digest", "requirements"):
        assert {case: one[name] for case, one in there.items()} == {case: one[name] for case, one in here.items()}
    assert left_on_host() == []
    assert not list(lab.folder.glob("conformance-*"))


@pytest.mark.parametrize(
    ("behaviour", "outcome", "signal"), [("segv", "CRASH", "SIGSEGV"), ("hang", "TIMEOUT", "SIGKILL")]
)
def test_a_crash_and_a_hang_are_the_devices(lab, tmp_path, behaviour, outcome, signal):
    profile = misbehave(tmp_path, behaviour=behaviour, trigger="Transpose")
    code, _, records, _ = run(tmp_path, PROBES, profile, lab.bench())

    assert code == 20
    assert {case: one["outcome"] for case, one in records.items() if one["outcome"] != "PASS"} == {VICTIM: outcome}
    assert [one["signal"] for one in records[VICTIM]["attempts"]] == [signal, signal]
    assert left_on_host() == []


def test_grandchildren_of_the_device_do_not_outlive_the_connection(lab, tmp_path):
    profile = misbehave(tmp_path, behaviour="grandchildren", trigger="Relu")
    run(tmp_path, PROBES, profile, lab.bench())

    assert left_on_host() == []


def test_a_connection_that_is_cut_is_no_crash_and_leaves_nothing(lab, tmp_path):
    profile = misbehave(tmp_path, behaviour="hang", trigger="Transpose")
    tree = json.loads(profile.read_text())
    tree["runtime"]["deadlines"]["run_s"] = 3
    profile.write_text(json.dumps(tree))
    out = tmp_path / "cut"
    command = [sys.executable, "-m", "conformance", "run", str(profile), "--out", str(out), "--case", VICTIM]
    process = subprocess.Popen(
        [*command, "--bench", str(lab.bench())], stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    )
    journal = out / "journal.jsonl"
    while not (journal.exists() and '"type":"started"' in journal.read_text()):
        time.sleep(0.02)
        assert process.poll() is None
    for pid in sessions_of(lab.server.pid):  # the server's end of the connection goes, with no word to anybody
        os.kill(pid, 9)
    process.wait(timeout=120)
    attempts = [one["attempt"] for one in map(json.loads, journal.read_text().splitlines()) if one["type"] == "attempt"]

    assert attempts[0]["outcome"] == "ERROR"
    assert "the connection to the device's host was lost" in attempts[0]["detail"]
    assert left_on_host() == []


def sessions_of(server: int) -> list[int]:
    """Return the processes that sshd has for connections."""
    return [int(word) for word in Path(f"/proc/{server}/task/{server}/children").read_text().split()]


def test_a_host_key_that_is_not_known_is_refused_in_ssh_s_own_words(lab, tmp_path):
    (lab.folder / "nobody").write_text("")
    code, result, records, text = run(tmp_path, PROBES, bench=lab.bench(ssh={"known_hosts_file": "nobody"}))

    assert code == 30
    assert {one["outcome"] for one in records.values()} == {"NOT_RUN"}
    assert "Host key verification failed" in result["info"]["interrupted"]
    assert "Host key verification failed" in text


def test_a_host_that_is_not_there_is_not_run(lab, tmp_path):
    code, result, records, _ = run(tmp_path, PROBES, bench=lab.bench(ssh={"port": 1}))

    assert code == 30
    assert {one["outcome"] for one in records.values()} == {"NOT_RUN"}
    assert "Connection refused" in result["info"]["interrupted"]
