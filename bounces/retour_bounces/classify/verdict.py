"""Verdict: type, reason and blame of one failed (or delayed) delivery, and what they rest on."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple

from retour_bounces.classify import status_codes
from retour_bounces.classify.diagnostic import Wording, best_status, clean, wording_of
from retour_bounces.classify.reasons import reasons
from retour_bounces.classify.rules import Reply, Rule, Rules, Spans
from retour_bounces.message import addresses
from retour_bounces.report import Action, Blame, RecipientReport, Type

Fired = tuple[Rule, tuple[int, int]]

MAX_WORDING_CHARACTERS = 100_000
"""Characters of one report's wordings that are looked at whole."""
MAX_LATE_CHARACTERS = 160
"""Characters that are looked at of each wording behind them."""
MAX_WORDINGS = 400
"""Wordings of one report for which the text around is searched too; behind them the diagnostic has to do."""
_LASTING = {"userunknown", "hasmoved"}
"""Reasons that are for good when a server has tried for days and given up, although each reply was temporary."""
_DISTINCT = {"userunknown", "hostunknown", "hasmoved", "mailboxfull", "emailtoolarge", "systemfull"}
"""Reasons that cannot be taken for one another, so that a code which says one and words which say another disagree."""


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

    def about(self, diagnostic: str) -> Verdict:
        """The same verdict about a reply that differs only in its address."""
        return Verdict(*self[:7], diagnostic, self.contradiction)


class Judge:
    """Judges deliveries of one report; what was said alike, but for the address, is judged once."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._verdicts: dict[tuple[str, str | None, str, tuple[str, ...]], Verdict] = {}
        self._passages: dict[str, _Passage] = {}
        self._characters = 0
        """Those of all passages taken apart."""
        self._answers: dict[tuple[str, str | None, str], _Answer] = {}

    def __call__(
        self, diagnostic: str, status: str | None = None, command: str = "", more: tuple[str, ...] = ()
    ) -> Verdict:
        """Type, reason and blame of a delivery.

        `diagnostic` is what the server said; `status` the code that the report gives (a Status field), `command` the
        SMTP command that was answered, `more` other passages, asked in turn while no rule knows the words.
        """
        text = clean(diagnostic)
        alike = addresses.replaced(text, "@") if "@" in text else text
        verdict = self._judged(alike, text, status, command, ())
        if self.is_exhausted or not any(more) or (verdict.rule is not None and verdict.rule not in self._rules.vague):
            return verdict
        return self._judged(alike, text, status, command, more)

    @property
    def is_exhausted(self) -> bool:
        """Has the report so many wordings that the text around is left out?"""
        return len(self._verdicts) > MAX_WORDINGS

    def _judged(self, alike: str, text: str, status: str | None, command: str, more: tuple[str, ...]) -> Verdict:
        key = (alike, status, command, more)
        verdict = self._verdicts.get(key)
        if verdict is None:
            verdict = self._verdicts[key] = self._judge(text, status, command, more)
            return verdict
        return verdict.about(text) if text else verdict

    def _judge(self, text: str, status: str | None, command: str, more: tuple[str, ...]) -> Verdict:
        passage = self._take_apart(text)
        answer = self._ask(passage, best_status(status, passage.wording.statuses), command)
        wire, reply, fired, source = answer.wire, answer.reply, answer.fired, text
        for further in more:
            if fired is not None and not fired[0].vague:
                break
            other = clean(further)
            if not other:
                continue
            passage = self._take_apart(other)
            trusted = wire is not None and not wire.endswith(".0.0")
            answer = self._ask(passage, wire if trusted else best_status(wire, passage.wording.statuses), reply.command)
            wire = answer.wire
            if answer.fired is not None and trusted and _only_supposes(passage.wording, answer.fired[0], wire):
                continue
            if answer.fired is not None and (fired is None or not answer.fired[0].vague):
                fired, source = answer.fired, other
            text = text or other
            reply = answer.reply._replace(code=reply.code or answer.reply.code)
        return _verdict(text, wire, reply.code, fired, source, status)

    def _take_apart(self, text: str) -> _Passage:
        """What a clean passage says; kept, for the text around is asked about for each recipient."""
        passage = self._passages.get(text)
        if passage is None:
            self._characters += len(text)
            if self._characters >= MAX_WORDING_CHARACTERS:
                text = text[:MAX_LATE_CHARACTERS]
                passage = self._passages.get(text)
        if passage is None:
            wording = wording_of(text)
            passage = _Passage(text, wording, self._rules.spans(wording))
            if not self.is_exhausted:
                self._passages[text] = passage
        return passage

    def _ask(self, passage: _Passage, wire: str | None, command: str) -> _Answer:
        """Asks the rules about a passage to which the status code `wire` belongs."""
        key = (passage.text, wire, command)
        answer = self._answers.get(key)
        if answer is None:
            wording = passage.wording
            status = wire or best_status(None, wording.statuses) or ""
            reply = Reply(wording, status, wording.code, command or wording.command)
            answer = _Answer(wire, reply, self._rules.first(reply, passage.spans) if passage.text else None)
            if not self.is_exhausted:
                self._answers[key] = answer
        return answer


class _Passage(NamedTuple):
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


def _only_supposes(wording: Wording, rule: Rule, wire: str | None) -> bool:
    """Does a text without a code of its own blame the recipient, where the field's code says that the sender was
    refused? Such texts tell what may be the cause."""
    return not (wording.code or wording.statuses or rule.sees_links) and status_codes.find(wire).blame == "sender"


def _verdict(text: str, wire: str | None, code: str, fired: Fired | None, source: str, field: str | None) -> Verdict:
    """Puts together what words, codes and the tables say."""
    if fired and fired[0].vague and status_codes.find(wire).reason:
        fired = None
    rule = fired[0] if fired else None
    reason = rule.reason if rule else status_codes.find(wire).reason
    final = wire or _derived(reason, code, source.lower())
    row = status_codes.find(final)
    known = reasons().get(reason or "")
    kind: Type = (rule.type if rule and not final.startswith("4") else None) or row.type
    blame = (rule.blame or (known.blame if known else None)) if rule else None
    return Verdict(
        kind, final, "wire" if wire else "derived", reason, blame or row.blame, rule.name if rule else None,
        source[fired[1][0] : fired[1][1]] if fired else (wire or ""), text,
        _contradiction(wire, field, reason, rule),
    )  # fmt: skip


def _derived(reason: str | None, code: str, words: str) -> str:
    """A status where the message holds none: from the reason, its class from the reply code where there is
    one."""
    known = reasons().get(reason or "")
    if known is None:
        return f"{code[0]}.0.0" if code[:1] in ("4", "5") else status_codes.NO_CODE
    if code[:1] in ("4", "5"):
        return code[0] + known.status[1:]
    return "4" + known.status[1:] if "retry timeout" in words else known.status


def _contradiction(wire: str | None, field: str | None, reason: str | None, rule: Rule | None) -> str | None:
    for status in (wire, field):
        by_code = status_codes.find(status).reason if status else None
        if rule and by_code != reason and by_code in _DISTINCT and reason in _DISTINCT:
            return f"{status}, which is {by_code}, but the text says {reason}"
    if wire and field and wire != field and wire[0] != field[0]:
        return f"Status field {field}, but the text says {wire}"
    return None


def recipient_report(
    recipient: str | None, original: str | None, action: Action, verdict: Verdict | None, diagnostic: str = ""
) -> RecipientReport:
    """The report about one recipient; `verdict` is None where delivery did not fail, `original` the address that the
    sender gave."""
    if verdict is None:
        return RecipientReport(recipient, original, action, None, None, None, None, None, None, "", clean(diagnostic))
    is_temporary = verdict.status is not None and verdict.status.startswith("4")
    kind: Type = "hard" if is_temporary and verdict.reason in _LASTING and verdict.rule else verdict.type
    return RecipientReport(
        recipient, original, action, kind if action == "failed" else None, verdict.status, verdict.status_source,
        verdict.reason, verdict.blame, verdict.rule, verdict.evidence, verdict.diagnostic, verdict.contradiction,
    )  # fmt: skip


def with_reason(verdict: Verdict, reason: str) -> Verdict:
    """The same verdict with a reason that the form of the report tells, not its words."""
    known = reasons()[reason]
    status = verdict.status if verdict.status_source == "wire" else known.status
    return verdict._replace(type="hard", status=status, reason=reason, blame=known.blame)


def with_status(one: RecipientReport, status: str | None) -> RecipientReport:
    """The same report with the status of its Status field."""
    return replace(one, status=status, status_source="wire" if status else None)
