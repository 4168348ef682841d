"""Textual reports: bounces and warnings that say in words alone what happened."""

from __future__ import annotations

import html
import re

from retour_bounces import address, delivery_status, original, prose, verdict, wire
from retour_bounces.phrases import any_of, phrases
from retour_bounces.report import Action, Original, RecipientReport, Report
from retour_bounces.rules import Rules

_TAG = re.compile(r"<(?:br|/p|/div|/tr|/h\d|/li|/td)\b[^<>]{0,300}>", re.IGNORECASE)
_ANY_TAG = re.compile(r"<(?!<?[^<>@\s]{1,64}@)[/!a-zA-Z][^<>]{0,2000}>")
_STYLE = re.compile(r"<(style|script|head)\b.{0,20000}?</\1>", re.IGNORECASE | re.DOTALL)


def text_of(message: wire.Message) -> str:
    """What people read of a report: its plain text, or its HTML without marks."""
    plain = [part.text() for part in message.text_parts() if part.kind != "text/html"]
    if any(text.strip() for text in plain):
        return "\n".join(plain)
    return "\n".join(unmarked(part.text()) for part in message.text_parts())


def unmarked(text: str) -> str:
    """HTML as plain lines."""
    text = _STYLE.sub(" ", text[:200_000])
    return html.unescape(_ANY_TAG.sub("", _TAG.sub("\n", text)))


def read(message: wire.Message, rules: Rules) -> Report | None:
    """Reads a report in words; None where the message is none."""
    failed = address.every(message.fields.get("x-failed-recipients", "")[:400_000])
    text = text_of(message)
    strangers = _strangers(message)
    said = prose.read(text, strangers)
    if not failed and not _is_report(message, said):
        return None
    back = _returned(message, said)
    findings = said.findings
    if failed:
        findings = _matched(failed, said)
    elif not findings and back.recipient:
        findings = [prose.Finding(back.recipient, 5)]
    if not findings:
        return None
    action: Action = "delayed" if said.delayed and not failed and not _final(said) else "failed"
    reports = tuple(_recipient(finding, said, action, len(findings) == 1, rules) for finding in findings)
    kinds = {report.action for report in reports}
    kind = "bounce" if "failed" in kinds else "delayed" if "delayed" in kinds else "delivered"
    return Report(kind, reports, back, truncated=message.truncated)


def _strangers(message: wire.Message) -> set[str]:
    """Addresses that send or get the report, and so are hardly what it is about."""
    found: set[str] = set()
    for name in ("to", "from", "delivered-to", "reply-to", "sender", "return-path"):
        value = message.fields.get(name)
        if value:
            found.update(one.lower() for one in address.every(value[:4_000]))
    return found


def _is_report(message: wire.Message, said: prose.Prose) -> bool:
    """Does a mail system write here, and of a delivery?"""
    fields = message.fields
    sender = f"{fields.get('from', '')} {fields.get('sender', '')}"[:2_000].lower()
    subject = " ".join(original.decoded(fields.get("subject", "")[:2_000]).lower().split())
    marks = bool(any_of(phrases().senders, sender)) + 2 * bool(any_of(phrases().subjects, subject))
    marks += fields.get("return-path", "").strip() == "<>" or "mailer-daemon" in fields.get("return-path", "").lower()
    if subject.startswith(("re:", "fw:", "fwd:", "aw:", "rv:")) and not any_of(phrases().senders, sender):
        return False
    return marks > 0 and bool(said.failed or said.delayed or said.replies)


def _final(said: prose.Prose) -> bool:
    lower = said.human.lower()
    return any(
        word in lower
        for word in (
            "failed permanently",
            "permanent fatal errors",
            "giving up",
            "given up",
            "permanent error",
            "could not be delivered for",
        )
    )


def _returned(message: wire.Message, said: prose.Prose) -> Original:
    part = next((p for p in message.parts if p.returned), None)
    if part is not None:
        return original.from_header(wire.divide(part.body.lstrip(b"\n"))[0])
    if said.returned:
        block = re.sub(r"^[> \t]{1,8}(?=[A-Za-z-]{2,40}:)", "", said.returned[:65_536].lstrip("\n"), flags=re.MULTILINE)
        return original.from_header(wire.divide(block.encode("utf-8", "replace"))[0])
    return Original()


def _matched(failed: list[str], said: prose.Prose) -> list[prose.Finding]:
    """The findings for the addresses of X-Failed-Recipients, in its order."""
    by_address = {one.recipient.lower(): one for one in said.findings} | {
        one.original.lower(): one for one in said.findings if one.original
    }
    return [
        prose.Finding(name, 0, "failed", by_address[name.lower()].original, by_address[name.lower()].lines)
        if name.lower() in by_address
        else prose.Finding(name, 0, "failed")
        for name in failed
    ]


def _recipient(finding: prose.Finding, said: prose.Prose, action: Action, only: bool, rules: Rules) -> RecipientReport:
    action = finding.action if finding.action == "delivered" else action
    lines = finding.text
    replies = " ".join(reply for _, reply in said.replies)
    diagnostic = lines if re.search(r"[a-z]{3}", lines) else (replies or lines)
    more = said.human if only else replies
    if action == "delivered":
        return RecipientReport(finding.recipient, finding.original, action, None, None, None, None, None, None, "", "")
    found = verdict.judge(rules, diagnostic, None, said.command(diagnostic), more)
    return RecipientReport(
        finding.recipient, finding.original, action, found.type if action == "failed" else None, found.status, found.status_source,
        found.reason, found.blame, found.rule, found.evidence, found.diagnostic, found.contradiction,
    )  # fmt: skip
