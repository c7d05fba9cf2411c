"""A case's data depend on its id, the seed and the challenge, and on nothing else."""

from __future__ import annotations

import numpy as np

from conformance.reference.recipes import Made, Needs, Recipe, carry_out, generator

NAME = "operators/ai.onnx.Add-14/float32/made/plain"


def recipe(case_id: str) -> Recipe:
    def make(random: np.random.Generator) -> Made:
        return Made(b"model", [{"x": random.standard_normal(4)}])

    return Recipe(case_id, (), ("float32",), {"": 14}, "bound", "float32", make)


def test_the_same_case_has_the_same_data_each_time() -> None:
    first, again = (carry_out(recipe(NAME), "nonce").datasets[0]["x"] for _ in range(2))
    assert first.tolist() == again.tolist()


def test_another_id_or_challenge_has_other_data() -> None:
    drawn = {
        tuple(carry_out(recipe(name), challenge).datasets[0]["x"])
        for name in (NAME, NAME + "-2")
        for challenge in ("", "nonce", "nonce2")
    }
    assert len(drawn) == 6


def test_id_and_challenge_do_not_run_into_each_other() -> None:
    assert generator("b", "a").random() != generator("ab", "").random()


def test_the_stream_is_pinned() -> None:
    # What a certifier's record refers to must be made again years later: another hash or seed is another suite.
    assert generator(NAME).integers(0, 1 << 32, 2).tolist() == [3097937990, 2462607224]


def test_a_probe_that_says_nothing_asks_nothing_of_the_precision() -> None:
    assert recipe(NAME).needs == Needs()
    assert not any(Needs())
