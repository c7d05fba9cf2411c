"""Recurrent networks: directions, layouts, initial states, peepholes.

Lengths of sequences, clipping, activations of one's own and input_forget are left out: onnx 1.23's evaluator does not look at them.
"""

from __future__ import annotations

from typing import Any

from conformance.reference.made.rows import Row, given

STEPS, BATCH, INPUTS, HIDDEN = 5, 3, 5, 9
_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def _network(op: str, name: str, attributes: dict[str, Any], *, optional: str = "", both: bool = False) -> Row:
    """Return a row; `optional` names which optional inputs are there: b(ias), h(idden), c(ell), p(eepholes)."""
    ways, gates, is_batch_first = 1 + both, _GATES[op], bool(attributes.get("layout"))
    state = (BATCH, ways, HIDDEN) if is_batch_first else (ways, BATCH, HIDDEN)
    inputs: list[Any] = [
        given(BATCH, STEPS, INPUTS) if is_batch_first else given(STEPS, BATCH, INPUTS),
        given(ways, gates * HIDDEN, INPUTS, draw="weight"),
        given(ways, gates * HIDDEN, HIDDEN, draw="weight"),
        given(ways, 2 * gates * HIDDEN, draw="weight") if "b" in optional else None,
        None,
        given(*state) if "h" in optional else None,
    ]
    if op == "LSTM":
        inputs += [
            given(*state) if "c" in optional else None,
            given(ways, 3 * HIDDEN, draw="weight") if "p" in optional else None,
        ]
    while inputs[-1] is None:
        inputs.pop()
    told = {"hidden_size": HIDDEN} | attributes
    return Row(
        op,
        name,
        tuple(inputs),
        told,
        ("normal", "small") if name == "forward" else ("normal",),
        outputs=3 if op == "LSTM" else 2,
    )


ROWS: list[Row] = [
    row
    for op in ("RNN", "GRU", "LSTM")
    for row in (
        _network(op, "forward", {}),
        _network(op, "bias", {}, optional="b"),
        _network(op, "initial-state", {}, optional="bhc"),
        _network(op, "reverse", {"direction": "reverse"}, optional="b"),
        _network(op, "reverse-initial-state", {"direction": "reverse"}, optional="bhc"),
        _network(op, "bidirectional", {"direction": "bidirectional"}, optional="bhc", both=True),
        _network(op, "batch-first", {"layout": 1}, optional="bhc"),
    )
] + [
    _network("GRU", "linear-before-reset", {"linear_before_reset": 1}, optional="bh"),
    _network(
        "GRU",
        "linear-before-reset-bidirectional",
        {"linear_before_reset": 1, "direction": "bidirectional"},
        optional="b",
        both=True,
    ),
    _network("LSTM", "peepholes", {}, optional="bhcp"),
]
