"""Using what a runtime offers beside plain runs, and writing down what was seen: the `measure` half of `checks/offers.py`."""

from __future__ import annotations

import shutil
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from conformance.adapters.runtime.port import RuntimeFault, Unavailable
from conformance.checks.support.running import fault_of, infer_once
from conformance.checks.support.using import Feeds, in_turn, with_sessions
from conformance.observation import InferenceSeen, Observation, SessionSeen
from conformance.workload import NamedValue

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.adapters.runtime.port import Mode, RuntimeSession
    from conformance.checks.support.port import Device
    from conformance.tensors import Array, Value

GUARD = 64
"""Elements before and after a bound output that nobody may write to."""
COLD = "files in the cache folder after the first session"
UNWRITTEN = -77.0
"""What bound memory holds beforehand: no value that a probe computes."""


class Bench(NamedTuple):
    """What a use works on: the device in the mode in which the models run, the models, and the data sets."""

    device: Device
    mode: Mode
    models: list[bytes]
    datasets: list[Feeds]


def _run_each(bench: Bench, at: int, model: bytes, cache: Path | None = None, count: int = 1) -> SessionSeen:
    """Compile a model in a session of its own and run `count` data sets from number `at` on."""
    make = partial(bench.device.adapter.compile, model, bench.mode, cache=cache)
    sets = bench.datasets[at : at + count]
    return with_sessions(bench.device, bench.mode, [make], partial(in_turn, bench.device, sets))


def alternate(bench: Bench) -> Observation:
    """Run the models in turn, each in a session of its own: A, B, A."""
    return Observation(
        sessions=[_run_each(bench, at, bench.models[at % len(bench.models)]) for at in range(len(bench.datasets))]
    )


def load_compiled(bench: Bench) -> Observation:
    """Compile every model to bytes, then load these: A, B, A, or A, A where there is one."""
    bench.device.enter("compile")
    try:
        compiled = [bench.device.adapter.precompile(model, bench.mode) for model in bench.models]
    except (RuntimeFault, Unavailable) as error:
        return Observation(sessions=[SessionSeen(mode=bench.mode.value, fault=fault_of(error, "compile"))])
    sessions = [_run_each(bench, at, compiled[at % len(compiled)]) for at in range(len(bench.datasets))]
    holds = any(b"EPContext" in one for one in compiled)
    facts = {"compiled bytes": len(compiled[0]), "holds a part compiled by the provider": holds}
    return Observation(sessions=sessions, facts=facts)


def fill_cache(bench: Bench) -> Observation:
    """Compile with one cache folder: A into the empty one, A again, then B, then A."""
    folder = bench.device.adapter.scratch / "cache"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    first, second = bench.models
    sessions, files = [], []
    for at, model in enumerate((first, first, second, first)):
        sessions.append(_run_each(bench, at, model, folder))
        files.append(sum(path.is_file() for path in folder.rglob("*")))
    shutil.rmtree(folder, ignore_errors=True)
    return Observation(sessions=sessions, facts={COLD: files[0], "files in the cache folder": files[-1]})


def fix_dimension(dimensions: dict[str, int], bench: Bench) -> Observation:
    """Compile with dimensions fixed and run every data set; what is refused is kept, and the next one run all the same."""
    make = partial(bench.device.adapter.compile, bench.models[0], bench.mode, dimensions=dimensions)
    use = partial(in_turn, bench.device, bench.datasets)
    return Observation(sessions=[with_sessions(bench.device, bench.mode, [make], use)])


def read_options(bench: Bench) -> Observation:
    """Run once, and read back what was set."""
    settings: list[tuple[str, str, str | None]] = []

    def use(sessions: list[RuntimeSession]) -> list[InferenceSeen]:
        seen = infer_once(bench.device, sessions[0], bench.datasets[0])
        try:
            settings.extend((one.name, one.wanted, one.actual) for one in sessions[0].settings())
        except (RuntimeFault, Unavailable) as error:
            return [InferenceSeen(fault=fault_of(error, "run"))]
        return [seen]

    make = partial(bench.device.adapter.compile, bench.models[0], bench.mode)
    session = with_sessions(bench.device, bench.mode, [make], use)
    return Observation(sessions=[session], facts={"settings": settings})


def bind(bench: Bench) -> Observation:
    """Run three times on bound memory: outputs in one buffer, in the same again, then in another.

    Inputs are bound anew each time, for a runtime may take them over when they are bound. Each buffer is written down after
    its run, and the first buffer once more at the end; `beside` names what was changed around them.
    """
    guarded = [np.full(GUARD + 64 + GUARD, UNWRITTEN, np.float32) for _ in range(2)]
    first, second = (one[GUARD:-GUARD].reshape(8, 8) for one in guarded)

    def use(sessions: list[RuntimeSession]) -> list[InferenceSeen]:
        seen: list[InferenceSeen] = []
        bound = None
        try:
            for feeds, target in zip(bench.datasets, (first, first, second), strict=True):
                inputs = {one.name: _array(bench.device.fresh(one.value)) for one in feeds}
                before = {name: value.copy() for name, value in inputs.items()}
                if bound is None:
                    bound = sessions[0].bind(inputs, {"y": target})
                else:
                    bound.rebind(inputs, {"y": target})
                bound.run()
                changed = [name for name, value in inputs.items() if value.tobytes() != before[name].tobytes()]
                seen.append(_look(bench.device, target, changed))
        except (RuntimeFault, Unavailable) as error:
            return [*seen, InferenceSeen(fault=fault_of(error, "run"))]
        return [*seen, _look(bench.device, first, [])]

    make = partial(bench.device.adapter.compile, bench.models[0], bench.mode)
    session = with_sessions(bench.device, bench.mode, [make], use)
    beside = [
        f"{count} elements around the {which} buffer"
        for which, one in zip(("first", "second"), guarded, strict=True)
        if (count := int((np.concatenate([one[:GUARD], one[-GUARD:]]) != np.float32(UNWRITTEN)).sum()))
    ]
    return Observation(sessions=[session], facts={"beside": beside})


def _array(value: Value) -> Array:
    assert isinstance(value, np.ndarray)  # noqa: S101 - probes take tensors
    return np.ascontiguousarray(value)


def _look(device: Device, buffer: Array, changed: list[str]) -> InferenceSeen:
    return InferenceSeen(outputs=[NamedValue("y", device.send(buffer.copy()))], inputs_changed=changed)
