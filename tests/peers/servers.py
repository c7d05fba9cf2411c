"""Real inference servers, started for a test on 127.0.0.1 and ended with it: MLServer, and Triton out of pytriton's wheel."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

PROFILES = Path(__file__).parents[2] / "profiles"
START_S = 120.0


class Running(NamedTuple):
    """A server that answers."""

    http: int
    grpc: int
    repository: Path
    log: Path

    def bench(self, encoding: str) -> dict[str, str]:
        """Return the bench file's `server:` for an encoding."""
        url = f"grpc://127.0.0.1:{self.grpc}" if encoding == "grpc" else f"http://127.0.0.1:{self.http}"
        return {"url": url, "repository": str(self.repository)}


@contextmanager
def mlserver(folder: Path, python: str) -> Iterator[Running]:
    """Run MLServer of an environment, without models and without worker processes."""
    http, grpc, metrics = free_ports(3)
    settings = {
        "host": "127.0.0.1", "http_port": http, "grpc_port": grpc, "metrics_port": metrics, "metrics_endpoint": None,
        "parallel_workers": 0, "debug": False, "load_models_at_startup": False,
    }  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(settings))
    command = [str(Path(python).with_name("mlserver")), "start", str(folder)]
    with running(command, folder, http, dict(os.environ)) as log:
        yield Running(http, grpc, folder, log)


@contextmanager
def triton(folder: Path, python: str) -> Iterator[Running]:
    """Run the tritonserver that pytriton's wheel holds, with its Python backend and models loaded on request."""
    (wheel,) = Path(python).parents[1].glob("lib/python3*/site-packages/pytriton")
    stub = wheel / "tritonserver" / "python_backend_stubs" / wheel.parents[1].name.removeprefix("python")
    repository, backends = folder / "models", folder / "backends"
    repository.mkdir()
    shutil.copytree(wheel / "tritonserver" / "backends", backends)
    shutil.copy(stub / "triton_python_backend_stub", backends / "python")
    http, grpc = free_ports(2)
    command = [
        str(wheel / "tritonserver" / "bin" / "tritonserver"),
        f"--model-repository={repository}", "--model-control-mode=explicit", f"--backend-directory={backends}",
        f"--cache-directory={wheel / 'tritonserver' / 'caches'}", "--http-address=127.0.0.1", f"--http-port={http}",
        "--grpc-address=127.0.0.1", f"--grpc-port={grpc}", "--allow-metrics=0",
    ]  # fmt: skip
    environment = os.environ | {
        "LD_LIBRARY_PATH": str(wheel.parent / "nvidia_pytriton.libs"),
        "PATH": f"{Path(python).parent}:{os.environ['PATH']}",
    }
    with running(command, folder, http, environment) as log:
        yield Running(http, grpc, repository, log)


@contextmanager
def running(command: list[str], folder: Path, port: int, environment: dict[str, str]) -> Iterator[Path]:
    """Run a server until the block ends, which begins once it says that it is ready."""
    log = folder / "server.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream
        )
    try:
        end = time.monotonic() + START_S
        while not is_ready(port):
            assert process.poll() is None, f"{command[0]} ended: {log.read_text(errors='replace')[-2000:]}"
            assert time.monotonic() < end, f"{command[0]} is not ready: {log.read_text(errors='replace')[-2000:]}"
            time.sleep(0.2)
        yield log
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def profile_with(folder: Path, name: str, encoding: str) -> Path:
    """Copy a shipped profile with the files that it publishes, speaking another encoding; return its path."""
    shutil.copytree(PROFILES / "devices" / "servers", folder / "devices" / "servers", dirs_exist_ok=True)
    text = (PROFILES / "devices" / f"{name}.yaml").read_text()
    (line,) = [line for line in text.splitlines() if line.strip().startswith("encoding:")]
    path = folder / "devices" / f"{name}.yaml"
    path.write_text(text.replace(line, f"  encoding: {encoding}"))
    return path
