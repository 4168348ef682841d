"""Normalise: brings text into the plain form in which words are compared."""

from __future__ import annotations

import re
import unicodedata

_SPACES = "-_\n\t*"
_LETTERS = {
    chr(code): base[0]
    for code in (*range(0xE0, 0x250), *range(0x1E00, 0x1F00), *range(0x3AC, 0x3CF))
    if len(base := unicodedata.normalize("NFD", chr(code))) > 1 and chr(code).islower()
} | {"ø": "o", "ł": "l", "ı": "i", "đ": "d", "ς": "σ"}
"""Latin and Greek letters with accents: servers and people leave them off as often as not."""
_PLAIN = dict.fromkeys(_SPACES, " ") | {"\u2019": "'", "\u2018": "'", "\u00a0": " "} | _LETTERS
_ODD = re.compile(f"[{re.escape(''.join(_PLAIN))}]")


def plain(text: str) -> str:
    """`text` as rules compare it: lower case, dashes and line breaks as spaces, accents off; of the same length."""
    lower = text.lower()
    if lower.isascii():
        for mark in _SPACES:
            lower = lower.replace(mark, " ")
        return lower
    if len(lower) != len(text):
        lower = "".join(c if len(c.lower()) != 1 else c.lower() for c in text)
    for letter in set(_ODD.findall(lower)):
        lower = lower.replace(letter, _PLAIN[letter])
    return lower
