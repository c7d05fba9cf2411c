"""What a YAML scalar means: YAML 1.2's core schema (https://yaml.org/spec/1.2.2/, 10.3.2), finite numbers only."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from conformance.profile.wording import shown

if TYPE_CHECKING:
    from conformance.profile.tree import Scalar

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o([0-7]+)|0x([0-9a-fA-F]+)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_MAX_DIGITS = 400
_INT64 = 1 << 63


def find_forbidden(text: str) -> str:
    """Return the first character that no text may hold, even escaped: a control character or half a surrogate pair."""
    return next((character for character in text if _is_forbidden(character)), "")


def _is_forbidden(character: str) -> bool:
    code = ord(character)
    is_control = (code < 0x20 and character not in "\t\n\r") or 0x7F <= code < 0xA0
    return is_control or 0xD800 <= code <= 0xDFFF or code in {0x2028, 0x2029, 0xFEFF} or (code & 0xFFFE) == 0xFFFE


def resolve_plain(text: str) -> Scalar:
    """Return what an unquoted scalar means; ValueError with the reason for numbers that are not finite or too large."""
    if _NULL.fullmatch(text):
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"{text} is not a number that can be measured against: give a finite one")
    based = _BASED.fullmatch(text)
    if not (based or _FLOAT.fullmatch(text)):
        return text
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} characters is out of range")
    if based:
        whole = int(based[1], 8) if based[1] else int(based[2], 16)
    elif _INT.fullmatch(text):
        whole = int(text)
    else:
        number = float(text)
        if math.isinf(number):
            raise ValueError(f"{shown(text, 40)} is out of range")
        return number
    if not -_INT64 <= whole < _INT64:
        raise ValueError(f"{shown(text, 40)} is out of range: whole numbers have at most 64 bits")
    return whole
