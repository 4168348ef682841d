"""Safe regex: expressions that could take too long are refused, and the literals that spare a search hide nothing."""

from __future__ import annotations

import sys

import pytest

from lab.effort import is_within
from retour_bounces.classify.safe_regex import (
    Choice,
    Group,
    Literal,
    Node,
    Pattern,
    PatternError,
    Reference,
    Repeat,
    Single,
    syntax_tree,
)

A, B = Literal("a"), Literal("b")
UNLIMITED = 2**32 - 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ab", (A, B)),
        (r"[^a][ab].\b^$\d", (Single(),) * 7),
        ("a?b{2,5}?", (Repeat(0, 1, (A,)), Repeat(2, 5, (B,)))),
        ("a{3}+", (Repeat(3, 3, (A,)),)),
        ("(a)(?:b)(?>a)", (Group((A,)), B, Group((A,)))),
        ("(?=a)(?!b)(?<=a)", (Group((A,)), Group((B,)), Group((A,)))),
        ("ab|bb+", (Choice(((A, B), (B, Repeat(1, UNLIMITED, (B,))))),)),
        (r"(a)\1", (Group((A,)), Reference())),
        ("(a)?(?(1)b|a)", (Repeat(0, 1, (Group((A,)),)), Reference())),
    ],
)
def test_pythons_parser_answers_as_it_did_in_3_11_to_3_14(text: str, expected: tuple[Node, ...]) -> None:
    """Python's parser of expressions is private (`re._parser`); what is safe is judged by its answers."""
    try:
        found: object = syntax_tree(text)
    except Exception as error:
        found = error
    version = ".".join(map(str, sys.version_info[:3]))
    assert found == expected, (
        f"re._parser of Python {version} is not what it was in 3.11 to 3.14: fix retour_bounces.classify.safe_regex."
        f"syntax_tree, which alone knows it ({text!r} gives {found!r})"
    )


@pytest.mark.parametrize(
    "text",
    [
        "(a+)+$",
        "(ab|a)*c",
        "(a*)*",
        "(?:x+y?)+z",
        r"(\w+\s?)+$",
        r"(a)\1",
        "(a{1,50}){2,}",
        "a*b*c*d",
        "a{0,999}b{0,999}c{0,999}",
        "a?" * 25 + "a" * 25,
        "(ab|a.)" * 20 + "c",
        "a{1,40}b{1,40}.*.*c",
        ".*.*x",
        "a.*b.*c",
        "(?:.*)(?:.*)x",
        "user(?:.*).* x",
        "a{0,30}.*b{0,30}.*c",
    ],
)
def test_an_expression_that_could_take_too_long_is_refused(text: str) -> None:
    """Repeats and choices within repeats, references back, wide repeats without words between them and too many
    choices are refused."""
    with pytest.raises(PatternError):
        Pattern(text)


@pytest.mark.parametrize(
    "text",
    ["user .{0,40} unknown", "mailbox.*is.*full", r"\bover[ -]?quota\b", "(?:no|unknown) user", r"#\d{4}"],
)
def test_ordinary_expressions_are_taken(text: str) -> None:
    """What people write to match replies is allowed, and quick on a hostile text."""
    pattern = Pattern(text)
    assert is_within(lambda: pattern.search("mailbox is user no " * 50), 5)


@pytest.mark.parametrize(
    "text, matched",
    [
        ("a{2,3}b", "aab"),
        ("ab+c", "abbbc"),
        ("x{0,3}yz", "yz"),
        ("ab?c", "ac"),
        ("(?:ab)+cd", "ababcd"),
        ("[ab]cd{2}e", "bcdde"),
        ("User Unknown", "user unknown"),
        ("over|under", "under"),
        ("no (?:user|mailbox)", "no mailbox"),
        ("(?:shut|[xy]z)b?", "xzb"),
    ],
)
def test_what_a_search_looks_for_first_stands_in_every_match(text: str, matched: str) -> None:
    """The literals that spare a search never hide a match."""
    pattern = Pattern(text)
    assert not pattern.hints or any(hint in matched for hint in pattern.hints)
    assert pattern.search(f"so {matched} there") == (3, 3 + len(matched))


def test_a_search_is_spared_where_no_word_of_a_choice_stands() -> None:
    """The choice with the longest words is looked for, each of its words once."""
    assert Pattern("no (?:user|mailbox)").hints == ("user", "mailbox")
    assert Pattern(r"\d+").hints == ()
