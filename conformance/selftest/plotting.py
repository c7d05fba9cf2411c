"""The matrix as a picture: kinds by columns, the share of runs that each column refused. Needs matplotlib (extra `plot`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from conformance.errors import UsageError
from conformance.selftest.judging import COLUMNS
from conformance.selftest.telling import TITLES, title

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.selftest.matrix import Matrix

REMEDY = "a plot needs matplotlib: pip install 'resonance-conformance[plot]'"
ENDINGS = (".svg", ".png", ".pdf")


def check_path(path: Path) -> None:
    """Refuse, before anything is run, a plot that could not be written: UsageError."""
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"--plot takes a file that ends in {', '.join(ENDINGS)}; got {path.name}")
    try:
        import matplotlib as _  # noqa: F401
    except ImportError as error:
        raise UsageError(REMEDY) from error


def plot(matrix: Matrix, path: Path) -> None:
    """Write the picture; its format follows the ending of the file name."""
    check_path(path)
    from matplotlib.figure import Figure

    kinds = sorted((one for one in matrix.kinds if one.runs), key=lambda one: (one.family, one.name))
    cells = np.full((len(kinds), len(COLUMNS)), np.nan)
    for at, kind in enumerate(kinds):
        for column, name in enumerate(COLUMNS):
            hits, runs = kind.caught[name]
            if runs:
                cells[at, column] = hits / runs
    figure = Figure(figsize=(7, 1.5 + 0.16 * len(kinds)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(cells, aspect="auto", cmap="RdYlGn", vmin=0, vmax=1)
    axes.set_xticks(range(len(COLUMNS)), [TITLES[one] for one in COLUMNS])
    labels = [f"{one.name}{'' if one.is_caught else ' (escapes)'}" for one in kinds]
    axes.set_yticks(range(len(kinds)), labels, fontsize=6)
    axes.xaxis.tick_top()
    axes.set_title(title(matrix), fontsize=8)
    figure.colorbar(image, label="share of runs refused", shrink=0.4)
    figure.savefig(path, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
