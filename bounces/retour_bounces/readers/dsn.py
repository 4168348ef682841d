"""DSN: delivery status notifications (RFC 3464, RFC 6533), by their fields and, where these are thin, their text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import takewhile

from retour_bounces.classify.diagnostic import clean, command_in
from retour_bounces.classify.program import by_program
from retour_bounces.classify.rules import Rules
from retour_bounces.classify.verdict import Judge, Verdict, recipient_report, with_status
from retour_bounces.message import addresses, original
from retour_bounces.message.parts import STATUS_KINDS, Part
from retour_bounces.message.split_original import split_original
from retour_bounces.once import once
from retour_bounces.phrases.normalise import plain
from retour_bounces.prose import line_shapes
from retour_bounces.prose.scan import Prose, scan_text
from retour_bounces.readers import dsn_fields
from retour_bounces.readers.view import View
from retour_bounces.report import Action, RecipientReport, Report, kind_of

_DEPEND_ON_COMMAND = {"userunknown", "filtered", "onhold"}
"""Reasons that depend on the SMTP command, which the fields hardly ever tell."""
_ACTION_OF_CLASS: dict[str, Action] = {"2": "delivered", "4": "delayed"}
"""What the class of a status code says where the Action field is missing."""
_NO_MAILBOX = {"5.1.1", "5.1.10"}
"""Status codes that say "no such mailbox" whatever the command was."""
MAX_TEXT_CHARACTERS = 100_000
"""Characters of the text for people that are read beside fields."""
MAX_START_CHARACTERS = 3_000
"""Characters of what that text says itself in which the reason of all recipients is looked for."""
MAX_COMMAND_CHARACTERS = 5_000
"""Characters of that text in which an SMTP command is looked for."""


def read(view: View, rules: Rules) -> Report | None:
    """Reads delivery-status fields, in a part of their own or in the text; None where there are none."""
    message = view.message
    if message.report_type != "delivery-status" and view.is_passed_on:
        return None
    parts, status = _status(view)
    if not status.groups:
        return None
    back = original.of(message, "" if parts else view.text, status.envelope_id)
    only = original.to_whom(back) if len(status.groups) == 1 and (parts or status.groups[0].action) else None
    is_cut = not parts[-1].whole if parts else message.truncated
    groups = status.groups[:-1] if is_cut and status.groups[-1].action is None else status.groups
    context = _Context(view, rules, status)
    reports = tuple(_recipient(group, group.recipient or only, context) for group in groups if group.recipient or only)
    if not reports:
        return None
    reports = _without_repeats(reports)
    return Report(kind_of(reports), reports, back, truncated=message.truncated or status.cut)


def read_nameless(view: View, rules: Rules) -> Report | None:
    """Reads fields that tell of a failure and name nobody to whom one could write; the envelope tells whose it is."""
    if view.message.truncated or view.is_passed_on:
        return None
    _, status = _fields_of(part for part in view.message.parts if part.kind in STATUS_KINDS)
    failed = [group for group in status.groups if group.action == "failed"]
    if not failed:
        return None
    reports = (_recipient(failed[0], None, _Context(view, rules, status)),)
    return Report("bounce", reports, original.of(view.message, "", status.envelope_id))


class _Context:
    """The text for people beside the fields, read only when these do not suffice."""

    def __init__(self, view: View, rules: Rules, status: dsn_fields.Status) -> None:
        self._view = view
        self._recipients = {(group.recipient or "").lower() for group in status.groups}
        self.judge = Judge(rules)

    @property
    def text(self) -> str:
        """The whole text."""
        return self._view.text

    @once
    def command(self) -> str:
        """The SMTP command that it names in words, as Postfix does; "" where it names none."""
        return command_in(plain(self.text[:MAX_COMMAND_CHARACTERS]))

    @once
    def start(self) -> str:
        """The beginning of what it says itself; of several recipients what it says before it comes to them."""
        start = line_shapes.without_rows(self.prose.own_text[:MAX_START_CHARACTERS])
        if len(self._recipients) < 2:
            return start
        lines = start.split("\n")
        return "\n".join(takewhile(lambda line: self._recipients.isdisjoint(addresses.written(line.lower())), lines))

    def refusals(self, recipient: str) -> str:
        """The refusals that it quotes, without those of other recipients."""
        return self.prose.refusals(recipient, self._recipients)

    @once
    def prose(self) -> Prose:
        """What it says."""
        return scan_text(split_original(self.text[:MAX_TEXT_CHARACTERS]), set())


def _status(view: View) -> tuple[list[Part], dsn_fields.Status]:
    """The fields of a report and the parts that hold them, none where they stand in the text."""
    named = [part for part in view.message.parts if part.kind in STATUS_KINDS]
    parts, status = _fields_of(named)
    if not parts and view.may_be_report:
        parts, status = _fields_of(filter(_is_relabelled, view.message.parts))
    if not parts and (named or view.may_be_report):
        fields = dsn_fields.fields_in(view.text)
        status = dsn_fields.parse(fields) if fields else status
    return parts, status


def _fields_of(parts: Iterable[Part]) -> tuple[list[Part], dsn_fields.Status]:
    """Those of the parts that name recipients, and the fields of all; a server may put an empty part before them."""
    holding: list[Part] = []
    whole = None
    for part in parts:
        status = dsn_fields.parse(part.text())
        if status.groups:
            holding.append(part)
        whole = whole.joined(status) if whole else status
        if whole.cut:
            break
    return holding, whole or dsn_fields.NO_STATUS


def _is_relabelled(part: Part) -> bool:
    """Does a gateway that did not know its type hand on a delivery-status part, or a server call it a header?"""
    return (part.kind.startswith("application/") or part.is_returned) and part.begins_as_status


def _without_repeats(reports: tuple[RecipientReport, ...]) -> tuple[RecipientReport, ...]:
    """The reports without those about a recipient that has one of the same action already."""
    if len(reports) == 1:
        return reports
    found: dict[tuple[str, Action], RecipientReport] = {}
    for one in reports:
        found.setdefault(((one.recipient or "").lower(), one.action), one)
    return tuple(found.values())


def _recipient(group: dsn_fields.Group, recipient: str | None, context: _Context) -> RecipientReport:
    action: Action = group.action or _ACTION_OF_CLASS.get((group.status or "5")[0], "failed")
    verdict = None
    if action not in ("delivered", "relayed", "expanded"):
        verdict = _verdict(group, context)
        if verdict.reason == "mailererror":
            verdict = by_program(verdict, context.judge, "" if group.diagnostic else context.start)
    report = recipient_report(recipient, group.original_recipient, action, verdict, group.diagnostic)
    if group.inner_recipient:
        report = replace(report, inner_recipient=group.inner_recipient)
    return report if verdict else with_status(report, group.status)


def _verdict(group: dsn_fields.Group, context: _Context) -> Verdict:
    """What the fields say of a failure; where they are thin, what the text for people adds."""
    diagnostic = f"x-unix; {group.diagnostic}" if group.diagnostic_type == "x-unix" else group.diagnostic
    diagnostic = diagnostic or group.further
    by_fields = context.judge(diagnostic, group.status)
    continued = diagnostic[3:4] == "-" and f"{diagnostic[:3]} " not in diagnostic
    is_known = by_fields.rule is not None and not continued
    is_settled = by_fields.reason not in _DEPEND_ON_COMMAND or by_fields.status in _NO_MAILBOX
    if context.judge.is_exhausted or (is_known and is_settled):
        return by_fields
    if is_known and ">>>" not in context.text:
        return context.judge(diagnostic, group.status, context.command)
    prose = context.prose
    command, whole = prose.reply(clean(diagnostic)) if diagnostic else ("", "")
    about = prose.about(group.recipient or "")
    more = (whole, group.comment, group.further, about, context.refusals(group.recipient or ""), context.start)
    return context.judge(whole if whole and continued else diagnostic, group.status, command, more)
