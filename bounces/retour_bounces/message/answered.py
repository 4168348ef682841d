"""Answered: the Message-IDs that a report names in its own header as those of what it answers."""

from __future__ import annotations

import re

from retour_bounces.message.parts import Header

MAX_ANSWERED = 5
"""Message-IDs of one report; in a long thread the last ones are those of the latest message."""
MAX_FIELD_CHARACTERS = 8_000
_FIELDS = ("x-original-message-id", "original-message-id", "in-reply-to", "references")
_MARKS = (b"original-message-id", b"in-reply-to", b"references")
_MESSAGE_ID = re.compile(r"<[^<>\s]{1,990}>")


def of(fields: Header) -> tuple[str, ...]:
    """The Message-IDs in a header's X-Original-Message-ID, In-Reply-To and References (RFC 5322 section 3.6.4)."""
    if not fields.mentions(_MARKS):
        return ()
    found: list[str] = []
    for name in _FIELDS:
        found += reversed(_MESSAGE_ID.findall(fields.get(name)[-MAX_FIELD_CHARACTERS:]))
    return tuple(dict.fromkeys(found))[:MAX_ANSWERED]
