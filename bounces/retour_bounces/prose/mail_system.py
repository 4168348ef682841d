"""Speaker: whether a mail system speaks in a message of its own, or a person, a list, a shop."""

from __future__ import annotations

import re

from retour_bounces.message import parts as wire
from retour_bounces.message.encoded_word import decoded
from retour_bounces.message.split_original import divide
from retour_bounces.message.text import divided, subject_of, text_of
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
_USUAL = ("mailer-daemon", "postmaster@", "postmaster <", 'postmaster"', "mail delivery")


def speaks(message: wire.Message) -> bool:
    """Does a mail system speak of its own, neither a person in its name nor a newsletter of such a name?"""
    fields = message.fields
    answers = "in-reply-to" in fields and _is_re(fields.get("subject"))
    listed = fields.holds_any(_LIST_FIELDS) and not borne_out(message)
    return is_mail_system(message) and not answers and not listed and not tells_recipient(message)


def tells_recipient(message: wire.Message) -> bool:
    """Does a notice tell the recipient of a message that he does not get it? It does not give the message back."""
    return not divided(message)[1] and phrases().incoming.any(_start(message)[:300])


def is_mail_system(message: wire.Message) -> bool:
    """Does the sender look like a mail system?"""
    if "sender" not in message.known:
        message.known["sender"] = _is_sent_by_mail_system(message.fields)
    return bool(message.known["sender"])


def _is_sent_by_mail_system(fields: wire.Header) -> bool:
    sender = f"{fields.get('from')} {fields.get('sender')}"[:2_000].lower()
    if any(name in sender for name in _USUAL):
        return True
    if "mailer-daemon" in fields.get("return-path").lower():
        return True
    return _has(phrases().senders, sender)


def by_mail_system(message: wire.Message) -> bool:
    """Do sender or subject look as if a mail system wrote the message?"""
    if "system" not in message.known:
        message.known["system"] = _by_mail_system(message)
    return bool(message.known["system"])


def _by_mail_system(message: wire.Message) -> bool:
    fields = message.fields
    if is_mail_system(message):
        return not _tells_of_many(message)
    if _is_answer(fields):
        return False
    listed = fields.holds_any(_LIST_FIELDS)
    if fields.get("return-path") == "<>" and not listed and (brings_back(message) or _quotes_refusal(message)):
        return True  # a null sender alone is also that of receipts and of answers by program (RFC 3834 section 3.3)
    if _has(phrases().goods, subject_of(message)) and not brings_back(message):
        return False
    if not says_failure(message) or not borne_out(message):
        return False
    return fields.get("return-path") == "<>" or _begins_as_report(message)


def _begins_as_report(message: wire.Message) -> bool:
    """Do the first words tell what became of a message? Who passes a report on puts words of his own before it."""
    paragraphs = [one for one in map(str.strip, divided(message)[0][:2_000].split("\n\n")) if _WORD.search(one)]
    if paragraphs and _GREETING.search(paragraphs[0]):
        del paragraphs[0]
    return bool(paragraphs) and phrases().fates.any(plain(" ".join(paragraphs[0].split())))


def borne_out(message: wire.Message) -> bool:
    """Does more than the Subject speak for a report: a returned message, or a text that tells the reader of
    his own mail? Newsletters, tickets and people talk about failures too."""
    if brings_back(message):
        return True
    return phrases().addressed.any(_start(message))


def _start(message: wire.Message) -> str:
    """The beginning of what a report says itself."""
    human, _ = divided(message)
    return plain(" ".join(human[:600].split()))


def brings_back(message: wire.Message) -> bool:
    """Does it hold (the header of) a returned message, or fields?"""
    if message.report_type == "delivery-status" or message.returned:
        return True
    return bool(divided(message)[1].strip())


def returns(message: wire.Message) -> bool:
    """Is it beyond doubt that a mail system gives a message back: neither a person in its name nor a list, a digest, a
    shop, an answer by program?"""
    fields = message.fields
    subject = subject_of(message)
    if not speaks(message) or not says_failure(message) or _is_answer(fields) or _is_re(subject):
        return False
    if _has(phrases().summaries, subject) or _has(phrases().goods, subject):
        return False
    attached = message.returned is not None
    return (attached or _holds_returned(text_of(message)[:50_000])) and _is_machine(fields, attached)


def _is_re(subject: str) -> bool:
    return subject.lstrip()[:3].lower() == "re:"


def _holds_returned(text: str) -> bool:
    """Does a returned message stand in the text? A last line without an end may be half of anything."""
    return bool(divide(text[: text.rfind("\n") + 1])[1].strip())


def _is_machine(fields: wire.Header, attached: bool) -> bool:
    """Does the message come from an address at which no person or list writes?"""
    path = fields.get("return-path").strip().lower()
    if "mailer-daemon" in f"{fields.get('from')[:2_000].lower()} {path}":
        return True
    listed = fields.holds_any(_LIST_FIELDS)
    return not listed and (path == "<>" or (attached and not path))


def _quotes_refusal(message: wire.Message) -> bool:
    """Does the text hold a reply by which a server refuses?"""
    return _REFUSAL.search(text_of(message)[:50_000]) is not None


def _tells_of_many(message: wire.Message) -> bool:
    """Does the Subject announce statistics, a log or a digest, in which addresses only occur? A report's
    Subject may repeat that of such a message."""
    return not brings_back(message) and _has(phrases().summaries, subject_of(message)) and not borne_out(message)


def says_failure(message: wire.Message) -> bool:
    if "titled" not in message.known:
        message.known["titled"] = _titled(message)
    return bool(message.known["titled"])


def _titled(message: wire.Message) -> bool:
    return _has(phrases().subjects, subject_of(message))


def _is_answer(fields: wire.Header) -> bool:
    """Does a person (or a person's program) answer or pass something on here?"""
    if fields.get("auto-submitted").lower().startswith("auto-replied"):
        return True
    return "in-reply-to" in fields or _ANSWER.match(decoded(fields.get("subject")[:80])) is not None


def is_passed_on(message: wire.Message) -> bool:
    """Does a person answer, or pass on what a mail system wrote?"""
    return not is_mail_system(message) and _is_answer(message.fields)


def _has(index: PhraseIndex[None], text: str) -> bool:
    return index.any(plain(" ".join(text.split())))
