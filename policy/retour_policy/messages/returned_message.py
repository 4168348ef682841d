"""Returned message: one that came back, and what a fact keeps of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from retour_bounces import RecipientReport, Report
from retour_policy.messages.attribution import AttributedPart
from retour_policy.messages.authentication import Authentication
from retour_policy.messages.router import Route
from retour_policy.store.sends import Send

MAX_PARTS_AT_ONCE = 50  # of a report, recorded in one transaction: more would keep others waiting


@dataclass(frozen=True, slots=True)
class ReturnedMessage:
    """A returned message for one bounce address."""

    at: int
    route: Route
    recipient: str
    """The address that it was delivered to, without <>."""
    sender: str
    """Its envelope sender, without <>."""
    raw: bytes
    """The octets that were kept of it."""
    fingerprint: bytes
    """The hash that recognises it, whichever address it was delivered to."""
    report: Report | None
    """None: reading or recording it failed."""
    truncated: bool = False
    authentication: Authentication = field(default_factory=Authentication)
    imported: int | None = None
    """When old mail was imported (milliseconds); `at` is the message's own date then."""

    @property
    def is_short(self) -> bool:
        """Whether one transaction may write it: it does not name very many recipients, or is no report."""
        return self.route.kind == "unsubscribe" or self.weight <= MAX_PARTS_AT_ONCE

    @property
    def weight(self) -> int:
        """How many ordinary reports it is worth, which name one recipient."""
        return max(1, len(self.report.reports)) if self.report else 1

    @property
    def dated(self) -> bool:
        """Whether `at` is the message's own date."""
        return self.imported is not None


def kind_of(report: Report, part: RecipientReport | None) -> str:
    """The kind of this part: a bounce with mixed outcomes has delays and deliveries too."""
    if part is None:
        return report.kind
    return "bounce" if part.action == "failed" else part.action


def detail_of(message: ReturnedMessage, report: Report, send: Send | None, one: AttributedPart) -> dict[str, Any]:
    """What a fact keeps of the report about one recipient, beside its columns."""
    part = one.part
    values: dict[str, Any] = {
        "came_to": message.recipient,
        "from": message.sender,
        "recipient": part.recipient if part else report.recipient,
        "original_recipient": part.original_recipient if part else None,
        "status_source": part.status_source if part else None,
        "rule": part.rule if part else None,
        "diagnostic": part.diagnostic if part else None,
        "evidence": part.evidence if part else None,
        "contradiction": part.contradiction if part else None,
        "conflict": one.conflict,
        "tag": send.tag if send else None,
        "truncated": message.truncated or report.truncated,
        "dated": message.dated,
        "imported": message.imported,
        "authentication": message.authentication.text(),
        "lost_send": message.route.send is not None and send is None,
    }
    return {name: value for name, value in values.items() if value}
