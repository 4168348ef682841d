"""Textual reports: bounces and warnings that say in words alone what happened."""

from __future__ import annotations

import html
import re
from dataclasses import replace

from retour_bounces import address, code_table, original, prose, verdict, wire, wording
from retour_bounces.encoded_word import decoded
from retour_bounces.phrase_index import PhraseIndex
from retour_bounces.phrases import phrases
from retour_bounces.plain import plain
from retour_bounces.report import Action, Kind, Original, RecipientReport, Report
from retour_bounces.rules import Rules

_BREAK = re.compile(r"<(?:br|/p|/div|/tr|/h\d|/li|/td)\b[^<>]{0,300}>", re.IGNORECASE)
_TAG = re.compile(r"<(?![^<>@\s]{1,64}@)[/!a-zA-Z][^<>]{0,2000}>")
_STYLE = re.compile(r"<(style|script|head)\b.{0,20000}?</\1>", re.IGNORECASE | re.DOTALL)
_QUOTE = re.compile(r"^> ?(?!>)", re.MULTILINE)
"""A person quotes: machines show a dialogue with more than one mark."""
_REFUSAL = re.compile(r"\b[45]\d\d[ -](?:#?[45]\.\d{1,3}\.\d{1,3}\b|<?[^\s@<>]{1,64}@)|\(#[45]\.\d\.\d\)")
"""A reply code with an enhanced status code or an address behind it, or a status code as qmail writes it."""
_FINAL = (
    "failed permanently",
    "permanent fatal errors",
    "giving up",
    "given up",
    "permanent error",
    "permanent failure",
    "no further",
    "not continue",
    "not be retried",
    "not going to try",
    "not try again",
)
_KINDS: tuple[tuple[Action, Kind], ...] = (
    ("failed", "bounce"),
    ("delayed", "delayed"),
    ("delivered", "delivered"),
    ("relayed", "relayed"),
    ("expanded", "expanded"),
)


_PARTIES = ("to", "from", "delivered-to", "reply-to", "sender", "return-path")
_LIST_FIELDS = ("list-id", "list-unsubscribe", "list-post")
_ANSWER = re.compile(
    r"\s*(?:fwd?|aw|rv|wg|tr|sv|vs|vb|vl|antw|doorst|rif|enc|res|pd|odp|ynt|ilt|fs|továbbítás|отв|ha|пересл\w*|转发|轉寄|答复|回复|回覆|転送|返信|회신|전달)"
    r"\s?[:：]",
    re.IGNORECASE,
)
"""Marks in front of a Subject by which people's programs show an answer or a forwarded mail. "Re:" is not
among them: mail systems keep it."""
_USUAL = ("mailer-daemon", "postmaster@", "postmaster <", 'postmaster"', "mail delivery")


def kind_of(reports: tuple[RecipientReport, ...]) -> Kind:
    """The kind of a report whose recipients fared so: the worst fate names it."""
    actions = {report.action for report in reports}
    return next(kind for action, kind in _KINDS if action in actions)


def text_of(message: wire.Message) -> str:
    """What people read of a report: its plain text, or its HTML without marks."""
    if "text" not in message.known:
        message.known["text"] = _text_of(message)
    return str(message.known["text"])


def _text_of(message: wire.Message) -> str:
    plain_texts = [part.text() for part in message.text_parts() if part.kind not in ("text/html", wire.PREAMBLE)]
    if any(text.strip() for text in plain_texts):
        return "\n".join(plain_texts)
    marked = [unmarked(part.text()) for part in message.text_parts() if part.kind == "text/html"]
    return "\n".join(marked) or "\n".join(part.text() for part in message.text_parts())


def unmarked(text: str) -> str:
    """HTML as plain lines."""
    text = _STYLE.sub(" ", text[:200_000])
    return html.unescape(_TAG.sub("", _BREAK.sub("\n", text)))


def read(message: wire.Message, rules: Rules) -> Report | None:
    """Reads a report in words; None where the message is none."""
    if _is_cut_short(message):
        return None
    failed = address.every(",".join(message.fields.every("x-failed-recipients"))[:400_000])
    if not failed and not by_mail_system(message):
        return None
    subject = decoded(message.fields.get("subject")[:2_000])
    said = prose.read(text_of(message), _strangers(message), subject)
    titled = _says_failure(message)
    if not failed and not said.fates and not said.replies and not titled:
        return None
    returned = any(part.returned for part in message.parts)
    back = original.of(message) if returned else original.from_text(said.returned)
    system = is_mail_system(message)
    if not failed and not system and _QUOTE.search(said.human):
        return None
    findings = _matched(failed, said) if failed else _trusted(said.findings, system, back, titled)
    if not findings and back.recipient and titled and said.fates:
        findings = said.findings if len(said.findings) == 1 else [prose.Finding(back.recipient, 6)]
    if not findings:
        return None
    waits = "delayed" in said.fates and not failed and not any(word in said.human.lower() for word in _FINAL)
    action: Action = "delayed" if waits else "delivered" if said.succeeds else "failed"
    reports = _recipients(findings, said, action, rules)
    if against := _contradiction(failed, said):
        reports = tuple(replace(one, contradiction=one.contradiction or against) for one in reports)
    return Report(kind_of(reports), reports, back, truncated=message.truncated or said.cut)


def _is_cut_short(message: wire.Message) -> bool:
    """Are the fields that would tell failure from success cut off? They come before the returned message."""
    returned = any(part.returned for part in message.parts)
    return message.truncated and message.report_type == "delivery-status" and not returned


def _trusted(findings: list[prose.Finding], system: bool, back: Original, titled: bool) -> list[prose.Finding]:
    """Findings in mere sentences count only where sender or returned message bear them out."""
    to = (back.recipient or "").lower()
    least = 4 if titled and back.message_id else 3
    return [one for one in findings if one.rank <= least or system or one.recipient.lower() == to]


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
    listed = any(name in fields for name in _LIST_FIELDS)
    if fields.get("return-path") == "<>" and not listed:
        return not _is_answer(fields) if _says_failure(message) else _borne_out(message) or _quotes_refusal(message)
    return _says_failure(message) and not _is_answer(fields) and _borne_out(message)


def _borne_out(message: wire.Message) -> bool:
    """Does more than the Subject speak for a report: a returned message, or a text that tells the reader of
    his own mail? Newsletters, tickets and people talk about failures too."""
    if message.report_type == "delivery-status" or any(part.returned for part in message.parts):
        return True
    human, returned = prose.divide(text_of(message)[:50_000])
    return bool(returned.strip()) or phrases().addressed.any(plain(" ".join(human[:600].split())))


def _quotes_refusal(message: wire.Message) -> bool:
    """Does the text hold a reply by which a server refuses?"""
    return _REFUSAL.search(text_of(message)[:50_000]) is not None


def _tells_of_many(message: wire.Message) -> bool:
    """Does the Subject announce statistics, a log or a digest, in which addresses only occur? A report's
    Subject may repeat that of such a message."""
    if _says_failure(message) or not _has(phrases().summaries, decoded(message.fields.get("subject")[:2_000])):
        return False
    return not message.report_type and not _borne_out(message)


def _says_failure(message: wire.Message) -> bool:
    if "titled" not in message.known:
        message.known["titled"] = _titled(message)
    return bool(message.known["titled"])


def _titled(message: wire.Message) -> bool:
    return _has(phrases().subjects, decoded(message.fields.get("subject")[:2_000]))


def _is_answer(fields: wire.Header) -> bool:
    """Does a person (or a person's program) answer or pass something on here?"""
    return "in-reply-to" in fields or _ANSWER.match(decoded(fields.get("subject")[:80])) is not None


def is_passed_on(message: wire.Message) -> bool:
    """Does a person answer, or pass on what a mail system wrote?"""
    return not is_mail_system(message) and _is_answer(message.fields)


def _has(index: PhraseIndex[None], text: str) -> bool:
    return index.any(plain(" ".join(text.split())))


def _strangers(message: wire.Message) -> set[str]:
    """Addresses that send or get the report, and so are hardly what it is about."""
    values = [message.fields.get(name)[:4_000] for name in _PARTIES]
    return set(address.written(" ".join(values).lower()))


def _matched(failed: list[str], said: prose.Prose) -> list[prose.Finding]:
    """The findings for the addresses of X-Failed-Recipients, in its order."""
    known = {one.recipient.lower(): one for one in said.findings}
    known |= {one.original.lower(): one for one in said.findings if one.original}
    matched: list[prose.Finding] = []
    for name in failed:
        one = known.get(name.lower(), prose.Finding(name, 0))
        matched.append(prose.Finding(name, 0, "failed", one.original, one.lines))
    return matched


def _contradiction(failed: list[str], said: prose.Prose) -> str | None:
    """What the text says against X-Failed-Recipients: other recipients, and none of those that it names."""
    named = {name.lower() for name in failed}
    inside = {one.recipient.lower() for one in said.findings if one.rank <= 2}
    inside |= {one.original.lower() for one in said.findings if one.original}
    if not named or not inside or named & inside:
        return None
    header, text = ", ".join(failed[:3]), ", ".join(sorted(inside)[:3])
    return f"X-Failed-Recipients names {header}, but the text names {text}"


def _succeeded(text: str) -> bool:
    """Does the reply about a recipient hold codes of success alone?"""
    return {match[1] for match in code_table.STATUS.finditer(text)} == {"2"}


def _recipients(
    findings: list[prose.Finding], said: prose.Prose, action: Action, rules: Rules
) -> tuple[RecipientReport, ...]:
    judge = verdict.Judge(rules)
    replies = " ".join(reply for _, reply in said.replies[:50])
    whole_text = said.human[:3_000] if len(findings) == 1 else ""
    quoted = wording.quoted(" ".join(whole_text.split())) if "was:" in whole_text else ""
    reports: list[RecipientReport] = []
    for finding in findings:
        text = finding.text
        if "delivered" in (finding.action, action) or _succeeded(text):
            reports.append(verdict.report(finding.recipient, finding.original, "delivered", None))
            continue
        diagnostic = quoted or (text if re.search(r"\w{3}", text) else (replies or text))
        command, whole = said.reply(diagnostic)
        judged = judge(diagnostic, None, command, (whole, replies, whole_text))
        reports.append(verdict.report(finding.recipient, finding.original, action, judged))
    return tuple(reports)
