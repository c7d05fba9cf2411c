"""Models that are none: bytes that are no message, graphs that are no graph, tensors that are not what they claim.

Each looks like the probe `matmul_relu` from outside: inputs a [8, 16] and b [16, 8], output y [8, 8], float32. What it breaks
stands beside it: IR is ONNX's docs/IR.md, `onnx.proto` its comments, EXT its docs/ExternalData.md, an operator's name its
text, PB the encoding of Protocol Buffers. What these are silent about is not here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from conformance.reference import probes, wire
from conformance.reference.wire import BOOL, FLOAT, INT64, STRING, attribute, external, field, node, raw, tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

Row: TypeAlias = tuple[str, bytes, str]
"""Name, model, and what it breaks."""
NESTING = 400
"""Subgraphs inside subgraphs: four protobuf messages each, far beyond what recursion in a parser stands."""
_INPUTS = (wire.value_info("a", FLOAT, [8, 16]), wire.value_info("b", FLOAT, [16, 8]))
_OUTPUTS = (wire.value_info("y", FLOAT, [8, 8]),)
_MATMUL = node("MatMul", ["a", "b"], ["t"])
_RELU = node("Relu", ["t"], ["y"])
_TRUE = tensor("c", [], BOOL, raw(b"\x01"))


def broken_models() -> list[Row]:
    """Return the models that must be refused, in an order that never changes."""
    rows = [*_no_message(), *_no_model(), *_bad_nodes(), *_bad_names(), *_bad_tensors(), *_bad_files()]
    return [*rows, *_bad_types(), *_bad_subgraphs()]


def tolerated_models() -> list[Row]:
    """Return bad models that are in no check: ONNX's texts forbid them, and onnxruntime answers every one.

    The texts bind the model and do not say what a runtime does with one that is wrong. Every device below onnxruntime would
    fail them for what its host library does. docs/findings/onnxruntime-cpu.md tells of them.
    """
    good = wire.graph([_MATMUL, _RELU], _INPUTS, _OUTPUTS)
    ones = [tensor("w", [], FLOAT, raw(np.float32(value).tobytes())) for value in (1, 2)]
    shape = "IR: a declared shape agrees with the one that the operator's text gives"

    def declared(*dims: int) -> bytes:
        return _whole(outputs=[wire.value_info("y", FLOAT, dims)])

    return [
        (
            "only-another-domain",
            wire.model(good, [wire.opset(1, "org.example.nobody")]),
            "onnx.proto: all models MUST have an entry that says which version of the ONNX operator set they import",
        ),
        ("unsorted", _whole([_RELU, _MATMUL]), "IR: nodes MUST be ordered topologically"),
        ("output-named-twice", _whole(outputs=[*_OUTPUTS, *_OUTPUTS]), "IR: output names MUST be unique"),
        (
            "initialiser-named-twice",
            _last("Add", ["t", "w"], initialisers=ones),
            "onnx.proto: an initialiser's name MUST be unique; these two have different values",
        ),
        ("output-shape-wrong", declared(8, 9), shape),
        ("output-rank-wrong", declared(8, 8, 1), shape),
    ]


def _whole(
    nodes: Sequence[bytes] = (_MATMUL, _RELU),
    initialisers: Sequence[bytes] = (),
    inputs: Sequence[bytes] = _INPUTS,
    outputs: Sequence[bytes] = _OUTPUTS,
    opsets: Sequence[bytes] | None = None,
    functions: Sequence[bytes] = (),
) -> bytes:
    return wire.model(wire.graph(nodes, inputs, outputs, initialisers), opsets, functions=functions)


def _last(op: str, inputs: Sequence[str], *attributes: bytes, initialisers: Sequence[bytes] = ()) -> bytes:
    """Return the probe with another last node."""
    return _whole([_MATMUL, node(op, inputs, ["y"], *attributes)], initialisers)


def _added(held: bytes) -> bytes:
    """Return the probe with an initialiser `w` in its sum."""
    return _last("Add", ["t", "w"], initialisers=[held])


def _reduced(held: bytes) -> bytes:
    """Return the probe with the largest element of an initialiser `w` in its sum: of whatever shape, it fits."""
    smaller = node("ReduceMax", ["w"], ["m"], attribute("keepdims", "i", 0))
    return _whole([_MATMUL, smaller, node("Add", ["t", "m"], ["y"])], [held])


def _no_message() -> list[Row]:
    body = wire.graph([_MATMUL, _RELU], _INPUTS, _OUTPUTS)
    good, start = _whole(), len(field(1, wire.IR_VERSION))  # where the field `graph` begins

    def long(size: int) -> bytes:
        return good[:start] + b"\x3a" + wire.varint(size) + body + good[start + len(field(7, body)) :]

    noise = probes.draw_bits((64,), 0).tobytes()
    length = "PB: a length reaches beyond the end of the message"
    return [
        ("random-bytes", good[:start] + b"\x3a" + noise, "PB: random bytes after the first field are no fields"),
        ("text", b"This is not a model.\n" * 8, "PB: text is no message"),
        ("zeros", bytes(256), "PB: field number 0 is illegal"),
        ("truncated-in-first-node", good[: start + 16], length),
        ("truncated-quarter", good[: len(good) // 4], length),
        ("truncated-half", good[: len(good) // 2], length),
        ("truncated-three-quarters", good[: len(good) * 3 // 4], length),
        ("truncated-last-byte", good[:-1], length),
        ("length-bit-flipped", long(len(body) ^ 0x4000), length),
        ("length-2gb", long(0x7FFFFFFF), length),
        ("length-2-62", long(1 << 62), length),
        (
            "varint-of-eleven-bytes",
            b"\x08" + b"\xff" * 10 + b"\x01" + good[start:],
            "PB: a varint has at most ten bytes",
        ),
        ("group-never-ends", good + b"\x9b\x06", "PB: a group that starts must end"),
        ("wire-type-seven", good + b"\x97\x06", "PB: there is no wire type 7"),
        ("garbage-at-the-end", good + b"\xff" * 12, "PB: what follows the last field is none"),
    ]


def _no_model() -> list[Row]:
    good = wire.graph([_MATMUL, _RELU], _INPUTS, _OUTPUTS)
    return [
        ("empty", b"", "IR: a model has an IR version, an opset import and a graph; an empty file has none"),
        ("no-graph", wire.model(None), "IR: a model has a graph"),
        ("graph-as-number", wire.model(None) + field(7, 1), "onnx.proto: `graph` is a message; a number is none"),
        ("no-ir-version", wire.model(good, ir=None), "onnx.proto: ir_version MUST be present"),
        ("ir-version-too-new", wire.model(good, ir=1_000_000), "IR: the IR version is none that is known"),
        ("no-opset-import", wire.model(good, []), "IR: a model MUST specify the operator sets it relies on"),
        ("opset-too-new", wire.model(good, [wire.opset(1000)]), "IR: operator set 1000 does not exist"),
        ("opset-2-62", wire.model(good, [wire.opset(1 << 62)]), "IR: operator set 2^62 does not exist"),
        ("opset-zero", wire.model(good, [wire.opset(0)]), "IR: operator set versions begin at 1"),
        ("opset-negative", wire.model(good, [wire.opset(-1)]), "IR: operator set versions begin at 1"),
        (
            "opset-too-new-beside-a-good-one",
            wire.model(good, [wire.opset(13), wire.opset(1000)]),
            "onnx.proto: nodes bind to the highest version, and there is no 1000",
        ),
    ]


def _bad_nodes() -> list[Row]:
    axis = attribute("axis", "i", 1)
    return [
        (
            "unknown-operator",
            _last("NoSuchOperator", ["t"]),
            "IR: a node's operator MUST be in the imported operator set",
        ),
        ("operator-without-name", _last("", ["t"]), "IR: a node MUST name its operator"),
        (
            "unknown-domain",
            _whole(
                [_MATMUL, node("Relu", ["t"], ["y"], domain="org.example.nobody")],
                opsets=[wire.opset(13), wire.opset(1, "org.example.nobody")],
            ),
            "IR: nobody defines this domain",
        ),
        (
            "domain-not-imported",
            _whole([_MATMUL, node("Relu", ["t"], ["y"], domain="org.example.nobody")]),
            "IR: a node's domain MUST be imported",
        ),
        (
            "operator-removed",
            _last("Upsample", ["t", "w"], initialisers=[tensor("w", [2], FLOAT, raw(b"\0\0\x80?" * 2))]),
            "Upsample: deprecated at opset 10, no model of opset 13 may use it",
        ),
        ("attribute-string-for-int", _last("Softmax", ["t"], attribute("axis", "s", "one")), "Softmax: axis is an int"),
        ("attribute-int-for-float", _last("Elu", ["t"], attribute("alpha", "i", 1)), "Elu: alpha is a float"),
        ("attribute-int-for-ints", _last("Transpose", ["t"], attribute("perm", "i", 1)), "Transpose: perm is a list"),
        ("attribute-unknown", _last("Relu", ["t"], attribute("colour", "i", 1)), "Relu: has no attribute"),
        ("attribute-twice", _last("Softmax", ["t"], axis, axis), "IR: a node's attribute names MUST be unique"),
        ("attribute-missing", _last("Cast", ["t"]), "Cast: `to` is required"),
        ("attribute-missing-concat", _last("Concat", ["t"]), "Concat: `axis` is required"),
        ("input-missing", _whole([node("MatMul", ["a"], ["t"]), _RELU]), "MatMul: has two inputs"),
        ("input-left-out", _whole([node("MatMul", ["a", ""], ["t"]), _RELU]), "MatMul: no input is optional"),
        ("no-inputs", _whole([_MATMUL, node("Relu", [], ["y"])]), "Relu: has one input"),
        ("inputs-too-many", _last("Relu", ["t", "t"]), "Relu: has one input"),
        ("outputs-too-many", _whole([_MATMUL, node("Relu", ["t"], ["y", "z"])]), "Relu: has one output"),
    ]


def _bad_names() -> list[Row]:
    ssa = "IR: graphs are in static single assignment form, every name is given once"
    return [
        ("output-given-twice", _whole([_MATMUL, _RELU, node("Neg", ["t"], ["y"])]), ssa),
        ("output-twice-in-node", _whole([_MATMUL, node("Split", ["t"], ["y", "y"])]), ssa),
        ("input-overwritten", _whole([node("MatMul", ["a", "b"], ["a"]), node("Relu", ["a"], ["y"])]), ssa),
        ("input-named-twice", _whole(inputs=[_INPUTS[0], _INPUTS[0], _INPUTS[1]]), ssa),
        ("initialiser-overwritten", _whole([_MATMUL, _RELU], [tensor("t", [], FLOAT, raw(bytes(4)))]), ssa),
        (
            "cycle",
            _whole([node("Add", ["a", "v"], ["u"]), node("Neg", ["u"], ["v"]), _MATMUL, _RELU]),
            "IR: the graph MUST be acyclic",
        ),
        ("cycle-of-one", _whole([node("Add", ["t", "y"], ["y"]), _MATMUL]), "IR: the graph MUST be acyclic"),
        ("cycle-of-all", _whole([node("MatMul", ["y", "b"], ["t"]), _RELU]), "IR: the graph MUST be acyclic"),
        ("dangling-input", _whole([_MATMUL, node("Add", ["t", "nowhere"], ["y"])]), "IR: an input MUST name a value"),
        (
            "nobody-gives-output",
            _whole(outputs=[wire.value_info("z", FLOAT, [8, 8])]),
            "IR: an output MUST name a value",
        ),
    ]


def _bad_tensors() -> list[Row]:
    size = "onnx.proto: raw_data holds as many elements as dims say"
    data = raw(bytes(64))
    return [
        ("data-too-short", _added(tensor("w", [8, 8], FLOAT, raw(bytes(252)))), size),
        ("data-too-long", _added(tensor("w", [8, 8], FLOAT, raw(bytes(260)))), size),
        ("data-no-multiple", _added(tensor("w", [8, 8], FLOAT, raw(bytes(255)))), size),
        ("data-none", _added(tensor("w", [8, 8])), size),
        (
            "data-field-short",
            _added(tensor("w", [8], FLOAT, field(4, bytes(28)))),
            "onnx.proto: float_data as dims say",
        ),
        (
            "data-in-another-field",
            _added(tensor("w", [8], FLOAT, field(7, bytes(8)))),
            "onnx.proto: float32 in float_data",
        ),
        ("claims-2gb", _reduced(tensor("w", [1 << 29], FLOAT, data)), size),
        ("claims-2-62-elements", _reduced(tensor("w", [1 << 62], FLOAT, data)), size),
        ("claims-product-overflows", _reduced(tensor("w", [1 << 32, 1 << 32], FLOAT, data)), size),
        ("claims-product-wraps-to-fit", _reduced(tensor("w", [1 << 62, 4, 4, 4], FLOAT, raw(b""))), size),
        (
            "dimension-negative",
            _added(tensor("w", [-8, 8], FLOAT, raw(bytes(256)))),
            "onnx.proto: dims are not negative",
        ),
        (
            "two-dimensions-negative",
            _added(tensor("w", [-8, -8], FLOAT, raw(bytes(256)))),
            "onnx.proto: dims are not negative",
        ),
        (
            "type-undefined",
            _added(tensor("w", [8, 8], 0, raw(bytes(256)))),
            "onnx.proto: UNDEFINED is no type of a tensor",
        ),
        ("type-unknown", _added(tensor("w", [8, 8], 99, raw(bytes(256)))), "onnx.proto: there is no type 99"),
        (
            "strings-raw",
            _last("Add", ["t", "w"], initialisers=[tensor("w", [8], STRING, raw(bytes(64)))]),
            "onnx.proto: raw_data cannot hold strings; Add: has no strings",
        ),
    ]


def _bad_files() -> list[Row]:
    def at(**entries: str) -> bytes:
        return _added(tensor("w", [8], FLOAT, external(**entries)))

    outside = "EXT: the location is relative to the model's folder and does not leave it"
    return [
        ("file-absolute", at(location="/etc/passwd", length="32"), outside),
        ("file-above", at(location="../../../../../../../../../../etc/passwd", length="32"), outside),
        ("file-above-by-detour", at(location="x/../../../../../../../../../../../etc/passwd", length="32"), outside),
        ("file-endless", at(location="/dev/zero", length="32"), outside),
        ("file-of-the-process", at(location="/proc/self/exe", length="32"), outside),
        ("file-through-a-link", at(location="/proc/self/cwd/../../../../../../../../etc/passwd", length="32"), outside),
        (
            "file-missing",
            at(location="there-is-no-such-file.bin", length="32"),
            "EXT: the file of `location` must be there",
        ),
        ("file-is-a-folder", at(location=".", length="32"), "EXT: `location` names a file"),
        ("file-without-location", at(length="32"), "EXT: `location` is required"),
        ("file-without-name", at(location="", length="32"), "EXT: `location` names a file"),
        ("file-offset-negative", at(location="/etc/passwd", offset="-4096", length="32"), outside),
        ("file-offset-beyond-the-end", at(location="/etc/passwd", offset=str(1 << 40), length="32"), outside),
        ("file-offset-no-number", at(location="w.bin", offset="here", length="32"), "EXT: `offset` is an integer"),
        ("file-length-2-62", at(location="/etc/passwd", length=str(1 << 62)), outside),
    ]


def _bad_types() -> list[Row]:
    of_int64 = _whole(outputs=[wire.value_info("y", INT64, [8, 8])])
    shape = tensor("s", [2], INT64, raw(np.array([7, 9], np.int64).tobytes()))
    wide = tensor("w", [8, 9], FLOAT, raw(bytes(288)))
    numbers = tensor("w", [8], INT64, raw(bytes(64)))
    return [
        ("output-type-wrong", of_int64, "IR: a declared type MUST be the type that the node gives"),
        (
            "input-without-type",
            _whole(inputs=[wire.value_info("a", None), _INPUTS[1]]),
            "IR: graph inputs MUST have a type",
        ),
        (
            "input-type-undefined",
            _whole(inputs=[wire.value_info("a", 0, [8, 16]), _INPUTS[1]]),
            "IR: an input has a type",
        ),
        (
            "input-type-unknown",
            _whole(inputs=[wire.value_info("a", 99, [8, 16]), _INPUTS[1]]),
            "onnx.proto: there is no type 99",
        ),
        ("types-differ", _added(numbers), "Add: both inputs have one type"),
        ("type-not-allowed", _last("Not", ["t"]), "Not: takes bool"),
        ("cast-to-nothing", _last("Cast", ["t"], attribute("to", "i", 99)), "Cast: there is no type 99"),
        ("shapes-do-not-broadcast", _added(wide), "Add: [8, 8] and [8, 9] do not broadcast"),
        (
            "matmul-shapes",
            _whole([node("MatMul", ["a", "a"], ["t"]), _RELU]),
            "MatMul: [8, 16] and [8, 16] have no product",
        ),
        ("gemm-shapes", _whole([node("Gemm", ["a", "a"], ["t"]), _RELU]), "Gemm: [8, 16] and [8, 16] have no product"),
        ("concat-axis", _last("Concat", ["t", "t"], attribute("axis", "i", 2)), "Concat: axis 2 of a rank 2"),
        ("concat-shapes", _last("Concat", ["t", "w"], attribute("axis", "i", 0), initialisers=[wide]), "Concat: 8 ≠ 9"),
        ("softmax-axis", _last("Softmax", ["t"], attribute("axis", "i", -3)), "Softmax: axis -3 of a rank 2"),
        (
            "gather-axis",
            _last("Gather", ["t", "w"], attribute("axis", "i", 2), initialisers=[numbers]),
            "Gather: axis 2",
        ),
        ("reshape-size", _last("Reshape", ["t", "s"], initialisers=[shape]), "Reshape: 64 elements are not 63"),
        ("transpose-twice", _last("Transpose", ["t"], attribute("perm", "ints", [0, 0])), "Transpose: no permutation"),
        ("transpose-rank", _last("Transpose", ["t"], attribute("perm", "ints", [0, 1, 2])), "Transpose: three of two"),
        (
            "squeeze-eight",
            _last("Squeeze", ["t", "s"], initialisers=[tensor("s", [1], INT64, raw(bytes(8)))]),
            "Squeeze: a dimension of 8",
        ),
        ("split-sum", _whole([_MATMUL, node("Split", ["t", "s"], ["y", "z"])], [shape]), "Split: 7 + 9 are not 8"),
    ]


def _bad_subgraphs() -> list[Row]:
    out = wire.value_info("r", FLOAT, [8, 8])
    relu = wire.graph([node("Relu", ["t"], ["r"])], [], [out])
    two = wire.graph([node("Relu", ["t"], ["r"]), node("Neg", ["t"], ["q"])], [], [out, wire.value_info("q", FLOAT)])
    lost = wire.graph([node("Relu", ["nowhere"], ["r"])], [], [out])
    then, other = attribute("then_branch", "g", relu), attribute("else_branch", "g", relu)
    nested = lost
    for _ in range(NESTING):
        held = (attribute("then_branch", "g", nested), attribute("else_branch", "g", relu))
        nested = wire.graph([node("If", ["c"], ["r"], *held)], [], [out])
    itself = field(1, "Again") + field(4, "x") + field(5, "z") + field(7, node("Again", ["x"], ["z"], domain="f"))
    itself += field(9, wire.opset(13)) + field(9, wire.opset(1, "f")) + field(10, "f")
    trip = tensor("n", [], INT64, raw(np.int64(2).tobytes()))
    body = wire.graph([node("Relu", ["v"], ["r"])], [wire.value_info("v", FLOAT, [8, 8])], [out])

    def branch(*attributes: bytes, condition: str = "c") -> bytes:
        return _whole([_MATMUL, node("If", [condition], ["y"], *attributes)], [_TRUE])

    return [
        ("if-without-else", branch(then), "If: else_branch is required"),
        ("if-without-branches", branch(), "If: then_branch is required"),
        ("if-branch-no-graph", branch(then, attribute("else_branch", "i", 1)), "If: else_branch is a graph"),
        (
            "if-branch-outputs",
            branch(then, attribute("else_branch", "g", two)),
            "If: branches have as many outputs as the node",
        ),
        ("if-condition-float", branch(then, other, condition="t"), "If: the condition is a bool"),
        ("if-dangling-input", branch(attribute("then_branch", "g", lost), other), "IR: an input MUST name a value"),
        (
            "loop-body-arity",
            _whole([_MATMUL, node("Loop", ["n", "c", "t"], ["y"], attribute("body", "g", body))], [_TRUE, trip]),
            "Loop: a body has 2 + N inputs and 1 + N + K outputs",
        ),
        (
            "nested-and-dangling",
            branch(attribute("then_branch", "g", nested), other),
            "IR: an input MUST name a value, at any depth",
        ),
        (
            "function-calls-itself",
            _whole(
                [_MATMUL, node("Again", ["t"], ["y"], domain="f")],
                opsets=[wire.opset(13), wire.opset(1, "f")],
                functions=[itself],
            ),
            "IR: functions MUST NOT be recursive",
        ),
    ]
