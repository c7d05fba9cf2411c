"""Resonance Conformance: a device profile goes in, a verdict that holds comes out.

Importing this package costs nothing: neither pytest nor onnxruntime is loaded. See docs/ for the rooms.
"""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["__version__"]
