"""Verdict: type, reason and blame of one failed (or delayed) delivery, and what they rest on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from retour_bounces import address, code_table, vocabulary
from retour_bounces.plain import plain
from retour_bounces.report import Action, Blame, RecipientReport, Type
from retour_bounces.rules import Reply, Rule, Rules

Fired = tuple[Rule, tuple[int, int]]

MAX_TEXT = 1_000
"""Characters of a diagnostic that are kept and looked at."""

_CODE = re.compile(r"([245][0-5]\d)(?<![\w.:/@-]...)(?=[ :;,)\]\"'-]|$|\.\s)")
_REPEATED = re.compile(
    r"(?<=\s)([245]\d\d)-(?:([245]\.\d{1,3}\.\d{1,3})\s+)?"
    r"|(?<=\S )[245]\d\d ([245]\.\d{1,3}\.\d{1,3}) (?=\s)"
)
_WRAPPED = re.compile(r"[45]\.\d\.\d - [A-Za-z ()]{4,60}? ?(?:[45]\d\d-)?\(?'(.{6,900}?)'")
"""How IronPort quotes the reply of the other side: 5.1.0 - Unknown address error 550-'5.1.1 ... User
unknown'."""
_QUOTED = re.compile(
    r"(?:error that the other server returned was|response from the remote server was|The response was)"
    r": ?(\S.{5,})"
)
_COMMAND = re.compile(
    r"(?:in reply to|response to|following|after|did not like our|smtp|>>>|sent <<<|for)[ :]*"
    r"(?:pipelined |end of |final |the )*"
    r"(rcpt|mail from|data|text|helo|ehlo|starttls|auth|initial connection|banner|connect)"
    r"|\[(rcpt to|mail from|data|bodyend|connect)\]"
    r"|(does not like recipient)|(failed after i sent the message)",
)
_HINTS = (
    "rcpt", "mail from", " data", "helo", "ehlo", "text", "starttls", "connect", "like recipient", "auth",
    "banner", "[data", "bodyend", "after i sent",
)  # fmt: skip
"""One of them stands in every text that names a command; to look for them is cheaper than for the
expression."""
_NAMES = {
    "rcpt": "RCPT", "rcpt to": "RCPT", "mail from": "MAIL", "text": "DATA", "data": "DATA",
    "bodyend": "DATA", "helo": "EHLO", "ehlo": "EHLO", "starttls": "STARTTLS",
    "auth": "AUTH", "initial connection": "CONN", "banner": "CONN", "connect": "CONN",
    "does not like recipient": "RCPT", "failed after i sent the message": "DATA",
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

    def of(self, diagnostic: str) -> Verdict:
        """The same verdict about a reply that differs only in its address."""
        return Verdict(
            self.type, self.status, self.status_source, self.reason, self.blame, self.rule, self.evidence,
            diagnostic, self.contradiction,
        )  # fmt: skip


class Judge:
    """Judges deliveries of one report; what was said alike, but for the address, is judged once."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._known: dict[tuple[str, str | None, str, tuple[str, ...]], Verdict] = {}

    def __call__(
        self, diagnostic: str, status: str | None = None, command: str = "", more: tuple[str, ...] = ()
    ) -> Verdict:
        """As the function `judge`; `more` is looked at only where the diagnostic tells nothing."""
        text = clean(diagnostic)
        said = self._judged(text, status, command, ())
        if not any(more) or (said.rule is not None and said.rule not in self._rules.vague):
            return said
        return self._judged(text, status, command, more)

    def _judged(self, text: str, status: str | None, command: str, more: tuple[str, ...]) -> Verdict:
        key = (_blot(text), status, command, more)
        said = self._known.get(key)
        if said is None:
            said = self._known[key] = judge(self._rules, text, status, command, more)
            return said
        return said.of(text) if text else said


def _blot(text: str) -> str:
    return address.FIND.sub("@", text) if "@" in text else text


def clean(text: str) -> str:
    """A diagnostic on one line: marks of continued replies and control characters gone, at most `MAX_TEXT`
    long."""
    text = " ".join(text[: MAX_TEXT * 3].split())
    if (wrapped := _WRAPPED.match(text)) and not wrapped[1].isalpha():
        text = wrapped[1]
    if quoted := _QUOTED.search(text):
        text = quoted[1]
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
    if not any(word in text for word in _HINTS):
        return ""
    match = _COMMAND.search(text)
    return _NAMES[next(group for group in match.groups() if group)] if match else ""


def best_status(field: str | None, diagnostic: str) -> str | None:
    """The most telling enhanced status code: one that the server's words hold, else that of the Status
    field."""
    told = [match[0] for match in code_table.STATUS.finditer(diagnostic) if match[0][0] != "2"]
    telling = [code for code in told if not code.endswith(".0")] or [code for code in told if code[2] != "0"]
    if field is None or field.endswith(".0.0") or field[0] == "2":
        return telling[-1] if telling else (told[0] if told else None) if field is None else field
    if telling and (telling[-1][2] != "0" or field.endswith(".0")):
        return telling[-1] if not telling[-1].endswith(".0") or field.endswith(".0") else field
    return field


def judge(
    rules: Rules, diagnostic: str, status: str | None = None, command: str = "", more: Iterable[str] = ()
) -> Verdict:
    """Type, reason and blame of a delivery.

    `diagnostic` is what the server said; `status` the code that the report gives (a Status field),
    `command` the
    SMTP command that was answered, `more` other passages, asked in turn while no rule knows the words.
    """
    text = clean(diagnostic)
    wire = best_status(status, text)
    reply = reply_of(text, wire, command)
    fired = rules.first(reply) if text else None
    told = text
    for passage in more:
        if fired is not None and not fired[0].vague:
            break
        passage = clean(passage)
        if not passage:
            continue
        wire = best_status(wire, passage) if wire is None or wire.endswith(".0.0") else wire
        other = reply_of(passage, wire, reply.command)
        again = rules.first(other)
        if again is not None and (fired is None or not again[0].vague):
            fired, told = again, passage
        if not text:
            text = passage
        reply = Reply(other.text, other.status, reply.code or other.code, other.command)
    return _verdict(text, wire, reply.code, fired, told, status)


def _verdict(text: str, wire: str | None, code: str, fired: Fired | None, told: str, field: str | None) -> Verdict:
    """Puts together what words, codes and the tables say."""
    if fired and fired[0].vague and code_table.look_up(wire).reason:
        fired = None
    rule = fired[0] if fired else None
    reason = rule.reason if rule else code_table.look_up(wire).reason
    final = wire or _derived(reason, code, told.lower())
    row = code_table.look_up(final)
    known = vocabulary.reasons().get(reason or "")
    kind: Type = (rule.type if rule and not final.startswith("4") else None) or row.type
    blame = (rule.blame or (known.blame if known else None)) if rule else None
    return Verdict(
        kind, final, "wire" if wire else "derived", reason, blame or row.blame, rule.name if rule else None,
        told[fired[1][0] : fired[1][1]] if fired else (wire or ""), text,
        _contradiction(wire, field, reason, rule),
    )  # fmt: skip


def _derived(reason: str | None, code: str, words: str) -> str:
    """A status where the message holds none: from the reason, its class from the reply code where there is
    one."""
    known = vocabulary.reasons().get(reason or "")
    if known is None:
        return f"{code[0]}.0.0" if code[:1] in ("4", "5") else code_table.NO_CODE
    if code[:1] in ("4", "5"):
        return code[0] + known.status[1:]
    return "4" + known.status[1:] if "retry timeout" in words else known.status


_GIVEN_UP = {"userunknown", "hasmoved"}
"""Reasons that, when a server has tried for days and given up, last, although each reply was temporary."""
_FIRM = {"userunknown", "hostunknown", "hasmoved", "mailboxfull", "emailtoolarge", "systemfull"}


def _contradiction(wire: str | None, field: str | None, reason: str | None, rule: Rule | None) -> str | None:
    for status in (wire, field):
        by_code = code_table.look_up(status).reason if status else None
        if rule and by_code != reason and by_code in _FIRM and reason in _FIRM:
            return f"{status}, which is {by_code}, but the text says {reason}"
    if wire and field and wire != field and wire[0] != field[0]:
        return f"Status field {field}, but the text says {wire}"
    return None


def report(
    recipient: str | None, before: str | None, action: Action, said: Verdict | None, diagnostic: str = ""
) -> RecipientReport:
    """The report about one recipient; `said` is None where delivery did not fail, `before` the original
    address."""
    if said is None:
        return RecipientReport(recipient, before, action, None, None, None, None, None, None, "", clean(diagnostic))
    kind: Type = (
        "hard" if said.status and said.status[0] == "4" and said.reason in _GIVEN_UP and said.rule else said.type
    )
    return RecipientReport(
        recipient, before, action, kind if action == "failed" else None, said.status, said.status_source,
        said.reason, said.blame, said.rule, said.evidence, said.diagnostic, said.contradiction,
    )  # fmt: skip


def with_status(one: RecipientReport, status: str | None) -> RecipientReport:
    """The same report with the status of its Status field."""
    return replace(one, status=status, status_source="wire" if status else None)
