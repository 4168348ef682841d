"""Original: the few header fields that Retour uses of the message that came back."""

from __future__ import annotations

import re

from retour_bounces.message import addresses
from retour_bounces.message.encoded_word import decoded
from retour_bounces.message.parts import MAX_HEADER_OCTETS, Header, Message, head_of, named
from retour_bounces.message.split_original import split_original
from retour_bounces.report import Original

_FIELDS = named("message-id", "retour-ref", "cfbl-feedback-id", "return-path", "from", "to", "subject")
_INDENT = re.compile(r"\n[> \t]{1,8}(?=[A-Za-z-]{2,40}:)")


def of(message: Message, text: str = "", envelope_id: str | None = None) -> Original:
    """The original of a report: from the part that holds it, else from the end of its `text`."""
    part = message.returned
    if part is not None:
        return from_header(head_of(part.body, part.whole), envelope_id)
    if text:
        return from_text(split_original(text)[1], envelope_id)
    return Original(envelope_id=envelope_id)


def from_text(text: str, envelope_id: str | None = None) -> Original:
    """Reads the returned message at the end of a text; quote marks and indents in front of its fields are
    forgiven."""
    block = _INDENT.sub("\n", "\n" + text[:MAX_HEADER_OCTETS].lstrip("\n")) if text else ""
    return from_header(head_of(block.encode("utf-8", "replace")), envelope_id)


def from_header(fields: Header, envelope_id: str | None = None) -> Original:
    """Reads the header of the returned message; what is missing is None."""
    found = fields.some(_FIELDS)
    to = addresses.every(decoded(found.get("to", "")[:4_000]))
    return Original(
        message_id=found.get("message-id", "").strip()[:998] or None,
        retour_ref=found.get("retour-ref", "").strip()[:200] or None,
        cfbl_feedback_id=found.get("cfbl-feedback-id", "").strip()[:200] or None,
        envelope_sender=addresses.first(found.get("return-path", "")[:4_000]),
        sender=addresses.first(found.get("from", "")[:4_000]),
        recipient=to[0] if len(to) == 1 else None,
        subject=" ".join(decoded(found.get("subject", "")[:4_000]).split())[:500] or None,
        envelope_id=envelope_id,
    )


def to_whom(back: Original) -> str | None:
    """The returned message's only recipient; None where what came back is a report itself, which went to its reader, or
    a message that hides its recipients."""
    sender = (back.sender or "").lower()
    return None if hides_recipients(back) or sender.startswith(("mailer-daemon@", "postmaster@")) else back.recipient


def hides_recipients(back: Original) -> bool:
    """Does the returned message name its author alone in its To field, as one does who has many recipients?"""
    return back.sender is not None and back.sender.lower() == (back.recipient or "").lower()
