"""Plain text: the form in which words are compared."""

from __future__ import annotations

_PLAIN = str.maketrans(dict.fromkeys("-_\n\t*", " ") | {"\u2019": "'", "\u2018": "'", "\u00a0": " "})


def plain(text: str) -> str:
    """`text` as rules compare it: lower case, dashes and line breaks as spaces, of the same length."""
    lower = text.lower()
    if lower.isascii():
        for mark in "-_\n\t*":
            lower = lower.replace(mark, " ")
        return lower
    if len(lower) != len(text):
        lower = "".join(c if len(c.lower()) != 1 else c.lower() for c in text)
    return lower.translate(_PLAIN)
