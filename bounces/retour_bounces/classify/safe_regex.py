"""Safe regex: regular expressions of rules, refused where a hostile text could keep them busy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeAlias

from retour_bounces.classify.diagnostic import MAX_DIAGNOSTIC_CHARACTERS

MAX_PATTERN_CHARACTERS = 500
MAX_SMALL_REPEAT = 40
"""Width up to which a repeat is small."""
MAX_WAYS = 10_000
"""Product of the small repeats' widths and the choices' branches that one pattern may reach; with two wide repeats
only `MAX_SMALL_REPEAT`."""
MAX_STEPS = 100_000_000
"""Steps that a search may take at worst."""

_CAPITAL = re.compile(r"(?<!\\)(?:\\\\)*[A-Z]")


class PatternError(ValueError):
    """A regular expression is malformed, or could take too long."""


@dataclass(frozen=True, slots=True)
class Literal:
    """One character that must stand there."""

    character: str


@dataclass(frozen=True, slots=True)
class Repeat:
    """A repeat, greedy or not."""

    low: int
    high: int
    """A huge number where there is no upper limit."""
    body: Tree


@dataclass(frozen=True, slots=True)
class Choice:
    """A choice of branches (`a|b`)."""

    branches: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """A group of any kind, or what is looked for ahead or behind."""

    body: Tree


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference back to a group."""


@dataclass(frozen=True, slots=True)
class Single:
    """Anything else, which matches one character or none: a set, a dot, the beginning of a line."""


Node: TypeAlias = Literal | Repeat | Choice | Group | Reference | Single
Tree: TypeAlias = tuple[Node, ...]


def syntax_tree(text: str) -> Tree:
    """The syntax of a regular expression that ignores case.

    Raises `PatternError` for what could not be judged, and what `re.compile` raises. Nothing else here knows Python's
    parser. It is private; from Python 3.11 to 3.14 it answers as this function, and its test, expect.
    """
    from re import _parser  # type: ignore[attr-defined]  # here, so that this function alone depends on it

    def tree_of(items: Any) -> Tree:
        nodes: list[Node] = []
        for operator, argument in items:
            match str(operator):
                case "LITERAL":
                    nodes.append(Literal(chr(argument)))
                case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                    low, high, body = argument
                    nodes.append(Repeat(int(low), int(high), tree_of(body)))
                case "BRANCH":
                    nodes.append(Choice(tuple(map(tree_of, argument[1]))))
                case "SUBPATTERN":
                    nodes.append(Group(tree_of(argument[-1])))
                case "ASSERT" | "ASSERT_NOT":
                    nodes.append(Group(tree_of(argument[1])))
                case "ATOMIC_GROUP":
                    nodes.append(Group(tree_of(argument)))
                case "GROUPREF" | "GROUPREF_EXISTS":
                    nodes.append(Reference())
                case "NOT_LITERAL" | "ANY" | "IN" | "AT" | "FAILURE":  # the last for (?!) in newer versions
                    nodes.append(Single())
                case unknown:
                    raise PatternError(f"'{text}' holds {unknown}, of which nothing is known")
        return tuple(nodes)

    return tree_of(_parser.parse(text, re.IGNORECASE))


class Pattern:
    """A compiled expression that is safe on any text; compares `plain` text, so letters are lower case."""

    __slots__ = ("_as_it_is", "_compiled", "hints", "text")

    def __init__(self, text: str) -> None:
        if len(text) > MAX_PATTERN_CHARACTERS:
            raise PatternError(f"longer than {MAX_PATTERN_CHARACTERS} characters")
        try:
            tree = syntax_tree(text)
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


def _check(tree: Tree, text: str) -> None:
    """Refuses repeats within repeats, choices within repeats, references back, and what could take too many steps."""
    wide, ways = 0, 1
    stack: list[tuple[Tree, bool]] = [(tree, False)]
    while stack:
        nodes, repeated = stack.pop()
        for node in nodes:
            if isinstance(node, Reference):
                raise PatternError(f"'{text}' refers back to a group; that can take exponential time")
            if isinstance(node, Choice):
                if repeated:
                    raise PatternError(f"'{text}' has a choice inside a repeat; that can take exponential time")
                ways *= len(node.branches)
                stack.extend((branch, repeated) for branch in node.branches)
            elif isinstance(node, Repeat):
                if repeated and (node.high > 1 or node.low != node.high):
                    raise PatternError(f"'{text}' has a repeat inside a repeat; that can take exponential time")
                if _is_wide(node):
                    wide += 1
                elif node.low != node.high:
                    ways *= node.high - node.low + 1
                stack.append((node.body, repeated or node.high > 1))
            elif isinstance(node, Group):
                stack.append((node.body, repeated))
    if ways > (MAX_WAYS if wide < 2 else MAX_SMALL_REPEAT) or _steps(tree, wide) > MAX_STEPS:
        raise PatternError(
            f"'{text}' could take too long: too many repeats and choices, or repeats wider than {MAX_SMALL_REPEAT} "
            "without words of some letters between; write .{0,40} for .*"
        )


def _is_wide(node: Node) -> bool:
    """Is it a repeat that may be wider than a small one?"""
    return isinstance(node, Repeat) and node.low != node.high and node.high > MAX_SMALL_REPEAT


def _steps(tree: Tree, wide: int) -> float:
    """Steps that a search of a text of `MAX_DIAGNOSTIC_CHARACTERS` may take at worst, choices left aside.

    A search may begin wherever the word that the expression begins with stands, and go on behind a wide repeat
    wherever the word behind that stands; the last repeat runs through the text. Of the `wide` repeats those in groups
    count as if no word stood behind them.
    """
    size = MAX_DIAGNOSTIC_CHARACTERS
    outer = [at for at, node in enumerate(tree) if _is_wide(node)]
    steps: float = size / max(1, _word_length(tree, 0)) * size ** (wide - len(outer))
    for at in outer[:-1]:
        steps *= size / max(1, _word_length(tree, at + 1))
    return steps * size if outer else steps


def _word_length(tree: Tree, at: int) -> int:
    """Length of the plain text that the expression has at a place."""
    return next((end for end, node in enumerate(tree[at:]) if not isinstance(node, Literal)), len(tree) - at)


def _hints(tree: Tree) -> tuple[str, ...]:
    """The longest text that every match must hold, or those of a choice if even the shortest of them is longer."""
    best: tuple[str, ...] = (_longest_literal(tree),)
    for node in tree:
        if isinstance(node, Choice):
            literals = tuple(map(_longest_literal, node.branches))
            best = max(best, literals, key=lambda texts: min(map(len, texts)))
    return best if all(best) else ()


def _longest_literal(tree: Tree) -> str:
    """The longest run of characters that every match must hold; "" where there is none."""
    best, run = "", ""
    for node in tree:
        low = high = 1
        if isinstance(node, Repeat) and len(node.body) == 1:
            low, high, node = node.low, node.high, node.body[0]
        if isinstance(node, Literal) and not node.character.isupper():
            run += node.character * min(low, MAX_SMALL_REPEAT)
            best = max(best, run, key=len)
            if low != high or low > MAX_SMALL_REPEAT:
                run = ""
        else:
            run = ""
    return best
