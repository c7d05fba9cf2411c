"""Descriptors 0 and 1 of a process in which somebody else's code reads and prints, kept for its protocol."""

from __future__ import annotations

import os
import sys


def take_over_stdio() -> tuple[int, int]:
    """Move the protocol away from descriptors 0 and 1, where vendor code prints, and return (in, out)."""
    incoming, outgoing = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return incoming, outgoing
