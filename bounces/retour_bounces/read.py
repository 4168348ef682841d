"""Reading: from the bytes of a returned message to a `Report`, kind by kind in a fixed order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from itertools import takewhile

from retour_bounces.classify import diagnostic as wording
from retour_bounces.classify import verdict
from retour_bounces.classify.rules import Rules
from retour_bounces.message import addresses as address
from retour_bounces.message import original
from retour_bounces.message import parts as wire
from retour_bounces.message import text as human_text
from retour_bounces.message.split_original import divide
from retour_bounces.phrases.normalise import plain
from retour_bounces.prose import mail_system as speaker
from retour_bounces.prose import scan as prose
from retour_bounces.readers import amazon_ses as notification
from retour_bounces.readers import autoreply, complaint
from retour_bounces.readers import dsn_fields as delivery_status
from retour_bounces.readers import mdn as receipt
from retour_bounces.readers import plain_text as textual
from retour_bounces.report import Action, RecipientReport, Report

_STATUS_KINDS = ("message/delivery-status", "message/global-delivery-status")
_DEPENDS = {"userunknown", "filtered", "onhold"}
"""Reasons that depend on the SMTP command, which the fields hardly ever tell."""
_FATES: dict[str, Action] = {"2": "delivered", "4": "delayed"}
"""What the class of a status code says where the Action field is missing."""
_PLAIN = {"5.1.1", "5.1.10"}
"""Status codes that say "no such mailbox" whatever the command was."""


_MAX_TEXT = 100_000
"""Characters of the text for people that are read beside fields."""
_Reader = Callable[[wire.Message, Rules], Report | None]


def read(data: bytes, *, rules: Rules | None = None) -> Report:
    """What a returned message says; pure, never raises, in time linear in the length of `data`.

    `rules` are the bundled ones unless given. The tests follow the design: report type first, then complaint
    (RFC 5965), receipt (RFC 8098), auto-reply (RFC 3834), then the text.
    """
    rules = rules or Rules.bundled()
    message = wire.scan(bytes(data))
    for reader in _READERS:
        report = reader(message, rules)
        if report is not None:
            return report
    return Report("not-a-report", truncated=message.truncated)


class _Context:
    """The text for people in a report, read only when its fields do not suffice."""

    def __init__(self, message: wire.Message, rules: Rules, status: delivery_status.Status) -> None:
        self._message = message
        self._recipients = {(group.recipient or "").lower() for group in status.groups}
        self.judge = verdict.Judge(rules)

    @cached_property
    def text(self) -> str:
        """The whole text."""
        return human_text.text_of(self._message)

    @cached_property
    def command(self) -> str:
        """The SMTP command that it names in words, as Postfix does; "" where it names none."""
        return wording.command_in(plain(self.text[:5_000]))

    @cached_property
    def start(self) -> str:
        """The beginning of what it says itself; of several recipients what it says before it comes to them."""
        start = self.prose.human[:3_000]
        if len(self._recipients) < 2:
            return start
        lines = start.split("\n")
        return "\n".join(takewhile(lambda line: self._recipients.isdisjoint(address.written(line.lower())), lines))

    def refusals(self, recipient: str) -> str:
        """The refusals that it quotes, without those of other recipients."""
        return self.prose.refusals(recipient, self._recipients)

    @cached_property
    def prose(self) -> prose.Prose:
        """What it says."""
        return prose.read(divide(self.text[:_MAX_TEXT]), set())


def _delivery_status(message: wire.Message, rules: Rules) -> Report | None:
    """Reads delivery-status fields (RFC 3464, RFC 6533), in a part of their own or in the text."""
    if message.report_type != "delivery-status" and speaker.is_passed_on(message):
        return None
    part, status = _status(message)
    if status is None or not status.groups:
        return None
    context = _Context(message, rules, status)
    back = original.of(message, "" if part else context.text, status.envelope_id)
    only = original.to_whom(back) if len(status.groups) == 1 and (part or status.groups[0].action) else None
    cut = message.truncated if part is None else not part.whole
    groups = status.groups[:-1] if cut and status.groups[-1].action is None else status.groups
    reports = tuple(_recipient(group, group.recipient or only, context) for group in groups if group.recipient or only)
    if not reports:
        return None
    reports = _once(reports)
    return Report(textual.kind_of(reports), reports, back, truncated=message.truncated or status.cut)


def _status(message: wire.Message) -> tuple[wire.Part | None, delivery_status.Status | None]:
    """The fields of a report and the part that holds them, None where they stand in the text."""
    part = _fields_part(message)
    if part is None and any(map(_is_relabelled, message.parts)) and speaker.by_mail_system(message):
        part = next(filter(_is_relabelled, message.parts))
    status = delivery_status.read(part.text()) if part else None
    if (status is None or not status.groups) and (part is not None or speaker.by_mail_system(message)):
        fields = delivery_status.loose_fields(human_text.text_of(message))
        status = delivery_status.read(fields) if fields else None
    return part, status


def _fields_part(message: wire.Message) -> wire.Part | None:
    return next((part for part in message.parts if part.kind in _STATUS_KINDS), None)


def _nameless(message: wire.Message, rules: Rules) -> Report | None:
    """Reads a report of failure that names nobody to whom one could write; the envelope tells whose it is."""
    if message.truncated or speaker.is_passed_on(message):
        return None
    part = _fields_part(message)
    status = delivery_status.read(part.text()) if part else None
    failed = [group for group in status.groups if group.action == "failed"] if status else []
    if status is None or not failed:
        return textual.nameless(message, rules)
    reports = (_recipient(failed[0], None, _Context(message, rules, status)),)
    return Report("bounce", reports, original.of(message, "", status.envelope_id))


def _is_relabelled(part: wire.Part) -> bool:
    """Does a gateway that did not know its type hand on a delivery-status part?"""
    return part.kind.startswith("application/") and part.body[:200].lstrip().lower().startswith(b"reporting-mta:")


def _once(reports: tuple[RecipientReport, ...]) -> tuple[RecipientReport, ...]:
    """The reports without those about a recipient that has one of the same action already."""
    if len(reports) == 1:
        return reports
    found: dict[tuple[str, Action], RecipientReport] = {}
    for one in reports:
        found.setdefault(((one.recipient or "").lower(), one.action), one)
    return tuple(found.values())


def _recipient(group: delivery_status.Group, recipient: str | None, context: _Context) -> RecipientReport:
    action: Action = group.action or _FATES.get((group.status or "5")[0], "failed")
    said = None if action in ("delivered", "relayed", "expanded") else _said(group, context)
    report = verdict.report(recipient, group.original_recipient, action, said, group.diagnostic)
    if group.inner_recipient:
        report = replace(report, inner_recipient=group.inner_recipient)
    return report if said else verdict.with_status(report, group.status)


def _said(group: delivery_status.Group, context: _Context) -> verdict.Verdict:
    """What the fields say of a failure; where they are thin, what the text for people adds."""
    diagnostic = f"x-unix; {group.diagnostic}" if group.diagnostic_type == "x-unix" else group.diagnostic
    said = context.judge(diagnostic, group.status)
    continued = diagnostic[3:4] == "-" and f"{diagnostic[:3]} " not in diagnostic
    settled = said.reason not in _DEPENDS or said.status in _PLAIN
    if context.judge.tired or (said.rule is not None and settled and not continued):
        return said
    if said.rule is not None and not continued and ">>>" not in context.text:
        return context.judge(diagnostic, group.status, context.command)
    human = context.prose
    command, whole = human.reply(wording.clean(diagnostic)) if diagnostic else ("", "")
    about = human.about(group.recipient or "")
    more = (whole, group.comment, about, context.refusals(group.recipient or ""), context.start)
    return context.judge(whole if whole and continued else diagnostic, group.status, command, more)


_READERS: tuple[_Reader, ...] = (
    _delivery_status,
    complaint.read,
    receipt.read,
    autoreply.read,
    notification.read,
    textual.read,
    _nameless,
)
