"""Plain text: the form in which words are compared."""

from __future__ import annotations

import unicodedata

_SPACES = "-_\n\t*"
_LETTERS = {
    code: base[0]
    for code in range(0xE0, 0x180)
    if (base := unicodedata.normalize("NFD", chr(code)))[0].isascii() and chr(code).islower()
} | {0xF8: "o", 0x142: "l", 0x131: "i"}
"""Latin letters with accents: servers and people leave them off as often as not."""
_PLAIN = str.maketrans(dict.fromkeys(_SPACES, " ") | {"\u2019": "'", "\u2018": "'", "\u00a0": " "}) | _LETTERS


def plain(text: str) -> str:
    """`text` as rules compare it: lower case, dashes and line breaks as spaces, accents off; of the same length."""
    lower = text.lower()
    if lower.isascii():
        for mark in _SPACES:
            lower = lower.replace(mark, " ")
        return lower
    if len(lower) != len(text):
        lower = "".join(c if len(c.lower()) != 1 else c.lower() for c in text)
    return lower.translate(_PLAIN)
