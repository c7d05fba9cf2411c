"""The uncertainty of a measured quantity, part by part, as the Guide to the Expression of Uncertainty (JCGM 100:2008) adds them.

U = k·√(u_meter² + u_resolution² + u_sampling² + u_statistical²) with k = 2: about 95 % of the truth lies within ± U, so about one
in forty beyond either end. Every part is a standard uncertainty in the unit of the quantity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from conformance.metering.trace import Descriptor
    from conformance.tensors import Array

COVERAGE = 2.0
BEYOND = 0.025
"""The share of truths beyond one end of ± U: what a verdict right at its limit may err."""
BLOCKS = 12
_STUDENT = {3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228, 11: 2.201, 12: 2.179}
"""97.5 % points of Student's t, by degrees of freedom."""


class Uncertainty(NamedTuple):
    """The parts, each a standard uncertainty."""

    meter: float = 0.0
    """Of the instrument, as its sheet or certificate says."""
    resolution: float = 0.0
    """Of the step between two values that it can show: its width over √12. More readings do not lessen it."""
    sampling: float = 0.0
    """Of what lay between the readings."""
    statistical: float = 0.0
    """Of the scatter of what was read."""

    @property
    def combined(self) -> float:
        """Return the standard uncertainty of all together."""
        return float(np.sqrt(self.meter**2 + self.resolution**2 + self.sampling**2 + self.statistical**2))

    @property
    def expanded(self) -> float:
        """Return U."""
        return COVERAGE * self.combined

    @property
    def largest(self) -> str:
        """Return the name of the part that weighs most."""
        return max(self._fields, key=lambda name: float(getattr(self, name)))

    def scaled(self, factor: float) -> Uncertainty:
        """Return it for a quantity that is `factor` times as large."""
        return Uncertainty(*(abs(factor) * one for one in self))


class Amount(NamedTuple):
    """A measured quantity."""

    value: float
    unit: str
    uncertainty: Uncertainty
    readings: int
    detail: str = ""
    is_lone: bool = False
    """True for a largest value that one reading alone shows."""

    @property
    def expanded(self) -> float:
        """Return U."""
        return self.uncertainty.expanded

    def __str__(self) -> str:
        return f"{self.value:.4g} ± {self.expanded:.2g} {self.unit}"


def of_meter(descriptor: Descriptor, value: float) -> float:
    """Return the standard uncertainty that the meter's sheet gives for a value."""
    stated = descriptor.uncertainty_relative * abs(value) + descriptor.uncertainty_absolute
    return stated / descriptor.coverage_factor if descriptor.coverage_factor > 0 else stated


def of_resolution(descriptor: Descriptor) -> float:
    """Return the standard uncertainty of a value shown in steps."""
    return (descriptor.resolution or 0.0) / float(np.sqrt(12))


def of_mean(value: Array) -> float:
    """Return the standard error of a mean of readings that depend on their neighbours, for use with k = 2.

    Means of up to 12 blocks in a row are taken as independent; Student's t makes up for their small number.
    """
    blocks = min(BLOCKS, value.size // 2)
    if blocks < 4:
        return float(value.std(ddof=1) / np.sqrt(value.size)) * _STUDENT[3] if value.size > 1 else float("inf")
    means = block_means(value, blocks)
    return float(means.std(ddof=1) / np.sqrt(blocks)) * _STUDENT[blocks - 1] / COVERAGE


def block_means(value: Array, blocks: int) -> Array:
    """Return float64[blocks]: means of neighbouring readings, in blocks of one size; a rest at the beginning is left out."""
    size = value.size // blocks
    means: Array = value[value.size - blocks * size :].reshape(blocks, size).mean(axis=1)
    return means
