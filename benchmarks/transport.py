"""What `transport: ssh` costs a case against the local transport: the same case over an sshd on loopback, in alternation.

    python benchmarks/transport.py                    seven large pairs, 30 small ones for each of them
    python benchmarks/transport.py --pairs 3 --mb 20  shorter, and with less data

Needs OpenSSH's client and server. A network adds its own round trips and bandwidth; loopback shows what relay, encryption
and copies take. Journal, hashing and judging take no part.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from _measure import make_parser, print_machine, spread
from isolation import PROFILE, WARM_UP, Isolated, make_large, make_work

from conformance import prepare
from conformance.execution.protocol import Deadlines
from conformance.execution.ssh import Address, Remote
from conformance.execution.stores import sealed_copy
from conformance.execution.worker import Launch
from conformance.profile.loader import load_device
from conformance.reference import probes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from isolation import Work

SMALL_PER_PAIR = 30


@contextmanager
def serve(folder: Path) -> Iterator[Address]:
    """Run an sshd on loopback with keys of its own, and return where it is."""
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        sys.exit("there is no sshd on this machine: apt-get install openssh-server")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for name in ("host", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)  # noqa: S607
    (folder / "known").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    (folder / "config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/key.pub\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\n"
    )
    server = subprocess.Popen([program, "-D", "-e", "-f", str(folder / "config")], stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        yield Address("127.0.0.1", getpass.getuser(), port, str(folder / "key"), str(folder / "known"))
    finally:
        server.kill()
        server.wait()


def compare(name: str, local: Isolated, remote: Isolated, work: Work, count: int) -> None:
    """Time both in alternation and print medians, the difference first."""
    walls: dict[str, list[float]] = {"local": [], "ssh": []}
    for at in range(count + WARM_UP):
        for kind, side in (("local", local), ("ssh", remote)):
            begin = time.perf_counter()
            side.run(work)
            if at >= WARM_UP:
                walls[kind].append((time.perf_counter() - begin) * 1e3)
    print(f"\n{name}")
    for kind, values in walls.items():
        print(f"  {kind}: {spread(values, 'ms')}")
    print(f"  added: {spread([b - a for a, b in zip(walls['local'], walls['ssh'], strict=True)], 'ms')}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--mb", type=int, default=100, metavar="N", help="size of the large case (default: %(default)s)"
    )
    arguments = parser.parse_args()
    print_machine()
    loaded = load_device(PROFILE)
    with tempfile.TemporaryDirectory() as name, serve(Path(name)) as address:
        launch = Launch(
            python=sys.executable,
            adapter=loaded.profile.runtime.adapter,
            runtime=prepare.runtime_options(loaded),
            deadlines=Deadlines(open_s=60, compile_s=60, run_s=60),
            scratch=Path(name),
            env=dict(os.environ),
            memory_mb=0,
            inputs_fd=sealed_copy("inputs", b""),
        )
        begin = time.perf_counter()
        local = Isolated(launch)
        small = make_work("small", probes.probe_model("matmul_relu"), probes.matmul_relu(1)[0])
        local.run(small)
        between = time.perf_counter()
        remote = Isolated(launch._replace(remote=Remote(address, sys.executable, name, {})))
        remote.run(small)
        print(
            f"from nothing to the first answer: local {between - begin:.2f} s, ssh {time.perf_counter() - between:.2f} s"
        )
        try:
            compare("small: matmul_relu, 8 × 16 by 16 × 8", local, remote, small, SMALL_PER_PAIR * arguments.pairs)
            compare(
                f"large: Relu, {arguments.mb} MB in and {arguments.mb} MB out",
                local,
                remote,
                make_large(arguments.mb),
                arguments.pairs,
            )
        finally:
            remote.close()
            local.close()


if __name__ == "__main__":
    main()
