"""A device in somebody's own tests: opened by its profile, in a child process, asked for one answer after another.

What the pytest fixtures `device`, `reference_model` and `judge` give. It judges nothing about the profile; that is what
a run is for.

    with Device.open("my-device.yaml") as device:
        answer = device.run(model, {"x": array})
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from conformance.checks.support.compare import compare
from conformance.checks.support.port import Planned
from conformance.errors import AdapterError, DeviceNotFound, HarnessError, UsageError
from conformance.execution.judging import resolve
from conformance.execution.lock import DeviceLock
from conformance.execution.pool import Pool
from conformance.execution.slot import Broken, NotOpened, Observed, Opened, Task, Untaken
from conformance.execution.stores import fill_and_seal
from conformance.paths import cache_folder
from conformance.prepare import device_name, make_launch, prepare
from conformance.records import Case, Identity, Witness
from conformance.tensors import to_ref
from conformance.workload import ModelRef, NamedValue, Workload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conformance.profile.loader import LoadedProfile
    from conformance.tensors import Value

_CASE = Case(id="own/test", check="operators", requirements=(), why="asked by a test", params={"needs": []})


class DeviceFailed(AdapterError):
    """The device refused the request, crashed, hung, or changed its inputs; the message says which."""


class Answer(NamedTuple):
    """What a device gave back."""

    outputs: dict[str, Value]
    """By output name, in the order of the model; arrays are the caller's own."""
    witnesses: tuple[Witness, ...]
    """What the runtime showed of where the nodes ran; empty where it shows nothing."""
    mode: str
    """`strict` where falling back was forbidden, `shared` where the host was allowed to take nodes."""
    wall_ms: float
    """Of the inference alone, as the child saw it. Not a measurement to judge by: nothing was warmed up."""


class ReferenceModel(NamedTuple):
    """A model with inputs and what they give."""

    name: str
    model: bytes
    inputs: list[dict[str, Value]]
    """One mapping per data set."""
    expected: list[dict[str, Value]]
    rtol: float
    atol: float


class Device:
    """One device, held exclusively while it is open. Use `Device.open(profile)` as a context manager."""

    def __init__(self, loaded: LoadedProfile, pool: Pool, stack: ExitStack) -> None:
        self.profile = loaded.profile
        self._deadlines, self._pool, self._stack = pool.launch.deadlines, pool, stack
        self.identity: Identity | None = None
        """Who the runtime says it is; known after the first `run`."""

    @classmethod
    def open(cls, profile: str | Path, bench: str | Path | None = None) -> Device:
        """Load the profile and lock the device. ProfileError, UsageError or HarnessError, one line each."""
        loaded, loaded_bench = prepare(str(profile), str(bench) if bench is not None else None)
        with ExitStack() as stack:
            stack.enter_context(DeviceLock(cache_folder(), device_name(loaded, loaded_bench)))
            scratch = Path(tempfile.mkdtemp(prefix="conformance-device-"))
            stack.callback(shutil.rmtree, scratch, ignore_errors=True)
            launch = make_launch(loaded, loaded_bench, scratch / "run")
            stack.callback(os.close, launch.inputs_fd)
            fill_and_seal(launch.inputs_fd, b"")
            pool = Pool(launch)
            stack.callback(pool.close)
            pool.warm(1)
            return cls(loaded, pool, stack.pop_all())
        raise AssertionError("unreachable")

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the device go; nothing of it is left afterwards."""
        self._stack.close()

    def run(self, model: bytes | Path | Any, inputs: Mapping[str, Value]) -> Answer:
        """Run a model once. `model` is a serialised ModelProto, a ModelProto or a path to one.

        DeviceFailed where the device does not answer in an orderly way (the next call gets a fresh process),
        DeviceNotFound where it is not there, HarnessError where the harness failed.
        """
        datasets = [[NamedValue(name, to_ref(value)) for name, value in inputs.items()]]
        workload = Workload(model=ModelRef(data=_bytes_of(model)), datasets=datasets)
        task = Task(Planned(msgspec.structs.replace(_CASE, workload=workload)))
        for event in self._pool.run(deque([task]), self._pool.slots(1), self._deadlines, lambda *_: None):
            if isinstance(event, Opened):
                self.identity = event.identity
            elif isinstance(event, Observed):
                return self._answer(event)
            elif isinstance(event, NotOpened) and event.kind == "unreachable":
                raise HarnessError(f"the device's host was not reached: {event.message}")
            elif isinstance(event, NotOpened):
                raise (DeviceNotFound if event.kind == "not-found" else DeviceFailed)(event.message)
            elif isinstance(event, Broken):
                raise HarnessError(event.message)
            else:
                attempt = event.fault.attempt if isinstance(event, Untaken) else event.attempt
                raise DeviceFailed(f"{attempt.outcome}: {attempt.detail}\n{attempt.stderr_tail[-1000:]}".strip())
        raise HarnessError("the device gave no answer")

    @staticmethod
    def _answer(event: Observed) -> Answer:
        seen = resolve(event.observation, event.worker.stores)
        session = seen.observation.sessions[-1]
        fault = session.fault or next((one.fault for one in session.inferences if one.fault is not None), None)
        if fault is not None:
            raise DeviceFailed(f"rejected at {fault.phase}: {fault.kind}: {fault.message}")
        (inference,), (values,) = session.inferences, seen.values[-1]
        if inference.inputs_changed:
            raise DeviceFailed(f"the device changed its inputs: {', '.join(inference.inputs_changed)}")
        outputs = {name: _own(value) for name, value in values}
        return Answer(outputs, session.witnesses, session.mode, inference.wall_ns / 1e6)


def load_reference(name: str) -> ReferenceModel:
    """Return a reference by case id (`operators/ai.onnx.Add-14/float32/test_add`); UsageError with the nearest ids."""
    import difflib

    from conformance.reference.suite import load_suite

    suite = load_suite()
    known = {entry.case_id: entry for entry in suite.entries}
    entry = known.get(name)
    if entry is None:
        near = difflib.get_close_matches(name, known, n=3)
        raise UsageError(f"there is no reference '{name}'; near: {', '.join(near) or 'none'} (`conformance list`)")
    names = [info.name for info in entry.output_infos]
    sets = range(len(entry.datasets))
    inputs = [dict(suite.inputs(entry, at)) for at in sets]
    expected = [dict(zip(names, suite.expected(entry, at), strict=True)) for at in sets]
    return ReferenceModel(name, suite.model(entry), inputs, expected, entry.rtol, entry.atol)


def judge(
    actual: Mapping[str, Value], expected: Mapping[str, Value], *, rtol: float = 1e-3, atol: float = 1e-7
) -> None:
    """Compare outputs by name, order, type, shape and value, as the harness does; AssertionError says where they differ."""
    if list(actual) != list(expected):
        raise AssertionError(f"the outputs are {list(actual)}, want {list(expected)}")
    for name, want in expected.items():
        found = compare(want, actual[name], rtol=rtol, atol=atol, name=name)
        if not found.ok:
            raise AssertionError(f"{found.mismatch} ({found.mismatched} of {found.total} elements differ)")


def _bytes_of(model: bytes | Path | Any) -> bytes:
    if isinstance(model, bytes):
        return model
    return model.read_bytes() if isinstance(model, Path) else bytes(model.SerializeToString())


def _own(value: Value) -> Value:
    if isinstance(value, list):
        return [_own(item) for item in value]
    return value if value is None else value.copy()
