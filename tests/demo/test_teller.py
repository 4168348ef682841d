"""The teller: what it checks, and that it keeps within 80 columns."""

from __future__ import annotations

import io
import re
import shlex

import pytest

from story.teller import WIDTH, Broken, Teller, command_line


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def tell(out: io.StringIO) -> Teller:
    return Teller(out, colour=False)


def test_a_line_that_holds_is_marked_and_counted(tell: Teller, out: io.StringIO) -> None:
    """Equal values hold, and a pattern that is found."""
    assert tell.check("It was refused.", 550, 550)
    assert tell.check("It says why.", "since 2026-01-31", re.compile(r"since \d{4}"))
    assert out.getvalue() == "[ok] It was refused.\n[ok] It says why.\n"
    assert (tell.held, tell.failed) == (2, 0)


def test_a_line_that_does_not_hold_says_what_was_expected_and_what_came(tell: Teller, out: io.StringIO) -> None:
    """The mark, both values, and the count that makes the exit status."""
    assert not tell.check("It was refused.", 250, 550)
    assert out.getvalue() == "[FAILED] It was refused.\n    expected: 550\n    came:     250\n"
    assert (tell.held, tell.failed) == (0, 1)


def test_a_pattern_that_is_not_found_fails(tell: Teller, out: io.StringIO) -> None:
    """The pattern is shown next to what came."""
    tell.check("It says why.", "no", re.compile("since"))
    assert "expected: something like since\n    came:     no\n" in out.getvalue()


def test_what_the_story_cannot_do_without_ends_it(tell: Teller) -> None:
    """`need` raises where `check` only tells."""
    tell.need("It runs.", 1, 1)
    with pytest.raises(Broken):
        tell.need("It runs.", 1, 2)


def test_nothing_that_it_words_is_wider_than_the_terminal(tell: Teller, out: io.StringIO) -> None:
    """Prose, quotations and checks are folded, whatever they hold."""
    long = "a word and another " * 20 + "x" * 200
    tell.title("A scene")
    tell.say(long.replace("x" * 200, "end"))
    tell.quote(long)
    tell.check(long, 1, 1)
    tell.check(long, long, 1)
    assert max(map(len, out.getvalue().splitlines())) <= WIDTH


def test_colour_comes_only_where_it_is_asked_for(out: io.StringIO) -> None:
    """A file gets plain text."""
    Teller(out, colour=False).check("It holds.", 1, 1)
    assert "\33" not in out.getvalue()
    Teller(out, colour=True).check("It holds.", 1, 1)
    assert "\33[32m[ok] \33[0mIt holds." in out.getvalue()


@pytest.mark.parametrize(
    "argv",
    [
        ["swaks", "--server", "127.0.0.1:25", "--from", "<>", "--to", "a@example.net", "--quit-after", "RCPT"],
        ["swaks", "--header", "Subject: it's here", "--to", "x" * 60, "--from", "y" * 60, "--body", "a b"],
        ["retour", "events"],
    ],
)
def test_a_command_can_be_typed_as_it_is_shown(argv: list[str]) -> None:
    """Quoted for the shell, broken by backslashes within 80 columns, an option with its value."""
    shown = command_line(argv)
    assert shlex.split(shown.replace("\\\n", "")) == argv
    first, *rest = shown.splitlines()
    assert max(len(line) for line in [f"$ {first}", *rest]) <= WIDTH
