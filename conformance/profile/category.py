"""The category profile: the catalogue of requirements, and the caps on what a device may declare."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints

from conformance.profile.conditions import Condition
from conformance.profile.declares import (
    Determinism,
    Opsets,
    PreciseType,
    Precision,
    Terms,
    Types,
)
from conformance.profile.model import (
    Count,
    FormatVersion,
    Many,
    Name,
    Seconds,
    Slug,
    Strict,
    Text,
    repeated_items,
    tighten,
)
from conformance.profile.tree import KeyPath
from conformance.profile.vocabulary import CONTRACTIONS, DETERMINISM
from conformance.profile.wording import Hint, Message, shown

Level = Literal["MUST", "SHOULD", "MAY"]
Status = Literal["anticipated", "draft", "published"]
RequirementId = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9]{1,9}-[0-9]{3}$")]
_FREE = tighten("free")
_EQUAL = tighten("equal")

CHECK_PARAMETERS: dict[str, dict[str, tuple[str, ...]]] = {
    "session": {},
    "placement": {},
    "operators": {"scope": ("declared", "minimum")},
    "interface": {"scope": ("sessions", "shapes")},
    "lifecycle": {},
    "offers": {},
    "made": {"scope": ("declared", "minimum")},
    "must-reject": {},
    "packs": {},
    "exact": {"scope": ("declared", "minimum", "advisory")},
    "determinism": {
        "set": ("accelerator-card", "inference-server", "intelligent-sensor", "inspection-terminal", "all"),
    },
    "models": {
        "set": ("accelerator-card", "inference-server", "intelligent-sensor", "inspection-terminal", "all"),
    },
    "latency": {
        "aspect": ("declared", "drift"),
        "set": ("accelerator-card", "inference-server", "intelligent-sensor", "inspection-terminal", "all"),
    },
    "power": {
        "aspect": ("load", "energy", "states"),
        "set": ("accelerator-card", "inference-server", "intelligent-sensor", "inspection-terminal", "all"),
    },
    "thermal": {
        "aspect": ("soak", "range", "throttle"),
        "set": ("accelerator-card", "inference-server", "intelligent-sensor", "inspection-terminal", "all"),
    },
}
"""The parameters of the checks that exist, with the values each may have. A check that is not here comes later."""


class Title(Strict):
    """A title in English and Chinese."""

    en: Text = Field(json_schema_extra=_FREE)
    zh: Text = Field(json_schema_extra=_FREE)


class Subtype(Strict):
    """A near neighbour that belongs to the category."""

    item_key: ClassVar[tuple[str, ...]] = ("name",)
    is_merged: ClassVar[bool] = False

    name: Slug = Field(json_schema_extra=_EQUAL)
    title: Title


class AdjacentType(Strict):
    """A product beside the named types: conditional, with the documents that would support inclusion."""

    item_key: ClassVar[tuple[str, ...]] = ("name",)
    is_merged: ClassVar[bool] = False

    name: Slug = Field(json_schema_extra=_EQUAL)
    title: Title
    documents: Many[Text] = Field(default=(), json_schema_extra=tighten("superset"))


class CategoryHead(Strict):
    """What the category is called and whether a verdict against it can be certified."""

    name: Slug = Field(json_schema_extra=_FREE)
    version: Name = Field(json_schema_extra=_FREE)
    title: Title
    certifiable: bool = Field(json_schema_extra=tighten("stronger", weakest_first=(True, False)))
    status: Status = Field(json_schema_extra=_FREE)
    note: Title | None = Field(default=None, json_schema_extra=_FREE)
    """What a reader of the verdict must know about the category."""
    subtypes: Many[Subtype] = Field(default=(), json_schema_extra=tighten("subset"))
    adjacent_types: Many[AdjacentType] = Field(default=(), json_schema_extra=tighten("subset"))


class Requirement(Strict):
    """One thing that a device of the category must, should or may show."""

    item_key: ClassVar[tuple[str, ...]] = ("id",)

    id: RequirementId = Field(json_schema_extra=_EQUAL)
    level: Level = Field(json_schema_extra=tighten("stronger", weakest_first=("MAY", "SHOULD", "MUST")))
    title: Title
    area: Slug = Field(json_schema_extra=_EQUAL)
    check: Slug | None = Field(default=None, json_schema_extra=tighten("equal", absent="no check yet"))
    """The check that shows it; left out, there is no check yet and a MUST stays open."""
    params: dict[Name, Any] = Field(default_factory=dict, json_schema_extra=tighten("superset"))
    excepts: Many[Text] = Field(default=(), json_schema_extra=tighten("subset"))
    """Globs over ids of cases that this requirement does not ask; they are run and told all the same."""
    applies_when: Condition | None = Field(default=None, json_schema_extra=tighten("equal", absent="always"))
    """Left out, the requirement applies to every device of the category."""
    status: Status = Field(json_schema_extra=_FREE)
    origin: Annotated[Many[Name], Field(min_length=1)] = Field(json_schema_extra=tighten("superset"))
    """Where it comes from: `G1` to `G12` of the guidance, a published specification, or `ours`."""
    since: Name = Field(json_schema_extra=_EQUAL)
    """The category version that first had it."""

    def sense(self) -> Iterator[tuple[KeyPath, Message]]:
        """Parameters belong to a check, and a check that exists gets only parameters that it knows."""
        if self.check is None:
            if self.params:
                yield ("params",), "params belong to a check, and none is named"
            return
        known = CHECK_PARAMETERS.get(self.check)
        if known is None:
            return
        for name, value in self.params.items():
            if name not in known:
                yield ("params", name), Hint(f"the check {self.check} has no parameter '{shown(name)}'", name, known)
            elif value not in known[name]:
                yield ("params", name), Hint(f"{name} cannot be '{shown(str(value))}'", str(value), known[name])
        # A misspelt parameter is one mistake, not an unknown one and a missing one.
        missing = known.keys() - self.params.keys() if self.params.keys() <= known.keys() else set()
        for name in sorted(missing):
            yield ("check",), f"the check {self.check} needs the parameter '{name}': {' or '.join(known[name])}"


class CapDeadlines(Strict):
    """The longest deadlines that a device may ask for, and its deadlines where it asks for none."""

    open_s: Seconds = Field(json_schema_extra=tighten("lower"))
    compile_s: Seconds = Field(json_schema_extra=tighten("lower"))
    run_s: Seconds = Field(json_schema_extra=tighten("lower"))


class Caps(Strict):
    """The bounds on declarations by which a device could widen its own gate, and the minimum that it must claim."""

    allowed_host_ops: Terms = Field(json_schema_extra=tighten("subset"))
    minimum_types: Types = Field(json_schema_extra=tighten("superset"))
    minimum_operators: Terms = Field(json_schema_extra=tighten("superset"))
    minimum_opsets: Opsets = Field(json_schema_extra=tighten("superset"))
    coarsest_precision: dict[PreciseType, Precision] = Field(json_schema_extra=tighten("stronger"))
    """By tensor type; a type that is left out may not be coarser than its own precision."""
    weakest_determinism: Determinism = Field(json_schema_extra=tighten("stronger", weakest_first=DETERMINISM))
    deadlines: CapDeadlines
    host_cpu: Literal["allowed", "forbidden"] = Field(
        default="forbidden", json_schema_extra=tighten("stronger", weakest_first=("allowed", "forbidden"))
    )
    """Whether the host's own CPU may be the device under test."""
    host_memory_mb: Count = Field(json_schema_extra=tighten("lower"))
    """The most memory that the child process may take on the host."""

    def sense(self) -> Iterator[tuple[KeyPath, Message]]:
        """The host never computes a contraction, and the minimum lies inside the minimum opsets."""
        for index, term in enumerate(self.allowed_host_ops):
            if term.op in CONTRACTIONS:
                yield ("allowed_host_ops", index), f"'{term}' is a contraction: no category lets the host compute it"
        for index, term in enumerate(self.minimum_operators):
            if term.domain not in self.minimum_opsets:
                yield ("minimum_operators", index), f"minimum_opsets does not list the domain {term.domain} of '{term}'"


class CategoryProfile(Strict):
    """One category profile, after inheritance."""

    conformance: FormatVersion = Field(json_schema_extra=_EQUAL)
    """Version of this format."""
    extends: Name | None = Field(default=None, json_schema_extra=_FREE)
    """A category that this one tightens: a path inside this folder, or `builtin:NAME`."""
    category: CategoryHead
    requirements: Annotated[Many[Requirement], Field(min_length=1)] = Field(json_schema_extra=tighten("superset"))
    caps: Caps

    def sense(self) -> Iterator[tuple[KeyPath, Message]]:
        """Ids, subtypes and adjacent types are unique, and conditions name subtypes that exist."""
        yield from repeated_items(self.requirements, ("requirements",))
        yield from repeated_items(self.category.subtypes, ("category", "subtypes"))
        yield from repeated_items(self.category.adjacent_types, ("category", "adjacent_types"))
        names = {
            "device.subtype": [subtype.name for subtype in self.category.subtypes],
            "device.adjacent_type": [adjacent.name for adjacent in self.category.adjacent_types],
        }
        for index, requirement in enumerate(self.requirements):
            for leaf in _leaves(requirement.applies_when):
                wanted = [leaf.equals] if leaf.equals is not None else list(leaf.one_of or ())
                for value in wanted if leaf.field in names else []:
                    known = names[leaf.field or ""]
                    if value not in known:
                        what = f"the category has no {leaf.field} '{shown(str(value))}'"
                        yield ("requirements", index, "applies_when"), Hint(what, str(value), known)


def _leaves(condition: Condition | None) -> Iterator[Condition]:
    if condition is None:
        return
    if condition.field is not None:
        yield condition
    for part in (*(condition.all_of or ()), *(condition.any_of or ()), condition.not_):
        yield from _leaves(part)
