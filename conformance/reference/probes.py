"""The small models of the session and placement checks, with inputs whose results are exact in any precision.

Inputs are small integers: sums stay below 2^8, so float32, float16 and bfloat16 accumulators give the same bits in any order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from conformance.errors import HarnessError
from conformance.paths import data_folder

if TYPE_CHECKING:
    from conformance.tensors import Array

OPSET = 13
"""The opset that the shipped probe models are written in; see fixtures/make_probe_models.py."""
SEED = 20260428
OPERATORS: dict[str, tuple[str, ...]] = {
    "matmul_relu": ("MatMul", "Relu"),
    "matmul_relu_batch": ("MatMul", "Relu"),
    "four_outputs": ("Add", "Mul", "Sub", "Transpose"),
    "matmul_weights": ("MatMul", "Relu"),
    "one_element": ("MatMul", "Squeeze"),
    "kv_ring": ("Concat", "MatMul", "Slice", "Transpose"),
    "kv_growing": ("Concat", "MatMul", "Transpose"),
    "long_contraction": ("MatMul",),
    "contraction_load": ("MatMul",),
}
"""What each model holds: a device that does not claim one of them is not asked."""
OLDEST = {"one_element": 13, "kv_ring": 10}
"""The first opset in which a model can be written as it is; where it is not named, that is 7."""
LENGTHS = (127, 129, 257, 1025)
"""Of the contractions in `long_contraction`: around the widths at which units split a sum."""
ROWS, COLUMNS, MOST = 8, 8, 255
"""Shape of each of its outputs, and the most products that one element sums."""
LOAD_LAYERS = 8


def probe_opset(claimed: tuple[int, int] | None) -> int:
    """Return the opset for a device that claims the range `claimed`: 13 where it may, else the nearest end."""
    if claimed is None:
        return OPSET
    return min(max(OPSET, claimed[0]), claimed[1])


def probe_model(name: str, opset: int = OPSET) -> bytes:
    """Return a shipped probe model, its opset import rewritten where the device does not claim 13."""
    path = data_folder("fixtures") / "probes" / f"{name}.onnx"
    try:
        model = path.read_bytes()
    except OSError as error:
        raise HarnessError(f"the probe model {path} cannot be read: {error.strerror}; reinstall") from error
    if opset == OPSET:
        return model
    import onnx  # slow to import, and rarely needed

    proto: Any = onnx.load_model_from_string(model)
    proto.opset_import[0].version = opset
    return bytes(proto.SerializeToString(deterministic=True))


def small_integers(shape: tuple[int, ...], salt: int) -> Array:
    """Return seeded float32 integers in [-3, 3]."""
    return (draw_bits(shape, salt) % np.uint64(7)).astype(np.float32) - np.float32(3)


def draw_bits(shape: tuple[int, ...], salt: int, skip: int = 0) -> Array:
    """Return uniform 64-bit words (uint64) that depend on SEED and `salt` alone, on no version of any library.

    `skip` leaves out as many words at the beginning.

    SplitMix64 by counter (Steele, Lea, Flood 2014, doi:10.1145/2660193.2660195); `numpy.random` promises no stable streams
    and takes as long to import as everything else here together.
    """
    count = int(np.prod(shape, dtype=np.int64))
    with np.errstate(over="ignore"):
        word = np.arange(skip + 1, skip + count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        word += np.uint64((SEED << 32) + salt)
        word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (word ^ (word >> np.uint64(31))).reshape(shape)


def matmul_relu(salt: int) -> tuple[dict[str, Array], list[Array]]:
    """Return inputs and exact outputs of `matmul_relu`."""
    a, b = small_integers((8, 16), salt), small_integers((16, 8), salt + 1)
    return {"a": a, "b": b}, [np.maximum(a @ b, np.float32(0))]


def matmul_relu_batch(rows: int, salt: int) -> tuple[dict[str, Array], list[Array]]:
    """Return inputs and exact outputs of `matmul_relu_batch` with a batch of `rows`, which may be 0."""
    a, b = small_integers((rows, 16), salt), small_integers((16, 8), salt + 1)
    return {"a": a, "b": b}, [np.maximum(a @ b, np.float32(0))]


def four_outputs(salt: int) -> tuple[dict[str, Array], list[Array]]:
    """Return inputs and exact outputs of `four_outputs`: sum, difference, product, turned."""
    a, b = small_integers((4, 6), salt), small_integers((4, 6), salt + 1)
    return {"a": a, "b": b}, [a + b, a - b, a * b, np.ascontiguousarray(a.T)]


def weighted_model(salt: int, opset: int = OPSET) -> bytes:
    """Return `matmul_weights` with the weights of a salt: models of two salts differ in these bytes and in nothing else."""
    model, empty = probe_model("matmul_weights", opset), bytes(16 * 8 * 4)
    if model.count(empty) != 1:
        raise HarnessError("the probe model matmul_weights has no room for weights; reinstall")
    return model.replace(empty, small_integers((16, 8), salt).astype("<f4").tobytes())


def matmul_weights(salt: int, weights: int) -> tuple[dict[str, Array], list[Array]]:
    """Return inputs and exact outputs of `weighted_model(weights)`."""
    a = small_integers((8, 16), salt)
    return {"a": a}, [np.maximum(a @ small_integers((16, 8), weights), np.float32(0))]


def one_element(salt: int) -> tuple[dict[str, Array], list[Array]]:
    """Return inputs and exact outputs of `one_element`: a matrix, a vector and a scalar of one element each."""
    a, b = small_integers((1, 8), salt), small_integers((8, 1), salt + 1)
    product = a @ b
    return {"a": a, "b": b}, [product, product.reshape(1), product.reshape(())]


def sequence(name: str, salt: int, steps: int) -> tuple[list[dict[str, Array]], list[list[Array]]]:
    """Return inputs and exact outputs of each step of `kv_ring` or `kv_growing`, whose `present` is the next step's `past`."""
    inputs: list[dict[str, Array]] = []
    outputs: list[list[Array]] = []
    past = small_integers((4, 8), salt)
    for step in range(steps):
        x = small_integers((1, 8), salt + 1 + step)
        present = np.concatenate([past[1:] if name == "kv_ring" else past, x])
        inputs.append({"x": x, "past": past})
        outputs.append([x @ present.T, present])
        past = present
    return inputs, outputs


def long_contraction(salt: int) -> tuple[dict[str, Array], list[Array]]:
    """Return inputs and exact outputs of `long_contraction`: sums of at most `MOST` products of 1 and -1.

    Every row of b counts in some row of a, and there with another pattern of signs than its neighbours'.
    """
    inputs: dict[str, Array] = {}
    outputs: list[Array] = []
    for at, length in enumerate(LENGTHS):
        step = -(-length // MOST)
        signs = [
            (draw_bits(shape, salt + 2 * at + side) >> np.uint64(63)).astype(np.float32) * np.float32(2) - np.float32(1)
            for side, shape in enumerate(((ROWS, length), (length, COLUMNS)))
        ]
        is_counted = np.arange(length) % step == np.arange(ROWS)[:, None] % step
        a, b = signs[0] * is_counted.astype(np.float32), signs[1]
        inputs |= {f"a{length}": a, f"b{length}": b}
        outputs.append(a @ b)
    return inputs, outputs


def contraction_answer() -> list[Array]:
    """Return what `contraction_load` gives, computed in float64."""
    inputs = contraction_load()
    last, b = (inputs[name].astype(np.float64) for name in ("a", "b"))
    for _ in range(LOAD_LAYERS):
        last = last @ b
    return [last]


def contraction_load() -> dict[str, Array]:
    """Return inputs of `contraction_load`, scaled so that eight products stay finite in any precision."""
    size = (512, 512)
    a, b = (draw_bits(size, salt) / np.float64(2**63) - 1 for salt in (512, 513))  # uniform in [-1, 1)
    return {"a": a.astype(np.float32), "b": (b / np.sqrt(512)).astype(np.float32)}
