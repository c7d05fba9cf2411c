"""Ways to misbehave from one request to the next, in this process: the case that is meant for each finds it, and says so.

Those that would change this process stand in `tests/misbehaving/test_interface.py`, in whole runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from conformance.adapters.runtime.port import Feature
from conformance.checks import check_module
from conformance.checks.support.port import Requested, Target
from conformance.observation import Observation, Seen
from conformance.records import Judgement, Outcome
from conformance.tensors import from_ref

SCOPES = {
    "session": ("session", {}),
    "sessions": ("interface", {"scope": "sessions"}),
    "shapes": ("interface", {"scope": "shapes"}),
    "lifecycle": ("lifecycle", {}),
    "offers": ("offers", {}),
}
"""Second part of a case's id → the check and its parameters."""
STALE = "the answer is that of another model or run: "

WAYS: list[tuple[str, str, str]] = [
    # behaviour, the case that is meant for it, what the record says
    ("alias-outputs", "sessions/outputs-not-aliased", "want"),
    ("shared-state", "sessions/two-sessions", "want"),
    ("wrong-on-thread", "sessions/threads", "want"),
    ("tired", "sessions/repeats", "want"),
    ("wrong-batch-3", "shapes/growing-batch", "want"),
    ("refuse-empty", "shapes/zero-size", "tensors without elements are not supported"),
    ("late-overwrite", "sessions/outputs-not-aliased", "want"),
    ("overwrite-at-close", "sessions/outputs-outlive-session", "want"),
    ("close-closes-all", "sessions/close-one", "rejected at run: RuntimeError: the context was destroyed"),
    ("kv-shared", "sessions/kv-cache", "want"),
    ("kv-shared", "shapes/kv-cache-growing", "want"),
    ("second-run-wrong", "session/fresh-outputs", "want"),
    ("extra-output", "session/output-contract", "the outputs are not those of the model"),
    ("drop-output", "session/output-contract", "the outputs are not those of the model"),
    ("wrong-type", "session/output-contract", "sum: type float64, want float32"),
    ("wrong-type", "session/long-contraction", "y127: type float64, want float32"),
    ("scalar-output", "session/one-element", "matrix: shape [], want [1, 1]"),
    ("nan-large-batch", "shapes/large-batch", "= nan, want"),
    ("garbage-empty", "shapes/zero-size", "y: shape [1, 8], want [0, 8]"),
    ("swap-in-second-session", "lifecycle/stable-interface", "want"),
    ("order-changes", "lifecycle/stable-interface", "the session declares other outputs"),
    (
        "other-identity",
        "lifecycle/reopen",
        "the device is another one when it is bound again: driver was '', now 'another one'",
    ),
    (
        "reopen-lost",
        "lifecycle/reopen",
        "rejected at open: DeviceNotFound: the library registered, but offers no device",
    ),
    ("reopen-lost", "lifecycle/restart", "rejected at open: DeviceNotFound"),
    ("reopen-wrong", "lifecycle/reopen", "want"),
    ("restart-renames", "lifecycle/restart", "declares other outputs than the one before, in a fresh process"),
    ("stale-model", "offers/other-weights", STALE),
    ("stale-compiled", "offers/compiled-other-weights", STALE),
    ("stale-cache", "offers/cache-folder", STALE),
    ("free-dimension-ignored", "offers/fixed-dimension", "fixed as 3, and the session declares a ['n', 16]"),
    ("dimension-pads", "offers/fixed-dimension", "y: shape [3, 8], want [5, 8]"),
    ("ignored-option", "offers/options", "intra_op_num_threads is set to '1', and the runtime says '8'"),
    ("bound-unwritten", "offers/binding", "a bound output: y[0,0] = -77, want"),
    ("bound-late", "offers/binding", "a bound output, after another was bound and run: "),
    ("bound-beside", "offers/binding", "the device wrote beside the bound memory: 1 elements around the first buffer"),
    ("bound-inputs", "offers/binding", "the device changed its inputs: a, b"),
]


def test_a_sum_that_stops_at_a_hundred_elements_is_caught(misbehave: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    device = misbehave("none")
    honest = device.adapter.compile

    def compile_short(*arguments: Any, **options: Any) -> Any:
        session = honest(*arguments, **options)
        infer = session.infer

        def short(feeds: Any, place: Any = None) -> Any:
            cut = {name: value.copy() for name, value in feeds.items()}
            for name, value in cut.items():
                if name.startswith("a"):
                    value[:, 100:] = 0
            return infer(cut, place)

        session.infer = short
        return session

    monkeypatch.setattr(device.adapter, "compile", compile_short)
    assert judge("session/output-contract", device).outcome is Outcome.PASS
    judged = judge("session/long-contraction", device)
    assert (judged.outcome, judged.reason[:9]) == (Outcome.FAIL, "y127[0,0]")


class Context:
    """What the plan looks at: a device that claims and offers everything."""

    target = Target(
        provider="CPUExecutionProvider", on_host_cpu=True, is_host_cpu_allowed=True, takes_dynamic_shapes=True,
        takes_zero_size=True, hardware="", driver="", binding={}, features=frozenset(Feature),
    )  # fmt: skip

    def claims_type(self, name: str) -> bool:
        return True

    def probe_opset(self) -> int:
        return 13

    def why_unclaimed(self, operators: Sequence[str]) -> str:
        return ""


def judge(case: str, device: Any) -> Judgement:
    """Plan, measure and judge a case, its observation sent over the wire in between."""
    name, params = SCOPES[case.partition("/")[0]]
    check = check_module(name)
    planned = {one.case.id: one for one in check.plan(Requested("R-001", "MUST", dict(params), "always"), Context())}  # type: ignore[arg-type]
    one = planned[f"interface/{case}"]
    seen = msgspec.msgpack.decode(msgspec.msgpack.encode(check.measure(one.case, device)), type=Observation)
    values = [[[(o.name, from_ref(o.value)) for o in i.outputs] for i in s.inferences] for s in seen.sessions]
    assert one.expected is not None
    return check.judge(one.case, Seen(seen, values), one.expected())


@pytest.mark.parametrize("case", sorted({case for _, case, _ in WAYS}))
def test_one_that_behaves_passes(misbehave: Any, case: str) -> None:
    judged = judge(case, misbehave("none", session_options={"intra_op_num_threads": 1}))

    assert (judged.outcome, judged.reason) == (Outcome.PASS, "")


@pytest.mark.parametrize(("behaviour", "case", "words"), WAYS, ids=[f"{way}-{case}" for way, case, _ in WAYS])
def test_each_is_caught_where_it_is_looked_for(misbehave: Any, behaviour: str, case: str, words: str) -> None:
    judged = judge(case, misbehave(behaviour, session_options={"intra_op_num_threads": 1}))

    assert (judged.outcome, words in judged.reason) == (Outcome.FAIL, True), judged.reason
