"""The rows of the operator suite: what one case of the ONNX backend suite feeds, expects and uses.

Rows are plain data (msgspec structs, compact arrays on disk). Tensors are not in them: a row holds regions of two
packs, `inputs` (models and inputs, which a child process may map) and `expected` (which no child ever sees).
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from conformance.records import TensorInfo  # noqa: TC001  (msgspec resolves field types at run time)
from conformance.tensors import ONNX_TYPE_OF, SequenceRef, StringsRef, TensorRef, ValueRef

Attribute = int | float | str | list[int | float | str]

TYPE_OF_ONNX: dict[int, str] = {number: name for name, number in ONNX_TYPE_OF.items()}


class Region(NamedTuple):
    """`nbytes` bytes at `offset` of the inputs pack."""

    offset: int
    nbytes: int


class Dataset(msgspec.Struct, frozen=True, array_like=True):
    """One set of inputs with the outputs that belong to it, both in the order of the graph."""

    inputs: list[tuple[str, ValueRef]]
    outputs: list[tuple[str, ValueRef]]


class OperatorUse(msgspec.Struct, frozen=True, array_like=True):
    """One distinct use of an operator in a case: the same operator, attributes and types count once."""

    domain: str
    op_type: str
    since_version: int
    """The operator version that the model's opset import selects."""
    next_version: int | None
    """The version of the operator after it, None for the newest."""
    attributes: dict[str, Attribute]
    """Attributes as they take effect, the schema's defaults included; graphs and tensors are left out."""
    types: tuple[str, ...]
    """Element types of the node's inputs and outputs as far as the model or shape inference tells, sorted."""

    @property
    def key(self) -> str:
        """`ai.onnx.Add-14`."""
        return f"{self.domain}.{self.op_type}-{self.since_version}"


class SuiteEntry(msgspec.Struct, frozen=True, array_like=True):
    """One case of the suite."""

    name: str
    """The name upstream: `test_add_bcast`."""
    kind: str
    """`node`, `simple`, `pytorch-converted`, `pytorch-operator` or `real`."""
    case_id: str
    model: Region
    """The serialised ModelProto, in the inputs pack."""
    datasets: list[Dataset]
    output_infos: tuple[TensorInfo, ...]
    """Outputs as the model declares them; types in ONNX's spelling, `tensor(float)`."""
    opset_imports: dict[str, int]
    ir_version: int
    uses: list[OperatorUse]
    """Every operator of the graph, its subgraphs and the model's own functions."""
    types: tuple[str, ...]
    """Every tensor element type that occurs in the case, sorted."""
    rtol: float
    atol: float
    expanded: bool
    """True for the variant that spells an operator out as its ONNX function body."""
    cost_ms: float
    dynamic_shapes: bool
    """True where a graph input has a dimension that is not fixed."""
    needs: tuple[str, ...] = ()
    """What the host must have: `locale:en_US.UTF-8`."""
    invalid: str = ""
    """Not empty: the case is wrong upstream, and why; it judges nobody."""
    reference: str = ""
    """Where the reason, the precondition or the corrected tolerance can be read up."""
    tolerance_note: str = ""
    """Not empty: `rtol` and `atol` are not ONNX's own, and how they are derived."""

    @property
    def output_nbytes(self) -> int:
        """Bytes of the expected outputs of all data sets; strings count as one each."""
        return sum(_nbytes(ref) for dataset in self.datasets for _, ref in dataset.outputs)

    @property
    def model_nbytes(self) -> int:
        """Size of the serialised model."""
        return self.model.nbytes


def _nbytes(ref: ValueRef) -> int:
    if isinstance(ref, SequenceRef):
        return sum(map(_nbytes, ref.items))
    if isinstance(ref, TensorRef):
        return ref.nbytes if ref.data is None else len(ref.data)
    return len(ref.items) if isinstance(ref, StringsRef) else 0


class Index(msgspec.Struct, frozen=True, array_like=True):
    """What `index.msgpack` holds: the rows, and the sizes and digests (BLAKE2b-256) of the two packs."""

    key: str
    inputs_nbytes: int
    inputs_digest: bytes
    expected_nbytes: int
    expected_digest: bytes
    entries: list[SuiteEntry]
