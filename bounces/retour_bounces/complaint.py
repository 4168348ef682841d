"""Complaint: an abuse report (RFC 5965) of a person who pressed "spam", or of one who pressed "not spam"."""

from __future__ import annotations

import re

from retour_bounces import address, original, wire
from retour_bounces.report import Original, Report
from retour_bounces.rules import Rules

_RECIPIENTS = ("original-rcpt-to", "removal-recipient", "x-original-recipient", "redacted-address")


def read(message: wire.Message, rules: Rules) -> Report | None:
    """Reads a message with a feedback report; None where there is none."""
    part = next((p for p in message.parts if p.kind == "message/feedback-report"), None)
    if part is None:
        return None
    fields = wire.Header(part.text().encode("utf-8", "replace"))
    headers = original.of(message)
    kind = re.sub(r"[^a-z0-9-]", "", fields.get("feedback-type", "abuse").lower())[:40] or "abuse"
    named = (address.first(fields.get(name, "")) for name in _RECIPIENTS)
    return Report(
        "complaint",
        original=headers,
        reason=kind,
        recipient=next((one for one in named if one), headers.recipient),
        truncated=message.truncated,
    )
