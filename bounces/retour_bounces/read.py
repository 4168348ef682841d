"""Reading: from the bytes of a returned message to a `Report`, kind by kind in a fixed order."""

from __future__ import annotations

from retour_bounces import autoreply, complaint, delivery_status, original, receipt, textual, verdict, wire
from retour_bounces.report import Action, Kind, Original, RecipientReport, Report
from retour_bounces.rules import Rules

_KINDS: tuple[tuple[Action, Kind], ...] = (
    ("failed", "bounce"), ("delayed", "delayed"), ("delivered", "delivered"), ("relayed", "relayed"), ("expanded", "expanded"),
)  # fmt: skip


def read(data: bytes, *, rules: Rules | None = None) -> Report:
    """What a returned message says; pure, never raises, in time linear in the length of `data`.

    `rules` are the bundled ones unless given. The tests follow the design: report type first, then complaint
    (RFC 5965), receipt (RFC 8098), auto-reply (RFC 3834), then the text.
    """
    rules = rules or Rules.bundled()
    message = wire.scan(bytes(data))
    for reader in (_delivery_status, complaint.read, receipt.read, textual.read, autoreply.read):
        report = reader(message, rules)
        if report is not None:
            return report
    return Report("not-a-report", truncated=message.truncated)


def _delivery_status(message: wire.Message, rules: Rules) -> Report | None:
    part = next(
        (p for p in message.parts if p.kind in ("message/delivery-status", "message/global-delivery-status")),
        None,
    )
    if part is None:
        return None
    status = delivery_status.read(part.text())
    reports = tuple(_recipient(group, rules) for group in status.groups if group.recipient)
    if not reports:
        return None
    return Report(kind_of(reports), reports, returned(message, status.envelope_id), truncated=message.truncated)


def kind_of(reports: tuple[RecipientReport, ...]) -> Kind:
    """The kind of a report whose recipients fared so: the worst fate names it."""
    actions = {report.action for report in reports}
    return next(kind for action, kind in _KINDS if action in actions)


def returned(message: wire.Message, envelope_id: str | None = None) -> Original:
    """The header fields of the message that came back, from the part that holds it."""
    part = next((p for p in message.parts if p.returned), None)
    if part is None:
        return Original(envelope_id=envelope_id)
    body = part.body if part.kind == "text/rfc822-headers" else part.body.lstrip(b"\n")
    return original.from_header(wire.divide(body)[0], envelope_id)


def _recipient(group: delivery_status.Group, rules: Rules) -> RecipientReport:
    action: Action = group.action or ("delayed" if (group.status or "5")[0] == "4" else "failed")
    if action in ("delivered", "relayed", "expanded"):
        return RecipientReport(
            group.recipient, group.original_recipient, action, None, group.status, "wire" if group.status else None,
            None, None, None, "", verdict.clean(group.diagnostic),
        )  # fmt: skip
    said = verdict.judge(rules, group.diagnostic, group.status, more=group.comment)
    return RecipientReport(
        group.recipient, group.original_recipient, action, said.type if action == "failed" else None, said.status,
        said.status_source, said.reason, said.blame, said.rule, said.evidence, said.diagnostic, said.contradiction,
    )  # fmt: skip
