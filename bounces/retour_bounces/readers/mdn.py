"""MDN: a message disposition notification (RFC 8098), which says that a message was displayed or deleted."""

from __future__ import annotations

from retour_bounces.classify.rules import Rules
from retour_bounces.message import addresses
from retour_bounces.message.parts import Header
from retour_bounces.readers.view import View
from retour_bounces.report import Original, Report

_KINDS = ("message/disposition-notification", "message/global-disposition-notification")


def read(view: View, rules: Rules) -> Report | None:
    """Reads a read receipt; None where the message is none."""
    message = view.message
    part = next((p for p in message.parts if p.kind in _KINDS), None)
    if part is None and message.report_type != "disposition-notification":
        return None
    fields = Header(part.text().encode("utf-8", "replace")) if part else Header()
    headers = view.attached_original or Original()
    if headers.message_id is None and "original-message-id" in fields:
        headers = Original(message_id=fields.get("original-message-id").strip()[:998] or None)
    who = fields.get("final-recipient") or fields.get("original-recipient") or ""
    _, _, what = fields.get("disposition", "").partition(";")
    return Report(
        "mdn",
        original=headers,
        reason=what.strip().split("/")[0].strip().lower()[:40] or None,
        recipient=addresses.first(addresses.typed(who)[1]) if who else None,
        truncated=message.truncated,
    )
