"""Teller: prints the story for a terminal of 80 columns, and checks each line of it that claims something."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Sequence
from typing import TextIO

WIDTH = 80
PROSE = 76
BOLD, FAINT, GREEN, RED, PLAIN = "\33[1m", "\33[2m", "\33[32m", "\33[1;31m", "\33[0m"


class Broken(Exception):
    """A line of the story does not hold, and those after it would make no sense; it has been shown already."""


class Teller:
    """Writes to `out`; `held` and `failed` count the lines that were checked."""

    def __init__(self, out: TextIO, *, colour: bool) -> None:
        self._out = out
        self._colour = colour
        self._blank = True  # no empty line at the very top, and never two together
        self.held = 0
        self.failed = 0

    def title(self, text: str) -> None:
        """The heading of a scene."""
        self._line()
        self._line(text, BOLD)
        self._line("-" * len(text), BOLD)
        self._line()

    def say(self, text: str) -> None:
        """A paragraph of prose; its own line breaks do not matter."""
        self._line(textwrap.fill(" ".join(text.split()), PROSE, break_on_hyphens=False, break_long_words=False))
        self._line()

    def quote(self, text: str) -> None:
        """Lines as they are: a configuration, a message."""
        for line in text.strip("\n").splitlines():
            for part in fold(line):
                self._line(f"  {part}" if part else "", FAINT)
        self._line()

    def typed(self, command: str, output: str) -> None:
        """A command as it was typed, and what it printed."""
        first, *rest = command.splitlines()
        self._line(f"$ {first}", BOLD)
        for line in rest:
            self._line(line, BOLD)
        for line in output.strip("\n").splitlines():
            self._line(line)
        self._line()

    def check(self, line: str, came: object, expected: object) -> bool:
        """Tell a line, and whether it holds: `came` equals `expected`, or the pattern is found in it."""
        if isinstance(expected, re.Pattern):
            holds, wanted = bool(expected.search(str(came))), f"something like {expected.pattern}"
        else:
            holds, wanted = came == expected, str(expected)
        if holds:
            self.held += 1
            self._marked("[ok] ", line, GREEN)
        else:
            self.fail(line, wanted, str(came))
        return holds

    def need(self, line: str, came: object, expected: object) -> None:
        """Check a line without which the rest of the story makes no sense. Raises `Broken`."""
        if not self.check(line, came, expected):
            raise Broken(line)

    def fail(self, line: str, expected: str, came: str) -> None:
        """Tell that a line does not hold."""
        self.failed += 1
        self._marked("[FAILED] ", line, RED)
        for label, text in (("expected: ", expected), ("came:     ", came)):
            self._wrapped("    " + label, text)

    def gap(self) -> None:
        """An empty line, after checks."""
        self._line()

    def _marked(self, mark: str, line: str, colour: str) -> None:
        painted = f"{colour}{mark}{PLAIN}" if self._colour else mark
        self._wrapped(mark, line, painted)

    def _wrapped(self, lead: str, text: str, painted: str | None = None) -> None:
        """`text` behind `lead`, its further lines below its first; whatever the text is, no line is too wide."""
        lines = [part for line in text.splitlines() or [""] for part in textwrap.wrap(line, WIDTH - len(lead)) or [""]]
        self._line((painted or lead) + lines[0])
        for line in lines[1:]:
            self._line(" " * len(lead) + line)

    def _line(self, text: str = "", style: str = "") -> None:
        if not text and self._blank:
            return
        self._blank = not text
        painted = f"{style}{text}{PLAIN}" if style and self._colour and text else text
        print(painted, file=self._out, flush=True)


def fold(line: str, width: int = WIDTH - 2) -> list[str]:
    """A line in pieces that fit, the further ones indented."""
    return textwrap.wrap(
        line, width, subsequent_indent="    ", drop_whitespace=True, break_on_hyphens=False, replace_whitespace=False
    ) or [""]


def command_line(argv: Sequence[str]) -> str:
    """The command as one would type it, broken with backslashes so that it fits; an option stays with its value."""
    words = [shlex.quote(word) for word in argv]
    pieces = [words[0]]
    for word in words[1:]:
        if word.startswith("-") or not pieces[-1].startswith("-") or " " in pieces[-1]:
            pieces.append(word)
        else:
            pieces[-1] += f" {word}"
    lines = [pieces[0]]
    for piece in pieces[1:]:
        if len(lines[-1]) + len(piece) + 5 > WIDTH:  # "$ " before, " \" behind, a space between
            lines[-1] += " \\"
            lines.append(f"    {piece}")
        else:
            lines[-1] += f" {piece}"
    return "\n".join(lines)
