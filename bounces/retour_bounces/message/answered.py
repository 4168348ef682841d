"""Answered: the Message-IDs that a report names in its own header as those of what it answers."""

from __future__ import annotations

import re

from retour_bounces.message.parts import Header, named

MAX_ANSWERED = 5
"""Message-IDs of one report; in a long thread the last ones are those of the latest message."""
MAX_FIELD_CHARACTERS = 8_000
_NAMES = ("x-original-message-id", "original-message-id", "in-reply-to", "references")
_FIELDS = named(*_NAMES)
_MESSAGE_ID = re.compile(r"<[^<>\s]{1,990}>")


def of(fields: Header) -> tuple[str, ...]:
    """The Message-IDs in a header's X-Original-Message-ID, In-Reply-To and References (RFC 5322 section 3.6.4)."""
    values = fields.some(_FIELDS)
    found: list[str] = []
    for name in _NAMES if values else ():
        found += reversed(_MESSAGE_ID.findall(values.get(name, "")[-MAX_FIELD_CHARACTERS:]))
    return tuple(dict.fromkeys(found))[:MAX_ANSWERED]
