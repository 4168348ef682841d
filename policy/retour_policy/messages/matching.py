"""Matching: which send a returned message is about, which of its recipients, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import Connection

from retour_bounces import RecipientReport, Report
from retour_policy.address import address_key, domain_of, is_address, normalise
from retour_policy.clock import DAY, HOUR
from retour_policy.config.model import Config
from retour_policy.core.proof import CONFLICTING, COPIED, UNSIGNED, VOUCHED, Proof
from retour_policy.ledger.policy_versions import Policy
from retour_policy.messages.attribution import AttributedPart, Recipient, attribute, is_redacted, parts_of
from retour_policy.messages.complaint_tokens import ComplaintTokens
from retour_policy.messages.router import Route
from retour_policy.store import addresses, facts, sends
from retour_policy.store.sends import Send
from retour_policy.tokens.token import id_time

MAX_ALIKE_PARTS = 50  # of one report about the same address, or about unknown ones, that become facts
MAX_NAMES_LOOKED_UP = 20  # recipients that an unsigned report names
MAX_CLOCK_DIFFERENCE_MS = HOUR  # of a report from the send that it is about, which it cannot be older than
_CLAIMS = ("complaint", "unsubscribe")


@dataclass(frozen=True, slots=True)
class ProofRules:
    """What a configuration says about what a report proves."""

    tokenless: frozenset[str] = frozenset()
    """Streams whose senders have no token, so that a Message-ID has to do."""
    max_age: int = 30 * DAY
    """Of a send, when a report about it comes; milliseconds."""
    copies: frozenset[str] = frozenset()
    """Addresses and domains that get copies of other people's mail, normalised."""
    vouches: bool = False
    """The postmaster vouches for reports that prove nothing."""

    @classmethod
    def of(cls, config: Config) -> ProofRules:
        """As a configuration has them."""
        return cls(
            tokenless=frozenset(stream.name for stream in config.stream if not stream.pattern),
            max_age=config.tokens.bounce_days * DAY,
            copies=frozenset(map(normalise, config.policy.copies)),
        )

    def is_copy(self, name: str) -> bool:
        """Whether an address gets copies of other people's mail."""
        return normalise(name) in self.copies or domain_of(name) in self.copies


@dataclass(frozen=True, slots=True)
class Match:
    """The send that came back, and what shows it."""

    send: Send | None
    proof: Proof
    by: Literal["token", "reference", "complaint", "message-id", "nothing"]


@dataclass(frozen=True)
class Matcher:
    """What matching needs to know."""

    secret: bytes
    reference: Callable[[str], int | None]
    """Reads the value of a Retour-Ref field: the send id if Retour made it."""
    policy: Policy
    rules: ProofRules = field(default_factory=ProofRules)
    complaints: ComplaintTokens = field(default_factory=ComplaintTokens)

    def key(self, text: str) -> bytes:
        """The store's key for an address."""
        return address_key(self.secret, text)

    def find(
        self,
        connection: Connection,
        route: Route,
        report: Report | None,
        by_token: Send | None,
        at: int,
        *,
        is_signed: bool = False,
    ) -> Match:
        """The send that came back at `at` (milliseconds): by its token, else its Retour-Ref, else its Message-ID.

        A complaint names it by other fields too; `is_signed` says whether it is signed by its author's domain.

        A Message-ID is public, and one for all copies of a message: it proves nothing where there are tokens, and
        never that somebody complains or unsubscribes. Mail to a role address is for a person to read.
        """
        if route.send is not None:
            return Match(by_token, "shared" if by_token and by_token.is_shared else "signed", "token")
        if report is None or route.kind == "role":
            return Match(None, UNSIGNED, "nothing")
        send = self._find_by_reference(connection, report, at)
        if send:
            return Match(send, "shared" if send.is_shared else "corroborated", "reference")
        if report.kind == "complaint":
            number = self.complaints.send(report, is_signed=is_signed)
            send = self._fresh_send(connection, number, at)
            if send:
                return Match(send, "shared" if send.is_shared else "corroborated", "complaint")
        send = None if report.kind in _CLAIMS else self._find_by_message_id(connection, report, at)
        if send is None:
            return Match(None, VOUCHED if self.rules.vouches else UNSIGNED, "nothing")
        return Match(send, "shared", "message-id")

    def _find_by_reference(self, connection: Connection, report: Report, at: int) -> Send | None:
        number = self.reference(report.original.retour_ref) if report.original.retour_ref else None
        return self._fresh_send(connection, number, at)

    def _fresh_send(self, connection: Connection, number: int | None, at: int) -> Send | None:
        """The send of that id, unless it is too old."""
        if number is None or at - id_time(number) > self.rules.max_age:
            return None
        return sends.find(connection, number)

    def _find_by_message_id(self, connection: Connection, report: Report, at: int) -> Send | None:
        parts = report.reports[:MAX_NAMES_LOOKED_UP]
        names = names_in(parts) if parts else filter(None, [report.recipient])
        found = sends.MessageIdQuery(
            message_ids=tuple(filter(None, (report.original.message_id, *report.original.answered))),
            keys=tuple(map(self.key, names)),
            streams=tuple(sorted(self.rules.tokenless)),
            since=at - self.rules.max_age,
            until=at + MAX_CLOCK_DIFFERENCE_MS,
        )
        return sends.find_by_message_id(connection, found)

    def attribute(
        self, connection: Connection, route: Route, report: Report, match: Match, *, dated: bool
    ) -> list[AttributedPart]:
        """The parts of the report and the addresses that they are about; `dated`: it is old mail, imported later."""
        send = match.send
        if send:
            only = self._only(route, report, match)
            return _bounded(attribute(report, send.recipients, self.key, only, withheld=send.withheld))
        if route.send is not None or route.kind == "role":  # a token whose send record was deleted; a letter
            return _bounded([AttributedPart(part, None) for part in parts_of(report)])
        names = names_in(report.reports)[:MAX_NAMES_LOOKED_UP]
        if dated and self._trusts_unsigned(route):  # the postmaster's own old bounces may name unknown addresses
            addresses.ensure(connection, self.secret, filter(is_address, names))
        known = addresses.read_numbers(connection, map(self.key, names))
        return _bounded(attribute(report, {n: key for key, n in known.items()}, self.key))

    def _only(self, route: Route, report: Report, match: Match) -> Recipient | None:
        """The recipient whom the report comes back from, whomever it names.

        A token stands for one recipient, or XVERP names one of several. A Retour-Ref goes where the message goes, also
        to others; but who complains is often not named.
        """
        send = match.send
        if send is None:
            return None
        only = None if send.is_shared else next(iter(send.recipients), None)
        if match.by == "token" and only is None and route.named:
            key = self.key(route.named)
            only = next((number for number, one in send.recipients.items() if one == key), None)
        if only is None:
            return None
        text = send.texts.get(only)
        redacts = report.kind == "complaint" and is_redacted(report.recipient, text)
        if match.by == "token" or (match.by in ("reference", "complaint") and redacts):
            return Recipient(only, send.recipients[only], text)
        return None

    def proof_of(self, connection: Connection, match: Match, one: AttributedPart) -> Proof:
        """How sure it is that a part of the report is about the recipient that it is assigned to.

        An answer or a complaint is not weaker for it that it names somebody else: people have several addresses.
        """
        if one.part is None or one.conflict is None or one.address_id is None:
            return match.proof
        if any(map(self.rules.is_copy, names_in([one.part]))):
            return COPIED
        is_for_others = facts.is_named_for_another(connection, self.key(one.conflict), one.address_id)
        return COPIED if is_for_others else CONFLICTING

    def is_matched(self, route: Route, report: Report, match: Match, parts: list[AttributedPart]) -> bool:
        """Whether it is known what this is and whom it is about; else postmaster gets it."""
        if report.kind == "not-a-report" or route.kind == "role":
            return False
        is_about_somebody = any(one.address_id is not None for one in parts)
        if match.send is None and route.send is None:  # unsigned: only if the postmaster trusts such reports
            return self._trusts_unsigned(route) and is_about_somebody
        return match.send is None or is_about_somebody or all(map(self._is_about_copy, parts))

    def _is_about_copy(self, one: AttributedPart) -> bool:
        return any(map(self.rules.is_copy, names_in([one.part])))

    def _trusts_unsigned(self, route: Route) -> bool:
        return self.rules.vouches or self.policy.for_stream(route.stream).rules.count_unsigned


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
