"""One piece of work of the self-test: what a process of its own does, and the rows that it brings back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from conformance.errors import HarnessError
from conformance.selftest.arithmetic import ORDERS
from conformance.selftest.injection import Baseline, Defective
from conformance.selftest.judging import judge_run
from conformance.selftest.simulate import Simulated
from conformance.selftest.subjects import MODES, Subject, load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.selftest.injection import Defect
    from conformance.selftest.subjects import Loaded

PLACES = ("all", "one")


class Unit(msgspec.Struct, frozen=True):
    """Subjects that one process works through, one after another."""

    subjects: tuple[Subject, ...]
    defects: tuple[str, ...] = ()
    """Names of the defects that are tried on them beside the correct devices."""
    orders: tuple[str, ...] = ORDERS
    """Orders of summation of the correct devices."""
    is_task: bool = False
    """Whether labelled samples are counted instead of outputs compared."""

    @property
    def title(self) -> str:
        """What progress shows."""
        first = self.subjects[0]
        return f"{first.name} {first.mode}" if len(self.subjects) == 1 else f"{len(self.subjects)} cases ({first.tier})"


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """One run of one device on one subject."""

    tier: str
    subject: str
    cluster: str
    mode: str
    salt: int
    device: str
    """The order of summation of the simulated device."""
    defect: str = ""
    """Empty: a correct device."""
    place: str = ""
    """`all` or `one`: at how many of the nodes where it could be."""
    changed: bool = True
    """Whether any output differs from the correct device's: else there is nothing to catch."""
    asked: tuple[str, ...] = ()
    """The deciding columns that were asked."""
    refused: tuple[str, ...] = ()
    """All columns that refuse the run."""
    share: float = 0.0
    reason: str = ""


def work(unit: Unit) -> list[Row]:
    """Return the rows of a unit."""
    from conformance.selftest.defects import DEFECTS

    defects = [one for one in DEFECTS if one.name in unit.defects]
    if unit.is_task:
        from conformance.selftest.tasks import count_right

        return [row for subject in unit.subjects for row in count_right(subject, defects)]
    return [row for subject in unit.subjects for row in _try(subject, defects, unit.orders)]


def _try(subject: Subject, defects: list[Defect], orders: tuple[str, ...]) -> Iterator[Row]:
    try:
        loaded = load(subject)
        bases = [_base(subject, loaded, order) for order in orders]
    except HarnessError as error:  # a gap of the evaluator: told, and nobody's fault but ours
        yield _row(subject, "", changed=False, reason=f"not run: {error}")
        return
    correct = [_judged(subject, loaded, base.outputs, device=order) for base, order in zip(bases, orders, strict=True)]
    yield from correct
    if any(row.refused and set(row.refused) & set(row.asked) for row in correct):
        return  # what refuses a correct device here says nothing about a wrong one
    for defect in defects:
        for at, place in enumerate(PLACES):
            base = bases[at % len(bases)]
            device = Defective(defect, base, place, subject.salt + at)  # type: ignore[arg-type]
            if not device.sites or (place == "one" and device.choices < 2):
                continue
            try:
                outputs = device.run()
            except Exception as error:  # noqa: BLE001 - whatever a defect does to a model, the next one is tried
                reason = f"the model does not run with it: {error}"
                yield _row(
                    subject,
                    orders[at % len(bases)],
                    defect=defect.name,
                    place=place,
                    changed=False,
                    reason=reason[:200],
                )
                continue
            if all(is_same(value, base.outputs[name]) for name, value in outputs.items()):
                yield _row(subject, orders[at % len(bases)], defect=defect.name, place=place, changed=False)
                continue
            yield _judged(subject, loaded, outputs, device=orders[at % len(bases)], defect=defect.name, place=place)


def _base(subject: Subject, loaded: Loaded, order: str) -> Baseline:
    device = Simulated(MODES[subject.mode], order)  # type: ignore[arg-type]
    return Baseline(loaded.interpreter, device, loaded.inputs, loaded.kinds)


def _judged(subject: Subject, loaded: Loaded, outputs: dict[str, Any], **told: Any) -> Row:
    found, asked = judge_run(loaded.limits, outputs, MODES[subject.mode].results.bits)
    refused, columns = set(found.refused), set(asked)
    if subject.tier == "exact":
        refused, columns = ({"exact" if one == "bound" else one for one in names} for names in (refused, columns))
    return _row(
        subject, told.pop("device"), asked=tuple(sorted(columns)), refused=tuple(sorted(refused)),
        share=round(found.share, 4), reason=found.reason[:200], **told,
    )  # fmt: skip


def _row(subject: Subject, device: str, **told: Any) -> Row:
    return Row(subject.tier, subject.name, subject.cluster, subject.mode, subject.salt, device, **told)


def is_same(one: Any, other: Any) -> bool:
    """Return whether two outputs are the same bit by bit."""
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return bool(one.shape == other.shape and one.dtype == other.dtype and _bits(one) == _bits(other))
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(is_same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def _bits(value: Any) -> Any:
    return value.tolist() if value.dtype.kind == "O" else value.tobytes()
