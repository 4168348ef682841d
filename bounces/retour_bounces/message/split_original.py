"""Split original: where a report's own text ends and the message that it returns begins."""

from __future__ import annotations

import re

from retour_bounces.message import addresses
from retour_bounces.phrases.lists import phrases
from retour_bounces.phrases.normalise import plain

MAX_HEADER_CHARACTERS = 20_000
"""Characters of the returned message in which its sender is looked for."""
_MARKS = " \t-=*_#>|~+.:"
_HEADER = re.compile(r"(?:received|return-path|message-id|from|to|date|subject|mime-version|content-type|x-[a-z-]+):")


def split_original(text: str) -> tuple[str, str]:
    """The part of `text` that was written about the returned message, without its signature (RFC 3676 section 4.3), and
    the returned message itself."""
    separator = phrases().separator
    at = signature = 0
    for number, line in enumerate(text.split("\n")):
        bare = line.strip(_MARKS)
        if not bare and line[:2] == "--" and line.rstrip() == "--":
            signature = at
        if bare and len(bare) < 200 and (number or not bare.startswith("rec")) and separator.match(bare.lower()):
            is_header = _HEADER.match(bare.lower()) is not None
            return _unsigned(text[:at], signature), text[at if is_header else at + len(line) + 1 :]
        at += len(line) + 1
    return _unsigned(text, signature), ""


def _unsigned(text: str, signature: int) -> str:
    """`text` up to its signature; all of it where the two dashes are a rule, and who failed stands only behind them."""
    if not signature or "@" in text[:signature]:
        return text[: signature or None]
    told_below = phrases().actions.any(plain(text[signature : signature + 2_000]))
    return text if told_below else text[:signature]


def senders(returned: str) -> list[str]:
    """Who wrote the returned message, in lower case."""
    start = 0 if returned.startswith("From:") else returned.find("\nFrom:", 0, MAX_HEADER_CHARACTERS)
    if start < 0 or "\n\n" in returned[:start].lstrip("\n"):
        return []
    line, _, _ = returned[start : start + 1_000].lstrip("\n").partition("\n")
    return addresses.written(line.lower())
