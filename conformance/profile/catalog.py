"""Finds profiles: the shipped categories and devices by name, everything else by path."""

from pathlib import Path
from typing import Final, Literal, TypeAlias

from conformance.errors import ProfileError
from conformance.paths import data_folder
from conformance.profile.wording import did_you_mean, shown

Kind: TypeAlias = Literal["categories", "devices"]
SUFFIXES: Final = (".yaml", ".yml")


def shipped(kind: Kind) -> dict[str, Path]:
    """Return the shipped profiles of a kind by name, sorted."""
    folder = data_folder("profiles") / kind
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def is_path(reference: str) -> bool:
    """Return whether a reference means a file rather than a shipped name."""
    return "/" in reference or "\\" in reference or reference.lower().endswith(SUFFIXES)


def resolve(reference: str, kind: Kind) -> Path:
    """Return the file that a user means: a path where it looks like one or exists, else a shipped name."""
    if not reference or "\0" in reference:
        raise ProfileError([f"'{shown(reference)}' names no file and no built-in profile"])
    path = Path(reference)
    if is_path(reference):
        return path
    known = shipped(kind)
    if reference in known:
        return known[reference]
    if len(reference) < 256 and path.is_file():
        return path
    what = "category" if kind == "categories" else "profile"
    raise ProfileError([f"'{shown(reference)}' is no file and no built-in {what}{did_you_mean(reference, known)}"])


def resolve_profile(reference: str) -> Path:
    """Return the file of a device profile, by path or shipped name."""
    return resolve(reference, "devices")


def display_of(path: Path) -> str:
    """Return how a file is named in messages: shipped ones from `profiles/` on, others as the user named them."""
    base = data_folder("profiles")
    if path.is_absolute() and path.is_relative_to(base):
        return str(Path("profiles") / path.relative_to(base))
    return shown(str(path), 300)
