"""Reads a profile together with those it extends, and merges them into one tree whose values keep their own places.

Mappings merge key by key, lists whose items have a key (requirements by id, latencies by model, scenario and batch)
item by item, everything else is replaced. Each file is validated with what it extends, base first, so that a defect is
reported where it stands.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from conformance.errors import ProfileError
from conformance.profile.catalog import Kind, display_of, is_path, shipped
from conformance.profile.defects import annotation_at, models_in, validate
from conformance.profile.model import Strict
from conformance.profile.tightening import check_tightening
from conformance.profile.tree import Defect, Node, raise_defects
from conformance.profile.wording import did_you_mean, shown
from conformance.profile.yaml_tree import parse_tree, read_source

MAX_CHAIN: Final = 8
BUILTIN: Final = "builtin:"
M = TypeVar("M", bound=Strict)


@dataclass(frozen=True, slots=True)
class Source:
    """A file that took part: its name in messages and the SHA-256 of its bytes."""

    display: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Loaded(Generic[M]):
    """A model with the merged tree that it was made from and the files behind it, the deriving one first."""

    model: M
    root: Node
    sources: tuple[Source, ...]
    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class _Link:
    path: Path
    root: Node
    source: Source


def load(path: Path, model: type[M], kind: Kind, display: str = "") -> Loaded[M]:
    """Return the profile at `path`, merged with what it extends; ProfileError with every defect.

    `display` is how messages name the file, where that is not the path itself.
    """
    display = display or display_of(path)
    chain, defects, is_complete = _read_chain(path, display, kind)
    if not is_complete:
        # Without its base a file lacks keys that the base may hold: more lines would be guesses.
        raise_defects(defects, display)
    base: tuple[M, Node] | None = None
    for link in reversed(chain):
        root = link.root if base is None else merge(base[1], link.root, model)
        reported: list[Defect] = []
        found = validate(model, root, reported)
        defects += [_with_cause(defect, link) for defect in reported]
        if found is None:
            break
        if base is not None:
            defects += check_tightening(base[0], found, base[1], root)
        base = (found, root)
    raise_defects(defects, display)
    if base is None:  # validate() returns nothing only together with a defect
        raise ProfileError([f"{display}: holds no profile"])
    return Loaded(base[0], base[1], tuple(link.source for link in chain), tuple(link.path for link in chain))


def _with_cause(defect: Defect, link: _Link) -> Defect:
    """Name the deriving file where its values make one of the base wrong: the base alone was found right before."""
    if defect.at.file == link.source.display:
        return defect
    return Defect(defect.at, f"{defect.what} (with what {link.source.display} changes)")


def read_tree(path: Path, display: str) -> tuple[Node | None, Source, list[Defect]]:
    """Return a file's tree (None where there is none), its source and the defects found while reading it."""
    data = read_source(path, display)
    root, defects = parse_tree(data, display)
    return root, Source(display, hashlib.sha256(data).hexdigest()), defects


def _read_chain(path: Path, display: str, kind: Kind) -> tuple[list[_Link], list[Defect], bool]:
    """Return the files from the deriving one to the last base, the defects, and whether all could be read."""
    chain: list[_Link] = []
    defects: list[Defect] = []
    extends: Node | None = None
    while True:
        try:
            root, source, found = read_tree(path, display)
        except ProfileError as error:
            if extends is None:
                raise
            defects.append(Defect(extends.at, f"extends '{shown(str(extends.value))}': {error.defects[0]}"))
            return chain, defects, False
        defects += found
        if root is None:
            return chain, defects, False
        chain.append(_Link(path, root, source))
        extends = root.child("extends")
        # A value of another type is the model's to refuse.
        if extends is None or not isinstance(extends.value, str) or extends.broken:
            return chain, defects, True
        try:
            path, display = _next(extends.value, chain, display, kind)
        except RefusedError as error:
            defects.append(Defect(extends.at, str(error)))
            return chain, defects, False


def _next(reference: str, chain: list[_Link], display: str, kind: Kind) -> tuple[Path, str]:
    if reference.startswith(BUILTIN):
        known = {BUILTIN + name: path for name, path in shipped(kind).items()}
        if reference not in known:
            raise RefusedError(f"there is no '{shown(reference)}'{did_you_mean(reference, known)}")
        path = known[reference]
        display = display_of(path)
    else:
        path, display = inside(reference, chain[-1].path, display)
    if resolved(path) in {resolved(link.path) for link in chain}:
        raise RefusedError(f"extends '{shown(reference)}' closes a loop: a file cannot extend itself")
    if len(chain) > MAX_CHAIN:
        raise RefusedError(f"extends is followed through at most {MAX_CHAIN} files")
    return path, display


class RefusedError(ValueError):
    """A reference to another file that may not be followed."""


def resolved(path: Path) -> Path:
    """Return a path with its symbolic links followed, as far as they can be."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):
        return path.absolute()


def inside(reference: str, path: Path, display: str) -> tuple[Path, str]:
    """Return the file that `reference` means from the file at `path`, and its name in messages.

    It must be relative and stay inside that file's folder, symbolic links followed; RefusedError otherwise.
    """
    if not is_path(reference):
        raise RefusedError(
            f"'{shown(reference)}' is no path of a .yaml file; write {BUILTIN}{shown(reference)} for a built-in"
        )
    if "\0" in reference or Path(reference).is_absolute() or reference.startswith("~"):
        raise RefusedError(f"'{shown(reference)}' is not a path relative to this file: keep the files in one folder")
    folder = resolved(path).parent
    target = resolved(folder / reference)
    if not target.is_relative_to(folder):
        raise RefusedError(f"'{shown(reference)}' leaves the folder of this file: keep the files in one folder")
    return target, shown(str(Path(display).parent / reference), 300)


def merge(base: Node, derived: Node, annotation: Any) -> Node:
    """Return `base` with the values of `derived` put over it; `annotation` is what the model says of this place."""
    if isinstance(base.value, dict) and isinstance(derived.value, dict) and _is_merged(annotation):
        merged = dict(base.value)
        for key, node in derived.value.items():
            before = base.value.get(key)
            merged[key] = node if before is None else merge(before, node, annotation_at(annotation, key))
        return Node(merged, derived.at, derived.key_at, broken=derived.broken)
    if isinstance(base.value, list) and isinstance(derived.value, list):
        keys = _item_key(annotation)
        if keys is not None:
            return _merge_items(base, derived, keys, annotation_at(annotation, 0))
    return derived


def _is_merged(annotation: Any) -> bool:
    return all(getattr(model, "is_merged", True) for model in models_in(annotation))


def _item_key(annotation: Any) -> type[Strict] | None:
    for model in models_in(annotation):
        if issubclass(model, Strict) and model.item_key and model.is_merged:
            return model
    return None


def _merge_items(base: Node, derived: Node, model: type[Strict], annotation: Any) -> Node:
    items: list[Node] = list(base.value) if isinstance(base.value, list) else []
    places = {_key(node, model): index for index, node in enumerate(items)}
    for node in derived.value if isinstance(derived.value, list) else []:
        key = _key(node, model)
        index = places.get(key) if key is not None else None
        if index is None:
            items.append(node)
        else:
            items[index] = merge(items[index], node, annotation)
            del places[key]  # given again in the same file, it is a repetition for the model to refuse
    return Node(items, derived.at, derived.key_at, broken=derived.broken)


def _key(node: Node, model: type[Strict]) -> tuple[Any, ...] | None:
    parts: list[Any] = []
    for name in model.item_key:
        child = node.child(name)
        value = model.model_fields[name].default if child is None else child.value
        if isinstance(value, dict | list):
            return None
        parts.append(value)
    return tuple(parts)
