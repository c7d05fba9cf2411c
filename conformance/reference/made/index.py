"""The generated cases as a plan needs them, without onnx: one row per case, from a cache, made in seconds where there is none.

A row says what a case uses, claims and needs. It is read off the finished model, so that claims are asked about what is really
there: for a function body, the operators of the body. The cache belongs to these sources and to one onnx; `find` gives the
recipe itself when the case is about to run.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from conformance.errors import HarnessError
from conformance.paths import cache_folder
from conformance.reference.entries import OperatorUse  # noqa: TC001  (msgspec resolves field types at run time)
from conformance.reference.recipes import Needs, Recipe, Tier
from conformance.reference.sealed import digest_of_sources, kept_body, without_collection

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.reference.made.listing import Item
    from conformance.reference.recipes import Made

Progress = "Callable[[str, int, int], None]"
_FOLDERS = ("made", "contrib", "operator_bounds")
_FILES = ("models.py", "recipes.py", "entries.py")


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One generated case."""

    case_id: str
    uses: list[OperatorUse]
    """Every operator of the model."""
    types: tuple[str, ...]
    """Every tensor element type of the model, sorted."""
    opset_imports: dict[str, int]
    outputs: list[str]
    sets: list[str]
    """The data sets, each by what it is filled with."""
    tier: Tier
    subject: str
    """The floating-point type whose declared precision applies."""
    smoke: bool
    needs_zero_size: bool
    needs_subnormals: bool

    @property
    def kind(self) -> str:
        """What ONNX's own suite calls a case of one operator: coverage counts these beside those."""
        return "node"

    @property
    def expanded(self) -> bool:
        """True for the variant that spells an operator out as its ONNX function body."""
        return "/made-expanded/" in self.case_id

    @property
    def invalid(self) -> str:
        """Empty: no case of ours is known to be wrong."""
        return ""


_ENTRIES = msgspec.msgpack.Decoder(list[Entry])


def load_entries(progress: Callable[[str, int, int], None] | None = None) -> list[Entry]:
    """Return the rows of every generated case, from the cache or freshly made (seconds); `progress(stage, done, total)`."""
    path = cache_folder() / "made" / f"{_digest()}.msgpack"
    with without_collection():
        return _ENTRIES.decode(kept_body(path, lambda: msgspec.msgpack.encode(make_entries(progress))))


def make_entries(progress: Callable[[str, int, int], None] | None = None) -> list[Entry]:
    """Make the row of every case by making its model once."""
    items = _items()
    entries: list[Entry] = []
    seen: set[str] = set()
    for at, item in enumerate(items.values()):
        operator = item.case_id.split("/")[1].rpartition("-")[0]
        is_first = not item.is_expanded and operator not in seen and not item.row.needs_zero_size
        seen.add(operator)
        # A function body comes right after its operator, and is judged by the same tier.
        entries.append(_entry(item, smoke=is_first, tier=entries[-1].tier if item.is_expanded else None))
        if progress is not None and at % 500 == 0:
            progress("generated cases", at, len(items))
    entries += [
        Entry(
            one.case_id, list(one.uses), one.types, one.opset_imports, list(one.outputs), [], one.tier, one.kind, one.smoke, False, one.needs.subnormals
        )
        for one in _contributed().values()
    ]  # fmt: skip
    return entries


def _entry(item: Item, *, smoke: bool, tier: Tier | None = None) -> Entry:
    import onnx

    from conformance.reference.made.tiers import tier_of
    from conformance.reference.models import examine

    model = onnx.load_model_from_string(carry_out_item(item, np.random.default_rng(0)).model)
    facts = examine(model)
    return Entry(
        case_id=item.case_id,
        uses=facts.uses,
        types=facts.types,
        opset_imports=facts.opset_imports,
        outputs=[one.name for one in facts.output_infos],
        sets=list(item.row.sets),
        tier=tier or tier_of(model.graph.node[0], model.graph.output[0]),
        subject=item.kind,
        smoke=smoke,
        needs_zero_size=item.row.needs_zero_size,
        needs_subnormals=item.row.needs_subnormals,
    )


def find(case_id: str) -> Recipe:
    """Return the recipe of a case; HarnessError where there is none of that id."""
    contributed = _contributed().get(case_id)
    if contributed is not None:
        return contributed
    item = _items().get(case_id)
    if item is None:
        raise HarnessError(f"no generated case is called '{case_id}'")
    return _recipe(item, _entry(item, smoke=False))


def make(case_id: str, rng: np.random.Generator) -> Made:
    """Return model and inputs of a case."""
    contributed = _contributed().get(case_id)
    return contributed.make(rng) if contributed is not None else carry_out_item(_items()[case_id], rng)


def _recipe(item: Item, entry: Entry) -> Recipe:
    return Recipe(
        case_id=entry.case_id,
        uses=tuple(entry.uses),
        types=entry.types,
        opset_imports=entry.opset_imports,
        tier=entry.tier,
        kind=entry.subject,
        make=lambda rng: carry_out_item(item, rng),
        smoke=entry.smoke,
        needs=Needs(subnormals=entry.needs_subnormals),
    )


def carry_out_item(item: Item, rng: np.random.Generator) -> Made:
    """Return model and inputs of a case of the tables."""
    from conformance.reference.made import building

    build = building.build_expanded if item.is_expanded else building.build
    return build(item.row, item.opset, item.kind, rng)


def base_of(case_id: str) -> str:
    """Return the case of the operator itself that belongs to the case of its function body."""
    return case_id.replace("/made-expanded/", "/made/")


@cache
def _items() -> dict[str, Item]:
    from conformance.reference.made.listing import items

    return {one.case_id: one for one in items()}


@cache
def _contributed() -> dict[str, Recipe]:
    """Return the recipes for what language models are made of."""
    from conformance.reference import contrib

    recipes = getattr(contrib, "recipes", tuple)
    return {one.case_id: one for one in recipes()}


@cache
def _digest() -> str:
    """Return the digest of what the rows are made by."""
    home = Path(__file__).parent.parent
    sources = sorted([*(home / one for one in _FILES), *(p for one in _FOLDERS for p in (home / one).glob("*.py"))])
    return digest_of_sources(sources, version("onnx"))
