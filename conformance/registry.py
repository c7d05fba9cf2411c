"""Finding adapters, checks and reports: one module each, by folder scan, or by entry point from another distribution.

A third party may add names, never replace a built-in one. Scanning imports no vendor package: modules import their
runtime when it is opened.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from conformance.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

PORT_MODULES = frozenset({"port"})
"""Module names inside an extension folder that hold the port itself rather than an extension."""


def module_name(stem: str) -> str:
    """Return the public name of a module: `onnx_backend` is spoken `onnx-backend`."""
    return stem.replace("_", "-")


def builtin_names(package: str) -> dict[str, str]:
    """Return public name → dotted module path for every extension module of a package (nothing is imported)."""
    folder = importlib.import_module(package)
    names = (info.name for info in pkgutil.iter_modules(folder.__path__) if not info.ispkg)
    return {module_name(n): f"{package}.{n}" for n in sorted(names) if not n.startswith("_") and n not in PORT_MODULES}


def added_names(group: str, builtin: Iterable[str]) -> dict[str, str]:
    """Return what other distributions add under an entry-point group; UsageError where one would replace a built-in."""
    taken = set(builtin)
    added: dict[str, str] = {}
    for entry in entry_points(group=group):
        if entry.name in taken or entry.name in added:
            owner = entry.dist.name if entry.dist else "an installed distribution"
            raise UsageError(
                f"{owner} adds '{entry.name}' to {group}, but that name is taken: uninstall it or rename its entry"
            )
        added[entry.name] = entry.value.partition(":")[0]
    return added


def names(package: str, group: str) -> dict[str, str]:
    """Return all public names with their module paths, built-in and added."""
    builtin = builtin_names(package)
    return builtin | added_names(group, builtin)


def load(package: str, group: str, name: str) -> ModuleType:
    """Import the module called `name`; UsageError with the nearest known name where there is none."""
    builtin = builtin_names(package)
    path = builtin.get(name)
    if path is None:
        known = builtin | added_names(group, builtin)
        path = known.get(name)
        if path is None:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise UsageError(f"there is no '{name}' among {group}: known are {', '.join(sorted(known))}{hint}")
    try:
        return importlib.import_module(path)
    except Exception as error:  # the module may be anybody's, and do anything when imported
        text = str(error).splitlines()[0] if str(error) else "no message"
        raise UsageError(
            f"'{name}' of {group} cannot be imported from {path}: {type(error).__name__}: {text}"
        ) from error


def scan(package: str, group: str) -> dict[str, ModuleType]:
    """Import every extension module of a package and its entry-point group, by public name."""
    return {name: load(package, group, name) for name in names(package, group)}
