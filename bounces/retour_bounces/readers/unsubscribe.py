"""Unsubscribe: a message by which a mail program unsubscribes its user (RFC 2369 section 3.2)."""

from __future__ import annotations

import re

from retour_bounces.classify.rules import Rules
from retour_bounces.message import addresses
from retour_bounces.message.encoded_word import decoded
from retour_bounces.phrases.lists import phrases
from retour_bounces.phrases.normalise import plain
from retour_bounces.prose import mail_system
from retour_bounces.readers.view import View
from retour_bounces.report import Original, Report

_MARK = "x-apple-unsubscribe"
"""The field that Apple's programs set."""
_MARKS = (_MARK.encode(),)
_SUBJECT = re.compile(r"\W{0,4}unsubscribe(?:\W{1,4}(?=\S{0,300}[\d@=])\S{1,300})?\W{0,4}", re.IGNORECASE)
"""The Subject of such a message: the word alone, or with what identifies the subscription."""
MAX_TEXT_CHARACTERS = 500
"""Characters of a text in which a program says what it does."""


def read(view: View, rules: Rules) -> Report | None:
    """Reads a mail program's message; None where there is none, or a person asks in words of their own."""
    fields = view.fields
    is_marked = fields.mentions(_MARKS) and _MARK in fields
    if not is_marked and not _SUBJECT.fullmatch(view.subject.strip()):
        return None
    if view.is_from_mail_system or mail_system.is_list_mail(fields):
        return None
    if not is_marked and not _is_by_program(view):
        return None
    return Report(
        "unsubscribe",
        original=Original(message_id=fields.get("in-reply-to").strip()[:998] or None),
        recipient=addresses.first(decoded(fields.get("from")[:2_000])),
        truncated=view.message.truncated,
    )


def _is_by_program(view: View) -> bool:
    """Is there no text, or one in which a program says what it does?"""
    if mail_system.is_handed_on(view.fields) or view.message.truncated:
        return False
    text = plain(" ".join(view.text[: MAX_TEXT_CHARACTERS + 1].split()))
    if len(text) > MAX_TEXT_CHARACTERS:
        return False
    if not text or text == "unsubscribe" or phrases().preambles.any(text):
        return True
    is_away = phrases().autoreplies.any(text) or phrases().returning.any(text) or phrases().left.any(text)
    return view.fields.get("auto-submitted").lower().startswith("auto-") and not is_away
