"""The column `task`: does a defect show in how many labelled samples a device gets right?

Paired, as for a device under test: of the samples that the reference gets right, how many does the defective device get wrong;
refused where the 99 % lower bound of that rate exceeds the model's margin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.numerics.intervals import lower_bound, upper_bound
from conformance.selftest.injection import Baseline, Defective
from conformance.selftest.simulate import Simulated
from conformance.selftest.subjects import MODES, Subject, find_variant
from conformance.selftest.units import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.selftest.injection import Defect

SAMPLES = 512
"""459 are the fewest that can show a margin of 1 % at 99 % confidence."""
BATCH = 64


def count_right(subject: Subject, defects: list[Defect]) -> Iterator[Row]:
    """Yield the row of the correct device and of each defect that can be in the model."""
    from conformance.reference import answers
    from conformance.reference.evaluate import widen
    from conformance.reference.interpreter import Interpreter
    from conformance.reference.tasks import find_task

    model, variant = find_variant(subject.name)
    interpreter = Interpreter(widen(model.read(variant)))
    kinds = {info.name: "float32" for info in variant.outputs}
    task = find_task(model.task)
    wanted = answers.judged_right(model, variant, subject.salt)[:SAMPLES]
    device = Simulated(MODES[subject.mode])
    batches = []
    for (inputs, labels), _ in zip(answers.batches(model.task, subject.salt), range(SAMPLES // BATCH), strict=False):
        batches.append((Baseline(interpreter, device, answers.narrowed(inputs, variant), kinds), labels))

    def row(outputs: list[dict[str, Any]], name: str, *, changed: bool = True) -> Row:
        right = np.concatenate(
            [task.is_right(_wide(one), labels) for one, (_, labels) in zip(outputs, batches, strict=True)]
        )
        lost = int(np.count_nonzero(wanted & ~right[: len(wanted)]))
        share = lower_bound(lost, len(wanted))
        is_refused = share > variant.margin
        is_open = not is_refused and upper_bound(lost, len(wanted)) > variant.margin
        told = f"{lost} of {len(wanted)} samples lost" if lost or is_open else ""
        return Row(
            "task", subject.name, subject.cluster, subject.mode, subject.salt, "sequential", name, "all" if name else "",
            changed, ("task",), ("task",) if is_refused else (), round(share / variant.margin, 4), told,
        )  # fmt: skip

    clean = [base.outputs for base, _ in batches]
    yield row(clean, "")
    for defect in defects:
        found = [Defective(defect, base, "all", subject.salt) for base, _ in batches]
        if not found[0].sites:
            continue
        try:
            outputs = [one.run() for one in found]
        except Exception:  # noqa: BLE001, S112 - it does not run with this defect: nothing is counted
            continue
        changed = any(
            one[name].tobytes() != other[name].tobytes()
            for one, other in zip(outputs, clean, strict=True)
            for name in one
        )
        yield row(outputs, defect.name, changed=changed)


def _wide(outputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value.astype(np.float64) if value.dtype.kind == "f" else value for name, value in outputs.items()}
