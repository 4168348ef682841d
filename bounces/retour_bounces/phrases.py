"""Phrases: the bundled words by which a passage of text shows what it is about."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True, slots=True)
class Phrases:
    """Lists of phrases in lower case, and the expressions made of them."""

    senders: tuple[str, ...]
    subjects: tuple[str, ...]
    failed: tuple[str, ...]
    delayed: tuple[str, ...]
    delivered: tuple[str, ...]
    label: re.Pattern[str]
    """Words before a recipient, up to the address."""
    separator: re.Pattern[str]
    """A line, without the marks in front, behind which the returned message stands."""


def any_of(phrases: tuple[str, ...], text: str) -> str | None:
    """The first of `phrases` that stands in `text`, or None."""
    for phrase in phrases:
        if phrase in text:
            return phrase
    return None


@cache
def phrases() -> Phrases:
    """The bundled phrases."""
    rows, lines = _table("phrases"), _table("separators")["lines"]
    labels = "|".join(re.escape(word) for word in sorted(rows.pop("labels"), key=len, reverse=True))
    return Phrases(
        **{name: tuple(words) for name, words in rows.items()},
        label=re.compile(rf"(?:^|[\s*(.-])(?:{labels})\s{{0,3}}[:=]?\s{{0,20}}(?:rfc822;)?\s{{0,3}}[\"'<(\[]{{0,2}}$"),
        separator=re.compile("|".join(lines)),
    )


def _table(name: str) -> dict[str, Any]:
    raw = resources.files("retour_bounces").joinpath(f"data/{name}.toml").read_text(encoding="utf-8")
    return tomllib.loads(raw)
