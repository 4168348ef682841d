"""Status codes: type and blame of each enhanced status code, before any rule has looked at the words (RFC 3463)."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

from retour_bounces.report import Blame, Type

NO_CODE = "9.1.1"
"""Stands for a lasting failure in which no code was found."""

STATUS = re.compile(r"([245])(?<![\d.].)\.(\d{1,3})\.(\d{1,3})(?![\d.]*\d)")
"""An enhanced status code (RFC 3463 section 2) in running text."""
_REFUSAL = r"\b{0}\d\d(?:[ -]|$)|\b{0}\.\d{{1,3}}\.\d{{1,3}}\b"
PERMANENT = re.compile(_REFUSAL.format("5"), re.MULTILINE)
"""A code by which a server refuses for good."""
TEMPORARY = re.compile(_REFUSAL.format("4"), re.MULTILINE)
"""A code by which a server refuses for now."""


@dataclass(frozen=True, slots=True)
class Code:
    """One line of the code table."""

    status: str
    type: Type
    blame: Blame
    text: str
    """What the code means, one line."""
    reason: str | None = None
    """The likeliest reason, None where the code says too little."""


@cache
def codes() -> dict[str, Code]:
    """The whole table, 49 lines by status code, in its order."""
    return {row["status"]: Code(**row) for row in _data()["code"]}


@cache
def extensions() -> dict[str, Code]:
    """Codes that were registered since the table was written; their type is that of their subject's "other"
    code."""
    table = codes()
    return {row["status"]: Code(type=table[_subject(row["status"])].type, **row) for row in _data()["extension"]}


@cache
def find(status: str | None) -> Code:
    """The line for `status`, "5.1.1"; `None` or what is no code at all gives the line of 9.1.1.

    A code of class 4 has the blame and the text of its class 5 twin and is soft. A code that nothing
    knows (5.4.312) counts as the "other" code of its subject (5.4.0), or of its class (5.0.0).
    """
    table = codes()
    match = STATUS.fullmatch(status or "")
    if match is None or match[1] == "2":
        return table[NO_CODE]
    exact = f"5.{match[2]}.{match[3]}"
    row = table.get(exact) or extensions().get(exact) or table.get(_subject(exact)) or table["5.0.0"]
    return replace(row, status=str(status), type="soft" if match[1] == "4" else row.type)


def _subject(status: str) -> str:
    return status[: status.rindex(".")] + ".0"


@cache
def _data() -> dict[str, Any]:
    raw = resources.files("retour_bounces").joinpath("data/codes.toml").read_text(encoding="utf-8")
    return tomllib.loads(raw)
