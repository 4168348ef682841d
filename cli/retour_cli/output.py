"""Output: tables for a terminal of 80 columns, and one JSON object a line for programs."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import click

LINE_CHARACTERS = 80
MIN_COLUMN_WIDTH = 8
GAP = "  "

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


_LOST = (errno.ENOSPC, errno.EPIPE, errno.EIO, errno.EDQUOT, errno.EFBIG, errno.EBADF)


_whole = False  # what is printed is of use only as a whole


class OutputLost(Exception):
    """Standard output is closed, or its disk is full: what was printed is not all."""

    exit_status = 1


@contextlib.contextmanager
def output_complete() -> Iterator[None]:
    """What the block prints is written when it ends. Raises `OutputLost`, also in the place of a `SystemExit`.

    Where the reader of a pipe has gone, only a command that `prints_as_a_whole` says so.

    What a terminal's encoding lacks is shown by its number.
    """
    global _whole
    _whole = False
    _reconfigure(errors="backslashreplace")
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.errno not in _LOST or error.filename is not None:
            raise  # of another file, which the error names
        _print_nowhere()
        if error.errno == errno.EPIPE and not _whole:
            raise SystemExit(OutputLost.exit_status) from None  # as with `| head`: the reader has seen enough
        raise OutputLost(f"standard output: {error.strerror}; what was printed is not complete") from None


def prints_as_a_whole() -> None:
    """What this command prints is of use only if its reader gets all of it, as with an export."""
    global _whole
    _whole = True


def print_in_utf_8() -> None:
    """Whatever the locale says: for what programs read."""
    if sys.stdout.encoding.lower().replace("-", "") != "utf8":
        _reconfigure(encoding="utf-8", errors="surrogateescape")


def _reconfigure(**settings: str) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(**settings)  # type: ignore[arg-type]


def _print_nowhere() -> None:
    """From now on: else Python would try again to write what is left, and fail, at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def print_json(values: dict[str, Any]) -> None:
    """One object on a line of its own, in UTF-8 (RFC 8259 section 8.1)."""
    print_in_utf_8()
    text = json.dumps(values, ensure_ascii=False)
    click.echo(text if text.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text))


def printable(text: str) -> str:
    """`text`, with what a terminal could act on (escape sequences, line ends, writing direction) made visible."""
    return _replaced(text, _visible)


def spaced(text: str) -> str:
    """`text`, with a space in place of each such character: easier to read in text that was folded into lines."""
    return _replaced(text, lambda _: " ")


def say(*lines: str, err: bool = False) -> None:
    """Print lines with values from outside; a line end in such a value is shown, not printed."""
    click.echo("\n".join(map(printable, lines)), err=err)


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns as wide as they need to be, or as the terminal lets them: the widest are cut first."""
    table = [list(head), *([printable(cell) for cell in row] for row in rows)]
    widths = fit([max(len(row[n]) for row in table) for n in range(len(head))], terminal_width())
    for row in table:
        cells = [shortened(cell, width).ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        click.echo(GAP.join([*cells, cut(row[-1], widths[-1])]).rstrip())


def fit(widths: Sequence[int], total: int) -> list[int]:
    """`widths` so that columns and gaps fit into `total`; none narrower than `MIN_COLUMN_WIDTH`."""
    fitted = list(widths)
    room = total - len(GAP) * (len(fitted) - 1)
    while sum(fitted) > room and max(fitted) > MIN_COLUMN_WIDTH:
        fitted[fitted.index(max(fitted))] -= 1
    return fitted


def terminal_width() -> int:
    """Columns of the terminal; for a pipe a width that can be read."""
    return shutil.get_terminal_size((LINE_CHARACTERS, 24)).columns if sys.stdout.isatty() else 10_000


def wrapped(label: str, text: str, *, of_report: bool = False) -> list[str]:
    """Label and text in lines of 80 columns, with a hanging indent.

    A long word, such as a path, stays whole, to be copied. What stands in a report (`of_report`) may be folded into
    lines, which become spaces, or be one long word, which is broken.
    """
    indent = " " * len(label)
    return textwrap.wrap(
        spaced(text) if of_report else printable(text), LINE_CHARACTERS, initial_indent=label, subsequent_indent=indent,
        break_long_words=of_report, break_on_hyphens=False,
    ) or [label.rstrip()]  # fmt: skip


def counted(number: int, noun: str) -> str:
    """A number and what it is of: "1 address", "2 addresses"."""
    return f"{number} {noun}" + ("" if number == 1 else "es" if noun.endswith("s") else "s")


def cut(text: str, longest: int) -> str:
    """The text, its end replaced by an ellipsis if it is too long."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def shortened(text: str, longest: int) -> str:
    """The text, its middle replaced by an ellipsis if it is too long: an address keeps its domain."""
    tail = (longest - 1) // 2
    return text if len(text) <= longest else f"{text[: longest - 1 - tail]}…{text[len(text) - tail :]}"


def _replaced(text: str, replacement: Callable[[str], str]) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else replacement(c) for c in text)


def _visible(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
