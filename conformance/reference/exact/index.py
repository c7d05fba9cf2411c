"""The exact probes as a plan needs them, without onnx: one row per probe, from a cache; `find` gives the recipe when it runs."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from pathlib import Path

import msgspec

from conformance.errors import HarnessError
from conformance.paths import cache_folder
from conformance.reference.entries import OperatorUse  # noqa: TC001  (msgspec resolves field types at run time)
from conformance.reference.recipes import Needs, Recipe  # noqa: TC001
from conformance.reference.sealed import digest_of_sources, kept_body, without_collection

_FILES = ("models.py", "recipes.py", "entries.py")


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One probe: a recipe without the way to make it; the fields mean what they mean there."""

    case_id: str
    uses: list[OperatorUse]
    types: tuple[str, ...]
    opset_imports: dict[str, int]
    needs: Needs
    advisory: str
    keeps_zero_sign: bool


_ROWS = msgspec.msgpack.Decoder(list[Row])


def load_rows() -> list[Row]:
    """Return every probe in its fixed order, from the cache or from the recipes."""
    home = Path(__file__).parent
    sources = sorted([*(home.parent / one for one in _FILES), *home.glob("*.py")])
    path = cache_folder() / "made" / f"exact-{digest_of_sources(sources, version('onnx'))}.msgpack"
    with without_collection():
        return _ROWS.decode(kept_body(path, _make))


def _make() -> bytes:
    rows = [
        Row(one.case_id, list(one.uses), one.types, one.opset_imports, one.needs, one.advisory, one.keeps_zero_sign)
        for one in _recipes().values()
    ]
    return msgspec.msgpack.encode(rows)


def find(case_id: str) -> Recipe:
    """Return the recipe of a probe; HarnessError where there is none of that id."""
    recipe = _recipes().get(case_id)
    if recipe is None:
        raise HarnessError(f"no exact probe is called '{case_id}'")
    return recipe


@cache
def _recipes() -> dict[str, Recipe]:
    from conformance.reference.exact import recipes

    return {one.case_id: one for one in recipes()}
