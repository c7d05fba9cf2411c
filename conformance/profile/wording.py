"""How texts from profiles are shown in messages, and how the nearest known word is found."""

import difflib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

MAX_SHOWN = 80
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def is_hidden(character: str) -> bool:
    """Return whether a character is invisible or steers a terminal: controls, format marks, half surrogate pairs."""
    return unicodedata.category(character) in _HIDDEN or (ord(character) & 0xFFFE) == 0xFFFE


def shown(text: str, limit: int = MAX_SHOWN) -> str:
    """Return `text` on one line, hidden characters escaped, at most `limit` characters long."""
    clipped = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(
        character.encode("unicode_escape").decode("ascii") if is_hidden(character) else character
        for character in clipped
    )


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return the known word that `word` most resembles, ignoring case, or an empty string."""
    by_lower: dict[str, str] = {}
    for candidate in known:
        by_lower.setdefault(candidate.lower(), candidate)
    found = difflib.get_close_matches(word[:MAX_SHOWN].lower(), list(by_lower), n=1, cutoff=cutoff)
    return by_lower[found[0]] if found else ""


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return `; did you mean 'x'?` where a known word is near, else the known words where they are few."""
    words = list(known)
    best = nearest(word, words, cutoff)
    if best:
        return f"; did you mean '{best}'?"
    if 0 < len(words) <= 12:
        return f"; known here: {', '.join(words)}"
    return ""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Hint:
    """A sentence that ends with the nearest known word, which is looked for only when the sentence is shown.

    A hostile file can hold tens of thousands of unknown words; fifty of them are shown.
    """

    text: str
    word: str
    known: Iterable[str]

    def __str__(self) -> str:
        return self.text + did_you_mean(self.word, self.known)


Message: TypeAlias = str | Hint
