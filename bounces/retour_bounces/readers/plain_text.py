"""Textual reports: bounces and warnings that say in words alone what happened."""

from __future__ import annotations

import re
from dataclasses import replace

from retour_bounces.classify import diagnostic as wording
from retour_bounces.classify import status_codes as code_table
from retour_bounces.classify import verdict
from retour_bounces.classify.rules import Rules
from retour_bounces.message import addresses as address
from retour_bounces.message import original
from retour_bounces.message import parts as wire
from retour_bounces.message.text import divided, subject_of
from retour_bounces.phrases.lists import phrases
from retour_bounces.phrases.normalise import plain
from retour_bounces.prose import scan as prose
from retour_bounces.prose.candidates import Finding
from retour_bounces.prose.mail_system import (
    by_mail_system,
    is_mail_system,
    returns,
    says_failure,
    speaks,
    tells_recipient,
)
from retour_bounces.report import Action, Kind, Original, RecipientReport, Report

_QUOTE = re.compile(r"^> ?(?!>)", re.MULTILINE)
"""A person quotes: machines show a dialogue with more than one mark."""
_REFUSED = re.compile(r"(?:^|[:>(\[\"'])\s*5[0-57]\d[ -]\S|\b5\.\d{1,3}\.\d{1,3}\b", re.MULTILINE)
"""A reply by which a server refuses for good, not any number."""
_TO = re.compile(r"\W{0,4}to\s{0,8}:", re.IGNORECASE)
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


def kind_of(reports: tuple[RecipientReport, ...]) -> Kind:
    """The kind of a report whose recipients fared so: the worst fate names it."""
    actions = {report.action for report in reports}
    return next(kind for action, kind in _KINDS if action in actions)


def read(message: wire.Message, rules: Rules) -> Report | None:
    """Reads a report in words; None where the message is none."""
    if _is_cut_short(message):
        return None
    failed = address.every(",".join(message.fields.every("x-failed-recipients"))[:400_000])
    if not failed and not by_mail_system(message):
        return None
    returned = original.of(message) if message.returned else None
    said = _said(message, returned)
    titled = says_failure(message)
    if not failed and not said.fates and not said.replies and not titled:
        return None
    back = returned or original.from_text(said.returned)
    system = is_mail_system(message)
    if not failed and (tells_recipient(message) if system else _QUOTE.search(said.human)):
        return None
    findings = _matched(failed, said) if failed else _trusted(message, said, back, rules)
    if not findings and (to := original.to_whom(back)) and titled and said.fates:
        vouched = system or message.fields.get("return-path") == "<>"  # people attach mail too, and write about it
        findings = said.findings if len(said.findings) == 1 else [Finding(to, 6)] if vouched else []
    if not findings:
        return None
    waits = "delayed" in said.fates and not failed and not any(word in said.human.lower() for word in _FINAL)
    action: Action = "delayed" if waits else "delivered" if said.succeeds else "failed"
    reports = _recipients(findings, said, action, rules)
    if against := _contradiction(failed, said):
        reports = tuple(replace(one, contradiction=one.contradiction or against) for one in reports)
    return Report(kind_of(reports), reports, back, truncated=message.truncated or said.cut)


def _fate(finding: Finding, action: Action) -> Action:
    """What became of a recipient in a report that has passages about failure and about delay; `action` where passage
    and reply do not agree."""
    permanent = code_table.PERMANENT.search(finding.text) is not None
    agree = finding.action == "failed" if permanent else finding.action == "delayed"
    return finding.action if agree and finding.action else action


def nameless(message: wire.Message, rules: Rules) -> Report | None:
    """Reads a report of failure in which no address stands, only a local name or none; None in any doubt."""
    if message.truncated or not returns(message):
        return None
    returned = original.of(message)
    said = _said(message, returned)
    if any(one.rank < 5 or _says_why(one.text, said, rules) for one in said.findings):
        return None
    if said.succeeds or set(said.fates) != {"failed"} or _QUOTE.search(said.human):
        return None
    explained = _REFUSED.search(said.human) or _explains(said.human, rules)
    if not explained or _may_wait(f"{subject_of(message)}\n{said.human}"):
        return None
    back = original.from_text(said.returned) if said.returned else returned
    reports = _recipients([Finding("", 0)], said, "failed", rules)
    return Report("bounce", (replace(reports[0], recipient=None),), back, truncated=said.cut)


def _may_wait(text: str) -> bool:
    """Does a word or a code leave open that the message is still on its way?"""
    return code_table.TEMPORARY.search(text) is not None or phrases().waiting.any(plain(" ".join(text.split())))


def _explains(text: str, rules: Rules) -> bool:
    """Does a line tell of a failure and end as a heading, with words under it that say why?"""
    lines = text[:3_000].split("\n")
    for number, line in enumerate(lines):
        headed = line.rstrip().endswith(":") and phrases().fates.any(plain(line))
        if headed and _gives_reason("\n".join(lines[number + 1 :])[:600], rules):
            return True
    return False


def _is_cut_short(message: wire.Message) -> bool:
    """Are the fields that would tell failure from success cut off? They come before the returned message."""
    return message.truncated and message.report_type == "delivery-status" and not message.returned


def _trusted(message: wire.Message, said: prose.Prose, back: Original, rules: Rules) -> list[Finding]:
    """Findings in mere sentences count only where sender or returned message bear them out."""
    rank = said.findings[0].rank if said.findings else 0
    if rank <= 3 or (rank == 4 and back.message_id and says_failure(message)):
        return said.findings
    if speaks(message):
        sure = said.findings if rank == 4 else [one for one in said.findings if _says_why(one.text, said, rules)]
        if sure and (rank == 4 or len({one.text for one in sure}) == 1):
            return sure
    to = (back.recipient or "").lower()
    return [one for one in said.findings if one.recipient.lower() == to]


def _says_why(passage: str, said: prose.Prose, rules: Rules) -> bool:
    """Does a passage give a reason, or tell the reader of his mail in a report of its fate, or is it the only To
    field in a report that quotes a refusal? An address may stand in any other sentence."""
    alone = len(said.findings) == 1 and "failed" in said.fates
    if alone and _TO.match(passage) and _REFUSED.search(said.human):
        return True
    return _gives_reason(passage, rules) or (bool(said.fates) and phrases().addressed.any(plain(passage)))


def _gives_reason(text: str, rules: Rules) -> bool:
    """Does a passage hold a refusal for good, or words that say why a delivery failed?"""
    if _REFUSED.search(text):
        return True
    rule = verdict.Judge(rules)(text).rule
    return rule is not None and rule not in rules.vague


def _said(message: wire.Message, returned: Original | None) -> prose.Prose:
    """What the text says, read once. Who wrote the `returned` message is hardly what it is about, but a list brings its
    members their own posts."""
    if "prose" not in message.known:
        writer = (returned.sender if returned else None) or ""
        message.known["prose"] = prose.read(divided(message), _strangers(message), subject_of(message), writer)
    said: prose.Prose = message.known["prose"]
    return said


def _strangers(message: wire.Message) -> set[str]:
    """Addresses that send or get the report, and so are hardly what it is about."""
    values = [message.fields.get(name)[:4_000] for name in _PARTIES]
    return set(address.written(" ".join(values).lower()))


def _matched(failed: list[str], said: prose.Prose) -> list[Finding]:
    """The findings for the addresses of X-Failed-Recipients, in its order."""
    known = {one.recipient.lower(): one for one in said.findings}
    known |= {one.original.lower(): one for one in said.findings if one.original}
    matched: list[Finding] = []
    for name in failed:
        one = known.get(name.lower(), Finding(name, 0))
        matched.append(Finding(name, 0, "failed", one.original, one.lines))
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
    findings: list[Finding], said: prose.Prose, action: Action, rules: Rules
) -> tuple[RecipientReport, ...]:
    judge = verdict.Judge(rules)
    reported = {one.recipient.lower() for one in findings}
    shared = len(findings) == 1 or not any(one.lines for one in findings)
    whole_text = said.human[:3_000] if shared else ""
    quoted = wording.quoted(" ".join(whole_text.split())) if "was:" in whole_text else ""
    mixed = {"failed", "delayed"} <= {one.action for one in findings}
    reports: list[RecipientReport] = []
    for finding in findings:
        text = finding.text
        if "delivered" in (finding.action, action) or _succeeded(text):
            reports.append(verdict.report(finding.recipient, finding.original, "delivered", None))
            continue
        replies = "" if judge.tired else said.refusals(finding.recipient, reported)
        diagnostic = quoted or (text if re.search(r"\w{3}", text) else (replies or text))
        command, whole = said.reply(diagnostic)
        judged = judge(diagnostic, None, command, (whole, replies, whole_text))
        fate = _fate(finding, action) if mixed else action
        reports.append(verdict.report(finding.recipient, finding.original, fate, judged))
    return tuple(reports)
