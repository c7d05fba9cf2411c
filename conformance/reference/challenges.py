"""A certifier's challenge: a text that nobody knew before, of which inputs are made that nobody could prepare for.

Without a challenge inputs come from seeds that everybody can read. With one, every salt is shifted by a number that BLAKE2b makes
of the text: the same challenge gives the same inputs anywhere, another one gives others.
"""

from __future__ import annotations

import hashlib
import unicodedata

from conformance.errors import UsageError

LONGEST = 200
"""Characters of a challenge: it is written into every report."""
_SPAN = 1 << 16
"""Salts of one challenge lie this near to each other; those of two challenges never do, but for one chance in 2^45."""


def read_challenge(text: str) -> str:
    """Return a challenge as it was given; UsageError where it is empty, too long or not printable text in one line."""
    if not text.strip():
        raise UsageError("--challenge is empty: give the certifier's text, or leave the option out")
    if len(text) > LONGEST:
        raise UsageError(f"--challenge has {len(text)} characters, {LONGEST} are the most")
    odd = next((one for one in text if unicodedata.category(one) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")), None)
    if odd is not None:
        raise UsageError(f"--challenge holds the character U+{ord(odd):04X}: give printable text in one line")
    return text


def salted(salt: int, challenge: str) -> int:
    """Return a salt under a challenge: unchanged without one, else moved by a multiple of 2^16 below 2^61."""
    if not challenge:
        return salt
    digest = hashlib.blake2b(challenge.encode(), digest_size=8, person=b"challenge").digest()
    return salt + (int.from_bytes(digest, "little") >> 3) // _SPAN * _SPAN
