"""Amazon SES: its JSON about a bounce, a complaint or a delivery, as Amazon's notification service mails it."""

from __future__ import annotations

import json
import re
from typing import Any

from retour_bounces.classify.rules import Rules
from retour_bounces.classify.status_codes import STATUS
from retour_bounces.classify.verdict import Judge, recipient_report
from retour_bounces.message import addresses
from retour_bounces.message.parts import Message, Part
from retour_bounces.readers.view import View
from retour_bounces.report import Action, Original, RecipientReport, Report, kind_of

_START = re.compile(r'\{\s*"(?:notificationType|eventType|Type|bounce|complaint|delivery)"\s*:')
_FOLD = re.compile(r"!?\n ?")
_RECIPIENTS: dict[str, tuple[str, Action]] = {
    "bounce": ("bouncedRecipients", "failed"),
    "delivery": ("recipients", "delivered"),
    "deliverydelay": ("delayedRecipients", "delayed"),
}
MAX_RECIPIENTS = 10_000


def read(view: View, rules: Rules) -> Report | None:
    """Reads the JSON in a message's text; None where there is none, or it is about something else."""
    readable = view.message.text_parts()
    text = next((part.text() for part in readable if b"otificationType" in part.body or b"eventType" in part.body), "")
    if not text:
        text = next((t for part in readable if _is_encoded(part) and "otificationType" in (t := part.text())), "")
    start = _START.search(text)
    if start is None or (text[: start.start()].strip() and not _is_amazon(view.message)):
        return None  # behind other words a person quotes it
    notice = _object(text[start.start() :])
    if notice is None:
        return None
    kind = str(notice.get("notificationType") or notice.get("eventType") or "").lower()
    body = notice.get("deliveryDelay" if kind == "deliverydelay" else kind)
    if not isinstance(body, dict):
        return None
    if kind == "complaint":
        return _complaint(notice, body)
    return _delivery(notice, kind, body, rules) if kind in _RECIPIENTS else None


def _is_amazon(message: Message) -> bool:
    return "@sns.amazonaws.com" in message.fields.get("from").lower()


def _is_encoded(part: Part) -> bool:
    return part.fields.get("content-transfer-encoding").lower().startswith(("base64", "quoted"))


def _object(text: str) -> dict[str, Any] | None:
    """The JSON object that `text` begins with; line breaks that a mail program put in are taken out."""
    for attempt in (text, _FOLD.sub("", text)):
        try:
            found, _ = json.JSONDecoder(strict=False).raw_decode(attempt)
        except (ValueError, RecursionError):
            continue
        inner = found.get("Message") if isinstance(found, dict) else None
        if isinstance(inner, str) and inner.lstrip().startswith("{"):
            return _object(inner.lstrip())
        return found if isinstance(found, dict) else None
    return None


def _delivery(notice: dict[str, Any], kind: str, body: dict[str, Any], rules: Rules) -> Report | None:
    key, action = _RECIPIENTS[kind]
    judge = Judge(rules)
    rows = body.get(key)
    reports = [
        one
        for row in (rows if isinstance(rows, list) else [])[:MAX_RECIPIENTS]
        if (one := _recipient(row, action, body, judge))
    ]
    if not reports:
        return None
    return Report(kind_of(tuple(reports)), tuple(reports), _original(notice))


def _recipient(row: Any, action: Action, body: dict[str, Any], judge: Judge) -> RecipientReport | None:
    fields = row if isinstance(row, dict) else {"emailAddress": row}
    name = addresses.first(str(fields.get("emailAddress", ""))[:1_000])
    if name is None:
        return None
    if action == "delivered":
        return recipient_report(name, None, action, None, str(body.get("smtpResponse", ""))[:3_000])
    subtype = str(body.get("bounceSubType") or body.get("delayType") or "")
    words = {
        "MailboxFull": "mailbox full",
        "Suppressed": "on the suppression list",
        "OnAccountSuppressionList": "on the suppression list",
    }
    status = str(fields.get("status", ""))[:20]
    diagnostic = str(fields.get("diagnosticCode", ""))[:3_000].removeprefix("smtp;")
    known = status if STATUS.fullmatch(status) else None
    verdict = judge(diagnostic, known, "", (words.get(subtype, ""), subtype))
    return recipient_report(name, None, action, verdict)


def _complaint(notice: dict[str, Any], body: dict[str, Any]) -> Report:
    rows = body.get("complainedRecipients")
    first = rows[0] if isinstance(rows, list) and rows and isinstance(rows[0], dict) else {}
    kind = re.sub(r"[^a-z0-9-]", "", str(body.get("complaintFeedbackType") or "abuse").lower())[:32]
    return Report(
        "complaint",
        original=_original(notice),
        reason=kind or "abuse",
        recipient=addresses.first(str(first.get("emailAddress", ""))[:1_000]),
    )


def _original(notice: dict[str, Any]) -> Original:
    mail = notice.get("mail")
    if not isinstance(mail, dict):
        return Original()
    rows = mail.get("headers")
    fields = {
        str(row.get("name", "")).lower(): str(row.get("value", ""))[:998]
        for row in (rows if isinstance(rows, list) else [])[:200]
        if isinstance(row, dict)
    }
    to = addresses.every(fields.get("to", ""))
    return Original(
        message_id=fields.get("message-id"),
        retour_ref=fields.get("retour-ref"),
        sender=addresses.first(fields.get("from", "")),
        recipient=to[0] if len(to) == 1 else None,
        subject=fields.get("subject"),
    )
