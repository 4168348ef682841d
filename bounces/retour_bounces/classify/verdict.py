"""Verdict: type, reason and blame of one failed (or delayed) delivery, and what they rest on."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple

from retour_bounces.classify import reasons as vocabulary
from retour_bounces.classify import status_codes as code_table
from retour_bounces.classify.diagnostic import Wording, best_status, clean, wording_of
from retour_bounces.classify.rules import Reply, Rule, Rules, Spans
from retour_bounces.message import addresses as address
from retour_bounces.report import Action, Blame, RecipientReport, Type

Fired = tuple[Rule, tuple[int, int]]

MAX_HEARD = 100_000
"""Characters of one report's wordings that are looked at; of each further one only the first `BRIEF`."""
BRIEF = 160
MAX_WORDINGS = 400
"""Wordings of one report for which the text around is searched too; behind them the diagnostic has to do."""


class Verdict(NamedTuple):
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
        return Verdict(*self[:7], diagnostic, self.contradiction)


class Judge:
    """Judges deliveries of one report; what was said alike, but for the address, is judged once."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._known: dict[tuple[str, str | None, str, tuple[str, ...]], Verdict] = {}
        self._heard: dict[str, _Heard] = {}
        self._characters = 0
        """Those of all wordings heard."""
        self._answers: dict[tuple[str, str | None, str], _Answer] = {}

    def __call__(
        self, diagnostic: str, status: str | None = None, command: str = "", more: tuple[str, ...] = ()
    ) -> Verdict:
        """Type, reason and blame of a delivery.

        `diagnostic` is what the server said; `status` the code that the report gives (a Status field), `command` the
        SMTP command that was answered, `more` other passages, asked in turn while no rule knows the words.
        """
        text = clean(diagnostic)
        alike = address.replaced(text, "@") if "@" in text else text
        said = self._judged(alike, text, status, command, ())
        if self.tired or not any(more) or (said.rule is not None and said.rule not in self._rules.vague):
            return said
        return self._judged(alike, text, status, command, more)

    @property
    def tired(self) -> bool:
        """Has the report so many wordings that the text around is left out?"""
        return len(self._known) > MAX_WORDINGS

    def _judged(self, alike: str, text: str, status: str | None, command: str, more: tuple[str, ...]) -> Verdict:
        key = (alike, status, command, more)
        said = self._known.get(key)
        if said is None:
            said = self._known[key] = self._judge(text, status, command, more)
            return said
        return said.of(text) if text else said

    def _judge(self, text: str, status: str | None, command: str, more: tuple[str, ...]) -> Verdict:
        heard = self._hear(text)
        answer = self._ask(heard, best_status(status, heard.wording.statuses), command)
        wire, reply, fired, told = answer.wire, answer.reply, answer.fired, text
        for passage in more:
            if fired is not None and not fired[0].vague:
                break
            other = clean(passage)
            if not other:
                continue
            heard = self._hear(other)
            trusted = wire is not None and not wire.endswith(".0.0")
            answer = self._ask(heard, wire if trusted else best_status(wire, heard.wording.statuses), reply.command)
            wire = answer.wire
            if answer.fired is not None and (fired is None or not answer.fired[0].vague):
                fired, told = answer.fired, other
            text = text or other
            reply = answer.reply._replace(code=reply.code or answer.reply.code)
        return _verdict(text, wire, reply.code, fired, told, status)

    def _hear(self, text: str) -> _Heard:
        """What a clean passage says; kept, for the text around is asked about for each recipient."""
        heard = self._heard.get(text)
        if heard is None:
            self._characters += len(text)
            if self._characters >= MAX_HEARD:
                text = text[:BRIEF]
                heard = self._heard.get(text)
        if heard is None:
            wording = wording_of(text)
            heard = _Heard(text, wording, self._rules.spans(wording.plain))
            if not self.tired:
                self._heard[text] = heard
        return heard

    def _ask(self, heard: _Heard, wire: str | None, command: str) -> _Answer:
        """Asks the rules about a passage to which the status code `wire` belongs."""
        key = (heard.text, wire, command)
        answer = self._answers.get(key)
        if answer is None:
            wording = heard.wording
            status = wire or best_status(None, wording.statuses) or ""
            reply = Reply(wording.plain, status, wording.code, command or wording.command)
            answer = _Answer(wire, reply, self._rules.first(reply, heard.spans) if heard.text else None)
            if not self.tired:
                self._answers[key] = answer
        return answer


class _Heard(NamedTuple):
    """A clean passage, taken apart."""

    text: str
    """What was looked at of it."""
    wording: Wording
    spans: Spans


class _Answer(NamedTuple):
    """What one passage says."""

    wire: str | None
    reply: Reply
    fired: Fired | None


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
