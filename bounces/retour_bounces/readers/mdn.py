"""Receipt: a disposition notification (RFC 8098), which says that a message was displayed or deleted."""

from __future__ import annotations

from retour_bounces.classify.rules import Rules
from retour_bounces.message import addresses as address
from retour_bounces.message import original
from retour_bounces.message import parts as wire
from retour_bounces.report import Original, Report

_KINDS = ("message/disposition-notification", "message/global-disposition-notification")


def read(message: wire.Message, rules: Rules) -> Report | None:
    """Reads a read receipt; None where the message is none."""
    part = next((p for p in message.parts if p.kind in _KINDS), None)
    if part is None and message.report_type != "disposition-notification":
        return None
    fields = wire.Header(part.text().encode("utf-8", "replace")) if part else wire.Header()
    headers = original.of(message)
    if headers.message_id is None and "original-message-id" in fields:
        headers = Original(message_id=fields.get("original-message-id").strip()[:998] or None)
    who = fields.get("final-recipient") or fields.get("original-recipient") or ""
    _, _, what = fields.get("disposition", "").partition(";")
    return Report(
        "mdn",
        original=headers,
        reason=what.strip().split("/")[0].strip().lower()[:40] or None,
        recipient=address.first(address.typed(who)[1]) if who else None,
        truncated=message.truncated,
    )
