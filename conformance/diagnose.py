"""After a run: for each model case that failed on values, search the node (`bisection`), and leave a piece for the vendor.

It runs nothing that counts: the verdict is known. It opens the device anew, and what it finds is a hint, told as one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from conformance.bisection import Found, Search
from conformance.device import Device
from conformance.errors import ConformanceError, HarnessError, UsageError
from conformance.numerics.modes import PrecisionMode
from conformance.prepare import make_plan, prepare
from conformance.records import Outcome
from conformance.tensors import from_ref

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from conformance.records import Case, Record

SEARCHED = ("agreement", "prefill")
"""Kinds of model case that are one request, whose results can be given out."""
MOST = 3
"""Cases searched after a run: the others often fail of the same node."""
FOLDER = "failures"


def searchable(records: Iterable[Record]) -> list[str]:
    """Return the ids of the failed cases that can be searched, the first `MOST`: those whose values were measured and wrong."""
    ids = [
        one.case
        for one in records
        if one.check == "models"
        and one.outcome is Outcome.FAIL
        and one.case.rsplit("/", 1)[-1] in SEARCHED
        and any(measured.met is False for measured in one.measurements)
    ]
    return ids[:MOST]


def search_failed(
    profile: str,
    bench: str | None,
    challenge: str,
    records: Iterable[Record],
    folder: Path,
    told: Callable[[str], None],
) -> Iterator[str]:
    """Search the failed cases of a run and yield what was found, in lines; an interrupt ends it, and no error leaves it."""
    for case_id in searchable(records):
        place = folder / FOLDER / folder_of(case_id)
        told(f"searching the first wrong node of {case_id} (Ctrl-C ends the search, the verdict is told)")
        try:
            found = diagnose(profile, bench, challenge, case_id, place, told)
        except KeyboardInterrupt:
            told("the search was ended; `conformance bisect` does it again")
            return
        except ConformanceError as error:
            told(f"{case_id}: the search came to nothing: {error}")
            continue
        yield from tell(case_id, found, place)


def diagnose(
    profile: str, bench: str | None, challenge: str, case_id: str, folder: Path, told: Callable[[str], None]
) -> Found:
    """Search one case on the device and write the piece and `found.json` below `folder`.

    UsageError where the case is none that can be searched; AdapterError and HarnessError as `Device.run` has them.
    """
    loaded, loaded_bench = prepare(profile, bench)
    plan, _ = make_plan(loaded, selection=case_id, bench=loaded_bench, challenge=challenge)
    planned = next((one for one in plan.cases if one.case.id == case_id), None)
    if planned is None or planned.case.check != "models" or planned.case.params["kind"] not in SEARCHED:
        kinds = " or ".join(SEARCHED)
        raise UsageError(
            f"'{case_id}' is no case that can be searched: name one of models/…/{kinds} (`conformance list`)"
        )
    case = planned.filled()
    model, inputs = _asked(case)
    with Device.open(profile, bench) as device:

        def run(proto: bytes, given: dict[str, Any]) -> dict[str, Any]:
            return device.run(proto, given).outputs

        found = Search(run, model, inputs, PrecisionMode.of(case.params["precision"]), told).find(folder)
    (folder / "found.json").write_bytes(msgspec.json.format(msgspec.json.encode(found._asdict() | {"case": case_id})))
    return found


def folder_of(case_id: str) -> str:
    """Return the name of the folder below the run folder for what was found of a case."""
    return case_id.removeprefix("models/").replace("/", "-")


def tell(case_id: str, found: Found, folder: Path) -> list[str]:
    """Return what was found, in lines."""
    lines = [f"{case_id}, searched in {found.device_runs} runs of the device"]
    if found.node:
        lines.append(f"  first result out of its bound: '{found.result}' of {found.node}, {found.at} of {found.of}")
    lines.append(f"  {found.reason}")
    if found.looks_like:
        lines.append(f"  looks like: {found.looks_like}")
    size = f"{found.nodes} node" if found.nodes == 1 else f"{found.nodes} nodes"
    shown = "fails by itself too" if found.shows_alone else "does not fail by itself"
    what = f"the piece of {size} {shown}" if found.node else f"the whole model of {size}"
    lines.append(f"  {what}: an ONNX test in {folder}")
    return lines


def _asked(case: Case) -> tuple[bytes, dict[str, Any]]:
    """Return the model and the inputs of the case's only request."""
    workload = case.workload
    if workload is None or workload.model.data is None or len(workload.datasets) != 1:
        raise HarnessError(f"the case {case.id} has no single request that could be searched")
    return workload.model.data, {one.name: from_ref(one.value, {}) for one in workload.datasets[0]}
