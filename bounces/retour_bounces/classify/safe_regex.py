"""Patterns: regular expressions of rules, refused where a hostile text could keep them busy."""

from __future__ import annotations

import re
import re._constants as sre  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
from typing import Any

from retour_bounces.classify.diagnostic import MAX_TEXT

MAX_LENGTH = 500
SMALL = 40
"""Width up to which a repeat is small."""
MAX_COST = 10_000
"""Product of the small repeats' widths and the choices' branches that one pattern may reach; with two wide repeats
only `SMALL`."""
MAX_STEPS = 100_000_000
"""Steps that a search may take at worst."""

_CAPITAL = re.compile(r"(?<!\\)(?:\\\\)*[A-Z]")
_REPEATS = {sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT}


class PatternError(ValueError):
    """A regular expression is malformed, or could take too long."""


class Pattern:
    """A compiled expression that is safe on any text; compares `plain` text, so letters are lower case."""

    __slots__ = ("_as_it_is", "_compiled", "hints", "text")

    def __init__(self, text: str) -> None:
        if len(text) > MAX_LENGTH:
            raise PatternError(f"longer than {MAX_LENGTH} characters")
        try:
            tree = parser.parse(text, re.IGNORECASE)
            self._compiled = re.compile(text, re.IGNORECASE)
        except (re.error, RecursionError, OverflowError) as error:
            raise PatternError(f"'{text}' is no regular expression: {error}") from error
        if self._compiled.search(""):
            raise PatternError(f"'{text}' asks for nothing, so it is found in any text")
        _check(tree, text)
        self._as_it_is = re.compile(text) if text.isascii() and not _CAPITAL.search(text) else self._compiled
        """Without regard to case a search cannot skip to the letters that the expression begins with."""
        self.hints = _hints(tree)
        """Texts of which one stands in each text that matches; none where that is unknown."""
        self.text = text

    def search(self, text: str) -> tuple[int, int] | None:
        """Begin and end of the first match in `text`, or None."""
        if self.hints and not any(map(text.__contains__, self.hints)):
            return None
        match = (self._as_it_is if text.isascii() else self._compiled).search(text)
        return match.span() if match else None

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


def _check(tree: Any, text: str) -> None:
    """Refuses repeats within repeats, choices within repeats, references back, and what could take too many steps."""
    wide, cost = 0, 1
    stack: list[tuple[Any, bool]] = [(tree, False)]
    while stack:
        node, repeated = stack.pop()
        for operator, argument in node:
            if operator in (sre.GROUPREF, sre.GROUPREF_EXISTS):
                raise PatternError(f"'{text}' refers back to a group; that can take exponential time")
            if repeated and operator is sre.BRANCH:
                raise PatternError(f"'{text}' has a choice inside a repeat; that can take exponential time")
            if operator in _REPEATS:
                low, high, body = argument
                varies = high is sre.MAXREPEAT or high > 1
                if repeated and (varies or low != high):
                    raise PatternError(f"'{text}' has a repeat inside a repeat; that can take exponential time")
                if _is_wide(operator, argument):
                    wide += 1
                elif low != high:
                    cost *= int(high) - int(low) + 1
                stack.append((body, repeated or varies))
            else:
                inside = _inside(operator, argument)
                cost *= len(inside) if operator is sre.BRANCH else 1
                stack.extend((inner, repeated) for inner in inside)
    if cost > (MAX_COST if wide < 2 else SMALL) or _steps(list(tree), wide) > MAX_STEPS:
        raise PatternError(
            f"'{text}' could take too long: too many repeats and choices, or repeats wider than {SMALL} without words "
            "of some letters between; write .{0,40} for .*"
        )


def _is_wide(operator: Any, argument: Any) -> bool:
    """Is it a repeat that may be wider than a small one?"""
    return operator in _REPEATS and argument[0] != argument[1] and argument[1] > SMALL


def _steps(tree: list[Any], wide: int) -> float:
    """Steps that a search of a text of `MAX_TEXT` characters may take at worst, choices left aside.

    A search may begin wherever the word that the expression begins with stands, and go on behind a wide repeat
    wherever the word behind that stands; the last repeat runs through the text. Of the `wide` repeats those in groups
    count as if no word stood behind them.
    """
    outer = [at for at, one in enumerate(tree) if _is_wide(*one)]
    steps: float = MAX_TEXT / max(1, _word(tree, 0)) * MAX_TEXT ** (wide - len(outer))
    for at in outer[:-1]:
        steps *= MAX_TEXT / max(1, _word(tree, at + 1))
    return steps * MAX_TEXT if outer else steps


def _word(tree: list[Any], at: int) -> int:
    """Length of the plain text that the expression has at a place."""
    return next((end for end, one in enumerate(tree[at:]) if one[0] is not sre.LITERAL), len(tree) - at)


def _inside(operator: Any, argument: Any) -> list[Any]:
    if operator is sre.SUBPATTERN:
        return [argument[-1]]
    if operator is sre.BRANCH:
        return list(argument[1])
    if operator in (sre.ASSERT, sre.ASSERT_NOT):
        return [argument[1]]
    if operator is sre.ATOMIC_GROUP:
        return [argument]
    return []


def _hints(tree: Any) -> tuple[str, ...]:
    """The longest text that every match must hold, or those of a choice if even the shortest of them is longer."""
    best: tuple[str, ...] = (_literal(tree),)
    for operator, argument in tree:
        if operator is sre.BRANCH:
            best = max(best, tuple(map(_literal, argument[1])), key=lambda texts: min(map(len, texts)))
    return best if all(best) else ()


def _literal(tree: Any) -> str:
    """The longest run of characters that every match must hold; "" where there is none."""
    best, run = "", ""
    for operator, argument in tree:
        low = high = 1
        if operator in _REPEATS and len(argument[2]) == 1:
            low, high, [(operator, argument)] = argument
        if operator is sre.LITERAL and not chr(argument).isupper():
            run += chr(argument) * min(low, SMALL)
            best = max(best, run, key=len)
        if operator is not sre.LITERAL or low != high or low > SMALL or chr(argument).isupper():
            run = ""
    return best
