"""What is installed in a Python environment, and which of it is in each other's way. Standard library only, nothing imported.

It runs inside this process, and as the text of `python -c` in the interpreter that a bench file names, which may be old:
no syntax newer than Python 3.8. Given a JSON list of module names as its argument, it prints `survey` of them as JSON.

Two wheels that bring the same file overwrite each other without a word, and taking one away takes the other's file. Every wheel
lists its files with their digests in RECORD (https://packaging.python.org/en/latest/specifications/recording-installed-packages/).
"""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.util
import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

MARK = "conformance-survey:"
COMPARED = 3
"""Files whose digest is compared with what lies on the disk, the smallest of them."""
MYPY = False
if MYPY:  # an interpreter older than 3.9 could not evaluate it, and need not
    Owners = dict[tuple[str, str], list[tuple[str, list[str]]]]


def survey(modules: list[str], path: list[str] | None = None) -> dict[str, Any]:
    """Return `python`, `executable`, `distributions` (name → version, when, files, absent), `twice`, `shared`, `modules`, `places`.

    `path` are the folders to look into; left out, those of the interpreter. `shared` has an entry for each set of
    distributions that bring the same files with different contents: `owners`, `package`, `files` (how many), `winner`.
    """
    found: dict[str, dict[str, Any]] = {}
    twice: list[str] = []
    seen: set[tuple[str, str]] = set()
    owners: Owners = {}
    for one in metadata.distributions(path=path) if path is not None else metadata.distributions():
        name = one.metadata["Name"]
        if not name:
            continue
        key = name.lower().replace("_", "-")
        place = str(one.locate_file(""))
        if (key, place) in seen:
            twice.append(name)
        if any(key == other for other, _ in seen):
            seen.add((key, place))
            continue
        seen.add((key, place))
        rows = _rows(one)
        folder = getattr(one, "_path", None)
        found[name] = {
            "version": one.version,
            "when": _time_of(folder),
            "files": len(rows),
            "absent": 0,
            "tops": sorted({row[0].split("/")[0] for row in rows if "/" in row[0]}),
        }
        for row in rows:
            owners.setdefault((place, row[0]), []).append((name, row))
    for (place, file), claims in owners.items():
        if len(claims) == 1 and "/" in file and file.split("/")[0] in modules and not (Path(place) / file).exists():
            found[claims[0][0]]["absent"] += 1
    places = {name: _place_of(name) for name in modules}
    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        "executable": sys.executable,
        "distributions": found,
        "twice": sorted(set(twice)),
        "shared": _shared(owners),
        "modules": {name: bool(place) for name, place in places.items()},
        "places": {name: place for name, place in places.items() if place},
    }


def _rows(distribution: metadata.Distribution) -> list[list[str]]:
    """Return [path, digest, size] of each file of a distribution; its own metadata, compiled files and scripts stay out."""
    text = distribution.read_text("RECORD") or ""
    kept = []
    for row in csv.reader(text.splitlines()):
        if len(row) < 3 or row[0].startswith(("..", "/")) or row[0].endswith(".pyc"):
            continue
        if ".dist-info/" not in row[0]:
            kept.append(row[:3])
    return kept


def _time_of(folder: object) -> float:
    try:
        return Path(str(folder)).stat().st_mtime
    except OSError:
        return 0.0


def _shared(owners: Owners) -> list[dict[str, Any]]:
    groups: dict[tuple[str, ...], list[tuple[str, str, dict[str, list[str]]]]] = {}
    for (place, file), claims in owners.items():
        if len(claims) > 1 and len({row[1] for _, row in claims}) > 1:
            groups.setdefault(tuple(sorted(name for name, _ in claims)), []).append((place, file, dict(claims)))
    told = []
    for names, files in sorted(groups.items()):
        files.sort(key=lambda one: _size(next(iter(one[2].values()))))
        tops = [file.split("/")[0] for _, file, _ in files]
        told.append(
            {
                "owners": list(names),
                "package": max(set(tops), key=tops.count),
                "files": len(files),
                "example": files[0][1],
                "winner": _winner(names, files[:COMPARED]),
            }
        )
    return told


def _size(row: list[str]) -> int:
    return int(row[2]) if row[2].isdigit() else 1 << 40


def _winner(names: tuple[str, ...], files: list[tuple[str, str, dict[str, list[str]]]]) -> str:
    """Return the distribution whose digests the files on the disk have, empty where it is none or not always the same."""
    won = set()
    for place, file, claims in files:
        digest = _digest(Path(place) / file)
        won.add(next((name for name in names if claims[name][1] == digest), ""))
    return won.pop() if len(won) == 1 else ""


def _digest(path: Path) -> str:
    try:
        raw = hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return ""
    return "sha256=" + base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _place_of(module: str) -> str:
    """Return where a module lies, empty where there is none; of `a.b` only `a` is looked for, because more would import it."""
    try:
        spec = importlib.util.find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        return ""
    if spec is None:
        return ""
    folders = list(spec.submodule_search_locations or [])
    return folders[0] if folders else str(Path(spec.origin or ".").parent)


if __name__ == "__main__":
    sys.stdout.write(MARK + json.dumps(survey(json.loads(sys.argv[1]))) + "\n")
