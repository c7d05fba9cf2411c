"""Hosts that are trees of files, and distributions as an installer leaves them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.doctor.port import Host

Tree = Callable[..., Host]
Install = Callable[..., None]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Make a host: `tree({"proc/loadavg": "0.00 …"})`; a text that ends in `/` makes a folder, `-> x` a link."""

    def make(files: dict[str, str] | None = None, **environ: str) -> Host:
        root = tmp_path / "root"
        root.mkdir(exist_ok=True)
        for name, text in (files or {}).items():
            path = root / name.rstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith("/"):
                path.mkdir(exist_ok=True)
            elif text.startswith("-> "):
                path.symlink_to(text[3:])
            else:
                path.write_text(text + "\n", encoding="utf-8")
        return Host(root=root, folder=tmp_path, environ=environ)

    return make


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """An empty site-packages folder."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    return folder


@pytest.fixture
def install(site: Path) -> Install:
    """Install a distribution as pip does: files over whatever lies there, then the RECORD with their digests."""

    def put(name: str, version: str, files: dict[str, str]) -> None:
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        rows = [f"{info.name}/METADATA,,", "../../../bin/tool,sha256=x,1"]
        for file, text in files.items():
            path = site / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
            rows.append(f"{file},sha256={digest},{len(text)}")
            rows += [f"{file}c,,"] if file.endswith(".py") else []
        (info / "RECORD").write_text("\n".join(rows) + "\n")

    return put


@pytest.fixture
def denied(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Refuse to read files whose path ends so, whoever runs the tests: root reads everything."""

    def deny(ending: str) -> None:
        from conformance.doctor import port

        true = port.read_file

        def read(path: Path) -> bytes:
            if str(path).endswith(ending):
                raise PermissionError(13, "Permission denied", str(path))
            return true(path)

        monkeypatch.setattr(port, "read_file", read)

    return deny
