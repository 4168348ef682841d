"""MDN: a message disposition notification (RFC 8098), which says that a message was displayed or deleted, or, where a
filter sent it (RFC 5429 section 2.2), that the message was refused."""

from __future__ import annotations

import re

from retour_bounces.classify.rules import Rules
from retour_bounces.classify.verdict import Judge, Verdict, recipient_report, with_reason
from retour_bounces.message import addresses
from retour_bounces.message.parts import Header
from retour_bounces.phrases.lists import phrases
from retour_bounces.phrases.normalise import plain
from retour_bounces.readers.view import View
from retour_bounces.report import Original, Report

_KINDS = ("message/disposition-notification", "message/global-disposition-notification")
_UNREAD = {"deleted", "denied", "failed", ""}
"""Dispositions of a message that nobody got to see (RFC 8098 section 3.2.6.2, RFC 3798 section 3.2.6)."""
_ROW = re.compile(r"^\W{0,8}\w[\w -]{0,30}[:：][ \t]+\S.*$", re.MULTILINE)
"""A row such as "Subject: ...": what it repeats of the message says nothing of its fate."""
_HEADING = re.compile(r":[ \t]*\n")
"""The end of a line behind which the reason stands."""
MAX_TEXT_CHARACTERS = 3_000
"""Characters of the text in which a refusal is looked for."""


def read(view: View, rules: Rules) -> Report | None:
    """Reads a read receipt, or a refusal in its form, which is a bounce; None where the message is neither."""
    message = view.message
    part = next((p for p in message.parts if p.kind in _KINDS), None)
    if part is None and message.report_type != "disposition-notification":
        return None
    fields = Header(part.text().encode("utf-8", "replace")) if part else Header()
    headers = view.attached_original or Original()
    if headers.message_id is None and "original-message-id" in fields:
        headers = Original(message_id=fields.get("original-message-id").strip()[:998] or None)
    who = _address(fields.get("final-recipient")) or _address(fields.get("original-recipient"))
    mode, _, what = fields.get("disposition", "").lower().partition(";")
    what = what.strip().split("/")[0].strip()[:40]
    if _refuses(view, mode, what):
        before = _address(fields.get("original-recipient"))
        report = recipient_report(who, before, "failed", _verdict(view.own_text, rules))
        return Report("bounce", (report,), headers, truncated=message.truncated)
    return Report("mdn", original=headers, reason=what or None, recipient=who, truncated=message.truncated)


def _address(value: str) -> str | None:
    return addresses.first(addresses.typed(value[:1_000])[1]) if value else None


def _refuses(view: View, mode: str, what: str) -> bool:
    """Does it say that a filter refused the message, by a mark or in words? Programs also tell so that a message was
    deleted unread."""
    if "reject" in view.fields.get("auto-submitted").lower():
        return what in _UNREAD
    if what != "deleted" or not mode.strip().startswith("automatic-action"):
        return False
    return phrases().refusals.any(plain(_ROW.sub("", view.own_text[:MAX_TEXT_CHARACTERS])))


def _verdict(text: str, rules: Rules) -> Verdict:
    """What the words of a filter say; where no rule knows them, that it was one."""
    heading = _HEADING.search(text[:MAX_TEXT_CHARACTERS])
    said = text[heading.end() :].strip() if heading else ""
    verdict = Judge(rules)(said or text)
    is_vague = verdict.rule is None or verdict.rule in rules.vague or verdict.reason == "policyviolation"
    return with_reason(verdict, "filtered") if is_vague else verdict  # that it was refused is known
