"""Whether the files that a bench file names on this host are there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from conformance.profile.defects import place_of
from conformance.profile.tree import Defect
from conformance.profile.wording import shown

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.profile.bench import Bench
    from conformance.profile.tree import KeyPath, Node


def check_lab_files(bench: Bench, root: Node, folder: Path) -> list[Defect]:
    """Return a defect for each file of `ssh` and each program of `hooks` that is named by a path and is not there."""
    defects: list[Defect] = []

    def refuse(path: KeyPath, what: str) -> None:
        defects.append(Defect(place_of(root, path), what))

    for key in ("identity_file", "known_hosts_file", "config_file"):
        given = getattr(bench.ssh, key, None)
        if given is not None and not (folder / given).is_file():
            refuse(("bench", "ssh", key), f"there is no file '{shown(given)}' beside this file")
    for key in ("reset", "power_cycle"):
        words = getattr(bench.hooks, key, None)
        if words and "/" in words[0] and not os.access(folder / words[0], os.X_OK):
            refuse(("bench", "hooks", key), f"there is no program '{shown(words[0])}' that can be run beside this file")
    return defects
