"""Complaint: an abuse report (RFC 5965) of a person who pressed "spam", or of one who pressed "not spam"."""

from __future__ import annotations

import re
from dataclasses import replace

from retour_bounces.classify.rules import Rules
from retour_bounces.message import addresses
from retour_bounces.message.parts import Header, Message, head_of
from retour_bounces.readers.view import View
from retour_bounces.report import Original, Report

_RECIPIENTS = ("original-rcpt-to", "removal-recipient", "x-original-recipient")
_TYPE = re.compile(r"^(?:feedback-type|user-agent|version)[ \t]*:", re.IGNORECASE | re.MULTILINE)
_FEEDBACK_TYPE = re.compile(r"\([^)]*\)|[^a-z0-9-]")
"""What is not part of a Feedback-Type: comments, spaces."""
MAX_TYPE_CHARACTERS = 32
_RETURNED = ("x-hmxmroriginalrecipient", "x-original-to", "delivered-to")
"""Fields of the returned message that tell the recipient; the first is how Outlook.com forwards what it
got."""


def read(view: View, rules: Rules) -> Report | None:
    """Reads a message with a feedback report, or Outlook.com's forwarded complaint; None where there is
    neither."""
    message = view.message
    part = next((p for p in message.parts if p.kind == "message/feedback-report"), None)
    returned = message.returned
    named_so = message.report_type == "feedback-report"
    if part is None and not named_so and returned is None:
        return None
    header = head_of(returned.body, returned.whole) if returned else Header()
    if part is None and not named_so and not _is_forwarded(message, header):
        return None
    fields = _fields(part.text() if part else view.text)
    kind = _FEEDBACK_TYPE.sub("", fields.get("feedback-type").lower())[:MAX_TYPE_CHARACTERS] or None
    if part is None and not named_so:
        kind = "abuse"  # Outlook.com forwards what people call spam, and says no more
    back = view.attached_original or Original()
    if back.message_id is None and fields.get("original-message-id"):
        back = replace(back, message_id=fields.get("original-message-id")[:998])
    if sender := addresses.first(fields.get("original-mail-from")[:4_000]):
        back = replace(back, envelope_sender=sender)
    named = [addresses.first(fields.get(name)) for name in _RECIPIENTS]
    named += [addresses.first(header.get(name)) for name in _RETURNED[:1]]
    return Report(
        "complaint",
        original=back,
        reason=kind,
        recipient=next((one for one in named if one), back.recipient),
        truncated=message.truncated,
    )


def _fields(text: str) -> Header:
    """The fields of a feedback report, from the first that it must have."""
    start = _TYPE.search(text)
    return Header(text[start.start() if start else 0 :].encode("utf-8", "replace"))


def _is_forwarded(message: Message, header: Header) -> bool:
    subject = message.fields.get("subject").strip().lower()
    return _RETURNED[0] in header or (bool(header) and subject.startswith("complaint about message from"))
