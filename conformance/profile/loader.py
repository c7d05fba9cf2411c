"""The door of the room: load a device profile, a category or a bench file; every defect in one ProfileError."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance.errors import ProfileError
from conformance.profile.bench import BenchFile
from conformance.profile.caps import check_caps, effective_deadlines
from conformance.profile.catalog import (
    display_of,
    is_path,
    resolve,
    resolve_profile,
    shipped,
)
from conformance.profile.category import CategoryProfile
from conformance.profile.claims import Claims
from conformance.profile.defects import place_of, validate
from conformance.profile.describe import describe_bench, describe_category, describe_device
from conformance.profile.device import DeviceProfile
from conformance.profile.extends import BUILTIN, Loaded, RefusedError, inside, load, read_tree
from conformance.profile.lab_files import check_lab_files
from conformance.profile.template import device_template
from conformance.profile.tree import Defect, KeyPath, Node, Position, raise_defects
from conformance.profile.wording import did_you_mean, shown

__all__ = [
    "LoadedBench",
    "LoadedProfile",
    "check_profile",
    "init_profile",
    "json_schemas",
    "load_bench",
    "load_category",
    "load_device",
]


@dataclass(frozen=True, slots=True)
class LoadedProfile:
    """A device profile with its category, ready for a plan."""

    profile: DeviceProfile
    category: CategoryProfile
    sources: list[tuple[str, str]]
    """Each YAML file that took part, as named in messages, with its SHA-256; the device's own first."""
    digest: str
    """SHA-256 of what the profile and its category say after inheritance; comments and order do not change it."""
    path: Path
    root: Node

    @property
    def claims(self) -> Claims:
        """What the device claims."""
        return Claims(self.profile.declares)

    @property
    def deadlines(self) -> dict[str, float]:
        """open_s, compile_s and run_s in seconds, never beyond the category's caps."""
        return effective_deadlines(self.profile, self.category)

    @property
    def folder(self) -> Path:
        """The folder that relative paths in the profile start from."""
        return self.path.resolve().parent

    @property
    def positions(self) -> dict[KeyPath, Position]:
        """Where each key path stands: file, line, column."""
        return {path: place_of(self.root, path) for path, _ in self.root.walk()}

    def error(self, path: KeyPath, what: str) -> ProfileError:
        """Return the error for something that is wrong at a key path, to be raised by whoever found it."""
        return ProfileError([str(Defect(place_of(self.root, path), what))])


@dataclass(frozen=True, slots=True)
class LoadedBench:
    """A bench file, with the path of the interpreter resolved."""

    bench: BenchFile
    sources: list[tuple[str, str]]
    path: Path
    python: Path | None
    """Absolute path of the child's interpreter, None for this one and on another host."""

    @property
    def folder(self) -> Path:
        """The folder that relative paths in the file start from."""
        return self.path.resolve().parent


def load_device(reference: str) -> LoadedProfile:
    """Return the device profile that a path or a shipped name means; ProfileError with every defect, a line each."""
    path = resolve_profile(reference)
    device = load(path, DeviceProfile, "devices")
    category = _category_of(device)
    head = device.model.device
    defects = [
        *_check_names(device, category.model),
        *check_caps(device.model, category.model, device.root),
    ]
    raise_defects(defects, display_of(path))
    tree = {"device": device.root.plain(), "category": category.root.plain(), "name": head.category}
    canonical = json.dumps(tree, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    sources = [(source.display, source.sha256) for source in (*device.sources, *category.sources)]
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return LoadedProfile(device.model, category.model, sources, digest, path, device.root)


def _category_of(device: Loaded[DeviceProfile]) -> Loaded[CategoryProfile]:
    reference = device.model.device.category
    at = place_of(device.root, ("device", "category"))
    if not is_path(reference):
        known = shipped("categories")
        if reference not in known:
            raise ProfileError(
                [str(Defect(at, f"there is no category '{shown(reference)}'{did_you_mean(reference, known)}"))]
            )
        return load(known[reference], CategoryProfile, "categories")
    # The category may stand beside a base that this profile extends: paths start from the file that names it.
    owners = {source.display: file for source, file in zip(device.sources, device.files, strict=True)}
    try:
        path, display = inside(reference, owners[at.file], at.file)
    except RefusedError as error:
        raise ProfileError([str(Defect(at, str(error)))]) from error
    category = load(path, CategoryProfile, "categories", display)
    name = category.model.category.name
    if not set(category.files) & set(shipped("categories").values()):
        what = f"the category in '{shown(reference)}' must extend a built-in one, as {BUILTIN}accelerator-card"
        raise ProfileError([str(Defect(at, what))])
    if name in shipped("categories"):
        what = (
            f"the category in '{shown(reference)}' takes the name of the built-in '{name}': give it a name of its own"
        )
        raise ProfileError([str(Defect(at, what))])
    return category


def _check_names(device: Loaded[DeviceProfile], category: CategoryProfile) -> list[Defect]:
    head = category.category
    asked = device.model.device
    known = {
        "subtype": (asked.subtype, [subtype.name for subtype in head.subtypes]),
        "adjacent_type": (asked.adjacent_type, [adjacent.name for adjacent in head.adjacent_types]),
    }
    defects: list[Defect] = []
    for key, (given, names) in known.items():
        if given is not None and given not in names:
            meant = did_you_mean(given, names) or "; it has none"
            at = place_of(device.root, ("device", key))
            defects.append(Defect(at, f"the category {head.name} has no {key.replace('_', ' ')} '{given}'{meant}"))
    if asked.subtype is not None and asked.adjacent_type is not None:
        at = place_of(device.root, ("device", "adjacent_type"))
        defects.append(Defect(at, "a device is of a subtype or of an adjacent type, not of both: keep one"))
    return defects


def load_category(reference: str) -> CategoryProfile:
    """Return the category that a shipped name or a path means; ProfileError with every defect."""
    return load(resolve(reference, "categories"), CategoryProfile, "categories").model


def load_bench(reference: str) -> LoadedBench:
    """Return the bench file at a path; ProfileError with every defect. The interpreter it names must exist."""
    path = Path(reference)
    display = display_of(path)
    root, source, defects = read_tree(path, display)
    model: BenchFile | None = None if root is None else validate(BenchFile, root, defects)
    python: Path | None = None
    if root is not None and model is not None:
        defects += check_lab_files(model.bench, root, path.resolve().parent)
    if root is not None and model is not None and model.bench.python is not None and model.bench.transport == "local":
        # Not resolved: an environment's interpreter is a link, and following it would leave the environment.
        python = (path.resolve().parent / model.bench.python).absolute()
        if not python.is_file():
            at = place_of(root, ("bench", "python"))
            defects.append(Defect(at, f"there is no interpreter '{shown(model.bench.python)}' beside this file"))
    raise_defects(defects, display)
    if model is None:  # validate() returns nothing only together with a defect
        raise ProfileError([f"{display}: holds no bench file"])
    return LoadedBench(model, [(source.display, source.sha256)], path, python)


def check_profile(
    reference: str,
    on_device: Callable[[LoadedProfile], None] | None = None,
    on_bench: Callable[[LoadedBench], object] | None = None,
) -> list[str]:
    """Return what a file says, in a few lines for people; ProfileError with every defect.

    Device profiles, categories and bench files are told apart by their keys. `on_device` and `on_bench` may look
    further than this room can, and raise.
    """
    path = resolve_profile(reference)
    root, _, _ = read_tree(path, display_of(path))
    keys = set(root.value) if root is not None and isinstance(root.value, dict) else set()
    if not keys & {"device", "runtime", "declares"}:
        if keys & {"category", "requirements", "caps"}:
            return describe_category(load_category(str(path)))
        if keys & {"bench", "waivers"}:
            bench = load_bench(str(path))
            if on_bench is not None:
                on_bench(bench)
            return describe_bench(bench.bench, bench.python)
    loaded = load_device(reference)
    if on_device is not None:
        on_device(loaded)
    return describe_device(loaded.profile, loaded.category, loaded.digest)


def init_profile(category: str) -> str:
    """Return a commented device profile for a shipped category, valid as it stands."""
    known = shipped("categories")
    if category not in known:
        raise ProfileError([f"there is no built-in category '{shown(category)}'{did_you_mean(category, known)}"])
    return device_template(load_category(category))


def json_schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON schemas of the three files by name; docs/schemas holds the same."""
    from conformance.profile.schemas import json_schemas as build

    return build()
