"""Text: what people read of a message."""

from __future__ import annotations

import html
import re

from retour_bounces.message.parts import PREAMBLE, Message

_BREAK = re.compile(r"<(?:br|/p|/div|/tr|/h\d|/li|/td)\b[^<>]{0,300}>", re.IGNORECASE)
_TAG = re.compile(r"<(?![^<>@\s]{1,64}@)[/!a-zA-Z][^<>]{0,2000}>")
_STYLE = re.compile(r"<(style|script|head)\b.{0,20000}?</\1>", re.IGNORECASE | re.DOTALL)


def text_of(message: Message) -> str:
    """What people read of a report: its plain text, or its HTML without marks."""
    texts: list[str] = []
    for part in message.text_parts():
        if part.kind == "text/html":
            if not any("@" in text for text in texts):  # else the same again; a gateway's own lines name nobody
                texts.append(unmarked(part.text()))
        elif part.kind != PREAMBLE:
            texts.append(part.text())
    if any(map(str.strip, texts)):
        return "\n".join(texts)
    return "\n".join(part.text() for part in message.text_parts())


def unmarked(text: str) -> str:
    """HTML as plain lines."""
    text = _STYLE.sub(" ", text[:200_000])
    return html.unescape(_TAG.sub("", _BREAK.sub("\n", text)))
