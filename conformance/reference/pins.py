"""Cases that are wrong upstream, cases whose tolerance is, and what a case needs of the host: `upstream_pins.yaml`.

A pin names one case, gives a reason and says where that can be read up. There are no patterns: a new case upstream is
judged until somebody shows that it is wrong.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import msgspec

from conformance.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.reference.entries import SuiteEntry

FILE = "upstream_pins.yaml"


class Pin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is wrong with one case. Exactly one of `invalid`, a tolerance, or `needs` says what follows."""

    name: str
    reason: str
    reference: str
    invalid: bool = False
    rtol: float | None = None
    atol: float | None = None
    needs: tuple[str, ...] = ()


@cache
def load_pins() -> dict[str, Pin]:
    """Return the shipped pins by case name; HarnessError when the file contradicts itself."""
    return parse_pins(resources.files("conformance.reference").joinpath(FILE).read_text(encoding="utf-8"))


def parse_pins(text: str) -> dict[str, Pin]:
    """Read pins from YAML. Raises HarnessError for an unknown key, a name given twice or a pin that says nothing."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        listed = msgspec.convert(yaml.load(text, Loader=loader)["pins"], list[Pin])  # noqa: S506  (a safe loader)
    except (yaml.YAMLError, msgspec.ValidationError, KeyError, TypeError) as error:
        raise HarnessError(f"{FILE}: {' '.join(str(error).split())}; reinstall resonance-conformance") from error
    pins: dict[str, Pin] = {}
    for pin in listed:
        says = [pin.invalid, pin.rtol is not None or pin.atol is not None, bool(pin.needs)]
        if sum(says) != 1:
            raise HarnessError(f"{FILE}: {pin.name} must say exactly one of invalid, a tolerance, needs")
        if not pin.reason or not pin.reference:
            raise HarnessError(f"{FILE}: {pin.name} needs a reason and a reference")
        if pin.name in pins:
            raise HarnessError(f"{FILE}: {pin.name} is pinned twice")
        pins[pin.name] = pin
    return pins


def apply(entries: Iterable[SuiteEntry], pins: dict[str, Pin] | None = None) -> list[SuiteEntry]:
    """Return the entries with what their pins say; entries without a pin are the same objects."""
    known = load_pins() if pins is None else pins
    return [_pinned(entry, known[entry.name]) if entry.name in known else entry for entry in entries]


def _pinned(entry: SuiteEntry, pin: Pin) -> SuiteEntry:
    if pin.invalid:
        return msgspec.structs.replace(entry, invalid=pin.reason, reference=pin.reference)
    if pin.needs:
        return msgspec.structs.replace(entry, needs=pin.needs, reference=pin.reference)
    return msgspec.structs.replace(
        entry,
        rtol=entry.rtol if pin.rtol is None else pin.rtol,
        atol=entry.atol if pin.atol is None else pin.atol,
        reference=pin.reference,
        tolerance_note=pin.reason,
    )
