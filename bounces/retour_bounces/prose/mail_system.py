"""Mail system: the signs that tell a mail system's own words from those of a person, a list or a shop."""

from __future__ import annotations

import re

from retour_bounces.message.encoded_word import decoded
from retour_bounces.message.parts import Header
from retour_bounces.message.split_original import split_original
from retour_bounces.phrases.index import PhraseIndex
from retour_bounces.phrases.lists import phrases
from retour_bounces.phrases.normalise import plain

_REFUSAL = re.compile(r"\b[45]\d\d[ -](?:#?[45]\.\d{1,3}\.\d{1,3}\b|<?[^\s@<>]{1,64}@)|\(#[45]\.\d\.\d\)")
"""A reply code with an enhanced status code or an address behind it, or a status code as qmail writes it."""
_LIST_FIELDS = frozenset((b"list-id", b"list-unsubscribe", b"list-post"))
_ANSWER = re.compile(
    r"\s*(?:fwd?|aw|rv|wg|tr|sv|vs|vb|vl|antw|doorst|rif|enc|res|pd|odp|ynt|ilt|fs|továbbítás|отв|ha|пересл\w*|转发|轉寄|答复|回复|回覆|転送|返信|회신|전달)"
    r"\s?[:：]",
    re.IGNORECASE,
)
"""Marks in front of a Subject by which people's programs show an answer or a forwarded mail. "Re:" is not
among them: mail systems keep it."""
_WORD = re.compile(r"[^\W_]")
_GREETING = re.compile(
    r"^(?:(?:[^\n?.]|\.(?=\w)){1,60}(?:[,!，！]|様|各位)"
    r"|(?:dear|estimad|prezad|sehr geehrt|уважаем|尊敬的)[^\n?.,]{1,60}[:：])$",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?] |。")
_USUAL_SENDERS = ("mailer-daemon", "postmaster@", "postmaster <", 'postmaster"', "mail delivery")
MAX_REFUSAL_CHARACTERS = 50_000
"""Characters of a text in which a refusal, or the returned message, is looked for."""


def has_envelope(fields: Header) -> bool:
    """Is the envelope's sender a mail system, whoever the author is?"""
    return "mailer-daemon" in fields.get("return-path").lower()


def is_author(fields: Header) -> bool:
    """Does the From or the Sender field name a mail system, or nobody?"""
    sender = f"{fields.get('from')} {fields.get('sender')}"[:2_000].lower()
    if any(name in sender for name in _USUAL_SENDERS):
        return True
    return is_nobody(fields) or _holds(phrases().senders, sender)


def is_nobody(fields: Header) -> bool:
    """Is the From field there and empty, or "<>", as the envelope's sender is? No person and no list writes so."""
    return not fields.get("from", "missing").strip(" \t\n<>\"'") and fields.get("return-path", "<>") == "<>"


def is_list_mail(fields: Header) -> bool:
    """Do the fields of a mailing list stand in the header (RFC 2369, RFC 2919)?"""
    return fields.holds_any(_LIST_FIELDS)


def is_answer(fields: Header) -> bool:
    """Does a person (or a person's program) answer or pass something on here?"""
    return is_auto_reply(fields) or is_handed_on(fields)


def is_auto_reply(fields: Header) -> bool:
    """Does it say that a program answers (RFC 3834 section 5)? Mail systems say so of their reports too."""
    return fields.get("auto-submitted").lower().startswith("auto-replied")


def is_handed_on(fields: Header) -> bool:
    """Do its fields look as if a person answers or passes something on?"""
    return "in-reply-to" in fields or _ANSWER.match(decoded(fields.get("subject")[:80])) is not None


def is_re(subject: str) -> bool:
    """Does the Subject begin with "Re:"?"""
    return subject.lstrip()[:3].lower() == "re:"


def is_machine(fields: Header, attached: bool) -> bool:
    """Does the message come from an address at which no person or list writes? It may have a returned message
    `attached`."""
    path = fields.get("return-path").strip().lower()
    if "mailer-daemon" in f"{fields.get('from')[:2_000].lower()} {path}":
        return True
    return not is_list_mail(fields) and (path == "<>" or (attached and not path))


def names_failure(subject: str) -> bool:
    """Does the Subject tell of a report?"""
    return _holds(phrases().subjects, subject)


def names_goods(subject: str) -> bool:
    """Does the Subject tell of goods, which are undeliverable too?"""
    return _holds(phrases().goods, subject)


def names_summary(subject: str) -> bool:
    """Does the Subject announce statistics, a log or a digest, in which addresses only occur?"""
    return _holds(phrases().summaries, subject)


def addresses_sender(text: str) -> bool:
    """Does a text tell, where it begins, its readers of their own mail?"""
    return phrases().addressed.any(_beginning(text))


def addresses_recipient(text: str) -> bool:
    """Does a text tell, where it begins, the recipient of a message that they do not get it?"""
    return phrases().incoming.any(_beginning(text)[:300])


def _beginning(text: str) -> str:
    return plain(" ".join(text[:600].split()))


def begins_as_report(text: str) -> bool:
    """Do the first words tell what became of a message? Who passes a report on puts words of their own before it."""
    paragraphs = [one for one in map(str.strip, text[:2_000].split("\n\n")) if _WORD.search(one)]
    if paragraphs and _GREETING.search(paragraphs[0]):
        del paragraphs[0]
    lines = [plain(" ".join(one.split())) for one in paragraphs[:2]]
    opens = len(lines) > 1 and phrases().preambles.any(_SENTENCE_END.split(lines[0])[0])
    if opens and not phrases().actions.any(lines[0]):
        del lines[0]
    return bool(lines) and phrases().actions.any(lines[0])


def quotes_refusal(text: str) -> bool:
    """Does the text hold a reply by which a server refuses?"""
    return _REFUSAL.search(text[:MAX_REFUSAL_CHARACTERS]) is not None


def holds_returned(text: str) -> bool:
    """Does a returned message stand in the text? A last line without an end may be half of anything."""
    text = text[:MAX_REFUSAL_CHARACTERS]
    return bool(split_original(text[: text.rfind("\n") + 1])[1].strip())


def _holds(index: PhraseIndex[None], text: str) -> bool:
    return index.any(plain(" ".join(text.split())))
