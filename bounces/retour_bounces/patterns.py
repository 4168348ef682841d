"""Patterns: regular expressions of rules, refused where a hostile text could keep them busy."""

from __future__ import annotations

import re
import re._constants as sre  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
from typing import Any

MAX_LENGTH = 500
MAX_WIDE = 2
"""Repeats without a small upper bound that one pattern may hold: with k of them a search costs n^(k+1) at
worst."""
SMALL = 40
MAX_COST = 10_000
"""Product of the small bounded repeats' widths and the choices' branches that one pattern may reach; with all the
wide repeats only `SMALL`."""

_REPEATS = {sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT}


class PatternError(ValueError):
    """A regular expression is malformed, or could take exponential time."""


class Pattern:
    """A compiled expression that is safe on any text; compares `plain` text, so letters are lower case."""

    __slots__ = ("_compiled", "hint", "text")

    def __init__(self, text: str) -> None:
        if len(text) > MAX_LENGTH:
            raise PatternError(f"longer than {MAX_LENGTH} characters")
        try:
            tree = parser.parse(text, re.IGNORECASE)
            self._compiled = re.compile(text, re.IGNORECASE)
        except (re.error, RecursionError, OverflowError) as error:
            raise PatternError(f"{text!r} is no regular expression: {error}") from error
        _check(tree, text)
        self.hint = _literal(tree)
        """What stands in each text that matches."""
        self.text = text

    def search(self, text: str) -> tuple[int, int] | None:
        """Begin and end of the first match in `text`, or None."""
        match = self._compiled.search(text) if self.hint in text else None
        return match.span() if match else None

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


def _check(tree: Any, text: str) -> None:
    """Refuses repeats within repeats, choices within repeats, references back, and too many wide repeats."""
    wide, cost = 0, 1
    stack: list[tuple[Any, bool]] = [(tree, False)]
    while stack:
        node, repeated = stack.pop()
        for operator, argument in node:
            if operator in (sre.GROUPREF, sre.GROUPREF_EXISTS):
                raise PatternError(f"{text!r} refers back to a group; that can take exponential time")
            if repeated and operator is sre.BRANCH:
                raise PatternError(f"{text!r} has a choice inside a repeat; that can take exponential time")
            if operator in _REPEATS:
                low, high, body = argument
                varies = high is sre.MAXREPEAT or high > 1
                if repeated and (varies or low != high):
                    raise PatternError(f"{text!r} has a repeat inside a repeat; that can take exponential time")
                if low != high and high is not sre.MAXREPEAT and high <= SMALL:
                    cost *= int(high) - int(low) + 1
                elif varies:
                    wide += 1
                stack.append((body, repeated or varies))
            else:
                inside = _inside(operator, argument)
                cost *= len(inside) if operator is sre.BRANCH else 1
                stack.extend((inner, repeated) for inner in inside)
    if wide > MAX_WIDE or cost > (MAX_COST if wide < MAX_WIDE else SMALL):
        raise PatternError(
            f"{text!r} has too many repeats and choices; at most {MAX_WIDE} repeats may be wider than {SMALL}"
        )


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


def _literal(tree: Any) -> str:
    """The longest run of letters that every match must hold; "" where there is none."""
    best, run = "", ""
    for operator, argument in tree:
        if (operator is sre.LITERAL and chr(argument).islower()) or (operator is sre.LITERAL and argument == 0x20):
            run += chr(argument)
        else:
            best, run = max(best, run, key=len), ""
    return max(best, run, key=len)
