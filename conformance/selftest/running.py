"""The self-test as a whole: which units there are, and running them in processes of their own with progress."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TYPE_CHECKING

import numpy as np

from conformance.selftest import units as working
from conformance.selftest.arithmetic import ORDERS
from conformance.selftest.defects import DEFECTS
from conformance.selftest.matrix import count
from conformance.selftest.subjects import DETECTOR, MODES, Subject, case_subjects, model_subjects
from conformance.selftest.units import Unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conformance.selftest.matrix import Matrix
    from conformance.selftest.units import Row

TASKS = ("keyword-spotting/float32", "cnn-shapes/float32")
"""Models whose labelled samples are counted: small ones, since each defect costs hundreds of samples."""
NATIVE = ("float32", "float16", "bfloat16")
QUICK_MODELS = (DETECTOR, "keyword-spotting/float32", "cnn-shapes/float16")
CHUNK = 25
SALTS = 1
"""Draws of inputs that the correct devices are tried on."""


def plan(seed: int, *, is_quick: bool) -> list[Unit]:
    """Return the units of a run: models with defects first, which take longest."""
    names = tuple(one.name for one in DEFECTS)
    first = seed * 1000
    if is_quick:
        models = [one for one in model_subjects(list(NATIVE), range(first, first + 1)) if one.name in QUICK_MODELS]
        found = [Unit((one,), names, ORDERS[::2]) for one in models]
        for tier, few in (("exact", 120), ("bound", 60)):
            found += _chunks(tier, 1, few, seed, names)
        return found
    models = list(model_subjects(list(MODES), range(first, first + SALTS)))
    with_defects = [one for one in models if one.mode in NATIVE and one.salt == first]
    native = {one for one in with_defects if one.name == DETECTOR or one.name.split("/")[1].startswith(one.mode)}
    found = [Unit((one,), names) for one in models if one in native]
    found += [Unit((one,)) for one in models if one not in native]
    for tier, each in (("exact", 2), ("bound", 1)):
        found += _chunks(tier, each, None, seed, names)
    tried = [one.name for one in DEFECTS if one.level != "behaviour"]
    for name in TASKS:
        subject = Subject("task", name, "float32")
        found += [Unit((subject,), tuple(tried[at : at + CHUNK]), is_task=True) for at in range(0, len(tried), CHUNK)]
    return found


def _chunks(tier: str, per_operator: int, most: int | None, seed: int, names: tuple[str, ...]) -> list[Unit]:
    salt = seed * 1000
    subjects = list(case_subjects(tier, per_operator, seed, range(salt, salt + 1)))
    if most is not None:
        chosen = np.random.default_rng([seed, most]).permutation(len(subjects))[:most]
        subjects = [subjects[at] for at in sorted(chosen)]
    return [Unit(tuple(subjects[at : at + CHUNK]), names, ORDERS[::2]) for at in range(0, len(subjects), CHUNK)]


def run(
    units: list[Unit],
    *,
    seed: int,
    is_quick: bool,
    workers: int = 2,
    progress: Callable[[str, int, int], None] | None = None,
) -> Matrix:
    """Run the units, in this process with one worker; Ctrl-C ends it early, and what is done is counted."""
    began = time.monotonic()
    rows: list[Row] = []
    is_complete = True
    try:
        for at, (unit, found) in enumerate(_each(units, workers)):
            rows += found
            if progress is not None:
                progress(unit.title, at + 1, len(units))
    except KeyboardInterrupt:
        is_complete = False
    return count(rows, DEFECTS, seed=seed, is_quick=is_quick, is_complete=is_complete, seconds=time.monotonic() - began)


def _each(units: list[Unit], workers: int) -> Iterator[tuple[Unit, list[Row]]]:
    if workers <= 1:
        for unit in units:
            yield unit, working.work(unit)
        return
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(
        dict.fromkeys(_THREADS, "1")
    )  # as many processes as cores: threads of a library only wait on each other
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_ignore_interrupts)
    try:
        futures = {pool.submit(working.work, unit): unit for unit in units}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()  # whoever presses Ctrl-C does not wait for the units that are being worked on
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
