"""The layer shapes of published language models of half a billion to eight billion parameters, and their rotary tables.

Sizes are those of the models' own configuration files: hidden size, query heads, key-value heads, head size, inner size of the
feed-forward part, base of the rotary angles, soft cap of the scores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from conformance.tensors import Array


class Layer(NamedTuple):
    """The sizes of a decoder layer."""

    name: str
    hidden: int
    heads: int
    kv_heads: int
    size: int
    inner: int
    base: float = 10_000.0
    softcap: float = 0.0

    def shard(self, kv_heads: int) -> Layer:
        """Return the same layer with as many key-value heads, and their share of the queries: what one device of several holds."""
        return self._replace(heads=self.heads // self.kv_heads * kv_heads, kv_heads=kv_heads)

    def cut(self, heads: int, kv_heads: int) -> Layer:
        """Return the same layer with so few heads."""
        return self._replace(heads=heads, kv_heads=kv_heads)

    @property
    def text(self) -> str:
        """`h32-kv8-d64`."""
        return f"h{self.heads}-kv{self.kv_heads}-d{self.size}"


SMALL = Layer("0.5b", 896, 14, 2, 64, 4864, 1_000_000.0)
ONE = Layer("1b", 2048, 32, 8, 64, 8192, 500_000.0)
CAPPED = Layer("2b", 2304, 8, 4, 256, 9216, softcap=50.0)
THREE = Layer("3b", 3072, 24, 8, 128, 8192, 500_000.0)
FULL = Layer("4b", 3072, 32, 32, 96, 8192)
EIGHT = Layer("8b", 4096, 32, 8, 128, 14336, 500_000.0)
LAYERS = (SMALL, ONE, CAPPED, THREE, FULL, EIGHT)


def rotary_tables(positions: int, size: int, base: float = 10_000.0) -> tuple[Array, Array]:
    """Return cosines and sines of position · base^(−2i/size): [positions, size/2] each."""
    angles = np.arange(positions)[:, None] * base ** (-np.arange(0, size, 2) / size)[None, :]
    return np.cos(angles), np.sin(angles)
