"""Lists of phrases: the bundled words by which a passage of text shows what it is about."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from retour_bounces.phrases.index import PhraseIndex
from retour_bounces.phrases.normalise import plain
from retour_bounces.report import Action


@dataclass(frozen=True, slots=True)
class Phrases:
    """Lists of phrases in lower case, and the expressions made of them."""

    senders: PhraseIndex[None]
    subjects: PhraseIndex[None]
    autoreplies: PhraseIndex[None]
    left: PhraseIndex[None]
    waiting: PhraseIndex[None]
    """Words of any hope that a message may still be delivered."""
    returning: PhraseIndex[None]
    """What those write who are away but not gone."""
    challenges: PhraseIndex[None]
    addressed: PhraseIndex[None]
    """What the text of a report says to its readers, about their own mail."""
    summaries: PhraseIndex[None]
    """What the Subject of statistics and digests says, which tell of many messages."""
    incoming: PhraseIndex[None]
    """What a notice to the recipient of a message says."""
    goods: PhraseIndex[None]
    """What the Subject names that is no mail."""
    refusals: PhraseIndex[None]
    """What a filter says of a message that it refused."""
    preambles: PhraseIndex[None]
    """What a program says of its message before it comes to what it has to tell."""
    actions: PhraseIndex[Action]
    """Phrases that say that a passage is about a failed, a delayed or a successful delivery."""
    label: re.Pattern[str]
    """Words before a recipient, up to the address."""
    separator: re.Pattern[str]
    """A line, without the marks in front, behind which the returned message stands."""


_LISTS = (
    "senders", "subjects", "autoreplies", "left", "waiting", "returning", "challenges", "addressed", "summaries",
    "incoming", "goods", "refusals", "preambles",
)  # fmt: skip


@cache
def phrases() -> Phrases:
    """The bundled phrases."""
    rows, lines = _table("phrases"), _table("separators")["lines"]
    labels = "|".join(re.escape(word) for word in sorted(rows["labels"], key=len, reverse=True))
    actions: tuple[Action, ...] = ("failed", "delayed", "delivered")
    return Phrases(
        **{name: _index(rows[name]) for name in _LISTS},
        actions=PhraseIndex((plain(word), action) for action in actions for word in rows[action]),
        label=re.compile(
            rf"(?:^|[\s*(.-])(?:{labels})\s{{0,3}}[:=：]?\s{{0,20}}\[?(?:rfc822;|smtp:)?\s{{0,3}}[\"'<(\[]{{0,2}}$"
        ),
        separator=re.compile("|".join(lines)),
    )


def _index(words: list[str]) -> PhraseIndex[None]:
    return PhraseIndex((plain(word), None) for word in words)


def _table(name: str) -> dict[str, Any]:
    raw = resources.files("retour_bounces").joinpath(f"data/{name}.toml").read_text(encoding="utf-8")
    return tomllib.loads(raw)
