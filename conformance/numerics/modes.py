"""A precision mode: how a device declares to compute one tensor type, as the bounds need it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from conformance.numerics.formats import FORMATS

if TYPE_CHECKING:
    from conformance.numerics.formats import Format, Rounding


class PrecisionMode(msgspec.Struct, frozen=True, kw_only=True):
    """Formats by name for operands, accumulation and results, and what widens a bound beyond them.

    Plain texts and numbers, so that it travels in the parameters of a case.
    """

    input: str = "float32"
    """What operands and weights are narrowed to."""
    accumulate: str = "float32"
    output: str = "float32"
    accumulate_rounding: str = "nearest"
    """`nearest`, or `toward-zero` as tensor cores truncate."""
    subnormals: str = "kept"
    """`kept`, or `flushed`."""
    accumulate_chain: int | None = None
    """Longest chain of additions; None: as long as the contraction."""
    variance: str = "one-pass"
    transforms: tuple[str, ...] = ()
    """What convolutions may go through: `winograd`, `fft`."""

    @property
    def operands(self) -> Format:
        """The format of operands."""
        return FORMATS[self.input]

    @property
    def sums(self) -> Format:
        """The format of accumulation."""
        return FORMATS[self.accumulate]

    @property
    def results(self) -> Format:
        """The format of results."""
        return FORMATS[self.output]

    @property
    def rounding(self) -> Rounding:
        """How accumulation rounds."""
        return "toward-zero" if self.accumulate_rounding == "toward-zero" else "nearest"

    @property
    def flushes(self) -> bool:
        """Whether subnormals become zero."""
        return self.subnormals == "flushed"

    @classmethod
    def of(cls, params: dict[str, Any]) -> PrecisionMode:
        """Return the mode that a case's parameters carry."""
        return msgspec.convert(params, cls)


def native(kind: str) -> PrecisionMode:
    """Return the mode of a tensor type for which nothing is declared: its own format, sums in float32 or wider."""
    name = {"float8e4m3fn": "float8e4m3", "float8e4m3fnuz": "float8e4m3", "float8e5m2fnuz": "float8e5m2"}.get(
        kind, kind
    )
    return PrecisionMode(input=name, accumulate="float64" if name == "float64" else "float32", output=name)
