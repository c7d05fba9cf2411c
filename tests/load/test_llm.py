"""Generation: a prefill and then one request per token, each with the cache of the one before, each timed by itself."""

from __future__ import annotations

import numpy as np

from conformance.load.llm import Prompt, run_generation
from conformance.load.null_device import NullSession
from conformance.timing.samples import find_defect

CACHE = {"present.0.key": "past_key_values.0.key"}


class Decoder(NullSession):
    """Adds the tokens that it is given to its cache, so that a wrong cache shows."""

    def __init__(self) -> None:
        super().__init__([])
        self.seen: list[tuple[int, float]] = []

    def _infer(self, feeds, place):  # type: ignore[no-untyped-def]
        ids, past = feeds["input_ids"], feeds["past_key_values.0.key"]
        self.seen.append((ids.size, float(past.sum())))
        return [("logits", np.zeros(1, np.float32)), ("present.0.key", past + ids.sum())]


def prompt(first: int) -> Prompt:
    steps = [{"input_ids": np.array([first, 1])}, {"input_ids": np.array([10])}, {"input_ids": np.array([100])}]
    return Prompt(steps, {"past_key_values.0.key": np.array([1000.0])})


def test_the_cache_goes_from_step_to_step_and_every_sequence_begins_with_its_own() -> None:
    session = Decoder()
    made = run_generation(session, [prompt(2), prompt(5)], 3, CACHE)
    assert session.seen == [
        *[(2, 1000.0), (1, 1003.0), (1, 1013.0)],
        *[(2, 1000.0), (1, 1006.0), (1, 1016.0)],
        *[(2, 1000.0), (1, 1003.0), (1, 1013.0)],
    ]
    assert (made.sequences, made.tokens) == (3, 3)
    assert (made.first.size, made.following.size) == (3, 6)


def test_times_follow_one_another_and_what_is_done_between_them_is_not_counted() -> None:
    kept: list[tuple[int, int]] = []
    made = run_generation(Decoder(), [prompt(1)], 4, CACHE, after=lambda at, step, _: kept.append((at, step)))
    assert kept == [(at, step) for at in range(4) for step in range(3)]
    assert find_defect(made.first) == find_defect(made.following) == ""
    assert (made.following.issued_ns[::2] >= made.first.done_ns).all()


def test_it_is_given_up_between_two_sequences_and_the_parent_is_told() -> None:
    told: list[int] = []
    made = run_generation(Decoder(), [prompt(1)], 1000, CACHE, tick=lambda: told.append(1), give_up_ns=0)
    assert (made.sequences, made.first.size, made.following.size) == (1, 1, 2)
    assert told == [1]
