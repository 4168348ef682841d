"""Auto-reply: an answer that no person wrote (RFC 3834), such as a holiday notice."""

from __future__ import annotations

from retour_bounces import address, original, wire
from retour_bounces.report import Original, Report
from retour_bounces.rules import Rules


def read(message: wire.Message, rules: Rules) -> Report | None:
    """Reads an auto-reply; None where the message does not call itself one."""
    if not message.fields.get("auto-submitted", "").strip().lower().startswith("auto-replied"):
        return None
    return Report(
        "autoreply",
        original=Original(message_id=message.fields.get("in-reply-to", "").strip()[:998] or None),
        reason="vacation",
        recipient=address.first(original.decoded(message.fields.get("from", "")[:2_000])),
        truncated=message.truncated,
    )
