"""How often correct devices are failed by tier 3: real runtimes and simulated arithmetic, on the reference models, fresh seeds.

python benchmarks/false_alarms.py --seeds 1000 1001
python benchmarks/false_alarms.py --seeds 1000 --device openvino      (where openvino is installed)

A run is one request; requests of one model are no independent samples, so the interval is over models: how many of them ever
alarmed. Every device is judged by the precision that it computes in.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from _measure import print_machine

from conformance.numerics.intervals import upper_bound
from conformance.numerics.modes import PrecisionMode, native
from conformance.numerics.spread import judge_spread
from conformance.reference import answers, feeds, spreads
from conformance.reference.evaluate import widen
from conformance.reference.interpreter import Interpreter
from conformance.reference.model_index import ReferenceModel, Variant, load_models
from conformance.selftest.simulate import Simulated, run_device
from conformance.tensors import element_of

Run = Callable[[dict[str, Any]], dict[str, Any]]


class Device(NamedTuple):
    """A correct device: what it runs, the precision that it declares, and how it is opened for a model."""

    name: str
    kinds: tuple[str, ...]
    open: Callable[[ReferenceModel, Variant], Run]
    differs: dict[str, str] = {}  # noqa: RUF012 - never written to
    """From the variant's native precision."""

    def mode(self, kind: str) -> PrecisionMode:
        """Return what it declares for variants of a type."""
        base = native(kind)
        return PrecisionMode(**{name: getattr(base, name) for name in base.__struct_fields__} | self.differs)


def _onnxruntime(model: ReferenceModel, variant: Variant) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    session = onnxruntime.InferenceSession(model.read(variant), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))


def _openvino(model: ReferenceModel, variant: Variant) -> Run:
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(core.read_model(model.read(variant), b""), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    names = [one.name for one in variant.outputs]  # in their order: a result may have got another name besides

    def run(inputs: dict[str, Any]) -> dict[str, Any]:
        results = request.infer(inputs)
        return {name: np.array(results[one]) for name, one in zip(names, compiled.outputs, strict=True)}

    return run


def _evaluator(model: ReferenceModel, variant: Variant) -> Run:
    from onnx.reference import ReferenceEvaluator

    from conformance.reference.wide_operators import OPERATORS

    runner = ReferenceEvaluator(model.read(variant), new_ops=list(OPERATORS))
    return lambda inputs: dict(zip(runner.output_names, runner.run(None, inputs), strict=True))


def _simulated(order: str, differs: dict[str, str]) -> Callable[[ReferenceModel, Variant], Run]:
    def opened(model: ReferenceModel, variant: Variant) -> Run:
        interpreter = Interpreter(widen(model.read(variant)))
        mode = Device("", (), opened, differs).mode(variant.kind)
        kinds = {one.name: element_of(one.type) for one in variant.outputs}
        return lambda inputs: run_device(interpreter, Simulated(mode, order), inputs, kinds)

    return opened


ALL = ("float32", "float16", "bfloat16")
DEVICES = [
    Device("onnxruntime", ("float32", "float16"), _onnxruntime),
    Device("openvino", ("float32", "float16"), _openvino),
    Device("evaluator", ("float32",), _evaluator),
    *(Device(f"simulated-{order}", ALL, _simulated(order, {})) for order in ("sequential", "pairwise", "blocked")),
    *(
        Device(f"simulated-{name}", kinds, _simulated("sequential", differs), differs)
        for name, kinds, differs in (
            ("toward-zero", ("float32",), {"accumulate_rounding": "toward-zero"}),
            ("tf32", ("float32",), {"input": "tf32"}),
            ("float16-sums", ("float16",), {"accumulate": "float16"}),
        )
    ),
]


def _requests(
    model: ReferenceModel, variant: Variant, salt: int, mode: PrecisionMode, run: Run
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield per request the spreads and the device's outputs; a decoder's caches go from step to step."""
    if "agreement" in variant.judged:
        yield spreads.agreed(model, variant, salt, mode), run(answers.few_inputs(model, variant, salt))
    elif "decode" in variant.judged:
        steps, past = feeds.decoder(variant.inputs, variant.kind, salt)
        for wanted, step in zip(spreads.decoded(model, variant, salt, mode), steps, strict=True):
            outputs = run(step | past)
            past = {feeds.past_of(name): one for name, one in outputs.items() if feeds.past_of(name) != name}
            yield wanted, outputs


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1000])
    parser.add_argument("--device", action="append", choices=[one.name for one in DEVICES], help="default: all")
    arguments = parser.parse_args()
    print_machine("openvino")
    total = 0
    for device in DEVICES:
        if arguments.device and device.name not in arguments.device:
            continue
        runs, outputs, worst = 0, 0, 0.0
        alarms: dict[str, list[str]] = {}
        for model in load_models():
            for variant in model.variants:
                simulated = device.name not in ("onnxruntime", "openvino")
                if variant.kind not in device.kinds or (simulated and variant.name != variant.reference):
                    continue
                try:
                    run = device.open(model, variant)
                except ModuleNotFoundError as error:
                    print(f"{device.name}: not installed ({error})")
                    break
                found = alarms.setdefault(model.name, [])
                for seed in arguments.seeds:
                    for wanted, got in _requests(model, variant, seed, device.mode(variant.kind), run):
                        runs += 1
                        for name, value in got.items():
                            judged = judge_spread(wanted[name], np.asarray(value), name)
                            outputs += 1
                            worst = max([worst, *(one.share for one in judged.statistics)])
                            if not judged.ok:
                                found.append(f"{variant.name}, seed {seed}: {judged.reason}")
        if not runs:
            continue
        total += runs
        wrong = [name for name, found in alarms.items() if found]
        bound = upper_bound(len(wrong), len(alarms))
        print(
            f"{device.name:<22} {runs:>5} runs, {outputs:>5} outputs, {len(alarms)} models: {sum(map(len, alarms.values()))} FAIL, "
            f"worst statistic {worst:.2f} of its limit; share of models that ever alarm ≤ {bound:.0%} (99 %)"
        )
        for name in wrong:
            print(f"    {name}: {alarms[name][0]}")
    print(f"{total} runs in all")


if __name__ == "__main__":
    main()
