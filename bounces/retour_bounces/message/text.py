"""Human text: what people read of a message."""

from __future__ import annotations

import html
import re

from retour_bounces.message import parts as wire
from retour_bounces.message.encoded_word import decoded
from retour_bounces.message.split_original import divide

_BREAK = re.compile(r"<(?:br|/p|/div|/tr|/h\d|/li|/td)\b[^<>]{0,300}>", re.IGNORECASE)
_TAG = re.compile(r"<(?![^<>@\s]{1,64}@)[/!a-zA-Z][^<>]{0,2000}>")
_STYLE = re.compile(r"<(style|script|head)\b.{0,20000}?</\1>", re.IGNORECASE | re.DOTALL)


def text_of(message: wire.Message) -> str:
    """What people read of a report: its plain text, or its HTML without marks."""
    if "text" not in message.known:
        message.known["text"] = _text_of(message)
    return str(message.known["text"])


def divided(message: wire.Message) -> tuple[str, str]:
    """The text of the report itself and that of the returned message."""
    if "divided" not in message.known:
        message.known["divided"] = divide(text_of(message))
    human, returned = message.known["divided"]
    return human, returned


def subject_of(message: wire.Message) -> str:
    """The Subject, decoded."""
    if "subject" not in message.known:
        message.known["subject"] = decoded(message.fields.get("subject")[:2_000])
    return str(message.known["subject"])


def _text_of(message: wire.Message) -> str:
    texts: list[str] = []
    for part in message.text_parts():
        if part.kind == "text/html":
            if not any("@" in text for text in texts):  # else the same again; a gateway's own lines name nobody
                texts.append(unmarked(part.text()))
        elif part.kind != wire.PREAMBLE:
            texts.append(part.text())
    if any(map(str.strip, texts)):
        return "\n".join(texts)
    return "\n".join(part.text() for part in message.text_parts())


def unmarked(text: str) -> str:
    """HTML as plain lines."""
    text = _STYLE.sub(" ", text[:200_000])
    return html.unescape(_TAG.sub("", _BREAK.sub("\n", text)))
