"""Phrase index: finds which of thousands of phrases stand in a text, in one walk over its words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Generic, TypeVar

V = TypeVar("V")

_WORD = re.compile(r"\w+")
_HEAD = 3
"""Letters of a phrase's last word that its key holds."""
_OPEN = 5
"""From so many letters on a phrase's last word may go on in the text: "reject" in "rejected", not "mime" in
"mimecast"."""


class PhraseIndex(Generic[V]):
    """Phrases in the form of `plain` text, each with a value; a phrase is found where it begins a word."""

    def __init__(self, phrases: Iterable[tuple[str, V]]) -> None:
        self._pairs: dict[tuple[str, str], list[tuple[str, V]]] = {}
        self._singles: dict[str, list[tuple[str, V]]] = {}
        self._loose: list[tuple[str, V]] = []
        self._unspaced: list[tuple[str, V]] = []
        for phrase, value in phrases:
            self._add(phrase, value)

    def _add(self, phrase: str, value: V) -> None:
        words = _WORD.findall(phrase)
        if any("\u2e80" <= c <= "\uffef" or "\u0e00" <= c <= "\u0eff" for c in phrase):
            self._unspaced.append((phrase, value))
        elif not words or not phrase.startswith(words[0]) or (len(words) < 3 and len(words[-1]) < _HEAD):
            self._loose.append((phrase, value))
        elif len(words) == 1:
            self._singles.setdefault(phrase[:_HEAD], []).append((phrase, value))
        else:
            self._pairs.setdefault((words[0], words[1][:_HEAD]), []).append((phrase, value))

    def find(self, text: str) -> list[tuple[int, str, V]]:
        """Place, phrase and value of all that stands in `text`, in no order."""
        found: list[tuple[int, str, V]] = []
        locate = text.find
        for phrases in self._candidates(text):
            for phrase, value in phrases:
                at = locate(phrase)
                while at >= 0:
                    if _stands(phrase, text, at):
                        found.append((at, phrase, value))
                    at = locate(phrase, at + len(phrase))
        return found

    def any(self, text: str) -> bool:
        """Does one of the phrases stand in `text`?"""
        return bool(self.find(text))

    def _candidates(self, text: str) -> list[list[tuple[str, V]]]:
        """Phrases whose first words, or their beginnings, stand in `text`."""
        words = _WORD.findall(text)
        heads = [word[:_HEAD] for word in words]
        singles, pairs = self._singles, self._pairs
        found = [singles[one] for one in singles.keys() & heads]
        found += [pairs[one] for one in pairs.keys() & zip(words, heads[1:], strict=False)]
        found.append(self._loose)
        if not text.isascii():
            found.append(self._unspaced)
        return found


def _stands(phrase: str, text: str, at: int) -> bool:
    """Does the phrase begin where a word of the text begins, and end where one may end?"""
    if at > 0 and text[at - 1].isalnum() and phrase[0].isalnum() and phrase[0] < "\u0e00":
        return False
    return _ends(phrase, text, at + len(phrase))


def _ends(phrase: str, text: str, end: int) -> bool:
    """Does the phrase end where a word of the text ends, or is its last word long enough to go on?"""
    tail = phrase[-_OPEN:]
    if phrase[-1] >= "\u0e00":  # scripts without spaces between words
        return True
    if (len(tail) == _OPEN and tail.isalpha()) or not phrase[-1].isalnum():
        return True
    return not text[end : end + 1].isalnum()
