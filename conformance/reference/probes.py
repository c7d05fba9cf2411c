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
    return np.random.default_rng([SEED, salt]).integers(-3, 4, size=shape).astype(np.float32)


def matmul_relu(salt: int) -> tuple[dict[str, Array], list[Array]]:
    """Return inputs and exact outputs of `matmul_relu`."""
    a, b = small_integers((8, 16), salt), small_integers((16, 8), salt + 1)
    return {"a": a, "b": b}, [np.maximum(a @ b, np.float32(0))]


def four_outputs(salt: int) -> tuple[dict[str, Array], list[Array]]:
    """Return inputs and exact outputs of `four_outputs`: sum, difference, product, turned."""
    a, b = small_integers((4, 6), salt), small_integers((4, 6), salt + 1)
    return {"a": a, "b": b}, [a + b, a - b, a * b, np.ascontiguousarray(a.T)]


def contraction_load() -> dict[str, Array]:
    """Return inputs of `contraction_load`, scaled so that eight products stay finite in any precision."""
    generator = np.random.default_rng([SEED, 512])
    size = (512, 512)
    a = generator.standard_normal(size).astype(np.float32)
    b = (generator.standard_normal(size) / np.sqrt(512)).astype(np.float32)
    return {"a": a, "b": b}
