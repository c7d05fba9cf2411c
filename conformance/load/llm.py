"""Generating tokens with a decoder that keeps its keys and values: time to first token, and time per output token.

A sequence is a prefill of the whole prompt and then one request per token, each fed the cache that the one before gave. The
tokens are given beforehand (teacher forcing): what the device answers changes no later request, only the time counts. Moving
the cache from outputs to inputs is the host's part, as in anyone's loop, and counts.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from conformance.load.quiet import Ticker, Times, quiet
from conformance.load.streams import FOREVER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conformance.adapters.runtime.port import RuntimeSession
    from conformance.tensors import Value
    from conformance.timing.samples import Samples


class Prompt(NamedTuple):
    """What one sequence is fed: the inputs of each request beside the cache, and the cache that the first one finds."""

    steps: Sequence[dict[str, Value]]
    past: dict[str, Value]


class Generated(NamedTuple):
    """The times of all sequences."""

    first: Samples
    """One per sequence: from its start to the outputs of the prefill."""
    following: Samples
    """One per token after the first: from the token before to this one."""
    sequences: int
    tokens: int
    """Per sequence, the first included."""


def run_generation(
    session: RuntimeSession,
    prompts: Sequence[Prompt],
    count: int,
    cache_of: dict[str, str],
    *,
    after: Callable[[int, int, list[tuple[str, Value]]], None] | None = None,
    tick: Callable[[], None] | None = None,
    give_up_ns: int = FOREVER,
) -> Generated:
    """Run `count` sequences one after another, prompts in turn.

    `cache_of` maps an output that holds a part of the cache to the input that takes it in the next step. `after` is given
    sequence, step and outputs once the clock of the step has stopped; a next step is due only after it has returned.
    """
    tokens = len(prompts[0].steps)
    first, following = Times.of(count), Times.of(count * (tokens - 1))
    ticker, now, infer = Ticker(tick), time.monotonic_ns, session.infer
    made = steps = 0
    with quiet():
        end_ns = now() + give_up_ns
        for at in range(count):
            prompt = prompts[at % len(prompts)]
            cache = prompt.past
            begin = now()
            for step, given in enumerate(prompt.steps):
                answer = infer({**given, **cache})
                cache = {cache_of[name]: value for name, value in answer if name in cache_of}
                end = now()
                times, place = (first, made) if step == 0 else (following, steps)
                times.due[place] = times.issued[place] = begin
                times.done[place] = end
                steps += step > 0
                if after is not None:
                    after(at, step, answer)
                    end = now()
                begin = end
            made += 1
            if end >= ticker.due_ns:
                ticker(end)
            if end > end_ns:
                break
    return Generated(
        first.samples(made, is_scheduled=False), following.samples(steps, is_scheduled=False), made, tokens
    )
