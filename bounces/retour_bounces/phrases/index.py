"""Index: finds which of thousands of phrases stand in a text, in one walk over its words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Generic, TypeVar

from retour_bounces.once import once

Value = TypeVar("Value")

_MIN_OPEN_LETTERS = 5
"""From so many letters on a phrase's last word may go on in the text: "reject" in "rejected", not "mime" in
"mimecast"."""
_UNSPACED = "\u0e00"
"""From this character on scripts put no spaces between words (Thai, Chinese, Japanese)."""


class PhraseIndex(Generic[Value]):
    """Phrases in the form of `plain` text, each with a value; a phrase is found where it begins a word."""

    def __init__(self, phrases: Iterable[tuple[str, Value]]) -> None:
        values: dict[str, list[Value]] = {}
        for phrase, value in phrases:
            values.setdefault(phrase, []).append(value)
        self._within = {phrase: _beginnings(phrase, values) for phrase in values}
        spaced = [phrase for phrase in values if phrase[0] < _UNSPACED]
        self._signs = sorted((phrase for phrase in spaced if not phrase[0].isalnum()), key=len, reverse=True)
        words = [phrase for phrase in spaced if phrase[0].isalnum()]
        self._plain = _expression("[^0-9a-z]", [phrase for phrase in words if phrase.isascii()])
        self._others = [phrase for phrase in words if not phrase.isascii()]
        self._unspaced = [phrase for phrase in values if phrase[0] >= _UNSPACED]

    @once
    def _of_other_scripts(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        """Phrases that are not of plain letters alone, with and without spaces between words; few texts need them."""
        return _expression("[^0-9a-z]", self._others), _expression("", self._unspaced)

    def find(self, text: str) -> Iterator[tuple[int, str, list[Value]]]:
        """Place, phrase and values of all that stands in `text`, in no order."""
        text = f" {text}"
        within = self._within
        is_plain = not self._signs and text.isascii()
        for match in self._plain.finditer(text) if is_plain else self._matches(text):
            at = match.start(1)
            for phrase, is_open, values in within[match[1]]:
                if is_open or not text[(end := at + len(phrase)) : end + 1].isalnum():
                    yield at - 1, phrase, values

    def _matches(self, text: str) -> Iterable[re.Match[str]]:
        """Where phrases stand; group 1 of each match is the longest that begins there."""
        found: Iterable[re.Match[str]] = self._plain.finditer(text)
        if not text.isascii():
            spaced, unspaced = self._of_other_scripts
            words = chain(found, spaced.finditer(text))
            found = chain((one for one in words if not text[one.start(1) - 1].isalnum()), unspaced.finditer(text))
        if self._signs and any(map(text.__contains__, self._signs)):
            found = chain(found, re.finditer(f"(?=({'|'.join(map(re.escape, self._signs))}))", text))
        return found

    def any(self, text: str) -> bool:
        """Does one of the phrases stand in `text`?"""
        return next(self.find(text), None) is not None


def _beginnings(phrase: str, values: dict[str, list[Value]]) -> list[tuple[str, bool, list[Value]]]:
    """The phrase and all shorter ones that it begins with, which stand wherever it stands and are looked for together
    with it; each with whether its last word may go on."""
    starts = (phrase[:end] for end in range(1, len(phrase) + 1))
    together = (start for start in starts if start in values and start.isascii() == phrase.isascii())
    return [(start, _is_open(start), values[start]) for start in together]


def _is_open(phrase: str) -> bool:
    """May a letter follow the phrase in the text?"""
    tail = phrase[-_MIN_OPEN_LETTERS:]
    return (len(tail) == _MIN_OPEN_LETTERS and tail.isalpha()) or not phrase[-1].isalnum() or phrase[-1] >= _UNSPACED


def _expression(before: str, phrases: list[str]) -> re.Pattern[str]:
    """An expression that finds, behind what `before` describes, the longest of the phrases wherever one begins,
    overlapping ones too.

    It branches letter by letter, so that each place of a text is looked at once however many phrases there are.
    """
    root: dict[str, Any] = {}
    for phrase in phrases:
        node = root
        for letter in phrase:
            node = node.setdefault(letter, {})
        node[""] = {}
    first = "".join(re.escape(letter) for letter in root)
    return re.compile(f"{before}(?=[{first}])(?=({_branches(root)}))" if root else r"(?!)")


def _branches(node: dict[str, Any]) -> str:
    choices: list[str] = []
    for letter, rest in node.items():
        run = letter
        while len(rest) == 1 and "" not in rest:
            [(letter, rest)] = rest.items()
            run += letter
        if run:
            choices.append(re.escape(run) + (_branches(rest) if rest != {"": {}} else ""))
    optional = "?" if "" in node else ""
    return f"(?:{'|'.join(choices)}){optional}" if len(choices) > 1 or optional else choices[0]
