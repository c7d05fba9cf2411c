"""Shows what ONNX Runtime's CPU provider computes otherwise than the operators' texts say, a finding per line. See onnxruntime-cpu.md."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import helper

ort.set_default_logger_severity(4)
VENDOR = "com.microsoft"
RNG = np.random.default_rng(0)


def run(
    op: str,
    inputs: dict[str, Any],
    outputs: int = 1,
    domain: str = "",
    *,
    opset: int = 17,
    kind: Any = None,
    **attributes: Any,
) -> list[Any]:
    """Return the outputs of one node, of the type `kind` or that of the first input; an input that is None is left out."""
    given = {name: value for name, value in inputs.items() if value is not None}
    names = [name if name in given else "" for name in inputs]
    results = [f"y{at}" for at in range(outputs)]
    node = helper.make_node(op, names, results, domain=domain, **attributes)
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in given.items()
    ]
    first = kind or next(iter(given.values())).dtype
    form = helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(first), None)
    graph = helper.make_graph([node], "one", infos, [helper.make_value_info(name, form) for name in results])
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(VENDOR, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, given))


def normal(*shape: int) -> Any:
    """Return float32 numbers of the normal distribution."""
    return RNG.standard_normal(shape).astype(np.float32)


def shrink() -> str:
    """Return how far a float64 Shrink is off."""
    (y,) = run("Shrink", {"x": np.array([-1.2])}, lambd=0.25, bias=0.5)
    return f"float64, x = -1.2, bias 0.5: {y[0]:.17g}, want {-1.2 + 0.5:.17g}"


def dft() -> str:
    """Return how far a float64 inverse DFT is off."""
    x = RNG.standard_normal((1, 17, 2))
    (y,) = run("DFT", {"x": x}, inverse=1)
    right = np.fft.ifft(x[0, :, 0] + 1j * x[0, :, 1])
    return f"float64, inverse, 17 points: off by up to {np.abs(y[0, :, 0] + 1j * y[0, :, 1] - right).max():.1e}"


def rnn() -> str:
    """Return how far the tanh of an RNN is off near 0."""
    one, none = np.ones((1, 1, 1), np.float32), np.zeros((1, 1, 1), np.float32)
    worst = 0.0
    for x in np.linspace(-0.01, 0.01, 401, dtype=np.float32):
        if x:
            (y,) = run("RNN", {"x": x.reshape(1, 1, 1), "w": one, "r": none}, opset=14, hidden_size=1)
            worst = max(worst, abs(y.item() / math.tanh(float(x)) - 1))
    return f"its tanh, |x| ≤ 0.01: off by up to {worst:.1e} of itself"


def even_lrn() -> str:
    """Return what becomes of an LRN of even size."""
    try:
        run("LRN", {"x": normal(1, 5, 3, 3)}, size=4)
    except Exception as error:  # noqa: BLE001 - the refusal is what is shown
        return f"size 4: {str(error).splitlines()[0].rpartition('size')[2][-90:]}"
    return "size 4: accepted"


def where() -> str:
    """Return what Where makes of a negative zero."""
    zero, one = np.array([-0.0], np.float32), np.ones(1, np.float32)
    (y,) = run("Where", {"condition": np.array([True]), "x": zero, "z": one}, kind=np.dtype(np.float32))
    return f"of a chosen -0.0: {y[0]:g}"


def quantised_experts() -> str:
    """Return whether QMoE heeds normalize_routing_weights."""
    hidden, experts = 32, 4
    inputs = {"x": normal(6, hidden), "router": 3 * normal(6, experts)}
    for at in (1, 2):
        inputs[f"w{at}"] = RNG.integers(0, 256, (experts, hidden, hidden // 2), dtype=np.uint8)
        inputs[f"s{at}"] = np.abs(normal(experts, hidden)) / np.float32(50)
        inputs[f"b{at}"] = normal(experts, hidden)
    form: dict[str, Any] = {"k": 2, "expert_weight_bits": 4, "activation_type": "silu"}
    off, on = (run("QMoE", inputs, 1, VENDOR, normalize_routing_weights=one, **form)[0] for one in (0, 1))
    return f"normalize_routing_weights 0 and 1 differ by {np.abs(off - on).max():g}"


def experts_gelu() -> str:
    """Return which form of Gelu MoE takes."""
    x, one = np.linspace(-4, 4, 1601, dtype=np.float32).reshape(-1, 1), np.ones((1, 1, 1), np.float32)
    inputs = {"x": x, "router": np.zeros((len(x), 1), np.float32), "w1": one, "b1": None, "w2": one}
    (y,) = run("MoE", inputs, 1, VENDOR, k=1, activation_type="gelu")
    wide = x[:, 0].astype(np.float64)
    by_erf = np.array([v / 2 * (1 + math.erf(v / math.sqrt(2))) for v in wide])
    by_tanh = wide / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3)))
    erf, tanh = (np.abs(y[:, 0] - right).max() for right in (by_erf, by_tanh))
    return f"gelu, |x| ≤ 4: {erf:.1e} from the form by erf, {tanh:.1e} from that by tanh"


def scores() -> str:
    """Return what the output qk of MultiHeadAttention holds."""
    q, k, v = normal(1, 3, 8), normal(1, 5, 8), normal(1, 5, 8)
    inputs = {"q": q, "k": k, "v": v}
    *_, qk = run("MultiHeadAttention", inputs, 4, VENDOR, num_heads=1)
    scaled = (q[0].astype(np.float64) @ k[0].astype(np.float64).T) / math.sqrt(8)
    chances = np.exp(scaled) / np.exp(scaled).sum(axis=-1, keepdims=True)
    by = {"scaled scores": scaled, "plain scores": scaled * math.sqrt(8), "probabilities": chances}
    told = ", ".join(f"{np.abs(qk[0, 0] - right).max():.1e} from the {name}" for name, right in by.items())
    return f"output qk: {told}"


FINDINGS = {
    "Shrink": shrink, "DFT": dft, "RNN": rnn, "LRN": even_lrn, "Where": where, "QMoE": quantised_experts, "MoE": experts_gelu,
    "MultiHeadAttention": scores,
}  # fmt: skip
for name, show in FINDINGS.items():
    print(f"{name}: {show()}")
