"""Phrase index: finds which of thousands of phrases stand in a text, in one walk over its words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

V = TypeVar("V")

_WORD = re.compile(r"\w+")
_HEAD = 3
"""Letters of a phrase's last word that its key holds."""
_OPEN = 5
"""From so many letters on a phrase's last word may go on in the text: "reject" in "rejected", not "mime" in "mimecast"."""


class PhraseIndex(Generic[V]):
    """Phrases in the form of `plain` text, each with a value; a phrase is found where it begins a word."""

    def __init__(self, phrases: Iterable[tuple[str, V]]) -> None:
        self._pairs: dict[str, list[tuple[str, V]]] = {}
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
            self._pairs.setdefault(f"{words[0]} {words[1][:_HEAD]}", []).append((phrase, value))

    def find(self, text: str) -> Iterator[tuple[int, str, V]]:
        """Place, phrase and value of what stands in `text`, by place, but for what does not begin with a word."""
        pairs, singles = self._pairs, self._singles
        matches = list(_WORD.finditer(text))
        words = [match[0] for match in matches]
        words.append("")
        for number, match in enumerate(matches):
            word = words[number]
            for one in (pairs.get(f"{word} {words[number + 1][:_HEAD]}"), singles.get(word[:_HEAD])):
                if one:
                    start = match.start()
                    for phrase, value in one:
                        if text.startswith(phrase, start) and _ends(phrase, text, start + len(phrase)):
                            yield start, phrase, value
        for phrase, value in self._loose if text.isascii() else [*self._loose, *self._unspaced]:
            at = text.find(phrase)
            while at > 0 and phrase[0].isalnum() and phrase[0].isascii() and text[at - 1].isalnum():
                at = text.find(phrase, at + 1)
            if at >= 0:
                yield at, phrase, value


def _ends(phrase: str, text: str, end: int) -> bool:
    """Does the phrase end where a word of the text ends, or is its last word long enough to go on?"""
    tail = phrase[-_OPEN:]
    if len(tail) == _OPEN and tail.isalpha() or not phrase[-1].isalnum():
        return True
    return not text[end : end + 1].isalnum()
