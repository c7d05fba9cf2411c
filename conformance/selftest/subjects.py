"""What devices are tried on: whole models by tier 3, generated operator cases by tier 2, exact probes by tier 1.

A subject is told by name, so that it travels to another process; `load` makes the model, the inputs and what outputs are judged
by. Models are judged in modes that differ from their own type too: a float32 model on a device that declares float16.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from conformance.errors import HarnessError
from conformance.numerics.modes import PrecisionMode, native
from conformance.reference.interpreter import Interpreter
from conformance.reference.recipes import generator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.reference.model_index import ReferenceModel, Variant

MODES: dict[str, PrecisionMode] = {
    "float32": PrecisionMode(),
    "float32-flushed": PrecisionMode(subnormals="flushed"),
    "float32-two-pass": PrecisionMode(variance="two-pass"),
    "tf32": PrecisionMode(input="tf32"),
    "tf32-toward-zero": PrecisionMode(input="tf32", accumulate_rounding="toward-zero"),
    "float16": native("float16"),
    "float16-sums": msgspec.structs.replace(native("float16"), accumulate="float16"),
    "float16-toward-zero": msgspec.structs.replace(native("float16"), accumulate_rounding="toward-zero"),
    "bfloat16": native("bfloat16"),
    "bfloat16-toward-zero": msgspec.structs.replace(native("bfloat16"), accumulate_rounding="toward-zero"),
}
"""What simulated devices declare, by name."""
SLOW = frozenset({"defect-segmentation", "stereo-depth"})
"""Models whose images make a run of tenths of a second."""
LONG = frozenset({"DeformConv", "MaxRoiPool", "RoiAlign"})
"""Operators that the evaluator goes through element by element, for seconds."""
GAPS = ("MaxPool-11/", "MaxPool-12/", "MaxPool-22/")
"""Operators that the evaluator pads wrongly under `auto_pad: SAME_LOWER`: those probes say nothing about a device here."""
FLOAT32_INSIDE = ("HannWindow-", "HammingWindow-", "BlackmanWindow-", "LayerNormalization-", "BitCast-")
"""Operators whose text computes in float32 or on bits whatever the type: a simulated device rounds them to its narrow type all the
same and is wrong about it, so they are no subjects of devices of a narrow type."""
DETECTOR = "detector-head"
"""A small model of ours: boxes of hundreds and scores below one in the same tensor."""


class Subject(msgspec.Struct, frozen=True):
    """One model with one set of inputs, under one declared precision."""

    tier: str
    """`exact`, `bound` or `spread`: what it was chosen for."""
    name: str
    """`encoder/float32`, or the id of an operator case."""
    mode: str
    salt: int = 0

    @property
    def cluster(self) -> str:
        """What runs are counted together by where an interval is told: the model, or the operator."""
        return self.name.split("/")[0 if self.tier == "spread" else 1]


class Loaded(NamedTuple):
    """A subject, ready to be run."""

    interpreter: Interpreter
    inputs: dict[str, Any]
    kinds: dict[str, str]
    """Element types of the outputs, by name."""
    limits: dict[str, Any]
    """A limit of tier 2, or a spread, by output name."""


def load(subject: Subject) -> Loaded:
    """Return a subject's model, inputs and limits; HarnessError where the reference evaluator cannot run it."""
    try:
        loaded = _load_model(subject) if subject.tier == "spread" else _load_case(subject)
    except Exception as error:  # ONNX's evaluator raises what it likes where it has a gap
        raise HarnessError(str(error).partition("\n")[0][:200]) from error
    if not loaded.limits:
        raise HarnessError("none of its outputs is judged")
    return loaded


def _interpreter(wide: Any) -> Interpreter:
    from conformance.reference.wide_gaps import GAPS as MENDED
    from conformance.reference.wide_operators import OPERATORS

    return Interpreter(wide, (*OPERATORS, *MENDED))


def _load_model(subject: Subject) -> Loaded:
    from conformance.reference.evaluate import widen
    from conformance.reference.montecarlo.runs import spreads

    mode = MODES[subject.mode]
    kind = mode.output
    if subject.name == DETECTOR:
        model, inputs = detector(subject.salt)
        kinds = {"detections": kind}
    else:
        model, inputs, kinds = _shipped(subject, kind)
    wide = widen(model)
    return Loaded(_interpreter(wide), inputs, kinds, dict(spreads(wide, inputs, mode, subject.salt, kinds)))


def _shipped(subject: Subject, kind: str) -> tuple[bytes, dict[str, Any], dict[str, str]]:
    from conformance.reference import answers, feeds

    model, variant = find_variant(subject.name)
    if "prefill" in variant.judged:
        sequence = feeds.decoder(variant.inputs, variant.kind, subject.salt)
        inputs = sequence.steps[0] | sequence.past
    else:
        inputs = answers.few_inputs(model, variant, subject.salt)
    return model.read(variant), inputs, {info.name: kind for info in variant.outputs}


def find_variant(name: str) -> tuple[ReferenceModel, Variant]:
    """Return a shipped model and its variant by `model/variant`."""
    from conformance.reference.model_index import find_model

    model_name, _, variant_name = name.partition("/")
    model = find_model(model_name)
    return model, model.variant(variant_name)


def detector(salt: int) -> tuple[bytes, dict[str, Any]]:
    """Return a small detection head and its features: [2, 64, 6], four box coordinates up to 640 and two scores below 1."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng([20261124, 1])
    weights = {
        "w": rng.standard_normal((16, 4)), "b": rng.uniform(0.5, 2.0, 4), "size": np.asarray(160.0),
        "v": rng.standard_normal((16, 2)) / 2, "c": rng.standard_normal(2),
    }  # fmt: skip
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["boxes"]), helper.make_node("Add", ["boxes", "b"], ["moved"]),
        helper.make_node("Relu", ["moved"], ["ahead"]), helper.make_node("Mul", ["ahead", "size"], ["scaled"]),
        helper.make_node("MatMul", ["x", "v"], ["raw"]), helper.make_node("Add", ["raw", "c"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
        helper.make_node("Concat", ["scaled", "scores"], ["detections"], axis=-1),
    ]  # fmt: skip
    infos = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
        for n, s in (("x", (2, 64, 16)), ("detections", (2, 64, 6)))
    ]
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, DETECTOR, infos[:1], infos[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    x = np.random.default_rng([20261124, 2, salt]).standard_normal((2, 64, 16)).astype(np.float32)
    return model.SerializeToString(deterministic=True), {"x": x}


def _load_case(subject: Subject) -> Loaded:
    from conformance.numerics.limits import Exact
    from conformance.reference.entries import TYPE_OF_ONNX
    from conformance.reference.evaluate import widen
    from conformance.reference.made import limits

    mode = msgspec.to_builtins(MODES[subject.mode])
    if subject.tier == "exact":
        recipe = exact_recipes()[subject.name]
        made = recipe.make(generator(subject.name, _challenge(subject)))
        wanted = (made.expected or [{}])[0]
        judged = {
            name: Exact(name=name, expected=value, is_zero_signed=recipe.keeps_zero_sign)
            for name, value in wanted.items()
        }
    else:
        made = limits.made_of(subject.name, _challenge(subject))
        found = limits.limits_of(subject.name, mode, MODES[subject.mode].output, _challenge(subject))[0]
        judged = {one.name: one for one in found if hasattr(one, "name")}
    import onnx

    graph = onnx.load_model_from_string(made.model).graph
    kinds = {info.name: TYPE_OF_ONNX.get(info.type.tensor_type.elem_type, "") for info in graph.output}
    if subject.tier == "bound" and len(judged) != len(kinds):  # a spread does not know its output's name
        judged = dict(zip(kinds, found, strict=True))
    return Loaded(_interpreter(widen(made.model)), dict(made.datasets[0]), kinds, judged)


def _challenge(subject: Subject) -> str:
    return f"selftest {subject.salt}" if subject.salt else ""


@cache
def exact_recipes() -> dict[str, Any]:
    """Return the exact probes that a simulated device can be asked, by id."""
    from conformance.reference import exact

    return {one.case_id: one for one in exact.recipes() if not one.advisory}


def model_subjects(modes: list[str], salts: range) -> Iterator[Subject]:
    """Yield every reference model that is its own reference, in each of these modes that it can be run in."""
    from conformance.reference.model_index import load_models

    names = [(DETECTOR, "float32")]
    for model in load_models():
        for variant in model.variants:
            is_run = {"agreement", "prefill"} & set(variant.judged)
            if is_run and variant.reference == variant.name:
                names.append((f"{model.name}/{variant.name}", variant.kind))
    for name, kind in names:
        for mode in modes:
            fits = (
                mode == kind if kind != "float32" else MODES[mode].output == "float32" or name.split("/")[0] not in SLOW
            )
            if fits:
                yield from (Subject("spread", name, mode, salt) for salt in salts)


def case_subjects(tier: str, per_operator: int, seed: int, salts: range) -> Iterator[Subject]:
    """Yield so many operator cases of each operator and element type, drawn by the seed.

    Only types that a simulated device computes in: float32, float16, bfloat16, and integers beside them.
    """
    groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for case_id, kind in _cases(tier):
        mode = kind or "float32"
        if mode in ("float32", "float16", "bfloat16"):
            subject = case_id.split("/")[1]
            is_gap = "same-lower" in case_id and any(one in case_id for one in GAPS)
            is_gap |= mode != "float32" and subject.removeprefix("ai.onnx.").startswith(FLOAT32_INSIDE)
            if not is_gap and subject.rpartition(".")[2].partition("-")[0] not in LONG:
                groups["/".join((subject, case_id.split("/")[2]))].append((case_id, mode))
    rng = np.random.default_rng([seed, len(tier)])
    for group in sorted(groups):
        cases = groups[group]
        for at in sorted(rng.permutation(len(cases))[:per_operator]):
            yield from (Subject(tier, cases[at][0], cases[at][1], salt) for salt in salts)


def _cases(tier: str) -> list[tuple[str, str]]:
    if tier == "exact":
        return [(name, one.kind) for name, one in exact_recipes().items()]
    from conformance.reference.made.index import load_entries

    return [
        (one.case_id, one.subject)
        for one in load_entries()
        if not one.needs_zero_size and not one.expanded and "com.microsoft" not in one.case_id
    ]
