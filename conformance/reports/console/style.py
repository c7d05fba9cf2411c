"""One colour per outcome class, the same everywhere."""

from __future__ import annotations

from conformance.records import Outcome, OutcomeClass

STYLES: dict[Outcome, str] = {
    Outcome.PASS: "green",
    Outcome.FAIL: "bold red",
    Outcome.CRASH: "bold red",
    Outcome.TIMEOUT: "bold red",
    Outcome.INCONCLUSIVE: "yellow",
    Outcome.UNMEASURED: "yellow",
    Outcome.NOT_RUN: "yellow",
    Outcome.ERROR: "magenta",
    Outcome.WAIVED: "cyan",
    Outcome.UNSUPPORTED: "dim",
}
CLASS_STYLES: dict[OutcomeClass, str] = {
    OutcomeClass.NOT_MET: "bold red",
    OutcomeClass.OPEN: "yellow",
    OutcomeClass.CONDITIONAL: "cyan",
    OutcomeClass.MET: "green",
    OutcomeClass.NOT_APPLICABLE: "dim",
}
VERDICT_STYLES: dict[str, str] = {
    "CONFORMANT": "bold green",
    "CONDITIONAL": "bold cyan",
    "NON-CONFORMANT": "bold red",
    "INCOMPLETE": "bold yellow",
    "CLEAN-PARTIAL": "bold",
}
