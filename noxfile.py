"""The sessions that must hold: `nox -s lint types tests peers setup`; `bench` prints figures and judges nothing.

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
}
"""Peers that are builds of onnxruntime of their own and cannot share an environment with the stock one."""


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
    session.install("-e", ".[test,openvino,qnn]")
    found = {variable: _environment(session, variable, packages) for variable, packages in OWN_BUILDS.items()}
    session.run("python", "-m", "pytest", "-m", "peer", *session.posargs, env=found)


@nox.session
def setup(session: nox.Session) -> None:
    """Set the harness up from a copy of the checkout with README's first command, as a new user would."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", "-m", "setup", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Print the figures of every benchmark, or of those named: `nox -s bench -- benchmarks/suite.py`."""
    session.install("-e", ".[test]")
    scripts = session.posargs or [str(path) for path in sorted((ROOT / "benchmarks").glob("[!_]*.py"))]
    for script in scripts:
        session.run("python", script)


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
