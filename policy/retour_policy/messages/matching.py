"""Matching: which send a returned message is about, which of its recipients, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import Connection

from retour_bounces import RecipientReport, Report
from retour_policy.address import address_key, is_address
from retour_policy.ledger.policy_versions import Policy
from retour_policy.messages.attribution import AttributedPart, Proof, attribute, parts_of
from retour_policy.messages.router import Route
from retour_policy.store import addresses, sends
from retour_policy.store.sends import Send

MAX_ALIKE_PARTS = 50  # of one report about the same address, or about unknown ones, that become facts
MAX_NAMES_LOOKED_UP = 20  # recipients that an unsigned report names


@dataclass(frozen=True)
class Matcher:
    """What matching needs to know."""

    secret: bytes
    reference: Callable[[str], int | None]
    """Reads the value of a Retour-Ref field: the send id if Retour made it."""
    policy: Policy

    def key(self, text: str) -> bytes:
        """The store's key for an address."""
        return address_key(self.secret, text)

    def find_send(
        self, connection: Connection, route: Route, report: Report | None, by_token: Send | None
    ) -> tuple[Send | None, Proof]:
        """The send that came back: by its token, else its Retour-Ref, else its Message-ID and a recipient."""
        if route.send is not None:
            return by_token, "shared" if by_token and len(by_token.recipients) > 1 else "signed"
        send = self._find_corroborated(connection, report) if report else None
        if send is None:
            return None, "unsigned"
        return send, "shared" if len(send.recipients) > 1 else "corroborated"

    def _find_corroborated(self, connection: Connection, report: Report) -> Send | None:
        number = self.reference(report.original.retour_ref) if report.original.retour_ref else None
        send = sends.find(connection, number) if number is not None else None
        if send or not report.original.message_id:
            return send
        parts = report.reports[:MAX_NAMES_LOOKED_UP]
        for text in names_in(parts) if parts else filter(None, [report.recipient]):
            send = sends.find_by_message_id(connection, report.original.message_id, self.key(text))
            if send:
                return send
        return None

    def attribute(
        self, connection: Connection, route: Route, report: Report, send: Send | None, *, dated: bool
    ) -> list[AttributedPart]:
        """The parts of the report and the addresses that they are about; `dated`: it is old mail, imported later."""
        if send:
            return _bounded(attribute(report, send.recipients, route.named, self.key, withheld=send.withheld))
        if route.send is not None:  # the token is genuine and the send record was deleted: it does not count
            return _bounded([AttributedPart(part, None) for part in parts_of(report)])
        names = names_in(report.reports)[:MAX_NAMES_LOOKED_UP]
        if dated and self._trusts_unsigned(route):  # the postmaster's own old bounces may name unknown addresses
            addresses.ensure(connection, self.secret, filter(is_address, names))
        known = addresses.read_numbers(connection, map(self.key, names))
        return _bounded(attribute(report, {n: key for key, n in known.items()}, None, self.key, guess=False))

    def is_matched(self, route: Route, report: Report, send: Send | None, parts: list[AttributedPart]) -> bool:
        """Whether it is known what this is and whom it is about; else postmaster gets it."""
        if report.kind == "not-a-report" or route.kind == "role":
            return False
        is_about_somebody = any(one.address_id is not None for one in parts)
        if send is None and route.send is None:  # unsigned: only if the postmaster trusts such reports
            return self._trusts_unsigned(route) and is_about_somebody
        return send is None or is_about_somebody

    def _trusts_unsigned(self, route: Route) -> bool:
        return self.policy.for_stream(route.stream).rules.count_unsigned


def names_in(parts: Iterable[RecipientReport | None]) -> list[str]:
    """The names that a report gives its recipients."""
    return [name for part in parts if part for name in (part.original_recipient, part.recipient) if name]


def _bounded(parts: list[AttributedPart]) -> list[AttributedPart]:
    """The first `MAX_ALIKE_PARTS` of each address, failures before all else: one report must not fill the store."""
    if len(parts) <= MAX_ALIKE_PARTS:
        return parts
    kept: dict[int | None, list[AttributedPart]] = {}
    for one in sorted(parts, key=lambda one: one.part is None or one.part.action != "failed"):
        alike = kept.setdefault(one.address_id, [])
        if len(alike) < MAX_ALIKE_PARTS:
            alike.append(one)
    return [one for alike in kept.values() for one in alike]
