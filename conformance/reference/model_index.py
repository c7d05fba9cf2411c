"""The reference models that are shipped: which there are, for whom, in which variants, and what each is made of.

`fixtures/models/index.json` is made by `fixtures/make_index.py` from the cards, so that planning parses no YAML and loads
no ONNX. A model's bytes are believed only where they have the digest that its card names.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING

import msgspec

from conformance.errors import HarnessError
from conformance.paths import data_folder
from conformance.records import TensorInfo  # noqa: TC001 - msgspec resolves field types at run time
from conformance.reference.entries import OperatorUse  # noqa: TC001

if TYPE_CHECKING:
    from pathlib import Path


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a model: the same network in another precision or written in other operators."""

    name: str
    sha256: str
    nbytes: int
    kind: str
    """The floating-point type that it computes in."""
    reference: str
    """The variant whose graph, evaluated in float64, says what this one should give."""
    judged: tuple[str, ...]
    """Which kinds of case it has: `accuracy`, `agreement`, or those of a decoder."""
    margin: float
    """How large the share of samples may be that the reference gets right and the device wrong."""
    opset_imports: dict[str, int]
    types: tuple[str, ...]
    uses: list[OperatorUse]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


class ReferenceModel(msgspec.Struct, frozen=True, kw_only=True):
    """One model with its variants."""

    name: str
    title: dict[str, str]
    categories: tuple[str, ...]
    task: str
    """The module of `conformance.reference.tasks` with its labelled samples; empty where nobody trained it."""
    variants: tuple[Variant, ...]

    def variant(self, name: str) -> Variant:
        """Return a variant by name; HarnessError where there is none."""
        for one in self.variants:
            if one.name == name:
                return one
        raise HarnessError(f"the reference model {self.name} has no variant '{name}'")

    def path(self, variant: Variant) -> Path:
        """Return where the file of a variant lies."""
        return models_folder() / self.name / f"{variant.name}.onnx"

    def read(self, variant: Variant) -> bytes:
        """Return the serialised ModelProto; HarnessError where it is missing or not the one that its card names."""
        path = self.path(variant)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise HarnessError(f"the reference model {path} cannot be read: {error.strerror}; reinstall") from error
        if hashlib.sha256(data).hexdigest() != variant.sha256:
            raise HarnessError(f"the reference model {path} is not the one that its card names; reinstall")
        return data


def find_model(name: str) -> ReferenceModel:
    """Return a model by name; HarnessError where there is none."""
    model = known_model(name)
    if model is None:
        raise HarnessError(f"there is no reference model '{name}'")
    return model


def known_model(name: str) -> ReferenceModel | None:
    """Return a model by name, for names that somebody wrote: None where there is none."""
    return next((one for one in load_models() if one.name == name), None)


def models_folder() -> Path:
    """Return the folder that holds one folder per model."""
    return data_folder("fixtures") / "models"


@cache
def load_models() -> tuple[ReferenceModel, ...]:
    """Return every shipped model, sorted by name; HarnessError where the index cannot be read."""
    path = models_folder() / "index.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=tuple[ReferenceModel, ...])
    except OSError as error:
        raise HarnessError(
            f"the index of reference models {path} cannot be read: {error.strerror}; reinstall"
        ) from error
    except msgspec.MsgspecError as error:
        raise HarnessError(f"the index of reference models {path} is damaged: {error}; reinstall") from error
