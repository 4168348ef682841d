"""Output: tables for a terminal of 80 columns, and one JSON object a line for programs."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

WIDTH = 80
GAP = "  "

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


def print_json(values: dict[str, Any]) -> None:
    """One object on a line of its own."""
    click.echo(json.dumps(values, ensure_ascii=False))


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns as wide as they need to be; the last one is cut to the terminal's width."""
    table = [list(head), *(list(row) for row in rows)]
    widths = [max(len(row[n]) for row in table) for n in range(len(head))]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        left = GAP.join([*cells, ""]) if cells else ""
        click.echo((left + cut(row[-1], max(20, terminal_width() - len(left)))).rstrip())


def terminal_width() -> int:
    """Columns of the terminal; a pipe has no limit but that of reading."""
    return shutil.get_terminal_size((WIDTH, 24)).columns if sys.stdout.isatty() else 10_000


def cut(text: str, longest: int) -> str:
    """The text, its end replaced by an ellipsis where it is too long."""
    return text if len(text) <= longest else text[: longest - 1] + "…"
