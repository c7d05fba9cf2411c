"""What the outputs of a reference model are judged by in tier 3: spreads, kept like the answers they belong to.

A spread depends on the graph, the inputs, the declared precision and on everything that computes from them. Making one takes
24 perturbed runs, a second or so for each model; a kept one is read in milliseconds.
"""

from __future__ import annotations

import hashlib
import inspect
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from conformance.numerics.spread import Spread, spread_of, with_likes
from conformance.reference import answers, feeds
from conformance.reference.tasks import find_task
from conformance.tensors import element_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.numerics.modes import PrecisionMode
    from conformance.reference.model_index import ReferenceModel, Variant
    from conformance.tensors import Array

SEED = 24
"""Of the perturbations; the inputs have a salt of their own."""
Spreads = dict[str, Spread]


def agreed(model: ReferenceModel, variant: Variant, salt: int, mode: PrecisionMode) -> Spreads:
    """Return the spreads of the outputs for `answers.few_inputs`, by output name."""

    def make() -> dict[str, Array]:
        from conformance.reference.montecarlo.runs import coarser_runs, perturbed_runs

        reference = answers.agreed(model, variant, salt)
        inputs = answers.few_inputs(model, variant, salt)
        interpreter = _interpreter(model.name, variant.reference)
        runs = perturbed_runs(interpreter, inputs, mode, SEED + salt)
        likes = coarser_runs(interpreter, inputs, mode, SEED + salt)
        made = {name: _made(variant, name, value, runs[name], mode) for name, value in reference.items()}
        return _packed(
            {name: with_likes(one, {like: run[name] for like, run in likes.items()}) for name, one in made.items()}
        )

    key = (
        "agreed",
        _source(find_task(model.task)) if model.task else "",
        _source(feeds),
        *_key(model, variant, salt, mode),
    )
    return _unpacked(answers.kept(key, make), "", variant, mode)


def decoded(model: ReferenceModel, variant: Variant, salt: int, mode: PrecisionMode) -> list[Spreads]:
    """Return the spreads of a decoder's outputs for each request of the sequence of a salt."""
    count = 1 + feeds.TOKENS

    def make() -> dict[str, Array]:
        from conformance.reference.montecarlo.runs import perturbed_sequence

        steps, past = feeds.decoder(model.variant(variant.reference).inputs, variant.kind, salt)
        interpreter = _interpreter(model.name, variant.reference)
        _, runs = perturbed_sequence(interpreter, steps, past, feeds.past_of, mode, SEED + salt)
        packed: dict[str, Array] = {}
        for at, reference in enumerate(answers.decoded(model, variant, salt)):
            made = {n: _made(variant, n, value, runs[at][n], mode) for n, value in reference.items()}
            packed |= {f"{at}/{name}": value for name, value in _packed(made).items()}
        return packed

    found = answers.kept(("sequence", _source(feeds), *_key(model, variant, salt, mode)), make)
    return [_unpacked(found, f"{at}/", variant, mode) for at in range(count)]


def _made(variant: Variant, name: str, reference: Array, runs: Array, mode: PrecisionMode) -> Spread:
    return spread_of(reference, runs, mode, _kinds(variant)[name])


def _kinds(variant: Variant) -> dict[str, str]:
    return {info.name: element_of(info.type) for info in variant.outputs}


def _packed(made: Spreads) -> dict[str, Array]:
    return {f"{name}/{part}": value for name, one in made.items() for part, value in one.to_arrays().items()}


def _unpacked(found: dict[str, Array], prefix: str, variant: Variant, mode: PrecisionMode) -> Spreads:
    kinds = _kinds(variant)
    every: dict[str, dict[str, Array]] = {}
    for key, value in found.items():
        if key.startswith(prefix):
            name, part = key[len(prefix) :].rsplit("/", 1)
            every.setdefault(name, {})[part] = value
    return {name: Spread.from_arrays(parts, mode, kinds[name]) for name, parts in every.items() if name in kinds}


def _key(model: ReferenceModel, variant: Variant, salt: int, mode: PrecisionMode) -> Iterable[str]:
    yield model.variant(variant.reference).sha256
    yield from (
        variant.kind,
        *sorted(f"{name}:{kind}" for name, kind in _kinds(variant).items()),
        str(salt),
        str(SEED),
        _own_sources(),
    )
    yield msgspec.json.encode(mode).decode()


@lru_cache(maxsize=1)
def _interpreter(model_name: str, reference: str) -> Any:
    from conformance.reference.evaluate import widen
    from conformance.reference.interpreter import Interpreter
    from conformance.reference.model_index import find_model

    model = find_model(model_name)
    return Interpreter(widen(model.read(model.variant(reference))))


@cache
def _own_sources() -> str:
    from conformance.numerics import formats, groups, modes, resemblance, spread
    from conformance.reference import interpreter
    from conformance.reference.montecarlo import (
        bodies,
        contractions,
        elementary,
        noise,
        normalising,
        recurrent,
        rules,
        runs,
    )

    own = [bodies, contractions, elementary, noise, normalising, recurrent, rules, runs]
    parts = [formats, groups, modes, resemblance, spread, interpreter, *own]
    return hashlib.sha256("\0".join(map(inspect.getsource, parts)).encode()).hexdigest()


@cache
def _source(module: Any) -> str:
    return hashlib.sha256(inspect.getsource(module).encode()).hexdigest()
