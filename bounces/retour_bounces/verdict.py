"""Verdict: type, reason and blame of one failed (or delayed) delivery, and what they rest on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from retour_bounces import address, code_table, vocabulary
from retour_bounces.report import Blame, Type
from retour_bounces.rules import Reply, Rules, plain

MAX_TEXT = 1_000
"""Characters of a diagnostic that are kept and looked at."""

_CODE = re.compile(r"(?<![\w.:/@-])([245][0-5]\d)(?=[ :;,)\]\"'-]|$|\.\s)")
_REPEATED = re.compile(
    r"(?<=\s)([245]\d\d)-(?:([245]\.\d{1,3}\.\d{1,3})\s+)?|(?<=\S )[245]\d\d ([245]\.\d{1,3}\.\d{1,3}) (?=\s)"
)
_SPACE = re.compile(r"\s+")
_COMMAND = re.compile(
    r"(?:in reply to|response to|after|did not like our|smtp|>>>|sent <<<|for)[ :]*(?:pipelined |end of |final |the )*"
    r"(rcpt|mail from|data|helo|ehlo|starttls|auth|initial connection|banner|connect)|\[(rcpt_to|mail_from|data|bodyend|connect)\]"
    r"|(does not like recipient)|(failed after i sent the message)",
)
_NAMES = {
    "rcpt": "RCPT", "rcpt_to": "RCPT", "mail from": "MAIL", "mail_from": "MAIL", "data": "DATA", "bodyend": "DATA", "helo": "EHLO",
    "ehlo": "EHLO", "starttls": "STARTTLS", "auth": "AUTH", "initial connection": "CONN", "banner": "CONN",
    "connect": "CONN", "does not like recipient": "RCPT", "failed after i sent the message": "DATA",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is concluded about one delivery."""

    type: Type
    status: str | None
    status_source: Literal["wire", "derived"] | None
    reason: str | None
    blame: Blame
    rule: str | None
    evidence: str
    diagnostic: str
    contradiction: str | None = None


def clean(text: str) -> str:
    """A diagnostic on one line: marks of continued replies and control characters gone, at most `MAX_TEXT` long."""
    text = _SPACE.sub(" ", text[: MAX_TEXT * 3]).strip()
    if "-" in text:
        text = _REPEATED.sub("", text)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else "" for c in text)
    return text[:MAX_TEXT]


def reply_of(diagnostic: str, status: str | None = None, command: str = "") -> Reply:
    """The reply in `diagnostic`, its code, status and command found, its addresses blotted out."""
    text = plain(diagnostic)
    if "@" in text:
        text = address.FIND.sub(lambda match: "@" * len(match[0]), text)
    code = _CODE.search(diagnostic)
    return Reply(
        text,
        status or best_status(None, diagnostic) or "",
        code[1] if code else "",
        command or command_in(text),
    )


def command_in(text: str) -> str:
    """The SMTP command that `text`, in lower case, says was answered; "" where it does not say."""
    match = _COMMAND.search(text)
    return _NAMES[next(group for group in match.groups() if group)] if match else ""


def best_status(field: str | None, diagnostic: str) -> str | None:
    """The most telling enhanced status code: the Status field, or one of its class that says more in the text."""
    found = [match[0] for match in code_table.STATUS.finditer(diagnostic)]
    told = [code for code in found if code[0] in "45"]
    if field is None:
        return next((code for code in told if not code.endswith(".0.0")), told[0] if told else None)
    if field.endswith(".0.0") or field[0] == "2":
        return next((code for code in told if not code.endswith(".0.0")), field)
    if field.endswith(".0"):
        return next((code for code in told if code.startswith(field[:4]) and not code.endswith(".0")), field)
    return field


def judge(rules: Rules, diagnostic: str, status: str | None = None, command: str = "", more: str = "") -> Verdict:
    """Type, reason and blame of a delivery.

    `diagnostic` is what the server said; `status` the code that the report gives (a Status field), `more` the
    human text around it, asked only where neither words nor code of the diagnostic tell the reason.
    """
    diagnostic = clean(diagnostic)
    wire = best_status(status, diagnostic)
    reply = reply_of(diagnostic, wire, command)
    fired = rules.first(reply) if diagnostic else None
    if fired is None and more:
        more = clean(more)
        wire = best_status(wire, more)
        fallback = reply_of(more, wire, reply.command)
        fired, reply = (
            rules.first(fallback),
            Reply(fallback.text, fallback.status, reply.code or fallback.code, fallback.command),
        )
        diagnostic = diagnostic or more
        source = more
    else:
        source = diagnostic
    reason = fired[0].reason if fired else code_table.look_up(wire).reason
    evidence = source[fired[1][0] : fired[1][1]] if fired else (wire or "")
    final = wire or _derived(reason, reply.code)
    row = code_table.look_up(final)
    known = vocabulary.reasons().get(reason or "")
    kind: Type = (fired[0].type if fired and not final.startswith("4") else None) or row.type
    blame = (fired[0].blame or (known.blame if known else None)) if fired else None
    return Verdict(
        kind, final, "wire" if wire else "derived", reason, blame or row.blame, fired[0].name if fired else None,
        evidence, diagnostic, _contradiction(wire, reason, bool(fired)),
    )  # fmt: skip


def _derived(reason: str | None, code: str) -> str:
    """A status where the message holds none: from the reason, its class from the reply code where there is one."""
    known = vocabulary.reasons().get(reason or "")
    if known is None:
        return f"{code[0]}.0.0" if code[:1] in ("4", "5") else code_table.NO_CODE
    return code[0] + known.status[1:] if code[:1] in ("4", "5") else known.status


_FIRM = {"userunknown", "hostunknown", "hasmoved", "mailboxfull", "emailtoolarge", "systemfull"}


def _contradiction(status: str | None, reason: str | None, fired: bool) -> str | None:
    by_code = code_table.look_up(status).reason if status else None
    if not fired or by_code is None or reason is None or by_code == reason:
        return None
    if by_code not in _FIRM or reason not in _FIRM:
        return None
    return f"{status}, which is {by_code}, but the text says {reason}"
